/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The generic netlink family "disagg": requests to disagg.ko, and its events. The
 * family is specified in Documentation/netlink/specs/disagg.yaml.
 */
#ifndef DISAGG_LIB_NETLINK_H
#define DISAGG_LIB_NETLINK_H

#include <linux/disagg_netlink.h>

#include "fault.h"
#include "lease.h"

#define DSG_TEXT_LEN	(DISAGG_LABEL_MAX + 1)

struct dsg_netlink;	/* a connection to the module */

/* struct dsg_module_info - what the module says about itself */
struct dsg_module_info {
	char version[DSG_TEXT_LEN];
	uint32_t api;
	uint32_t wire;
	uint64_t features;
	uint32_t nodes;
	uint32_t devices;
};

/* struct dsg_kernel_node - a node in the module; @created: ns since 1970 */
struct dsg_kernel_node {
	char name[DISAGG_NAME_MAX + 1];
	uint32_t devices;
	uint64_t created;
};

/* struct dsg_kernel_lane - one lane; bytes include headers */
struct dsg_kernel_lane {
	uint32_t index;
	uint32_t state;		/* DISAGG_LANE_STATE_* */
	uint32_t security;	/* DISAGG_LANE_SECURITY_* */
	char peer[64];
	uint64_t requests;
	uint64_t replies;
	uint64_t stale;
	uint32_t generation;
	uint64_t replays;
	char reason[256];
	uint64_t tx_bytes;
	uint64_t rx_bytes;
};

/* struct dsg_kernel_device - a device in the module; fields as in the spec */
struct dsg_kernel_device {
	uint32_t id;
	char node[DISAGG_NAME_MAX + 1];
	char name[DISAGG_NAME_MAX + 1];
	uint32_t kind;
	uint32_t class;
	uint32_t state;
	char disk[32];
	uint64_t size;
	uint32_t block_size;
	uint32_t flags;
	uint64_t features;
	char target[DSG_TEXT_LEN];
	char resource[DSG_TEXT_LEN];
	uint8_t lease[DISAGG_LEASE_LEN];
	uint64_t generation;
	uint32_t max_payload;
	uint32_t max_discard;
	uint32_t depth;
	uint32_t io_timeout_ms;
	uint32_t fail_fast_ms;	/* or DISAGG_NEVER */
	uint32_t dead_after_ms;	/* or DISAGG_NEVER */
	uint32_t inflight;
	uint32_t openers;
	uint64_t read_bytes;
	uint64_t write_bytes;
	uint64_t errors;
	char reason[256];
	uint64_t created;
	uint32_t lane_count;
	struct dsg_kernel_lane lanes[DISAGG_MAX_LANES];
};

/*
 * Connect to the module. DSG_NOT_FOUND if the family isn't there: the module
 * isn't loaded.
 */
int dsg_netlink_open(struct dsg_netlink **nl, struct dsg_fault *fault);
void dsg_netlink_close(struct dsg_netlink *nl);

int dsg_netlink_info(struct dsg_netlink *nl, struct dsg_module_info *info,
		     struct dsg_fault *fault);
/* All nodes or devices, in the module's order; free() the list. */
int dsg_netlink_nodes(struct dsg_netlink *nl, struct dsg_kernel_node **nodes, size_t *count,
		      struct dsg_fault *fault);
int dsg_netlink_devices(struct dsg_netlink *nl, struct dsg_kernel_device **devices,
			size_t *count, struct dsg_fault *fault);
/* One of them; DSG_NOT_FOUND. */
int dsg_netlink_node(struct dsg_netlink *nl, const char *name, struct dsg_kernel_node *node,
		     struct dsg_fault *fault);
int dsg_netlink_device(struct dsg_netlink *nl, const char *node, const char *name,
		       struct dsg_kernel_device *device, struct dsg_fault *fault);

/* struct dsg_latency - requests of one operation on one lane; as in the spec */
struct dsg_latency {
	uint64_t replies;
	uint64_t total_ns;
	uint64_t longest_ns;
	uint64_t buckets[DISAGG_LATENCY_BUCKETS];
};

#define DSG_OPERATIONS	(DISAGG_OPERATION_WRITE_ZEROES + 1)

/* One lane's, by enum disagg_operation; DSG_NOT_FOUND. */
int dsg_netlink_latency(struct dsg_netlink *nl, const char *node, const char *name,
			uint32_t lane, struct dsg_latency latency[DSG_OPERATIONS],
			struct dsg_fault *fault);

int dsg_netlink_node_new(struct dsg_netlink *nl, const char *name, struct dsg_fault *fault);
/* DSG_CONFLICT while a device is open, unless @force. */
int dsg_netlink_node_del(struct dsg_netlink *nl, const char *name, bool force,
			 struct dsg_fault *fault);
/*
 * Attach @dev to @node by its @lanes. The module takes references to the sockets;
 * the fds stay the caller's. @disk receives the kernel's name for it.
 */
int dsg_netlink_device_new(struct dsg_netlink *nl, const char *node,
			   const struct dsg_record_device *dev, const struct dsg_lanes *lanes,
			   char disk[32], struct dsg_fault *fault);
/* Which timers of a device to change. */
struct dsg_timers {
	bool set_io_timeout, set_fail_fast, set_dead_after;
	uint32_t io_timeout_ms, fail_fast_ms, dead_after_ms;
};

int dsg_netlink_device_timers(struct dsg_netlink *nl, const char *node, const char *name,
			      const struct dsg_timers *timers, struct dsg_fault *fault);
int dsg_netlink_device_resize(struct dsg_netlink *nl, const char *node, const char *name,
			      uint64_t size, struct dsg_fault *fault);

/* What happened, as the module tells it. */
struct dsg_event {
	enum {
		DSG_EVENT_READY,	/* from here on nothing is missed */
		DSG_EVENT_NODE,		/* @node */
		DSG_EVENT_DEVICE,	/* @device */
		DSG_EVENT_LOADED,	/* the module came */
		DSG_EVENT_UNLOADED,	/* the module went */
		DSG_EVENT_OVERRUN,	/* events were lost: too many at once */
	} kind;
	unsigned int cmd;		/* NODE, DEVICE: DISAGG_CMD_*_NTF */
	bool loaded;			/* READY: the module is there */
	struct dsg_kernel_node node;
	struct dsg_kernel_device device;
};

/*
 * Hear the module's events, whether or not it is loaded yet. @cb runs for each
 * of them until it, or the fd @stop becoming readable, ends it.
 */
int dsg_netlink_monitor(int (*cb)(const struct dsg_event *event, void *arg), void *arg,
			int stop, struct dsg_fault *fault);

/* Words for enums of the family; never NULL. */
const char *dsg_device_state_name(uint32_t state);
const char *dsg_lane_state_name(uint32_t state);
const char *dsg_lane_security_name(uint32_t security);
const char *dsg_operation_name(uint32_t operation);
const char *dsg_device_kind_name(uint32_t kind);
const char *dsg_resource_class_name(uint32_t class);

#endif /* DISAGG_LIB_NETLINK_H */
