// SPDX-License-Identifier: GPL-2.0
/* Who uses a disk: by /proc/PID/fd, mountinfo, swaps and sysfs holders. */
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "holders.h"

#define NUMBERS_MAX	64	/* the disk and its partitions */

struct search {
	const char *disk;
	dev_t numbers[NUMBERS_MAX];
	size_t number_count;
	struct holder **list;
	size_t *count;
};

/* Processes and mount points may be called anything; terminals and JSON want text. */
static void copy_text(char *to, size_t size, const char *from)
{
	mbstate_t state = { 0 };
	size_t left = strlen(from), used = 0;

	while (left) {
		wchar_t wide;
		size_t n = mbrtowc(&wide, from, left, &state);
		bool good = n && n <= left && iswprint((wint_t)wide);

		if (!n || n > left) {
			n = 1;
			memset(&state, 0, sizeof(state));
		}
		if (used + n >= size)
			break;
		if (good)
			memcpy(to + used, from, n);
		else
			memset(to + used, '?', n);
		used += n;
		from += n;
		left -= n;
	}
	to[used] = '\0';
}

static struct holder *add(struct search *s, enum holder_kind kind, int pid, const char *called)
{
	struct holder *more;
	char name[sizeof(more->name)];

	copy_text(name, sizeof(name), called);
	for (size_t i = 0; i < *s->count; i++) {
		struct holder *h = &(*s->list)[i];

		if (h->kind == kind && h->pid == pid && !strcmp(h->name, name) &&
		    !strcmp(h->disk, s->disk))
			return h;
	}
	more = realloc(*s->list, (*s->count + 1) * sizeof(*more));
	if (!more)
		return NULL;
	*s->list = more;
	more += (*s->count)++;
	memset(more, 0, sizeof(*more));
	more->kind = kind;
	more->pid = pid;
	snprintf(more->disk, sizeof(more->disk), "%s", s->disk);
	snprintf(more->name, sizeof(more->name), "%s", name);
	return more;
}

static bool is_number(const struct search *s, dev_t number)
{
	for (size_t i = 0; i < s->number_count; i++)
		if (s->numbers[i] == number)
			return true;
	return false;
}

static void add_number(struct search *s, const char *path)
{
	unsigned int major, minor;
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	if (fscanf(file, "%u:%u", &major, &minor) == 2 && s->number_count < NUMBERS_MAX)
		s->numbers[s->number_count++] = makedev(major, minor);
	fclose(file);
}

/* What stands on top of the block device whose folder in sysfs is @sys. */
static void find_devices(struct search *s, const char *sys)
{
	char path[512];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/holders", sys);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			add(s, HOLDER_DEVICE, 0, entry->d_name);
	if (dir)
		closedir(dir);
}

static void find_numbers(struct search *s)
{
	char sys[64], path[512];
	struct dirent *entry;
	DIR *dir;

	snprintf(sys, sizeof(sys), "/sys/block/%s", s->disk);
	snprintf(path, sizeof(path), "%s/dev", sys);
	add_number(s, path);
	find_devices(s, sys);
	dir = opendir(sys);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, s->disk, strlen(s->disk)))
			continue;
		snprintf(path, sizeof(path), "%s/%s/dev", sys, entry->d_name);
		add_number(s, path);
		snprintf(path, sizeof(path), "%s/%s", sys, entry->d_name);
		find_devices(s, path);
	}
	if (dir)
		closedir(dir);
}

static void read_comm(int pid, char *buf, size_t size)
{
	char path[64];
	FILE *file;

	snprintf(buf, size, "?");
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(buf, (int)size, file))
		buf[strcspn(buf, "\n")] = '\0';
	fclose(file);
}

