/* SPDX-License-Identifier: GPL-2.0 */
/* What the harnesses share: reading the input bit by bit, folders, last words. */
#ifndef DISAGG_FUZZ_H
#define DISAGG_FUZZ_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Not every harness uses everything. */
#define FUZZ_FN static __attribute__((unused))

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the code under test may never do; shown like a sanitizer's report. */
#define fuzz_assert(what)						\
	do {								\
		if (!(what))						\
			fuzz_fail(__FILE__, __LINE__, #what);		\
	} while (0)

/* Standard error is closed while a harness runs: what it logs is not of interest. */
static int fuzz_stderr = STDERR_FILENO;

__attribute__((noreturn)) FUZZ_FN void fuzz_fail(const char *file, int line, const char *what)
{
	dprintf(fuzz_stderr, "%s:%d: this does not hold: %s\n", file, line, what);
	abort();
}

/* Call first in LLVMFuzzerInitialize(). */
FUZZ_FN void fuzz_init(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);

	if (fd >= 0)
		fuzz_stderr = fd;
}

/* A folder of this process's own, in memory, that goes with it. */
FUZZ_FN const char *fuzz_folder(void)
{
	static char path[] = "/dev/shm/fuzz-XXXXXX";
	static bool made;

	if (!made && !mkdtemp(path))
		fuzz_fail(__FILE__, __LINE__, "mkdtemp");
	made = true;
	return path;
}

/* Replace the content of @path, in that folder. */
FUZZ_FN void fuzz_file(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	fuzz_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

/* struct fuzz_in - what is left of the input; reads zeroes beyond its end */
struct fuzz_in {
	const uint8_t *p;
	size_t left;
};

FUZZ_FN void take(struct fuzz_in *in, void *buf, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(buf, 0, len);
	if (n)
		memcpy(buf, in->p, n);
	in->p += n;
	in->left -= n;
}

FUZZ_FN uint8_t take_u8(struct fuzz_in *in)
{
	uint8_t value;

	take(in, &value, sizeof(value));
	return value;
}

/*
 * Change single bytes of @buf: @count pairs of place and value follow in the input.
 * That way a few bytes of input make a message that is wrong in one field only. The
 * highest count stands for one place, value and length.
 */
#define PATCH_RUN	15

FUZZ_FN void take_patches(struct fuzz_in *in, void *buf, size_t len, unsigned int count)
{
	size_t at, most;
	uint8_t value;

	if (count == PATCH_RUN) {
		at = take_u8(in) % len;
		value = take_u8(in);
		most = take_u8(in);
		memset((uint8_t *)buf + at, value, most < len - at ? most : len - at);
		return;
	}
	while (count-- && in->left) {
		at = take_u8(in) % len;
		((uint8_t *)buf)[at] = take_u8(in);
	}
}

#endif
