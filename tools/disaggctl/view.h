/* SPDX-License-Identifier: GPL-2.0 */
/* This host's nodes: what the records say and what the module has, side by side. */
#ifndef DISAGGCTL_VIEW_H
#define DISAGGCTL_VIEW_H

#include "module.h"
#include "record.h"

/**
 * struct node_view - one node
 * @name: its name
 * @managed: it has a record
 * @damaged: its record can't be read; @record is empty
 * @record: the record, if it has one
 * @attached: the module has it
 * @created_ns: nanoseconds since 1970
 */
struct node_view {
	char name[DISAGG_WIRE_NAME_LEN];
	bool managed;
	bool damaged;
	struct dsg_record record;
	bool attached;
	uint64_t created_ns;
};

/**
 * struct host_view - all nodes, sorted by name, and the module's devices
 */
struct host_view {
	struct node_view *nodes;
	size_t node_count;
	struct dsg_kernel_device *devices;
	size_t device_count;
};

/* Look at everything. @nl may be NULL: the module isn't loaded. host_view_free() it. */
int host_view_load(struct cli *cli, struct dsg_netlink *nl, struct host_view *view,
		   struct dsg_fault *fault);
void host_view_free(struct host_view *view);
/* The node of that name, or NULL. */
const struct node_view *host_view_find(const struct host_view *view, const char *name);
/* The module's device, or NULL. */
const struct dsg_kernel_device *host_view_device(const struct host_view *view,
						 const char *node, const char *name);
/*
 * "up", "degraded" (a device isn't live), "creating", "incomplete" (its create was
 * cut off), "releasing", "detached" (has leases, but isn't in the module),
 * "unmanaged" (no record), "damaged" (unreadable record).
 */
const char *node_view_state(const struct host_view *view, const struct node_view *node);
/* Whether the process that composes the node still runs. */
bool record_in_progress(const struct dsg_record *record);

#endif /* DISAGGCTL_VIEW_H */
