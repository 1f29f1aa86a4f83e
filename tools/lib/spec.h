/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a node is to be: what "node create" was told, or what a file
 * nodes.d/NAME.yaml says; disagg-node.yaml(5).
 */
#ifndef DISAGG_LIB_SPEC_H
#define DISAGG_LIB_SPEC_H

#include "plan.h"
#include "record.h"

#define DSG_SPEC_BLOCK_SIZE	4096
#define DSG_SPEC_DEPTH		128
#define DSG_SPEC_IO_TIMEOUT_MS	30000

/* struct dsg_spec_device - a device; @class: DISAGG_WIRE_CLASS_*; @size: bytes */
struct dsg_spec_device {
	char name[DISAGG_WIRE_NAME_LEN];
	uint32_t class;
	uint64_t size;
};

/**
 * struct dsg_spec - a node that is wanted
 * @name: its name
 * @target: the only target to use; empty: any
 * @lanes: per device; zero: chosen when it is made
 * @depth: requests in flight per lane
 * @block_size: bytes
 * @io_timeout_ms: milliseconds
 * @fail_fast_ms: milliseconds, or DISAGG_NEVER
 * @dead_after_ms: milliseconds, or DISAGG_NEVER; in force if @dead_after_set
 * @dead_after_set: else it depends on whether the agent runs when the node is attached
 * @lease_ns: nanoseconds; zero: until released
 * @read_only: devices that can't be written
 * @crc: checksums over all that travels
 * @devices: @count devices, none of the same name
 */
struct dsg_spec {
	char name[DISAGG_WIRE_NAME_LEN];
	char target[DISAGG_WIRE_NAME_LEN];
	uint32_t lanes;
	uint32_t depth;
	uint32_t block_size;
	uint32_t io_timeout_ms;
	uint32_t fail_fast_ms;
	uint32_t dead_after_ms;
	bool dead_after_set;
	uint64_t lease_ns;
	bool read_only;
	bool crc;
	struct dsg_spec_device devices[DSG_PLAN_WANTS_MAX];
	size_t count;
};

/* Start one: everything has its default, and there are no devices. */
void dsg_spec_init(struct dsg_spec *spec, const char *name);
/* What makes a node like the one of @record, wherever there is room. */
void dsg_spec_of_record(const struct dsg_record *record, struct dsg_spec *spec);

/*
 * Read the file of node @name. DSG_NOT_FOUND: there is none; DSG_USAGE: what is
 * wrong with it, with its line.
 */
int dsg_spec_load(const char *name, struct dsg_spec *spec, struct dsg_fault *fault);
/* Write it, replacing one that is there. */
int dsg_spec_save(const struct dsg_spec *spec, struct dsg_fault *fault);
int dsg_spec_remove(const char *name, struct dsg_fault *fault);
/* Whether there is a file for node @name. */
bool dsg_spec_exists(const char *name);
/* Names of all nodes that have one, sorted; dsg_names_free() them. */
int dsg_spec_names(char ***names, size_t *count, struct dsg_fault *fault);
/* The file of node @name. Returns @path. */
char *dsg_spec_path(const char *name, char path[4096]);

#endif /* DISAGG_LIB_SPEC_H */
