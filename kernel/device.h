/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DISAGG_DEVICE_H
#define _DISAGG_DEVICE_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <uapi/linux/disagg_netlink.h>

#include "link.h"

struct disagg_block;
struct disagg_node;

/**
 * struct disagg_device_params - a device as it is asked for; all checked
 * @size: bytes, a multiple of @block_size
 * @block_size: bytes, a power of two from 512 to 4096
 * @io_timeout: milliseconds
 * @max_discard: bytes; zero: neither discard nor write-zeroes
 */
struct disagg_device_params {
	char name[DISAGG_NAME_MAX + 1];
	char target[DISAGG_LABEL_MAX + 1];
	char resource[DISAGG_LABEL_MAX + 1];
	u8 lease[DISAGG_LEASE_LEN];
	u64 generation;
	u64 size;
	u64 features;
	u32 kind;
	u32 class;
	u32 block_size;
	u32 flags;
	u32 io_timeout;
	u32 max_discard;
};

/**
 * struct disagg_device - what makes one lease usable
 *
 * References: the registry's, one of each operation under way, and the disk's
 * until its last user has let go.
 *
 * @id: N of disaggN; index in disagg_devices
 * @params: as it was made; size and io_timeout change under @admin_lock
 * @node: while it is registered
 * @entry: in its node's list, guarded by the registry
 * @state: enum disagg_device_state
 * @announced: listeners know of it
 * @removal: removes it by force, with a reference
 * @created: nanoseconds since 1970
 */
struct disagg_device {
	struct kref ref;
	u32 id;
	struct disagg_device_params params;
	char node_name[DISAGG_NAME_MAX + 1];
	struct disagg_node *node;
	struct list_head entry;
	struct mutex admin_lock;	/* one attach, change or detach at a time */
	spinlock_t state_lock;		/* guards state, announced */
	u32 state;
	bool announced;
	struct disagg_link *link;
	struct disagg_block *block;
	struct work_struct removal;
	u64 created;
};

extern struct xarray disagg_devices;	/* by id, guarded by the registry */

static inline u32 disagg_device_state(const struct disagg_device *dev)
{
	return READ_ONCE(dev->state);
}

struct disagg_device *disagg_device_alloc(const struct disagg_device_params *params,
					  u32 nr_lanes, u32 depth, u32 max_payload);
const char *disagg_state_name(u32 state);
const char *disagg_class_name(u32 class);
void disagg_device_dead(struct disagg_device *dev);
void disagg_device_tell(struct disagg_device *dev);
void disagg_device_link_changed(struct disagg_device *dev);
int disagg_device_attach(struct disagg_device *dev, const char *node_name,
			 const char **why);
int disagg_device_detach(struct disagg_device *dev, bool force, const char **why);
int disagg_device_resize(struct disagg_device *dev, u64 size, const char **why);
void disagg_device_set_timeout(struct disagg_device *dev, u32 io_timeout);
struct disagg_device *disagg_device_get(struct disagg_device *dev);
void disagg_device_put(struct disagg_device *dev);
int disagg_node_remove(const char *name, bool force, const char **why);
int disagg_devices_init(void);
void disagg_devices_exit(void);

#endif /* _DISAGG_DEVICE_H */
