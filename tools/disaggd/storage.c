// SPDX-License-Identifier: GPL-2.0
/*
 * Class storage: an extent of a file or block device. It is zeroed before the first
 * lane of a new lease can see it, however the lease before it ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"
#include "storage.h"
#include "wire.h"

#define DRAIN_NS	(5 * DSG_NSEC_PER_SEC)
#define NFS_MAGIC	0x6969

uint8_t storage_zeroes[STORAGE_ZEROES] __attribute__((aligned(STORAGE_ALIGN)));

static int write_zeroes(int fd, uint64_t offset, uint64_t len)
{
	while (len) {
		size_t chunk = len < STORAGE_ZEROES ? (size_t)len : STORAGE_ZEROES;
		ssize_t n = pwrite(fd, storage_zeroes, chunk, (off_t)offset);

		if (n > 0) {
			offset += (uint64_t)n;
			len -= (uint64_t)n;
		} else if (!n || errno != EINTR) {
			return n ? -errno : -EIO;
		}
	}
	return 0;
}

/* Make @len bytes at @offset of the file zero; waits. 0 or -errno. */
static int storage_zero(int fd, uint64_t offset, uint64_t len)
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

/* Lock, or unlock, from @from to @to within the extent; 0 or -errno. */
static int extent_lock(struct serve *s, short type, uint64_t from, uint64_t to)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)(s->setup.offset + from),
		.l_len = (off_t)(to - from),
	};

	return fcntl(s->fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

/*
 * Have the extent up to @size for this worker alone. One that was killed may have writes on
 * their way to the medium, which nobody can call back, and which must not overtake what is
 * written from now on. They keep its open file, and so its lock, until they are done. Not so
 * on NFS, where the parent's lock of the file would be in the way.
 */
static uint16_t lock_extent(struct serve *s, uint64_t size)
{
	uint64_t deadline = dsg_deadline(DRAIN_NS);
	struct statfs fs;
	int err;

	/* Of what is read-only nobody writes. */
	if (s->setup.shared || (!fstatfs(s->fd, &fs) && fs.f_type == NFS_MAGIC))
		return DISAGG_WIRE_OK;
	while ((err = extent_lock(s, F_WRLCK, 0, size))) {
		if (err != -EAGAIN && err != -EACCES) {
			log_error("storage: cannot lock %s: %s", s->setup.path, strerror(-err));
			return DISAGG_WIRE_E_INTERNAL;
		}
		if (dsg_now_ns() >= deadline) {
			log_error("storage: %s has not done yet what an earlier worker wrote",
				  s->setup.path);
			return DISAGG_WIRE_E_BUSY;
		}
		usleep(20000);
	}
	return DISAGG_WIRE_OK;
}

static uint16_t storage_open(struct serve *s)
{
	uint16_t status;

	s->fd = WORKER_FD_MEDIUM;
	status = lock_extent(s, s->setup.size);
	return !status && s->setup.zero ? zero_now(s, 0, s->setup.size) : status;
}

static uint16_t storage_resize(struct serve *s, uint64_t size)
{
	uint64_t old = atomic_load(&s->size);
	uint16_t status;

	if (s->setup.shared)
		return DISAGG_WIRE_OK;
	if (size > old) {
		status = lock_extent(s, size);
		if (!status)
			status = zero_now(s, old, size - old);
		if (!status)
			return status;
	} else {
		status = DISAGG_WIRE_OK;
	}
	/* What did not come about another lease may have. */
	extent_lock(s, F_UNLCK, old, s->setup.max_size - s->setup.offset);
	return status;
}

const struct medium storage_medium = {
	.features = DISAGG_WIRE_F_ALL,
	.open = storage_open,
	.resize = storage_resize,
	.run = storage_lane_run,
};
