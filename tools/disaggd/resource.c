// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
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

/*
 * What direct I/O to a file needs is known from 6.1 on, if its file system says it; reading
 * may need less.
 */
static bool suits_direct(const struct resource *r)
{
	struct statx stx;

	return !r->conf->direct || r->conf->read_only ||
	       statx(r->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) ||
	       !(stx.stx_mask & STATX_DIOALIGN) ||
	       stx.stx_dio_offset_align <= r->conf->block_size;
}

static int size_file(struct resource *r, const struct stat *st)
{
	const struct resource_config *conf = r->conf;

	if (!suits_direct(r))
		return fail(conf, 0,
			    "block-size is below what direct I/O to this file needs (direct: no may help)");
	r->found = (uint64_t)st->st_size;
	r->capacity = conf->size ? conf->size : r->found;
	if (r->capacity > r->found && conf->read_only)
		return fail(conf, 0, "the file is smaller than its size says");
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
	r->found = r->capacity;
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

/* The first line of a file of device @dev in sysfs; false: there is none, or nothing in it. */
static bool read_sysfs(dev_t dev, const char *file, char *line, size_t size)
{
	char path[128];
	FILE *in;
	bool ok;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(dev), minor(dev), file);
	in = fopen(path, "re");
	if (!in)
		return false;
	ok = fgets(line, (int)size, in);
	fclose(in);
	if (!ok)
		return false;
	line[strcspn(line, "\n")] = '\0';
	/* A UUID of zeroes is none. */
	return line[strspn(line, "0-:")];
}

/* How the names of media begin, and what comes before a partition's number. */
#define ID		"id:"
#define FILE_ID		"file:"
#define PATH		"path:"
#define PARTITION	" partition "

#define FILE_XATTR	"user.disagg.medium"
#define FILE_ID_LEN	32

/* CRYPT-LUKS2-UUID-NAME: the name is given anew each time. */
static void cut_crypt_name(char *id)
{
	char *uuid = strncmp(id, "CRYPT-", 6) ? NULL : strchr(id + 6, '-');

	if (uuid && strspn(uuid + 1, "0123456789abcdef") == 32 && uuid[33] == '-')
		uuid[33] = '\0';
}

/* Where devices say which they are, best first. */
static const char *const id_files[] = {
	"wwid", "device/wwid", "serial", "dm/uuid", "md/uuid",
};

static bool has_prefix(const char *text, const char *prefix)
{
	return !strncmp(text, prefix, strlen(prefix));
}

/* What device @dev says of itself in @file; a partition, what its disk does. */
static bool read_id(dev_t dev, const char *file, char name[JOURNAL_MEDIUM_LEN])
{
	char value[256], part[16] = "", from[32];
	bool is_part = read_sysfs(dev, "partition", part, sizeof(part));

	snprintf(from, sizeof(from), "%s%s", is_part ? "../" : "", file);
	if (!read_sysfs(dev, from, value, sizeof(value)))
		return false;
	cut_crypt_name(value);
	snprintf(name, JOURNAL_MEDIUM_LEN, ID "%s:%s%s%s", file, value,
		 is_part ? PARTITION : "", part);
	return true;
}

/* What disaggd has given to a file, and what moves with it. */
static bool read_file_id(int fd, char name[JOURNAL_MEDIUM_LEN])
{
	char id[FILE_ID_LEN + 1] = "";

	if (fgetxattr(fd, FILE_XATTR, id, FILE_ID_LEN) != FILE_ID_LEN ||
	    strspn(id, "0123456789abcdef") != FILE_ID_LEN)
		return false;
	snprintf(name, JOURNAL_MEDIUM_LEN, FILE_ID "%s", id);
	return true;
}

/* The path, if it is one that stays: /dev/sda and the like are given anew at each boot. */
static bool read_path(const struct resource *r, char name[JOURNAL_MEDIUM_LEN])
{
	const char *path = r->conf->path;
	char *real = NULL;

	if (!r->device)
		real = realpath(path, NULL);
	else if (!has_prefix(path, "/dev/disk/") && !has_prefix(path, "/dev/mapper/"))
		return false;
	snprintf(name, JOURNAL_MEDIUM_LEN, PATH "%s", real ? real : path);
	free(real);
	return true;
}

static void name_medium(struct resource *r)
{
	bool named = false;

	for (size_t i = 0; i < sizeof(id_files) / sizeof(*id_files) && r->device && !named; i++)
		named = read_id(r->device, id_files[i], r->medium);
	if (!r->device)
		named = read_file_id(r->fd, r->medium);
	if (!named && !read_path(r, r->medium))
		*r->medium = '\0';
}

/* What @r is called in the way that @medium is: another kernel may tell other things. */
static bool named_as(const struct resource *r, const char *medium,
		     char name[JOURNAL_MEDIUM_LEN])
{
	if (has_prefix(medium, PATH))
		return read_path(r, name);
	if (has_prefix(medium, FILE_ID))
		return !r->device && read_file_id(r->fd, name);
	for (size_t i = 0; i < sizeof(id_files) / sizeof(*id_files); i++) {
		const char *at = medium + strlen(ID);
		size_t len = strlen(id_files[i]);

		if (has_prefix(medium, ID) && has_prefix(at, id_files[i]) && at[len] == ':')
			return r->device && read_id(r->device, id_files[i], name);
	}
	return false;
}

