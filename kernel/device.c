// SPDX-License-Identifier: GPL-2.0
/*
 * Devices: their states, and how they come and go.
 *
 * Lock order: admin_lock, then disagg_registry_lock, then state_lock. The
 * registry's lock is never held across an attach, a detach, or anything else
 * that could wait for I/O; admin_lock is, but whoever forces a removal fails the
 * link first, and then nothing that holds admin_lock waits for long. Memory for
 * what is done with admin_lock held does not wait for I/O either: the disk that it
 * waited for might be one whose lanes only a caller behind that lock can restore.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/wait_bit.h>

#include "block.h"
#include "device.h"
#include "disagg_trace.h"
#include "netlink.h"
#include "node.h"

DEFINE_XARRAY_ALLOC(disagg_devices);

/* Devices whose memory is not freed yet, so that the module can wait for it. */
static atomic_t disagg_device_count = ATOMIC_INIT(0);

/*
 * Devices that are removed by force are so all at once: each waits for some grace periods
 * of RCU, and one after the other they would make a node's removal as long as it is large.
 * It is but help: who removes them does what no thread could be had for.
 */
static struct workqueue_struct *disagg_removal_wq;

static void disagg_device_removal_work(struct work_struct *work);

const char *disagg_state_name(u32 state)
{
	static const char * const names[] = {
		[DISAGG_DEVICE_STATE_CONNECTING] = "connecting",
		[DISAGG_DEVICE_STATE_LIVE] = "live",
		[DISAGG_DEVICE_STATE_LOST] = "lost",
		[DISAGG_DEVICE_STATE_REMOVING] = "removing",
		[DISAGG_DEVICE_STATE_DEAD] = "dead",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

const char *disagg_class_name(u32 class)
{
	static const char * const names[] = {
		[DISAGG_RESOURCE_CLASS_MEMORY] = "memory",
		[DISAGG_RESOURCE_CLASS_STORAGE] = "storage",
		[DISAGG_RESOURCE_CLASS_GPU] = "gpu",
	};

	return class < ARRAY_SIZE(names) ? names[class] : "unknown";
}

static void disagg_device_free(struct kref *ref)
{
	struct disagg_device *dev = container_of(ref, struct disagg_device, ref);

	disagg_link_free(dev->link);
	kfree(dev);
	rcu_read_lock();	/* disagg_devices_exit() waits for who is in here */
	if (atomic_dec_and_test(&disagg_device_count))
		wake_up_var(&disagg_device_count);
	rcu_read_unlock();
}

struct disagg_device *disagg_device_get(struct disagg_device *dev)
{
	kref_get(&dev->ref);
	return dev;
}

void disagg_device_put(struct disagg_device *dev)
{
	kref_put(&dev->ref, disagg_device_free);
}

/**
 * disagg_device_alloc - a device that is not attached to anything yet
 * @params: what it shall be; checked by the caller
 * @nr_lanes: lanes of its link
 * @depth: requests in flight per lane
 * @max_payload: bytes that may follow a frame
 *
 * Return: the device with one reference, for the caller, or NULL. Its link
 * waits for sockets, by disagg_link_set_lane().
 */
struct disagg_device *disagg_device_alloc(const struct disagg_device_params *params,
					  u32 nr_lanes, u32 depth, u32 max_payload)
{
	struct disagg_device *dev;

	dev = kzalloc_obj(*dev, GFP_KERNEL);
	if (!dev)
		return NULL;
	dev->link = disagg_link_alloc(&disagg_block_link_ops, dev, nr_lanes, depth,
				      max_payload, params->features);
	if (!dev->link) {
		kfree(dev);
		return NULL;
	}
	kref_init(&dev->ref);
	dev->params = *params;
	INIT_LIST_HEAD(&dev->entry);
	mutex_init(&dev->admin_lock);
	spin_lock_init(&dev->state_lock);
	INIT_WORK(&dev->removal, disagg_device_removal_work);
	dev->state = DISAGG_DEVICE_STATE_CONNECTING;
	dev->created = ktime_get_real_ns();
	atomic_inc(&disagg_device_count);
	return dev;
}

/* state_lock held. */
static void __disagg_device_set_state(struct disagg_device *dev, u32 state)
{
	if (dev->state != state)
		trace_disagg_device_state(dev, state);
	WRITE_ONCE(dev->state, state);
}

static void disagg_device_set_state(struct disagg_device *dev, u32 state)
{
	spin_lock(&dev->state_lock);
	__disagg_device_set_state(dev, state);
	spin_unlock(&dev->state_lock);
}

/*
 * It is attached, and its link keeps lanes that break: one may have broken since, and
 * what the front said of that was not heard. Return: false if the link has failed.
 */
static bool disagg_device_set_attached(struct disagg_device *dev)
{
	bool connecting;

	spin_lock(&dev->state_lock);
	connecting = dev->state == DISAGG_DEVICE_STATE_CONNECTING;
	if (connecting)
		__disagg_device_set_state(dev, READ_ONCE(dev->link->nr_lost) ?
					  DISAGG_DEVICE_STATE_LOST :
					  DISAGG_DEVICE_STATE_LIVE);
	spin_unlock(&dev->state_lock);
	return connecting;
}

/* A lane was lost, or has come back. Called by the front, one at a time. */
void disagg_device_link_changed(struct disagg_device *dev)
{
	u32 lost = READ_ONCE(dev->link->nr_lost);
	u32 state = lost ? DISAGG_DEVICE_STATE_LOST : DISAGG_DEVICE_STATE_LIVE;
	bool changed = false;

	spin_lock(&dev->state_lock);
	if (dev->state == DISAGG_DEVICE_STATE_LIVE || dev->state == DISAGG_DEVICE_STATE_LOST) {
		changed = dev->state != state;
		__disagg_device_set_state(dev, state);
	}
	spin_unlock(&dev->state_lock);

	if (changed && lost)
		pr_warn_ratelimited("disagg: %s/%s: link lost, I/O waits\n", dev->node_name,
				    dev->params.name);
	else if (changed)
		pr_info_ratelimited("disagg: %s/%s: link restored\n", dev->node_name,
				    dev->params.name);
	disagg_device_tell(dev);
}

/* Its link is down for good. Called by the front from the link's down_work. */
void disagg_device_dead(struct disagg_device *dev)
{
	bool removing;

	spin_lock(&dev->state_lock);
	removing = dev->state == DISAGG_DEVICE_STATE_REMOVING;
	if (!removing)
		__disagg_device_set_state(dev, DISAGG_DEVICE_STATE_DEAD);
	spin_unlock(&dev->state_lock);

	if (!removing)
		pr_warn("disagg: %s/%s: dead: %s\n", dev->node_name, dev->params.name,
			dev->link->reason);
}

/* Tell listeners what has become of its link. Called by the front. */
void disagg_device_tell(struct disagg_device *dev)
{
	bool announced;

	spin_lock(&dev->state_lock);
	announced = dev->announced;
	spin_unlock(&dev->state_lock);
	if (announced)
		disagg_netlink_notify_device(dev, DISAGG_CMD_LINK_CHANGE_NTF);
}

/* Tell listeners of a device that is new, and of its loss if that came first. */
static void disagg_device_announce(struct disagg_device *dev)
{
	bool lost;

	disagg_netlink_notify_device(dev, DISAGG_CMD_DEVICE_NEW_NTF);
	spin_lock(&dev->state_lock);
	dev->announced = true;
	lost = dev->state != DISAGG_DEVICE_STATE_LIVE;
	spin_unlock(&dev->state_lock);
	if (lost)
		disagg_netlink_notify_device(dev, DISAGG_CMD_LINK_CHANGE_NTF);
}

/* The registry is locked. A reference is taken. */
static struct disagg_device *disagg_node_device(struct disagg_node *node, const char *name)
{
	struct disagg_device *dev;

	list_for_each_entry(dev, &node->devices, entry)
		if (!strcmp(dev->params.name, name))
			return disagg_device_get(dev);
	return NULL;
}

static int disagg_device_register(struct disagg_device *dev, const char *node_name,
				  const char **why)
{
	struct disagg_device *other;
	struct disagg_node *node;
	unsigned long id;
	int err;

	if (mutex_lock_killable(&disagg_registry_lock))
		return -EINTR;

	err = -ENOENT;
	*why = "node: there is no node of this name";
	node = disagg_node_find(node_name);
	if (!node)
		goto out;

	err = -EBUSY;
	*why = "node: it is being deleted";
	if (node->removing)
		goto out;

	err = -EEXIST;
	*why = "name: the node has a device of this name";
	other = disagg_node_device(node, dev->params.name);
	if (other) {
		disagg_device_put(other);
		goto out;
	}

	/* Two would take each other's lanes away. */
	err = -ENOTUNIQ;
	*why = "lease: another device has it";
	xa_for_each(&disagg_devices, id, other)
		if (!memcmp(other->params.lease, dev->params.lease, DISAGG_LEASE_LEN))
			goto out;

	*why = "out of memory";
	err = xa_alloc(&disagg_devices, &dev->id, dev, xa_limit_31b,
		       DISAGG_GFP_LOCKED);
	if (err)
		goto out;

	strscpy(dev->node_name, node->name, sizeof(dev->node_name));
	dev->link->id = dev->id;
	dev->node = node;
	list_add_tail(&dev->entry, &node->devices);
	node->nr_devices++;
	disagg_registry_seq++;
	disagg_device_get(dev);
out:
	mutex_unlock(&disagg_registry_lock);
	return err;
}

/* The caller has a reference of its own. */
static void disagg_device_unregister(struct disagg_device *dev)
{
	mutex_lock(&disagg_registry_lock);
	/* Before another one of this name can be announced. */
	if (dev->announced)
		disagg_netlink_notify_device(dev, DISAGG_CMD_DEVICE_DEL_NTF);
	list_del_init(&dev->entry);
	dev->node->nr_devices--;
	dev->node = NULL;
	xa_erase(&disagg_devices, dev->id);
	disagg_registry_seq++;
	mutex_unlock(&disagg_registry_lock);
	disagg_device_put(dev);
}

/* Attached, sealed, admin_lock held: take it apart. Waits for no peer once the link has failed. */
static void disagg_device_dismantle(struct disagg_device *dev)
{
	disagg_block_remove(dev);
	disagg_link_close(dev->link);
	disagg_device_unregister(dev);
	disagg_block_destroy(dev);
}

/**
 * disagg_device_attach - make a device part of a node, and usable
 * @dev: a new device all of whose lanes have sockets
 * @node_name: the node
 * @why: set on failure
 *
 * All or nothing. Return: 0 or negative errno.
 */
int disagg_device_attach(struct disagg_device *dev, const char *node_name,
			 const char **why)
{
	int err;

	mutex_lock(&dev->admin_lock);
	err = disagg_device_register(dev, node_name, why);
	if (err)
		goto out;

	*why = "the disk could not be made";
	err = disagg_block_create(dev);
	if (err)
		goto err_unregister;

	err = disagg_link_start(dev->link);
	if (err)
		goto err_link;

	*why = "the disk could not be added";
	err = disagg_block_publish(dev);
	if (err)
		goto err_destroy;

	if (!disagg_link_keep(dev->link) || !disagg_device_set_attached(dev)) {
		err = -ECONNRESET;
		disagg_device_set_state(dev, DISAGG_DEVICE_STATE_REMOVING);
		disagg_link_flush(dev->link);
		*why = "lane: a lane was closed or broke while attaching";
		disagg_block_seal(dev, true);
		disagg_block_kill(dev);
		disagg_device_dismantle(dev);
		goto out;
	}
	disagg_device_announce(dev);
	mutex_unlock(&dev->admin_lock);
	return 0;

err_link:
	disagg_link_flush(dev->link);
	*why = "lane: a lane was closed or broke while attaching";
err_destroy:
	disagg_device_set_state(dev, DISAGG_DEVICE_STATE_REMOVING);
	disagg_link_close(dev->link);
	disagg_device_unregister(dev);
	disagg_block_destroy(dev);
	goto out;
err_unregister:
	disagg_device_set_state(dev, DISAGG_DEVICE_STATE_REMOVING);
	disagg_device_unregister(dev);
out:
	mutex_unlock(&dev->admin_lock);
	return err;
}

/**
 * disagg_device_detach - take a device apart
 * @dev: the device; the caller has a reference
 * @force: although it is in use, and without a word to the target
 * @why: set on failure
 *
 * Return: 0, -EBUSY, -EINTR, or -ENOENT if somebody else has done it.
 */
int disagg_device_detach(struct disagg_device *dev, bool force, const char **why)
{
	unsigned int noio;
	int err = 0;

	if (force)
		disagg_link_fail(dev->link, "deleted by force");
	if (mutex_lock_killable(&dev->admin_lock))
		return -EINTR;

	noio = memalloc_noio_save();
	if (disagg_device_state(dev) == DISAGG_DEVICE_STATE_REMOVING) {
		err = -ENOENT;
		*why = "name: the device is gone already";
		goto out;
	}
	if (!disagg_block_seal(dev, force)) {
		err = -EBUSY;
		*why = "name: the device is in use; close it first, or use force";
		goto out;
	}
	disagg_device_set_state(dev, DISAGG_DEVICE_STATE_REMOVING);
	disagg_netlink_notify_device(dev, DISAGG_CMD_DEVICE_CHANGE_NTF);
	if (force) {
		disagg_link_flush(dev->link);
		disagg_block_kill(dev);
	}
	disagg_device_dismantle(dev);
out:
	memalloc_noio_restore(noio);
	mutex_unlock(&dev->admin_lock);
	return err;
}

/**
 * disagg_device_resize - let a device grow
 * @dev: the device; its lease has grown already
 * @size: bytes
 * @why: set on failure
 *
 * Return: 0, -EINVAL, -EINTR, or -ENODEV if it is not live.
 */
int disagg_device_resize(struct disagg_device *dev, u64 size, const char **why)
{
	unsigned int noio;
	int err = 0;

	if (mutex_lock_killable(&dev->admin_lock))
		return -EINTR;
	noio = memalloc_noio_save();
	if (disagg_device_state(dev) != DISAGG_DEVICE_STATE_LIVE) {
		err = -ENODEV;
		*why = "size: only a live device can grow";
	} else if (size > LLONG_MAX) {
		err = -EINVAL;
		*why = "size: too large for a disk";
	} else if (size % dev->params.block_size) {
		err = -EINVAL;
		*why = "size: not a multiple of block-size";
	} else if (size < dev->params.size) {
		err = -EINVAL;
		*why = "size: a device can't shrink";
	} else if (size > dev->params.size) {
		WRITE_ONCE(dev->params.size, size);
		disagg_block_resize(dev, size);
	}
	/* The disk stays while the lock is held. */
	if (!err)
		disagg_netlink_notify_device(dev, DISAGG_CMD_DEVICE_CHANGE_NTF);
	memalloc_noio_restore(noio);
	mutex_unlock(&dev->admin_lock);
	return err;
}

/* @io_timeout in milliseconds, checked. admin_lock held, not being removed. */
void disagg_device_set_timeout(struct disagg_device *dev, u32 io_timeout)
{
	WRITE_ONCE(dev->params.io_timeout, io_timeout);
	disagg_block_set_timeout(dev, io_timeout);
}

static void disagg_device_removal_work(struct work_struct *work)
{
	struct disagg_device *dev = container_of(work, struct disagg_device, removal);
	const char *why;

	disagg_device_detach(dev, true, &why);
	disagg_device_put(dev);
}

/* Begin to remove @dev by force; waits for nothing. */
static void disagg_device_begin_removal(struct disagg_device *dev)
{
	disagg_link_fail(dev->link, "deleted by force");
	disagg_device_get(dev);
	if (!queue_work(disagg_removal_wq, &dev->removal))
		disagg_device_put(dev);
}

/* Remove @dev by force, whether that has begun or not. Return: as disagg_device_detach(). */
static int disagg_device_end_removal(struct disagg_device *dev, const char **why)
{
	int err = disagg_device_detach(dev, true, why);

	/* Who is killed leaves it to the work. */
	if (err == -EINTR)
		disagg_device_begin_removal(dev);
	else if (cancel_work_sync(&dev->removal))
		disagg_device_put(dev);
	return err;
}

/* Return: the node's first device with a reference, or NULL. The registry is locked. */
static struct disagg_device *disagg_node_first(struct disagg_node *node)
{
	struct disagg_device *dev;

	dev = list_first_entry_or_null(&node->devices, struct disagg_device, entry);
	return dev ? disagg_device_get(dev) : NULL;
}

/* Is a device of the node in use? The registry is locked. */
static bool disagg_node_busy(struct disagg_node *node)
{
	struct disagg_device *dev;

	list_for_each_entry(dev, &node->devices, entry)
		if (disagg_device_state(dev) == DISAGG_DEVICE_STATE_CONNECTING ||
		    (dev->block && disagg_block_openers(dev)))
			return true;
	return false;
}

/**
 * disagg_node_remove - delete a node and all its devices
 * @name: the node's name
 * @force: although devices are in use, and without a word to their targets
 * @why: set on failure
 *
 * Return: 0, -ENOENT, -EINTR, -EBUSY. A device that is opened while its node
 * is being deleted stops that with -EBUSY; those that were deleted before stay
 * deleted. By force, devices go although the caller is killed; the node stays.
 */
int disagg_node_remove(const char *name, bool force, const char **why)
{
	struct disagg_device *dev;
	struct disagg_node *node;
	int err = 0;
	u32 id;

	if (mutex_lock_killable(&disagg_registry_lock))
		return -EINTR;
	node = disagg_node_find(name);
	if (!node) {
		err = -ENOENT;
		*why = "name: there is no node of this name";
	} else if (node->removing && !force) {
		err = -EBUSY;
		*why = "name: the node is being deleted";
	} else if (!force && disagg_node_busy(node)) {
		err = -EBUSY;
		*why = "name: a device of the node is in use; close it first, or use force";
	}
	if (err)
		goto out;

	id = node->id;
	node->removing = true;
	if (force)
		list_for_each_entry(dev, &node->devices, entry)
			if (!list_is_first(&dev->entry, &node->devices))
				disagg_device_begin_removal(dev);

	while ((dev = disagg_node_first(node))) {
		mutex_unlock(&disagg_registry_lock);
		err = force ? disagg_device_end_removal(dev, why) :
			      disagg_device_detach(dev, false, why);
		disagg_device_put(dev);
		mutex_lock(&disagg_registry_lock);
		/* Somebody else may have deleted the node meanwhile, and made another. */
		node = xa_load(&disagg_nodes, id);
		if (!node || (err && err != -ENOENT))
			break;
		err = 0;
	}
	if (node && err)
		node->removing = false;
	if (node && !err) {
		disagg_netlink_notify_node(node, DISAGG_CMD_NODE_DEL_NTF);
		disagg_node_del(node);
	}
	if (err == -ENOENT)
		err = 0;
out:
	mutex_unlock(&disagg_registry_lock);
	return err;
}

int disagg_devices_init(void)
{
	disagg_removal_wq = alloc_workqueue("disagg_removal", WQ_UNBOUND, 0);
	return disagg_removal_wq ? 0 : -ENOMEM;
}

/* The module is going: remove all devices by force, and wait until they are freed. */
void disagg_devices_exit(void)
{
	struct disagg_device *dev;
	unsigned long first = 0, id;
	const char *why;

	mutex_lock(&disagg_registry_lock);
	xa_find(&disagg_devices, &first, ULONG_MAX, XA_PRESENT);
	xa_for_each_start(&disagg_devices, id, dev, first + 1)
		disagg_device_begin_removal(dev);
	while ((dev = xa_find(&disagg_devices, &first, ULONG_MAX, XA_PRESENT))) {
		disagg_device_get(dev);
		mutex_unlock(&disagg_registry_lock);
		if (disagg_device_end_removal(dev, &why) == -EINTR)
			flush_work(&dev->removal);
		disagg_device_put(dev);
		mutex_lock(&disagg_registry_lock);
	}
	mutex_unlock(&disagg_registry_lock);
	destroy_workqueue(disagg_removal_wq);
	/* Nobody has a disk open: that would hold the module. */
	while (!wait_var_event_timeout(&disagg_device_count,
				       !atomic_read(&disagg_device_count), 10 * HZ))
		pr_warn("disagg: waiting for %d devices to be freed\n",
			atomic_read(&disagg_device_count));
	synchronize_rcu();	/* until the last one is out of disagg_device_free() */
	xa_destroy(&disagg_devices);
}
