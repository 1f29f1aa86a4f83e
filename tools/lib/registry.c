// SPDX-License-Identifier: GPL-2.0
/* The registry of who attached a disk: files of three lines. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "registry.h"

#define ENTRY_MAX	512
#define LOCK		"registry.lock"
#define LOCK_NS		(2 * DSG_NSEC_PER_SEC)

static char *entry_path(const char *disk, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/registry/%s", dsg_rundir(), disk);
	return path;
}

/* The number that no two disks share until the next boot; 0: there is no such disk. */
static unsigned long long sequence_of(const char *disk)
{
	unsigned long long sequence;
	struct dsg_fault ignored;
	char path[PATH_MAX], *text;

	snprintf(path, sizeof(path), "/sys/block/%s/diskseq", disk);
	if (dsg_file_read(path, 64, &text, NULL, &ignored))
		return 0;
	sequence = strtoull(text, NULL, 10);
	free(text);
	return sequence;
}

int dsg_registry_note(const char *disk, const char *node, const char *owner,
		      struct dsg_fault *fault)
{
	char path[PATH_MAX], text[ENTRY_MAX];
	int len = snprintf(text, sizeof(text), "diskseq=%llu\nnode=%s\nowner=%s\n",
			   sequence_of(disk), node, owner);
	int lock = dsg_lock(LOCK, false, LOCK_NS, fault), err;

	if (lock < 0)
		return fault->code;
	err = dsg_file_write(entry_path(disk, path), text, (size_t)len, 0644, 0755, fault);
	dsg_unlock(lock);
	return err;
}

/* The entry of the disk that has the name now; free() it. NULL: there is none. */
static char *read_entry(const char *disk)
{
	unsigned long long sequence = sequence_of(disk), noted;
	struct dsg_fault ignored;
	char path[PATH_MAX], *text;

	if (!sequence || dsg_file_read(entry_path(disk, path), ENTRY_MAX, &text, NULL, &ignored))
		return NULL;
	if (sscanf(text, "diskseq=%llu\n", &noted) == 1 && noted == sequence)
		return text;
	free(text);
	return NULL;
}

bool dsg_registry_is(const char *disk, const char *owner)
{
	char line[64], *entry = read_entry(disk);
	bool is;

	snprintf(line, sizeof(line), "\nowner=%s\n", owner);
	is = entry && strstr(entry, line);
	free(entry);
	return is;
}

static void clean_locked(void)
{
	char dir[PATH_MAX], path[PATH_MAX], **names;
	struct dsg_fault ignored;
	size_t count;

	snprintf(dir, sizeof(dir), "%s/registry", dsg_rundir());
	if (dsg_file_names(dir, "", &names, &count, &ignored))
		return;
	for (size_t i = 0; i < count; i++) {
		char *entry = read_entry(names[i]);

		if (!entry)
			dsg_file_remove(entry_path(names[i], path), &ignored);
		free(entry);
	}
	dsg_names_free(names, count);
}

void dsg_registry_clean(void)
{
	struct dsg_fault ignored;
	/* What is stale for one may be what another is writing. */
	int lock = dsg_lock(LOCK, false, 0, &ignored);

	if (lock >= 0)
		clean_locked();
	dsg_unlock(lock);
}