bool resource_is_other_medium(const struct resource *r, const char *medium)
{
	char name[JOURNAL_MEDIUM_LEN];

	/* What has a path only may have been moved. */
	if (!*medium || has_prefix(medium, PATH) || r->conf->replaced)
		return false;
	return !named_as(r, medium, name) || strcmp(name, medium);
}

/* A partition is a part of its device. */
static bool overlaps(const char *a, const char *b)
{
	const char *part_a = has_prefix(a, ID) ? strstr(a, PARTITION) : NULL;
	const char *part_b = has_prefix(b, ID) ? strstr(b, PARTITION) : NULL;
	size_t len_a = part_a ? (size_t)(part_a - a) : strlen(a);
	size_t len_b = part_b ? (size_t)(part_b - b) : strlen(b);

	return len_a == len_b && !strncmp(a, b, len_a) &&
	       (!part_a || !part_b || !strcmp(part_a, part_b));
}

const struct resource *resource_on_medium(const char *medium, const struct resource *after)
{
	const struct resource *r = after ? after + 1 : resources;
	char name[JOURNAL_MEDIUM_LEN];

	for (; *medium && r < resources + count; r++)
		if (r->fd >= 0 && named_as(r, medium, name) && overlaps(name, medium))
			return r;
	return NULL;
}

/*
 * A device may have several nodes, but for what this host puts together, whose UUID may be a
 * copy. A copy of a file has its original's attributes.
 */
static int check_medium(const struct resource *r)
{
	for (const struct resource *other = resources; other < r; other++) {
		if (!*r->medium || !overlaps(other->medium, r->medium) ||
		    has_prefix(r->medium, ID "dm/") || has_prefix(r->medium, ID "md/"))
			continue;
		return fail(r->conf, 0, has_prefix(r->medium, FILE_ID) ?
			    "it is a copy of another resource's file: setfattr -x "
			    FILE_XATTR " makes it a file of its own" :
			    "another resource has the same device");
	}
	return 0;
}

static bool give_file_id(struct resource *r)
{
	char id[FILE_ID_LEN + 1];
	uint8_t bytes[FILE_ID_LEN / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(id + 2 * i, 3, "%02x", bytes[i]);
	if (!fsetxattr(r->fd, FILE_XATTR, id, FILE_ID_LEN, 0)) {
		name_medium(r);
		return true;
	}
	if (errno != ENOTSUP)
		log_warning("resource %s: %s: cannot set " FILE_XATTR
			    ", so that it is known by its path only: %s",
			    r->conf->id, r->conf->path, strerror(errno));
	return false;
}

static int prepare(struct resource *r)
{
	bool changed = r->capacity > r->found;

	if (r->fd < 0 || r->device || r->conf->read_only)
		return 0;
	if (changed && ftruncate(r->fd, (off_t)r->conf->size))
		return fail(r->conf, errno, "cannot grow the file");
	if (!has_prefix(r->medium, FILE_ID) && give_file_id(r))
		changed = true;
	/* On disk before a lease is given that needs it. */
	return changed && fsync(r->fd) ? fail(r->conf, errno, "cannot write the file out") : 0;
}

int resources_prepare(void)
{
	int err = 0;

	for (unsigned int i = 0; i < count && !err; i++)
		err = prepare(&resources[i]);
	return err;
}

static const char *why_not_opened(const struct resource_config *conf, int err)
{
	if (err == EINVAL && conf->direct)
		return "cannot open for direct I/O (direct: no may help)";
	if (err == EEXIST)
		return "cannot make a file in the place of a link";
	if (err != ENOENT || !journal_has_storage(conf->id))
		return "cannot open";
	return "there are leases in it (is its disk there, or mounted? see disaggd --end-lease)";
}

/* Where devices are, or there is nothing; but /dev/shm is for files. */
static bool is_among_devices(const char *path)
{
	char *folder = strndup(path, (size_t)(strrchr(path, '/') + 1 - path));
	char *real = folder ? realpath(folder, NULL) : NULL;
	bool devices = !real || !strcmp(real, "/dev") ||
		       (has_prefix(real, "/dev/") && strcmp(real, "/dev/shm") &&
			!has_prefix(real, "/dev/shm/"));

	free(real);
	free(folder);
	return devices;
}

/* A device that is missing must not become a file. */
static bool may_be_made(const struct resource_config *conf)
{
	return conf->size && !conf->read_only && !journal_has_storage(conf->id) &&
	       !is_among_devices(conf->path);
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
	if (stat(conf->path, &st)) {
		if (may_be_made(conf))
			flags |= O_CREAT | O_EXCL;	/* not where a link says */
	} else if (S_ISBLK(st.st_mode)) {
		flags |= O_EXCL;	/* refuses a device that is mounted */
	}
	if (conf->direct)
		flags |= O_DIRECT;
	r->fd = open(conf->path, flags, 0600);
	if (r->fd < 0) {
		err = errno;
		return fail(conf, err, why_not_opened(conf, err));
	}
	if (fstat(r->fd, &st))
		return fail(conf, errno, "cannot stat");
	err = claim(r, &st);
	if (err)
		return err;
	if (S_ISBLK(st.st_mode))
		r->device = st.st_rdev;
	name_medium(r);
	err = check_medium(r);
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
