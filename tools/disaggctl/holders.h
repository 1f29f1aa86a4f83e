/* SPDX-License-Identifier: GPL-2.0 */
/* Who uses a disk. */
#ifndef DISAGGCTL_HOLDERS_H
#define DISAGGCTL_HOLDERS_H

#include "cli.h"

enum holder_kind {
	HOLDER_PROCESS,		/* has it open */
	HOLDER_MOUNT,		/* a file system on it is mounted */
	HOLDER_SWAP,		/* it is swap space */
	HOLDER_DEVICE,		/* md, dm or loop on top of it */
};

/**
 * struct holder - one use of a disk, or of a partition of it
 * @kind: which kind
 * @disk: the disk's kernel name, as it was asked for
 * @pid: PROCESS: who
 * @name: PROCESS: its command; MOUNT: where; SWAP: the path; DEVICE: its name
 */
struct holder {
	enum holder_kind kind;
	char disk[32];
	int pid;
	char name[256];
};

/* Find who uses @disk; adds to *@list (free() it) of *@count. */
void holders_find(const char *disk, struct holder **list, size_t *count);
/* "process 123 (fio)", "mounted at /mnt" and so on. Returns @buf. */
char *holder_text(const struct holder *holder, char buf[320]);
/* "process", "mount", "swap", "device" */
const char *holder_kind_name(enum holder_kind kind);

#endif /* DISAGGCTL_HOLDERS_H */
