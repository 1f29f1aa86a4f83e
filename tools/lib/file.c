// SPDX-License-Identifier: GPL-2.0
/* Files: folders, atomic replacement, names in a folder, locks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"

#define LOCK_POLL_NS	20000000

static const char *folder(const char *variable, const char *fallback)
{
	const char *value = getenv(variable);

	return value && *value ? value : fallback;
}

const char *dsg_confdir(void)
{
	return folder("DISAGG_CONFDIR", "/etc/disagg");
}

const char *dsg_statedir(void)
{
	return folder("DISAGG_STATEDIR", "/var/lib/disagg");
}

const char *dsg_rundir(void)
{
	return folder("DISAGG_RUNDIR", "/run/disagg");
}

void dsg_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

void dsg_no_dump(void)
{
#ifndef __SANITIZE_ADDRESS__	/* which looks for leaks as a debugger */
	prctl(PR_SET_DUMPABLE, 0);
#endif
}

static int make_folders(char *path, mode_t mode)
{
	for (char *p = path + 1; *p; p++) {
		int err;

		if (*p != '/')
			continue;
		*p = '\0';
		err = mkdir(path, mode) && errno != EEXIST ? -errno : 0;
		*p = '/';
		if (err)
			return err;
	}
	return 0;
}

static int sync_folder(const char *path)
{
	char dir[PATH_MAX];
	char *slash;
	int fd, err;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	return err;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Always the same, so that what a killed writer leaves is found again. */
static bool temp_path(char temp[PATH_MAX], const char *path)
{
	return snprintf(temp, PATH_MAX, "%s.new", path) < PATH_MAX;
}

int dsg_file_write(const char *path, const void *data, size_t len, mode_t mode,
		   mode_t dir_mode, struct dsg_fault *fault)
{
	char temp[PATH_MAX];
	int fd, err;

	if (!temp_path(temp, path))
		return dsg_fault_errno(fault, ENAMETOOLONG, path);
	err = make_folders(temp, dir_mode);
	if (err)
		return dsg_fault_errno(fault, -err, path);
	unlink(temp);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return dsg_fault_errno(fault, errno, temp);
	err = write_all(fd, data, len);
	if (!err && (fchmod(fd, mode) || fsync(fd)))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temp, path))
		err = -errno;
	if (err) {
		unlink(temp);
		return dsg_fault_errno(fault, -err, path);
	}
	err = sync_folder(path);
	return err ? dsg_fault_errno(fault, -err, path) : 0;
}

int dsg_file_remove(const char *path, struct dsg_fault *fault)
{
	char temp[PATH_MAX];
	int err = 0;

	if (temp_path(temp, path))
		unlink(temp);
	if (unlink(path))
		err = errno == ENOENT ? 0 : -errno;
	else
		err = sync_folder(path);
	return err ? dsg_fault_errno(fault, -err, path) : 0;
}

int dsg_file_read(const char *path, size_t max, char **data, size_t *len,
		  struct dsg_fault *fault)
{
	char *buf = NULL;
	size_t have = 0;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		err = errno;
		dsg_fault_errno(fault, err, path);
		if (err == ENOENT)
			fault->code = DSG_NOT_FOUND;
		return fault->code;
	}
	buf = malloc(max + 2);
	if (!buf) {
		close(fd);
		return dsg_fault_memory(fault);
	}
	while (have <= max) {
		ssize_t n = read(fd, buf + have, max + 1 - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err = errno;
			close(fd);
			free(buf);
			return dsg_fault_errno(fault, err, path);
		}
		if (!n)
			break;
		have += (size_t)n;
	}
	close(fd);
	if (have > max) {
		free(buf);
		return dsg_fault_errno(fault, EFBIG, path);
	}
	buf[have] = '\0';
	*data = buf;
	if (len)
		*len = have;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int dsg_file_names(const char *dir, const char *suffix, char ***names, size_t *count,
		   struct dsg_fault *fault)
{
	struct dirent *entry;
	char **list = NULL;
	size_t n = 0;
	DIR *d;

	*names = NULL;
	*count = 0;
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : dsg_fault_errno(fault, errno, dir);
	while ((entry = readdir(d))) {
		size_t len = strlen(entry->d_name), tail = strlen(suffix);
		char name[DISAGG_WIRE_NAME_LEN];
		char **more;

		if (len <= tail || len - tail >= sizeof(name) ||
		    strcmp(entry->d_name + len - tail, suffix))
			continue;
		memcpy(name, entry->d_name, len - tail);
		name[len - tail] = '\0';
		if (!dsg_name_ok(name))
			continue;
		more = realloc(list, (n + 1) * sizeof(*list));
		if (more) {
			list = more;
			list[n] = strdup(name);
		}
		if (!more || !list[n]) {
			dsg_names_free(list, n);
			closedir(d);
			return dsg_fault_memory(fault);
		}
		n++;
	}
	closedir(d);
	if (n)
		qsort(list, n, sizeof(*list), compare_names);
	*names = list;
	*count = n;
	return 0;
}

void dsg_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* Who wrote its id into a lock that is held, for the message; 0: not known. */
static int lock_holder(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return atoi(text);
}

bool dsg_lock_held(const char *name, int *holder)
{
	char path[PATH_MAX];
	bool held;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dsg_rundir(), name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	held = flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
	if (held && holder)
		*holder = lock_holder(fd);
	close(fd);
	return held;
}

int dsg_lock(const char *name, bool shared, uint64_t wait_ns, struct dsg_fault *fault)
{
	static const struct timespec pause = { .tv_nsec = LOCK_POLL_NS };
	uint64_t deadline = dsg_deadline(wait_ns);
	char path[PATH_MAX], id[16];
	int fd, err;

	snprintf(path, sizeof(path), "%s/%s", dsg_rundir(), name);
	err = make_folders(path, 0755);
	if (err)
		return dsg_fault_errno(fault, -err, path), -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return dsg_fault_errno(fault, errno, path), -1;
	while (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB)) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK) {
			dsg_fault_errno(fault, errno, path);
			close(fd);
			return -1;
		}
		if (dsg_now_ns() >= deadline) {
			dsg_fault_set(fault, DSG_CONFLICT,
				      "another disaggctl is at work (process %d holds %s)",
				      lock_holder(fd), path);
			dsg_fault_hint(fault, "wait for it to end, and try again");
			close(fd);
			return -1;
		}
		nanosleep(&pause, NULL);
	}
	/* For the message above only: whether this succeeds doesn't matter. */
	snprintf(id, sizeof(id), "%d\n", getpid());
	if (ftruncate(fd, 0) || pwrite(fd, id, strlen(id), 0) < 0)
		return fd;
	return fd;
}

void dsg_unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}
