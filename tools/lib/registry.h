/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who attached a disk: registry/DISK in the run folder. Kernel names of disks are
 * used again; an entry is that of the disk with the sequence number in it only.
 */
#ifndef DISAGG_LIB_REGISTRY_H
#define DISAGG_LIB_REGISTRY_H

#include "fault.h"

/* Note that @owner ("boot", "operator") attached @disk ("disagg0"). */
int dsg_registry_note(const char *disk, const char *node, const char *owner,
		      struct dsg_fault *fault);
/* Whether @owner attached @disk, the one that has the name now. */
bool dsg_registry_is(const char *disk, const char *owner);
/* Remove the entries of disks that are gone, also if their names are in use again. */
void dsg_registry_clean(void);

#endif /* DISAGG_LIB_REGISTRY_H */