static void find_open_files(struct search *s, int pid)
{
	char path[512], comm[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, entry->d_name);
		if (stat(path, &st) || !S_ISBLK(st.st_mode) || !is_number(s, st.st_rdev))
			continue;
		read_comm(pid, comm, sizeof(comm));
		add(s, HOLDER_PROCESS, pid, comm);
		break;
	}
	if (dir)
		closedir(dir);
}

/* Undo the octal escapes of mountinfo and swaps, in place. */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && isdigit((unsigned char)s[1]) &&
		    isdigit((unsigned char)s[2]) && isdigit((unsigned char)s[3])) {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + s[3] - '0');
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* A file system with numbers of its own (btrfs) still says what it is on. */
static bool is_source(const struct search *s, const char *line)
{
	const char *rest = strstr(line, " - ");
	char source[256];
	struct stat st;

	if (!rest || sscanf(rest, " - %*s %255s", source) != 1 || *source != '/')
		return false;
	unescape(source);
	return !stat(source, &st) && S_ISBLK(st.st_mode) && is_number(s, st.st_rdev);
}

/* The mounts that @who ("self" or a process id) sees. */
static void find_mounts(struct search *s, const char *who)
{
	char path[64], *line = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", who);
	file = fopen(path, "re");
	while (file && getline(&line, &size, file) > 0) {
		unsigned int major, minor;
		char where[256];

		if (sscanf(line, "%*d %*d %u:%u %*s %255s", &major, &minor, where) != 3 ||
		    (!is_number(s, makedev(major, minor)) && !is_source(s, line)))
			continue;
		unescape(where);
		add(s, HOLDER_MOUNT, 0, where);
	}
	free(line);
	if (file)
		fclose(file);
}

static void find_swap(struct search *s)
{
	char line[512], path[256];
	FILE *file = fopen("/proc/swaps", "re");

	while (file && fgets(line, sizeof(line), file)) {
		struct stat st;

		if (sscanf(line, "%255s", path) != 1)
			continue;
		unescape(path);
		if (!stat(path, &st) && S_ISBLK(st.st_mode) && is_number(s, st.st_rdev))
			add(s, HOLDER_SWAP, 0, path);
	}
	if (file)
		fclose(file);
}

/* Walk all processes: their files, and the mounts of other namespaces. */
static void find_processes(struct search *s)
{
	ino_t seen[256];
	size_t seen_count = 0;
	struct dirent *entry;
	DIR *proc = opendir("/proc");

	while (proc && (entry = readdir(proc))) {
		int pid = atoi(entry->d_name);
		bool known = false;
		char path[64];
		struct stat st;

		if (pid <= 0 || pid == getpid())
			continue;
		find_open_files(s, pid);
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
		if (stat(path, &st))
			continue;
		for (size_t i = 0; i < seen_count && !known; i++)
			known = seen[i] == st.st_ino;
		if (known || seen_count == COUNT(seen))
			continue;
		seen[seen_count++] = st.st_ino;
		find_mounts(s, entry->d_name);
	}
	if (proc)
		closedir(proc);
}

void holders_find(const char *disk, struct holder **list, size_t *count)
{
	struct search s = { .disk = disk, .list = list, .count = count };

	find_numbers(&s);
	find_mounts(&s, "self");
	find_swap(&s);
	find_processes(&s);
}

char *holder_text(const struct holder *holder, char buf[320])
{
	switch (holder->kind) {
	case HOLDER_PROCESS:
		snprintf(buf, 320, "opened by process %d (%s)", holder->pid, holder->name);
		break;
	case HOLDER_MOUNT:
		snprintf(buf, 320, "mounted at %s", holder->name);
		break;
	case HOLDER_SWAP:
		snprintf(buf, 320, "swap space (%s)", holder->name);
		break;
	case HOLDER_DEVICE:
		snprintf(buf, 320, "part of %s", holder->name);
		break;
	}
	return buf;
}

const char *holder_kind_name(enum holder_kind kind)
{
	static const char *const names[] = { "process", "mount", "swap", "device" };

	return names[kind];
}
