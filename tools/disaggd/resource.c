// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "lease.h"
#include "log.h"
#include "resource.h"

static struct resource *resources;
static unsigned int count;

static int fail(const struct resource_config *conf, int err, const char *what)
{
	log_error("resource %s: %s: %s%s%s", conf->id, conf->path, what,
		  err ? ": " : "", err ? strerror(err) : "");
	return err ? -err : -EINVAL;
}

static int size_file(struct resource *r, const struct stat *st)
{
	const struct resource_config *conf = r->conf;

	r->capacity = (uint64_t)st->st_size;
	if (!conf->size)
		return 0;
	if (r->capacity < conf->size) {
		if (conf->read_only)
			return fail(conf, 0, "the file is smaller than its size says");
		if (ftruncate(r->fd, (off_t)conf->size))
			return fail(conf, errno, "cannot grow the file");
	}
	r->capacity = conf->size;
	return 0;
}

static int size_device(struct resource *r)
{
	const struct resource_config *conf = r->conf;
	int logical;

	if (ioctl(r->fd, BLKGETSIZE64, &r->capacity) || ioctl(r->fd, BLKSSZGET, &logical))
		return fail(conf, errno, "cannot read the device's geometry");
	if (conf->block_size < (uint32_t)logical)
		return fail(conf, 0, "block-size is below the device's logical block size");
	if (conf->size > r->capacity)
		return fail(conf, 0, "the device is smaller than its size says");
	if (conf->size)
		r->capacity = conf->size;
	return 0;
}

#define CLAIM_TRIES	250	/* of 20 ms */

/* One medium, one resource, whatever its names are; and one daemon. */
static int claim(struct resource *r, const struct stat *st)
{
	for (const struct resource *other = resources; other < r; other++) {
		struct stat o;

		if (other->fd < 0 || fstat(other->fd, &o))
			continue;
		if (S_ISBLK(st->st_mode) ? S_ISBLK(o.st_mode) && o.st_rdev == st->st_rdev :
					   o.st_dev == st->st_dev && o.st_ino == st->st_ino)
			return fail(r->conf, 0, "another resource has the same file or device");
	}
	/* It keeps udev from looking at what tenants write to a device; udev may do so now. */
	for (int i = 0; flock(r->fd, (r->conf->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB); i++) {
		if (S_ISREG(st->st_mode) || errno != EWOULDBLOCK || i == CLAIM_TRIES)
			return fail(r->conf, errno, "another program has locked it");
		usleep(20000);
	}
	return 0;
}

static int open_storage(struct resource *r)
{
	const struct resource_config *conf = r->conf;
	int flags = O_CLOEXEC | (conf->read_only ? O_RDONLY : O_RDWR);
	const char *base = strrchr(conf->path, '/') + 1;
	struct stat st;
	int err;

	snprintf(r->model, sizeof(r->model), "%.31s", base);
	for (char *p = r->model; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	if (!stat(conf->path, &st) && S_ISBLK(st.st_mode))
		flags |= O_EXCL;	/* refuses a device that is mounted */
	else if (conf->size && !conf->read_only)
		flags |= O_CREAT;
	if (conf->direct)
		flags |= O_DIRECT;
	r->fd = open(conf->path, flags, 0600);
	if (r->fd < 0)
		return fail(conf, errno, errno == EINVAL && conf->direct ?
			    "cannot open for direct I/O (direct: no may help)" :
			    "cannot open");
	if (fstat(r->fd, &st))
		return fail(conf, errno, "cannot stat");
	err = claim(r, &st);
	if (err)
		return err;
	if (S_ISBLK(st.st_mode))
		err = size_device(r);
	else if (S_ISREG(st.st_mode))
		err = size_file(r, &st);
	else
		err = fail(conf, 0, "neither a file nor a block device");
	if (err)
		return err;
	r->capacity -= r->capacity % conf->block_size;
	if (!r->capacity)
		return fail(conf, 0, "it is empty: give a size for a file to be made");
	return 0;
}

static int resource_open(struct resource *r)
{
	const struct resource_config *conf = r->conf;

	r->fd = -1;
	if (conf->class == DISAGG_WIRE_CLASS_STORAGE)
		return open_storage(r);
	r->capacity = conf->size;
	if (conf->hugepage)
		snprintf(r->model, sizeof(r->model), "hugetlb %s",
			 conf->hugepage == 1ULL << 30 ? "1GiB" : "2MiB");
	else
		snprintf(r->model, sizeof(r->model), "memfd");
	return 0;
}

int resources_open(const struct config *config)
{
	resources = calloc(config->resource_count, sizeof(*resources));
	if (!resources)
		return -ENOMEM;
	for (count = 0; count < config->resource_count; count++) {
		int err;

		resources[count].conf = &config->resources[count];
		err = resource_open(&resources[count]);
		if (err) {
			count++;
			return err;
		}
	}
	return 0;
}

void resources_close(void)
{
	for (unsigned int i = 0; i < count; i++)
		if (resources[i].fd >= 0)
			close(resources[i].fd);
	free(resources);
	resources = NULL;
	count = 0;
}

unsigned int resources_count(void)
{
	return count;
}

struct resource *resource_at(unsigned int i)
{
	return &resources[i];
}

struct resource *resource_find(const char *id)
{
	for (unsigned int i = 0; i < count; i++)
		if (!strcmp(resources[i].conf->id, id))
			return &resources[i];
	return NULL;
}

uint64_t resource_footprint(const struct resource *r, uint64_t size)
{
	uint64_t page = r->conf->hugepage;
	uint64_t over = page ? size % page : 0;

	return over ? size + page - over : size;
}

/*
 * The lowest lease of @r that ends after @at, and where it starts: leases that
 * don't overlap are walked in order this way without being sorted.
 */
static const struct lease *next_extent(const struct resource *r, uint64_t at)
{
	const struct lease *best = NULL;

	for (const struct lease *l = lease_first(); l; l = lease_next(l))
		if (l->resource == r && l->offset + l->held > at &&
		    (!best || l->offset < best->offset))
			best = l;
	return best;
}

static void gap(uint64_t size, uint64_t *available, uint64_t *largest)
{
	*available += size;
	if (size > *largest)
		*largest = size;
}

void resource_room(const struct resource *r, uint64_t *available, uint64_t *largest)
{
	const struct lease *l;
	uint64_t at = 0;

	*available = 0;
	*largest = 0;
	if (r->conf->read_only) {
		/* Leases share it: there is always all of it left. */
		gap(r->capacity, available, largest);
		return;
	}
	if (r->conf->class == DISAGG_WIRE_CLASS_MEMORY) {
		*available = r->capacity;
		for (l = lease_first(); l; l = lease_next(l))
			if (l->resource == r)
				*available -= resource_footprint(r, l->held);
		*largest = *available;
		return;
	}
	while ((l = next_extent(r, at))) {
		gap(l->offset - at, available, largest);
		at = l->offset + l->held;
	}
	gap(r->capacity - at, available, largest);
}

int resource_place(const struct resource *r, uint64_t size, uint64_t *offset)
{
	uint64_t available, largest, at = 0;
	const struct lease *l;

	*offset = 0;
	resource_room(r, &available, &largest);
	if (resource_footprint(r, size) > largest)
		return -ENOSPC;
	if (r->conf->read_only || r->conf->class == DISAGG_WIRE_CLASS_MEMORY)
		return 0;
	while ((l = next_extent(r, at)) && l->offset - at < size)
		at = l->offset + l->held;
	*offset = at;
	return 0;
}
