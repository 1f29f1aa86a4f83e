/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DISAGG_NODE_H
#define _DISAGG_NODE_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/xarray.h>
#include <uapi/linux/disagg_netlink.h>

/**
 * struct disagg_node - a named set of devices that live and die together
 * @id: order of dumps
 * @name: unique, printable, fit for a path
 * @devices: its devices, by disagg_device.entry
 * @nr_devices: length of @devices
 * @removing: no device may be added any more
 * @created: nanoseconds since 1970
 *
 * All of it is guarded by disagg_registry_lock, and so is its existence.
 */
struct disagg_node {
	u32 id;
	char name[DISAGG_NAME_MAX + 1];
	struct list_head devices;
	u32 nr_devices;
	bool removing;
	u64 created;
};

/*
 * For memory that is taken with the registry locked, or while a link goes down: it is
 * not waited for, since what would free it may be I/O of the disk that was just lost.
 */
#define DISAGG_GFP_LOCKED	(GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN)

/*
 * Guards which nodes and devices exist and which belong together. Held for
 * moments only: never while a device is attached, detached or waited for, nor
 * while memory is waited for (DISAGG_GFP_LOCKED).
 */
extern struct mutex disagg_registry_lock;
extern struct xarray disagg_nodes;	/* by id */
extern u32 disagg_registry_seq;		/* moves with every change */

bool disagg_name_is_valid(const char *name);
struct disagg_node *disagg_node_find(const char *name);
struct disagg_node *disagg_node_new(const char *name);
void disagg_node_del(struct disagg_node *node);
void disagg_nodes_exit(void);

#endif /* _DISAGG_NODE_H */
