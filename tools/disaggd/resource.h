/* SPDX-License-Identifier: GPL-2.0 */
/* What the target offers, and where in it a lease finds room. */
#ifndef DISAGGD_RESOURCE_H
#define DISAGGD_RESOURCE_H

#include <stdint.h>
#include <sys/types.h>

#include "config.h"
#include "journal.h"

/**
 * struct resource - one resource at work
 * @conf: from the configuration, which outlives it
 * @capacity: bytes
 * @found: storage: bytes that were there at the start
 * @fd: storage: held open, so that nothing else takes the device; -1
 * @device: storage: its number; zero, a file
 * @model: what it is made of, for people
 * @medium: storage: which file or device it is, over restarts: "id:", where that is said
 *	in sysfs, and what; "file:" and what disaggd has given it as an extended attribute;
 *	"path:" and a path that stays; or nothing, which is not known
 */
struct resource {
	const struct resource_config *conf;
	uint64_t capacity;
	uint64_t found;
	int fd;
	dev_t device;
	char model[DISAGG_WIRE_NAME_LEN];
	char medium[JOURNAL_MEDIUM_LEN];
};

/* Open all resources, once the journal is; 0 or -errno after logging why. */
int resources_open(const struct config *config);
/*
 * Grow files to their size, and give them a name that stays with them, once it is known that
 * they are those that leases are in; 0 or -errno after logging why.
 */
int resources_prepare(void);
void resources_close(void);

unsigned int resources_count(void);
struct resource *resource_at(unsigned int i);
/* Whether @medium is a file or device that says which it is, and @r does not say that. */
bool resource_is_other_medium(const struct resource *r, const char *medium);
/* The next resource after @after, or NULL, that is this file or device, or a part of it. */
const struct resource *resource_on_medium(const char *medium, const struct resource *after);
/* NULL if there is none of this name. */
struct resource *resource_find(const char *id);

/* Bytes that a lease of @size takes from the resource. */
uint64_t resource_footprint(const struct resource *r, uint64_t size);
/* What @r has left: in all, and in one piece. */
void resource_room(const struct resource *r, uint64_t *available, uint64_t *largest);
/* Find @size bytes; 0 with the start in *@offset, or -ENOSPC. */
int resource_place(const struct resource *r, uint64_t size, uint64_t *offset);

#endif
