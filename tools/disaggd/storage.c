// SPDX-License-Identifier: GPL-2.0
/*
 * Class storage: an extent of a file or block device. It is zeroed before the first
 * lane of a new lease can see it, however the lease before it ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "storage.h"
#include "wire.h"

#define ZERO_CHUNK	(1U << 20)

static int write_zeroes(int fd, uint64_t offset, uint64_t len)
{
	void *zeroes = aligned_alloc(STORAGE_ALIGN, ZERO_CHUNK);
	int err = 0;

	if (!zeroes)
		return -ENOMEM;
	memset(zeroes, 0, ZERO_CHUNK);
	while (len && !err) {
		size_t chunk = len < ZERO_CHUNK ? (size_t)len : ZERO_CHUNK;
		ssize_t n = pwrite(fd, zeroes, chunk, (off_t)offset);

		if (n > 0) {
			offset += (uint64_t)n;
			len -= (uint64_t)n;
		} else if (!n || errno != EINTR) {
			err = n ? -errno : -EIO;
		}
	}
	free(zeroes);
	return err;
}

int storage_zero(int fd, uint64_t offset, uint64_t len)
{
	int rc;

	do {
		rc = fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
			       (off_t)len);
	} while (rc && errno == EINTR);
	if (!rc)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL && errno != ENODEV)
		return -errno;
	return write_zeroes(fd, offset, len);
}

static uint16_t zero_now(struct serve *s, uint64_t offset, uint64_t len)
{
	int err = storage_zero(s->fd, s->setup.offset + offset, len);

	if (!err && fdatasync(s->fd))
		err = -errno;
	if (!err)
		return DISAGG_WIRE_OK;
	log_error("storage: cannot zero %llu bytes of %s: %s", (unsigned long long)len,
		  s->setup.path, strerror(-err));
	return err == -ENOSPC ? DISAGG_WIRE_E_NO_SPACE : DISAGG_WIRE_E_IO;
}

static uint16_t storage_open(struct serve *s)
{
	s->fd = WORKER_FD_MEDIUM;
	return s->setup.zero ? zero_now(s, 0, s->setup.size) : DISAGG_WIRE_OK;
}

static uint16_t storage_resize(struct serve *s, uint64_t size)
{
	uint64_t old = atomic_load(&s->size);

	if (s->setup.shared || size <= old)
		return DISAGG_WIRE_OK;
	return zero_now(s, old, size - old);
}

const struct medium storage_medium = {
	.features = DISAGG_WIRE_F_ALL,
	.open = storage_open,
	.resize = storage_resize,
	.run = storage_lane_run,
};
