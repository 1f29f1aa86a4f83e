/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Node records: what this host holds, or means to hold, on targets. A record is
 * written before the first lease is asked for and removed after the last one is
 * given back, so whatever dies in between can be cleaned up from it.
 */
#ifndef DISAGG_LIB_RECORD_H
#define DISAGG_LIB_RECORD_H

#include <sys/types.h>

#include "target.h"

enum dsg_record_state {
	DSG_RECORD_CREATING,	/* being composed; if nobody does that: incomplete */
	DSG_RECORD_UP,
	DSG_RECORD_RELEASING,	/* gone here, leases may remain on a target */
};

/* How far a device's lease is. */
enum dsg_lease_step {
	DSG_LEASE_ASKED,	/* RESERVE may have been sent; the grant isn't known */
	DSG_LEASE_RESERVED,	/* granted; COMMIT may have been sent */
	DSG_LEASE_COMMITTED,
	DSG_LEASE_RELEASED,	/* the target has forgotten it */
};

/**
 * struct dsg_record_device - one device and its lease
 * @name: the device's name in its node
 * @class: DISAGG_WIRE_CLASS_*
 * @size: bytes
 * @block_size: logical block size, bytes
 * @target: name of the target, and where it was when the lease was taken
 * @resource: the resource's id
 * @step: how far the lease is
 * @txid: names the RESERVE
 * @lease: lease id (from RESERVED on)
 * @generation: the lease's generation (from RESERVED on)
 * @token: the lease's secret (from RESERVED on)
 * @max_lanes: lanes that the target allows (from RESERVED on)
 * @lanes: lanes; zero: chosen once the grant is known
 * @depth: requests in flight per lane
 * @io_timeout_ms: milliseconds
 * @fail_fast_ms: milliseconds, or DISAGG_NEVER
 * @dead_after_ms: milliseconds, or DISAGG_NEVER
 * @dead_after_set: that was asked for; else it is as the agent was there or not
 * @epoch: the target's when it was asked for the lease; zero: not known
 * @lease_ns: how long the lease was asked for, nanoseconds; zero: until released
 * @read_only: writes are refused
 * @crc: frames carry checksums
 * @refused: its RESERVE or COMMIT found no room; not written
 */
struct dsg_record_device {
	char name[DISAGG_WIRE_NAME_LEN];
	uint32_t class;
	uint64_t size;
	uint32_t block_size;
	struct dsg_target target;
	char resource[DISAGG_WIRE_NAME_LEN];
	enum dsg_lease_step step;
	uint8_t txid[DISAGG_WIRE_UUID_LEN];
	uint8_t lease[DISAGG_WIRE_UUID_LEN];
	uint64_t generation;
	uint8_t token[DISAGG_WIRE_KEY_LEN];
	uint32_t max_lanes;
	uint32_t lanes;
	uint32_t depth;
	uint32_t io_timeout_ms;
	uint32_t fail_fast_ms;
	uint32_t dead_after_ms;
	bool dead_after_set;
	uint64_t epoch;
	uint64_t lease_ns;
	bool read_only;
	bool crc;
	bool refused;
};

/**
 * struct dsg_record - a node
 * @name: the node's name
 * @state: how far it is
 * @pid: who composes it, while it is being composed
 * @created_ns: when that began, nanoseconds since 1970
 * @devices: @count devices
 */
struct dsg_record {
	char name[DISAGG_WIRE_NAME_LEN];
	enum dsg_record_state state;
	pid_t pid;
	uint64_t created_ns;
	struct dsg_record_device *devices;
	size_t count;
};

/* Read the record of node @name; DSG_NOT_FOUND. dsg_record_free() it. */
int dsg_record_load(const char *name, struct dsg_record *record, struct dsg_fault *fault);
/* Write it, mode 0600, durably. */
int dsg_record_save(const struct dsg_record *record, struct dsg_fault *fault);
int dsg_record_remove(const char *name, struct dsg_fault *fault);
/* Names of all records, sorted; dsg_names_free() them. */
int dsg_record_names(char ***names, size_t *count, struct dsg_fault *fault);
/* Free what a record holds, wiping the secrets. */
void dsg_record_free(struct dsg_record *record);
/* "creating", "up", "releasing" */
const char *dsg_record_state_name(enum dsg_record_state state);

#endif /* DISAGG_LIB_RECORD_H */
