// SPDX-License-Identifier: GPL-2.0
/*
 * swap_load MEBIBYTES SECONDS: fill so much memory with a pattern that says where
 * and when it was written; look at pages of it at random, and write half of them
 * anew; in the end, look at each byte. What should be there is remembered in locked
 * memory. Prints what it did; exits with 1 if a byte was wrong.
 *
 * swap_load MEBIBYTES hold: lock so much memory, and keep it until killed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE	4096UL
#define WORDS	(PAGE / sizeof(uint64_t))

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static void *get(size_t size, int flags)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags,
		       -1, 0);

	if (p == MAP_FAILED) {
		perror("swap_load: mmap");
		exit(2);
	}
	return p;
}

static void fill(uint64_t *page, uint64_t number, uint32_t version)
{
	uint64_t key = mix(number << 32 | version);

	for (size_t i = 0; i < WORDS; i++)
		page[i] = key + i * 0x9e3779b97f4a7c15ULL;
}

/* Return: whether the page is as it was filled. */
static int right(const uint64_t *page, uint64_t number, uint32_t version)
{
	uint64_t key = mix(number << 32 | version);

	for (size_t i = 0; i < WORDS; i++) {
		if (page[i] == key + i * 0x9e3779b97f4a7c15ULL)
			continue;
		printf("page %llu, version %u, byte %zu: %016llx is wrong\n",
		       (unsigned long long)number, version, i * sizeof(*page),
		       (unsigned long long)page[i]);
		return 0;
	}
	return 1;
}

static int work(size_t size, unsigned int seconds)
{
	uint64_t pages = size / PAGE, touches = 0, wrong = 0, longest = 0, end, last;
	uint32_t *version = get(pages * sizeof(*version), MAP_POPULATE);
	uint64_t *memory = get(size, 0), random = 1;

	if (mlock(version, pages * sizeof(*version)))
		perror("swap_load: mlock");
	madvise(memory, size, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < pages; i++)
		fill(memory + i * WORDS, i, version[i] = 1);
	puts("filled");
	fflush(stdout);
	last = now_ms();
	for (end = last + seconds * 1000ULL; last < end; touches++) {
		uint64_t i, now;

		random = mix(random + 0x9e3779b97f4a7c15ULL);
		i = random % pages;
		wrong += !right(memory + i * WORDS, i, version[i]);
		if (random >> 63)
			fill(memory + i * WORDS, i, ++version[i]);
		now = now_ms();
		if (now - last > longest)
			longest = now - last;
		last = now;
	}
	for (uint64_t i = 0; i < pages; i++)
		wrong += !right(memory + i * WORDS, i, version[i]);
	printf("%llu pages, %llu touches, %llu wrong, longest wait %llu ms\n",
	       (unsigned long long)pages, (unsigned long long)touches,
	       (unsigned long long)wrong, (unsigned long long)longest);
	return wrong != 0;
}

int main(int argc, char **argv)
{
	size_t size = argc >= 3 ? strtoul(argv[1], NULL, 10) << 20 : 0;

	if (!size) {
		fputs("usage: swap_load MEBIBYTES SECONDS|hold\n", stderr);
		return 2;
	}
	if (strcmp(argv[2], "hold"))
		return work(size, (unsigned int)strtoul(argv[2], NULL, 10));
	if (mlock(get(size, MAP_POPULATE), size)) {
		perror("swap_load: mlock");
		return 2;
	}
	puts("held");
	fflush(stdout);
	pause();
	return 0;
}
