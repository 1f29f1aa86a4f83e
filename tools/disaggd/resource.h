/* SPDX-License-Identifier: GPL-2.0 */
/* What the target offers, and where in it a lease finds room. */
#ifndef DISAGGD_RESOURCE_H
#define DISAGGD_RESOURCE_H

#include <stdint.h>

#include "config.h"
#include "journal.h"

/**
 * struct resource - one resource at work
 * @conf: from the configuration, which outlives it
 * @capacity: bytes
 * @fd: storage: held open, so that nothing else takes the device; -1
 * @model: what it is made of, for people
 * @medium: storage: which file or device it is, over restarts: "id:", where that is said
 *	in sysfs, and what; "path:" and a path that stays; or nothing, which is not known
 */
struct resource {
	const struct resource_config *conf;
	uint64_t capacity;
	int fd;
	char model[DISAGG_WIRE_NAME_LEN];
	char medium[JOURNAL_MEDIUM_LEN];
};

/* Open all resources, once the journal is; 0 or -errno after logging why. */
int resources_open(const struct config *config);
void resources_close(void);

unsigned int resources_count(void);
struct resource *resource_at(unsigned int i);
/* Whether @medium is a device that says which it is, and @r is certainly not that one. */
bool resource_is_other_medium(const struct resource *r, const char *medium);
/* A resource that can be written to and is this file or device, or a part of it; or NULL. */
const struct resource *resource_on_medium(const char *medium);
/* NULL if there is none of this name. */
struct resource *resource_find(const char *id);

/* Bytes that a lease of @size takes from the resource. */
uint64_t resource_footprint(const struct resource *r, uint64_t size);
/* What @r has left: in all, and in one piece. */
void resource_room(const struct resource *r, uint64_t *available, uint64_t *largest);
/* Find @size bytes; 0 with the start in *@offset, or -ENOSPC. */
int resource_place(const struct resource *r, uint64_t size, uint64_t *offset);

#endif
