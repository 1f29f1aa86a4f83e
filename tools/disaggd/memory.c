// SPDX-License-Identifier: GPL-2.0
/*
 * Class memory: a memfd of its own per lease, so what a lease sees first is zeroes
 * by the kernel's own guarantee, and ends with its worker. It is mapped once over
 * all it may grow to; lanes touch it only below serve->size.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/memfd.h>

#include "log.h"
#include "memory.h"
#include "wire.h"

static uint64_t page_of(const struct serve *s)
{
	return s->setup.hugepage ? s->setup.hugepage : 4096;
}

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/*
 * Huge pages are always taken now: a pool that runs dry later would be a SIGBUS in
 * the middle of a write.
 */
static uint16_t grow(struct serve *s, uint64_t from, uint64_t to)
{
	uint64_t page = page_of(s), have;
	struct stat st;

	from = round_up(from, page);
	to = round_up(to, page);
	if (from == to)
		return DISAGG_WIRE_OK;
	if (fstat(s->fd, &st))
		return DISAGG_WIRE_E_INTERNAL;
	/* What an earlier daemon has ordered may be there, and published meanwhile. */
	have = (uint64_t)st.st_size;
	if (to > have && ftruncate(s->fd, (off_t)to)) {
		log_error("memory: cannot size %llu bytes: %s", (unsigned long long)to,
			  strerror(errno));
		return DISAGG_WIRE_E_NO_SPACE;
	}
	if (!s->setup.hugepage && !s->setup.prealloc)
		return DISAGG_WIRE_OK;
	while (fallocate(s->fd, 0, (off_t)from, (off_t)(to - from))) {
		if (errno == EINTR)
			continue;
		log_error("memory: cannot allocate %llu bytes: %s",
			  (unsigned long long)(to - from), strerror(errno));
		if (to > have && ftruncate(s->fd, (off_t)have))
			log_error("memory: cannot shrink: %s", strerror(errno));
		return DISAGG_WIRE_E_NO_SPACE;
	}
#ifdef MADV_POPULATE_WRITE
	/* Only saves the faults of the first touch: it may fail. */
	madvise(s->map + from, to - from, MADV_POPULATE_WRITE);
#endif
	return DISAGG_WIRE_OK;
}

static uint16_t memory_open(struct serve *s)
{
	unsigned int flags = MFD_CLOEXEC;
	uint64_t span = round_up(s->setup.max_size, page_of(s));

	if (s->setup.size > s->setup.max_size)
		return DISAGG_WIRE_E_NO_SPACE;
	if (s->setup.hugepage)
		flags |= MFD_HUGETLB | (s->setup.hugepage == 1ULL << 30 ?
					(unsigned int)MFD_HUGE_1GB :
					(unsigned int)MFD_HUGE_2MB);
	s->fd = memfd_create("disaggd-lease", flags);
	if (s->fd < 0) {
		log_error("memory: memfd: %s", strerror(errno));
		return errno == ENOENT || errno == EINVAL ? DISAGG_WIRE_E_NOT_SUPPORTED :
							    DISAGG_WIRE_E_INTERNAL;
	}
	/* Without NORESERVE a hugetlb mapping would claim all that it may grow to. */
	s->map = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		      s->fd, 0);
	if (s->map == MAP_FAILED) {
		log_error("memory: mmap: %s", strerror(errno));
		return DISAGG_WIRE_E_NO_SPACE;
	}
	madvise(s->map, span, MADV_DONTDUMP);
	if (!s->setup.hugepage)
		madvise(s->map, span, MADV_HUGEPAGE);
	return grow(s, 0, s->setup.size);
}

/* Lanes have no more than @size: what a RESIZE has made beyond it, and failed later. */
static void give_back(struct serve *s, uint64_t size)
{
	uint64_t keep = round_up(size, page_of(s));
	struct stat st;

	if (!fstat(s->fd, &st) && (uint64_t)st.st_size > keep && ftruncate(s->fd, (off_t)keep))
		log_error("memory: cannot shrink: %s", strerror(errno));
}

static uint16_t memory_resize(struct serve *s, uint64_t size)
{
	uint64_t old = atomic_load(&s->size);

	if (size <= old) {
		give_back(s, old);
		return DISAGG_WIRE_OK;
	}
	if (size > s->setup.max_size)
		return DISAGG_WIRE_E_NO_SPACE;
	return grow(s, old, size);
}

uint16_t memory_zero(struct serve *s, uint64_t offset, uint64_t len, bool keep)
{
	uint64_t page = page_of(s), end = offset + len;
	uint64_t first = round_up(offset, page), last = end / page * page;

	/* A hole in hugetlb gives pages back that a later write could not get again. */
	if (keep || s->setup.hugepage || s->setup.prealloc || first >= last) {
		memset(s->map + offset, 0, len);
		return DISAGG_WIRE_OK;
	}
	if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first,
		      (off_t)(last - first)))
		memset(s->map + first, 0, last - first);
	memset(s->map + offset, 0, first - offset);
	memset(s->map + last, 0, end - last);
	return DISAGG_WIRE_OK;
}

const struct medium memory_medium = {
	.features = DISAGG_WIRE_F_CRC32C | DISAGG_WIRE_F_DISCARD |
		    DISAGG_WIRE_F_WRITE_ZEROES,
	.open = memory_open,
	.resize = memory_resize,
	.run = memory_lane_run,
};
