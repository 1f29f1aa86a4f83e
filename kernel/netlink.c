// SPDX-License-Identifier: GPL-2.0
/*
 * Control: the generic netlink family that Documentation/netlink/specs/
 * disagg.yaml specifies. Messages are checked and put into words here; what
 * they mean is done elsewhere.
 */
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <net/genetlink.h>

#include "block.h"
#include "device.h"
#include "netlink.h"
#include "netlink_gen.h"
#include "node.h"

#define DISAGG_IO_TIMEOUT_DEFAULT	30000	/* ms */
#define DISAGG_IO_TIMEOUT_MIN		100
#define DISAGG_IO_TIMEOUT_MAX		3600000

/* Room for a device, and for each of its lanes. */
#define DISAGG_MSG_DEVICE	1024
#define DISAGG_MSG_LANE		(232 + DISAGG_REASON_LEN)
#define DISAGG_MSG_LATENCY	(256 + DISAGG_NR_OPERATIONS * (64 + sizeof(struct disagg_latency)))

/* Refuse: @attr, which may be NULL, is what @why is about. */
static int disagg_refuse(struct genl_info *info, int err, int attr, const char *why)
{
	if (info->extack) {
		info->extack->_msg = why;
		if (attr)
			info->extack->bad_attr = info->attrs[attr];
	}
	return err;
}

static int disagg_refuse_missing(struct genl_info *info, int attr, const char *why)
{
	NL_SET_ERR_ATTR_MISS(info->extack, NULL, attr);
	return disagg_refuse(info, -EINVAL, 0, why);
}

/* An answer of up to @size bytes. Return: NULL, and the refusal is told, without memory. */
static struct sk_buff *disagg_new_reply(struct genl_info *info, size_t size)
{
	struct sk_buff *reply = genlmsg_new(size, GFP_NOIO);

	if (!reply)
		disagg_refuse(info, -ENOMEM, 0, "out of memory");
	return reply;
}

static int disagg_get_name(struct genl_info *info, int attr, const char **name,
			   const char *missing, const char *invalid)
{
	if (!info->attrs[attr])
		return disagg_refuse_missing(info, attr, missing);
	*name = nla_data(info->attrs[attr]);
	if (!disagg_name_is_valid(*name))
		return disagg_refuse(info, -EINVAL, attr, invalid);
	return 0;
}

static int disagg_get_node_name(struct genl_info *info, int attr, const char **name)
{
	return disagg_get_name(info, attr, name, "the node's name is missing",
			       "node: a name is 1 to 31 of [A-Za-z0-9._-], the first a letter or digit");
}

static int disagg_get_device_name(struct genl_info *info, const char **name)
{
	return disagg_get_name(info, DISAGG_A_DEVICE_NAME, name,
			       "the device's name is missing",
			       "name: a name is 1 to 31 of [A-Za-z0-9._-], the first a letter or digit");
}

static int disagg_put_u64(struct sk_buff *skb, int attr, u64 value)
{
	return nla_put_u64_64bit(skb, attr, value, DISAGG_A_DEVICE_PAD);
}

static int disagg_put_lane(struct sk_buff *skb, struct disagg_lane *lane)
{
	struct disagg_link *link = lane->link;
	u32 state = DISAGG_LANE_STATE_LIVE;
	char reason[DISAGG_REASON_LEN];
	char peer[sizeof(lane->peer)];
	struct nlattr *nest;

	if (!disagg_link_is_up(link) || test_bit(DISAGG_LANE_BROKEN, &lane->flags))
		state = DISAGG_LANE_STATE_LOST;
	spin_lock_bh(&link->fail_lock);
	strscpy(peer, lane->peer, sizeof(peer));
	strscpy(reason, lane->reason, sizeof(reason));
	spin_unlock_bh(&link->fail_lock);

	nest = nla_nest_start(skb, DISAGG_A_DEVICE_LANE);
	if (!nest)
		return -EMSGSIZE;
	if (nla_put_u32(skb, DISAGG_A_LANE_INDEX, lane->index) ||
	    nla_put_u32(skb, DISAGG_A_LANE_STATE, state) ||
	    nla_put_string(skb, DISAGG_A_LANE_PEER, peer) ||
	    nla_put_u32(skb, DISAGG_A_LANE_GENERATION, READ_ONCE(lane->generation)) ||
	    nla_put_u32(skb, DISAGG_A_LANE_SECURITY, READ_ONCE(lane->transport)->security) ||
	    (*reason && nla_put_string(skb, DISAGG_A_LANE_REASON, reason)) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LANE_REPLAYS,
			      READ_ONCE(lane->replays), DISAGG_A_LANE_PAD) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LANE_REQUESTS,
			      READ_ONCE(lane->requests), DISAGG_A_LANE_PAD) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LANE_REPLIES,
			      READ_ONCE(lane->replies), DISAGG_A_LANE_PAD) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LANE_STALE,
			      READ_ONCE(lane->stale), DISAGG_A_LANE_PAD) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LANE_TX_BYTES,
			      READ_ONCE(lane->tx_bytes), DISAGG_A_LANE_PAD) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LANE_RX_BYTES,
			      READ_ONCE(lane->rx_bytes), DISAGG_A_LANE_PAD)) {
		nla_nest_cancel(skb, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

static int disagg_put_link(struct sk_buff *skb, struct disagg_link *link)
{
	u32 i;

	if (nla_put_u32(skb, DISAGG_A_DEVICE_MAX_PAYLOAD, link->max_payload) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_DEPTH, link->depth) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_INFLIGHT, disagg_link_inflight(link)))
		return -EMSGSIZE;
	if (!disagg_link_is_up(link)) {
		smp_rmb();	/* pairs with disagg_link_fail() */
		if (nla_put_string(skb, DISAGG_A_DEVICE_REASON, link->reason))
			return -EMSGSIZE;
	}
	for (i = 0; i < link->nr_lanes; i++)
		if (disagg_put_lane(skb, &link->lanes[i]))
			return -EMSGSIZE;
	return 0;
}

static int disagg_put_stats(struct sk_buff *skb, const struct disagg_device *dev)
{
	struct disagg_block_stats stats;

	disagg_block_get_stats(dev, &stats);
	if (nla_put_u32(skb, DISAGG_A_DEVICE_OPENERS, disagg_block_openers(dev)) ||
	    disagg_put_u64(skb, DISAGG_A_DEVICE_READ_BYTES, stats.read_bytes) ||
	    disagg_put_u64(skb, DISAGG_A_DEVICE_WRITE_BYTES, stats.write_bytes) ||
	    disagg_put_u64(skb, DISAGG_A_DEVICE_ERRORS, stats.errors))
		return -EMSGSIZE;
	return 0;
}

static int disagg_put_disk(struct sk_buff *skb, const struct disagg_device *dev)
{
	char disk[DISAGG_NAME_MAX + 1];

	snprintf(disk, sizeof(disk), "disagg%u", dev->id);
	return nla_put_string(skb, DISAGG_A_DEVICE_DISK, disk);
}

/* The device is registered or being detached by the caller, so that its parts stay. */
static int disagg_put_device(struct sk_buff *skb, const struct disagg_device *dev,
			     u32 portid, u32 seq, int flags, u8 cmd)
{
	const struct disagg_device_params *params = &dev->params;
	void *hdr;

	hdr = genlmsg_put(skb, portid, seq, &disagg_nl_family, flags, cmd);
	if (!hdr)
		return -EMSGSIZE;
	if (nla_put_u32(skb, DISAGG_A_DEVICE_ID, dev->id) ||
	    nla_put_string(skb, DISAGG_A_DEVICE_NODE, dev->node_name) ||
	    nla_put_string(skb, DISAGG_A_DEVICE_NAME, params->name) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_KIND, params->kind) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_CLASS, params->class) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_STATE, disagg_device_state(dev)) ||
	    disagg_put_disk(skb, dev) ||
	    disagg_put_u64(skb, DISAGG_A_DEVICE_SIZE, READ_ONCE(params->size)) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_BLOCK_SIZE, params->block_size) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_FLAGS, params->flags) ||
	    disagg_put_u64(skb, DISAGG_A_DEVICE_FEATURES, params->features) ||
	    nla_put_string(skb, DISAGG_A_DEVICE_TARGET, params->target) ||
	    nla_put_string(skb, DISAGG_A_DEVICE_RESOURCE, params->resource) ||
	    nla_put(skb, DISAGG_A_DEVICE_LEASE, DISAGG_LEASE_LEN, params->lease) ||
	    disagg_put_u64(skb, DISAGG_A_DEVICE_GENERATION, params->generation) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_MAX_DISCARD, params->max_discard) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_IO_TIMEOUT, READ_ONCE(params->io_timeout)) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_FAIL_FAST, READ_ONCE(dev->link->fail_fast)) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_DEAD_AFTER, READ_ONCE(dev->link->dead_after)) ||
	    disagg_put_u64(skb, DISAGG_A_DEVICE_CREATED, dev->created) ||
	    disagg_put_link(skb, dev->link) ||
	    (dev->block && disagg_put_stats(skb, dev))) {
		genlmsg_cancel(skb, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return 0;
}

static int disagg_put_node(struct sk_buff *skb, const struct disagg_node *node,
			   u32 portid, u32 seq, int flags, u8 cmd)
{
	void *hdr;

	hdr = genlmsg_put(skb, portid, seq, &disagg_nl_family, flags, cmd);
	if (!hdr)
		return -EMSGSIZE;
	if (nla_put_string(skb, DISAGG_A_NODE_NAME, node->name) ||
	    nla_put_u32(skb, DISAGG_A_NODE_DEVICES, node->nr_devices) ||
	    nla_put_u64_64bit(skb, DISAGG_A_NODE_CREATED, node->created, 0)) {
		genlmsg_cancel(skb, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return 0;
}

static u32 disagg_device_msg_size(const struct disagg_device *dev)
{
	return DISAGG_MSG_DEVICE + dev->link->nr_lanes * DISAGG_MSG_LANE;
}

static void disagg_multicast(struct sk_buff *skb)
{
	genlmsg_multicast(&disagg_nl_family, skb, 0, DISAGG_NLGRP_EVENTS, DISAGG_GFP_LOCKED);
}

/* Listeners are told that they have missed something. */
static void disagg_missed(void)
{
	genl_set_err(&disagg_nl_family, &init_net, 0, DISAGG_NLGRP_EVENTS, -ENOBUFS);
}

/* The family is registered; cleared before its groups go away. */
static bool disagg_netlink_up;

static bool disagg_has_listeners(void)
{
	return READ_ONCE(disagg_netlink_up) &&
	       genl_has_listeners(&disagg_nl_family, &init_net, DISAGG_NLGRP_EVENTS);
}

/**
 * disagg_netlink_notify_device - tell listeners about a device
 * @dev: the device; not freed nor dismantled meanwhile
 * @cmd: DISAGG_CMD_*_NTF
 *
 * May sleep. Of an event that can't be made for want of memory listeners hear
 * ENOBUFS.
 */
void disagg_netlink_notify_device(struct disagg_device *dev, u8 cmd)
{
	struct sk_buff *skb;

	if (!disagg_has_listeners())
		return;
	skb = genlmsg_new(disagg_device_msg_size(dev), DISAGG_GFP_LOCKED);
	if (!skb) {
		disagg_missed();
		return;
	}
	if (disagg_put_device(skb, dev, 0, 0, 0, cmd)) {
		nlmsg_free(skb);
		disagg_missed();
		return;
	}
	disagg_multicast(skb);
}

/* Tell listeners about a node. The registry is locked. */
void disagg_netlink_notify_node(struct disagg_node *node, u8 cmd)
{
	struct sk_buff *skb;

	if (!disagg_has_listeners())
		return;
	skb = genlmsg_new(NLMSG_DEFAULT_SIZE, DISAGG_GFP_LOCKED);
	if (!skb) {
		disagg_missed();
		return;
	}
	if (disagg_put_node(skb, node, 0, 0, 0, cmd)) {
		nlmsg_free(skb);
		disagg_missed();
		return;
	}
	disagg_multicast(skb);
}

int disagg_nl_info_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	u32 nodes = 0, devices = 0;
	struct disagg_device *dev;
	struct disagg_node *node;
	struct sk_buff *reply;
	unsigned long id;
	void *hdr;

	if (mutex_lock_killable(&disagg_registry_lock))
		return -EINTR;
	xa_for_each(&disagg_nodes, id, node)
		nodes++;
	xa_for_each(&disagg_devices, id, dev)
		devices++;
	mutex_unlock(&disagg_registry_lock);

	reply = disagg_new_reply(info, NLMSG_DEFAULT_SIZE);
	if (!reply)
		return -ENOMEM;
	hdr = genlmsg_put_reply(reply, info, &disagg_nl_family, 0, DISAGG_CMD_INFO_GET);
	if (!hdr ||
	    nla_put_string(reply, DISAGG_A_INFO_MODULE_VERSION, DISAGG_VERSION) ||
	    nla_put_u32(reply, DISAGG_A_INFO_API_VERSION, DISAGG_API_VERSION) ||
	    nla_put_u32(reply, DISAGG_A_INFO_WIRE_VERSION, DISAGG_WIRE_VERSION) ||
	    nla_put_u64_64bit(reply, DISAGG_A_INFO_FEATURES, DISAGG_WIRE_F_ALL, 0) ||
	    nla_put_u32(reply, DISAGG_A_INFO_NODES, nodes) ||
	    nla_put_u32(reply, DISAGG_A_INFO_DEVICES, devices)) {
		nlmsg_free(reply);
		return -EMSGSIZE;
	}
	genlmsg_end(reply, hdr);
	return genlmsg_reply(reply, info);
}

int disagg_nl_node_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct disagg_node *node;
	struct sk_buff *reply;
	const char *name;
	int err;

	err = disagg_get_node_name(info, DISAGG_A_NODE_NAME, &name);
	if (err)
		return err;
	reply = disagg_new_reply(info, NLMSG_DEFAULT_SIZE);
	if (!reply)
		return -ENOMEM;

	err = mutex_lock_killable(&disagg_registry_lock);
	if (err)
		goto err_free;
	node = disagg_node_find(name);
	if (node)
		err = disagg_put_node(reply, node, info->snd_portid, info->snd_seq, 0,
				      DISAGG_CMD_NODE_GET);
	else
		err = disagg_refuse(info, -ENOENT, DISAGG_A_NODE_NAME,
				    "name: there is no node of this name");
	mutex_unlock(&disagg_registry_lock);
	if (err)
		goto err_free;
	return genlmsg_reply(reply, info);

err_free:
	nlmsg_free(reply);
	return err;
}

/* Mark a dump's message, if the registry has changed since the dump began. */
static void disagg_dump_check(struct netlink_callback *cb, struct sk_buff *skb,
			      unsigned int start)
{
	struct nlmsghdr *hdr = (struct nlmsghdr *)(skb->data + start);

	nl_dump_check_consistent(cb, hdr);
}

int disagg_nl_node_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	unsigned long id = cb->args[0];
	struct disagg_node *node;
	int err = 0;

	if (mutex_lock_killable(&disagg_registry_lock))
		return -EINTR;
	cb->seq = disagg_registry_seq + 1;
	xa_for_each_start(&disagg_nodes, id, node, cb->args[0]) {
		unsigned int start = skb->len;

		err = disagg_put_node(skb, node, NETLINK_CB(cb->skb).portid,
				      cb->nlh->nlmsg_seq, NLM_F_MULTI,
				      DISAGG_CMD_NODE_GET);
		if (err)
			break;
		disagg_dump_check(cb, skb, start);
		cb->args[0] = id + 1;
	}
	mutex_unlock(&disagg_registry_lock);
	return err && !skb->len ? err : skb->len;
}

int disagg_nl_node_new_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct disagg_node *node;
	const char *name;
	int err;

	err = disagg_get_node_name(info, DISAGG_A_NODE_NAME, &name);
	if (err)
		return err;
	if (mutex_lock_killable(&disagg_registry_lock))
		return -EINTR;
	node = disagg_node_new(name);
	if (IS_ERR(node)) {
		err = PTR_ERR(node);
		disagg_refuse(info, err, DISAGG_A_NODE_NAME,
			      err == -EEXIST ? "name: there is a node of this name" :
					       "out of memory");
	} else {
		disagg_netlink_notify_node(node, DISAGG_CMD_NODE_NEW_NTF);
	}
	mutex_unlock(&disagg_registry_lock);
	return err;
}

int disagg_nl_node_del_doit(struct sk_buff *skb, struct genl_info *info)
{
	const char *name, *why = NULL;
	int err;

	err = disagg_get_node_name(info, DISAGG_A_NODE_NAME, &name);
	if (err)
		return err;
	err = disagg_node_remove(name, nla_get_flag(info->attrs[DISAGG_A_NODE_FORCE]), &why);
	return err ? disagg_refuse(info, err, DISAGG_A_NODE_NAME, why) : 0;
}

/* The registry is locked. */
static struct disagg_device *disagg_lookup_device(struct genl_info *info, int *err)
{
	struct disagg_device *dev;
	struct disagg_node *node;
	const char *node_name, *name;

	if (info->attrs[DISAGG_A_DEVICE_ID]) {
		dev = xa_load(&disagg_devices, nla_get_u32(info->attrs[DISAGG_A_DEVICE_ID]));
		if (!dev)
			*err = disagg_refuse(info, -ENOENT, DISAGG_A_DEVICE_ID,
					     "id: there is no device of this id");
		return dev;
	}
	*err = disagg_get_node_name(info, DISAGG_A_DEVICE_NODE, &node_name);
	if (!*err)
		*err = disagg_get_device_name(info, &name);
	if (*err)
		return NULL;
	node = disagg_node_find(node_name);
	if (!node) {
		*err = disagg_refuse(info, -ENOENT, DISAGG_A_DEVICE_NODE,
				     "node: there is no node of this name");
		return NULL;
	}
	list_for_each_entry(dev, &node->devices, entry)
		if (!strcmp(dev->params.name, name))
			return dev;
	*err = disagg_refuse(info, -ENOENT, DISAGG_A_DEVICE_NAME,
			     "name: the node has no device of this name");
	return NULL;
}

/* Return: the device that the message names, with a reference, or an error. */
static struct disagg_device *disagg_find_device(struct genl_info *info)
{
	struct disagg_device *dev;
	int err = 0;

	if (mutex_lock_killable(&disagg_registry_lock))
		return ERR_PTR(-EINTR);
	dev = disagg_lookup_device(info, &err);
	if (dev)
		disagg_device_get(dev);
	mutex_unlock(&disagg_registry_lock);
	return dev ?: ERR_PTR(err);
}

int disagg_nl_device_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct disagg_device *dev;
	struct sk_buff *reply;
	int err;

	dev = disagg_find_device(info);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = -ENOMEM;
	reply = disagg_new_reply(info, disagg_device_msg_size(dev));
	if (!reply)
		goto out;
	err = mutex_lock_killable(&disagg_registry_lock);
	if (err)
		goto out;
	/* It was there a moment ago. */
	if (dev->node)
		err = disagg_put_device(reply, dev, info->snd_portid, info->snd_seq, 0,
					DISAGG_CMD_DEVICE_GET);
	else
		err = disagg_refuse(info, -ENOENT, 0, "the device has just gone");
	mutex_unlock(&disagg_registry_lock);
out:
	disagg_device_put(dev);
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	return genlmsg_reply(reply, info);
}

/*
 * The largest device must fit, or the dump could not go past it; but parts that are
 * larger than they need be would not fit a small reader's buffer.
 */
int disagg_nl_device_get_start(struct netlink_callback *cb)
{
	struct disagg_device *dev;
	unsigned long id;

	if (mutex_lock_killable(&disagg_registry_lock))
		return -EINTR;
	xa_for_each(&disagg_devices, id, dev)
		cb->min_dump_alloc = max(cb->min_dump_alloc, disagg_device_msg_size(dev));
	/* What changes from here on interrupts the dump, also before its first part. */
	cb->prev_seq = disagg_registry_seq + 1;
	mutex_unlock(&disagg_registry_lock);
	return 0;
}

int disagg_nl_device_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	unsigned long id = cb->args[0];
	struct disagg_device *dev;
	int err = 0;

	if (mutex_lock_killable(&disagg_registry_lock))
		return -EINTR;
	cb->seq = disagg_registry_seq + 1;
	xa_for_each_start(&disagg_devices, id, dev, cb->args[0]) {
		unsigned int start = skb->len;

		err = disagg_put_device(skb, dev, NETLINK_CB(cb->skb).portid,
					cb->nlh->nlmsg_seq, NLM_F_MULTI,
					DISAGG_CMD_DEVICE_GET);
		if (err) {
			/* In the next part; one that came after the start may need more. */
			cb->min_dump_alloc = max(cb->min_dump_alloc, disagg_device_msg_size(dev));
			break;
		}
		disagg_dump_check(cb, skb, start);
		cb->args[0] = id + 1;
	}
	mutex_unlock(&disagg_registry_lock);
	/* If it came just now it does not even fit in this one: an interrupted dump. */
	return skb->len;
}

static const struct {
	int attr;
	const char *missing;
} disagg_device_required[] = {
	{ DISAGG_A_DEVICE_KIND, "kind is missing" },
	{ DISAGG_A_DEVICE_CLASS, "class is missing" },
	{ DISAGG_A_DEVICE_SIZE, "size is missing" },
	{ DISAGG_A_DEVICE_BLOCK_SIZE, "block-size is missing" },
	{ DISAGG_A_DEVICE_FEATURES, "features is missing" },
	{ DISAGG_A_DEVICE_LEASE, "lease is missing" },
	{ DISAGG_A_DEVICE_GENERATION, "generation is missing" },
	{ DISAGG_A_DEVICE_MAX_PAYLOAD, "max-payload is missing" },
	{ DISAGG_A_DEVICE_DEPTH, "depth is missing" },
	{ DISAGG_A_DEVICE_LANE, "lane is missing: a device needs at least one" },
};

static int disagg_check_timeout(struct genl_info *info, u32 *io_timeout)
{
	struct nlattr *attr = info->attrs[DISAGG_A_DEVICE_IO_TIMEOUT];

	if (!attr)
		return 0;
	*io_timeout = nla_get_u32(attr);
	if (*io_timeout < DISAGG_IO_TIMEOUT_MIN || *io_timeout > DISAGG_IO_TIMEOUT_MAX)
		return disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_IO_TIMEOUT,
				     "io-timeout: 100 to 3600000 ms");
	return 0;
}

static void disagg_get_label(struct genl_info *info, int attr, char *label)
{
	if (info->attrs[attr])
		nla_strscpy(label, info->attrs[attr], DISAGG_LABEL_MAX + 1);
}

/* Is it text that can be shown and put into a file? */
static bool disagg_label_is_valid(const char *label)
{
	for (; *label; label++)
		if (*label < ' ' || *label > '~')
			return false;
	return true;
}

static int disagg_get_size(struct genl_info *info, struct disagg_device_params *params)
{
	u32 block_size = nla_get_u32(info->attrs[DISAGG_A_DEVICE_BLOCK_SIZE]);
	u64 size = nla_get_u64(info->attrs[DISAGG_A_DEVICE_SIZE]);

	if (block_size < 512 || block_size > 4096 || !is_power_of_2(block_size))
		return disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_BLOCK_SIZE,
				     "block-size: a power of two from 512 to 4096");
	if (!size)
		return disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_SIZE,
				     "size: must not be zero");
	if (size % block_size)
		return disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_SIZE,
				     "size: not a multiple of block-size");
	if (size > LLONG_MAX)
		return disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_SIZE,
				     "size: too large for a disk");
	params->block_size = block_size;
	params->size = size;
	return 0;
}

static int disagg_get_params(struct genl_info *info, struct disagg_device_params *params)
{
	struct nlattr **attrs = info->attrs;
	const char *name;
	int err, i;

	err = disagg_get_device_name(info, &name);
	if (err)
		return err;
	for (i = 0; i < ARRAY_SIZE(disagg_device_required); i++)
		if (!attrs[disagg_device_required[i].attr])
			return disagg_refuse_missing(info, disagg_device_required[i].attr,
						     disagg_device_required[i].missing);

	strscpy(params->name, name, sizeof(params->name));
	params->kind = nla_get_u32(attrs[DISAGG_A_DEVICE_KIND]);
	if (params->kind != DISAGG_DEVICE_KIND_BLOCK)
		return disagg_refuse(info, -EOPNOTSUPP, DISAGG_A_DEVICE_KIND,
				     "kind: only block is supported");
	params->class = nla_get_u32(attrs[DISAGG_A_DEVICE_CLASS]);
	if (params->class == DISAGG_RESOURCE_CLASS_GPU)
		return disagg_refuse(info, -EOPNOTSUPP, DISAGG_A_DEVICE_CLASS,
				     "class: a GPU can't be a block device");
	err = disagg_get_size(info, params);
	if (err)
		return err;
	params->features = nla_get_u64(attrs[DISAGG_A_DEVICE_FEATURES]);
	params->generation = nla_get_u64(attrs[DISAGG_A_DEVICE_GENERATION]);
	nla_memcpy(params->lease, attrs[DISAGG_A_DEVICE_LEASE], sizeof(params->lease));
	if (attrs[DISAGG_A_DEVICE_FLAGS])
		params->flags = nla_get_u32(attrs[DISAGG_A_DEVICE_FLAGS]);
	if (attrs[DISAGG_A_DEVICE_MAX_DISCARD])
		params->max_discard = nla_get_u32(attrs[DISAGG_A_DEVICE_MAX_DISCARD]);
	disagg_get_label(info, DISAGG_A_DEVICE_TARGET, params->target);
	if (!disagg_label_is_valid(params->target))
		return disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_TARGET,
				     "target: must be printable ASCII");
	disagg_get_label(info, DISAGG_A_DEVICE_RESOURCE, params->resource);
	if (!disagg_label_is_valid(params->resource))
		return disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_RESOURCE,
				     "resource: must be printable ASCII");
	params->io_timeout = DISAGG_IO_TIMEOUT_DEFAULT;
	return disagg_check_timeout(info, &params->io_timeout);
}

/* The next lane of the message after @attr, or the first after NULL. */
static struct nlattr *disagg_next_lane(struct genl_info *info, struct nlattr *attr)
{
	struct nlattr *pos;
	bool seen = !attr;
	int rem;

	nla_for_each_attr(pos, genlmsg_data(info->genlhdr), genlmsg_len(info->genlhdr), rem) {
		if (seen && nla_type(pos) == DISAGG_A_DEVICE_LANE)
			return pos;
		if (pos == attr)
			seen = true;
	}
	return NULL;
}

/* Hand the message's sockets to lanes: those of a new device, or in place of others. */
static int disagg_set_lanes(struct genl_info *info, struct disagg_link *link, bool replace)
{
	struct nlattr *tb[DISAGG_A_LANE_MAX + 1];
	struct nlattr *attr = NULL;
	const char *why = NULL;
	int err;

	while ((attr = disagg_next_lane(info, attr))) {
		err = nla_parse_nested(tb, DISAGG_A_LANE_MAX, attr, disagg_lane_nl_policy,
				       info->extack);
		if (err)
			return err;
		if (!tb[DISAGG_A_LANE_INDEX]) {
			why = "lane: index is missing";
			err = -EINVAL;
		} else if (!tb[DISAGG_A_LANE_FD]) {
			why = "lane: fd is missing";
			err = -EINVAL;
		} else if (replace && !tb[DISAGG_A_LANE_GENERATION]) {
			why = "lane: generation is missing";
			err = -EINVAL;
		} else if (replace) {
			err = disagg_link_replace_lane(link, nla_get_u32(tb[DISAGG_A_LANE_INDEX]),
						       nla_get_u32(tb[DISAGG_A_LANE_GENERATION]),
						       nla_get_s32(tb[DISAGG_A_LANE_FD]), &why);
		} else {
			err = disagg_link_set_lane(link, nla_get_u32(tb[DISAGG_A_LANE_INDEX]),
						   nla_get_s32(tb[DISAGG_A_LANE_FD]), &why);
		}
		if (err) {
			disagg_refuse(info, err, 0, why);
			if (info->extack)
				info->extack->bad_attr = attr;
			return err;
		}
	}
	return 0;
}

static struct disagg_device *disagg_new_device(struct genl_info *info,
					       const struct disagg_device_params *params)
{
	u32 max_payload = nla_get_u32(info->attrs[DISAGG_A_DEVICE_MAX_PAYLOAD]);
	u32 depth = nla_get_u32(info->attrs[DISAGG_A_DEVICE_DEPTH]);
	struct disagg_device *dev;
	struct nlattr *attr = NULL;
	u32 nr_lanes = 0;
	int err;

	while ((attr = disagg_next_lane(info, attr)))
		if (++nr_lanes > DISAGG_MAX_LANES)
			return ERR_PTR(disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_LANE,
						     "lane: too many, 64 at most"));
	if (depth < 1 || depth > DISAGG_WIRE_MAX_DEPTH)
		return ERR_PTR(disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_DEPTH,
					     "depth: 1 to 1024"));
	if (max_payload < PAGE_SIZE || max_payload > DISAGG_WIRE_MAX_PAYLOAD ||
	    max_payload % params->block_size)
		return ERR_PTR(disagg_refuse(info, -EINVAL, DISAGG_A_DEVICE_MAX_PAYLOAD,
					     "max-payload: 4 KiB to 4 MiB, whole blocks"));

	dev = disagg_device_alloc(params, nr_lanes, depth, max_payload);
	if (!dev)
		return ERR_PTR(disagg_refuse(info, -ENOMEM, 0, "out of memory"));
	err = disagg_set_lanes(info, dev->link, false);
	if (err) {
		disagg_device_put(dev);
		return ERR_PTR(err);
	}
	return dev;
}

static u32 disagg_get_timer(struct genl_info *info, int attr, u32 otherwise)
{
	return info->attrs[attr] ? nla_get_u32(info->attrs[attr]) : otherwise;
}

static int disagg_nl_device_new(struct genl_info *info)
{
	struct disagg_device_params params = {};
	const char *node, *why = NULL;
	struct disagg_device *dev;
	struct sk_buff *reply;
	void *hdr;
	int err;

	err = disagg_get_node_name(info, DISAGG_A_DEVICE_NODE, &node);
	if (err)
		return err;
	err = disagg_get_params(info, &params);
	if (err)
		return err;
	reply = disagg_new_reply(info, NLMSG_DEFAULT_SIZE);
	if (!reply)
		return -ENOMEM;
	dev = disagg_new_device(info, &params);
	if (IS_ERR(dev)) {
		err = PTR_ERR(dev);
		goto err_free;
	}

	err = disagg_link_set_timers(dev->link,
				     disagg_get_timer(info, DISAGG_A_DEVICE_FAIL_FAST,
						      DISAGG_NEVER),
				     disagg_get_timer(info, DISAGG_A_DEVICE_DEAD_AFTER, 0));
	if (!err)
		err = disagg_device_attach(dev, node, &why);
	if (err) {
		disagg_refuse(info, err, err == -EEXIST ? DISAGG_A_DEVICE_NAME :
			      err == -ENOENT || err == -EBUSY ? DISAGG_A_DEVICE_NODE :
			      err == -ENOTUNIQ ? DISAGG_A_DEVICE_LEASE :
			      err == -ECONNRESET ? DISAGG_A_DEVICE_LANE : 0, why);
		goto err_put;
	}

	hdr = genlmsg_put_reply(reply, info, &disagg_nl_family, 0, DISAGG_CMD_DEVICE_NEW);
	if (WARN_ON_ONCE(!hdr || nla_put_u32(reply, DISAGG_A_DEVICE_ID, dev->id) ||
			 disagg_put_disk(reply, dev))) {
		err = -EMSGSIZE;
		goto err_put;
	}
	genlmsg_end(reply, hdr);
	disagg_device_put(dev);
	/* Whoever has no room for it hears of the device as others do: it is there. */
	genlmsg_reply(reply, info);
	return 0;

err_put:
	disagg_device_put(dev);
err_free:
	nlmsg_free(reply);
	return err;
}

/*
 * All of generic netlink may have to wait for this one, deletion by force and new lanes for
 * lost devices too: so it must not wait for I/O of a device to have memory.
 */
int disagg_nl_device_new_doit(struct sk_buff *skb, struct genl_info *info)
{
	unsigned int noio = memalloc_noio_save();
	int err = disagg_nl_device_new(info);

	memalloc_noio_restore(noio);
	return err;
}

/* Who says which lease he means doesn't mean another device of the same name. */
static int disagg_check_lease(struct genl_info *info, const struct disagg_device *dev)
{
	struct nlattr *generation = info->attrs[DISAGG_A_DEVICE_GENERATION];
	struct nlattr *lease = info->attrs[DISAGG_A_DEVICE_LEASE];

	if (lease && memcmp(nla_data(lease), dev->params.lease, DISAGG_LEASE_LEN))
		return disagg_refuse(info, -ENOENT, DISAGG_A_DEVICE_LEASE,
				     "lease: the device of this name has another one");
	if (generation && nla_get_u64(generation) != dev->params.generation)
		return disagg_refuse(info, -ENOENT, DISAGG_A_DEVICE_GENERATION,
				     "generation: the device's lease has another one");
	return 0;
}

static int disagg_put_latency(struct sk_buff *skb, u32 operation,
			      const struct disagg_latency *latency)
{
	struct nlattr *nest = nla_nest_start(skb, DISAGG_A_DEVICE_LATENCY);

	if (!nest ||
	    nla_put_u32(skb, DISAGG_A_LATENCY_OPERATION, operation) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LATENCY_REPLIES, READ_ONCE(latency->replies),
			      DISAGG_A_LATENCY_PAD) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LATENCY_TOTAL, READ_ONCE(latency->total),
			      DISAGG_A_LATENCY_PAD) ||
	    nla_put_u64_64bit(skb, DISAGG_A_LATENCY_LONGEST, READ_ONCE(latency->longest),
			      DISAGG_A_LATENCY_PAD) ||
	    nla_put(skb, DISAGG_A_LATENCY_BUCKETS, sizeof(latency->buckets), latency->buckets))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int disagg_put_latencies(struct sk_buff *skb, struct genl_info *info,
				const struct disagg_device *dev, const struct disagg_lane *lane)
{
	u32 i;
	void *hdr;

	hdr = genlmsg_put_reply(skb, info, &disagg_nl_family, 0, DISAGG_CMD_LATENCY_GET);
	if (!hdr || nla_put_u32(skb, DISAGG_A_DEVICE_ID, dev->id) ||
	    nla_put_string(skb, DISAGG_A_DEVICE_NODE, dev->node_name) ||
	    nla_put_string(skb, DISAGG_A_DEVICE_NAME, dev->params.name) ||
	    nla_put_u32(skb, DISAGG_A_DEVICE_LANE_INDEX, lane->index))
		return -EMSGSIZE;
	for (i = 0; i < DISAGG_NR_OPERATIONS; i++)
		if (READ_ONCE(lane->latency[i].replies) &&
		    disagg_put_latency(skb, i, &lane->latency[i]))
			return -EMSGSIZE;
	genlmsg_end(skb, hdr);
	return 0;
}

int disagg_nl_latency_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *index = info->attrs[DISAGG_A_DEVICE_LANE_INDEX];
	struct disagg_device *dev;
	struct sk_buff *reply;
	int err;

	if (!index)
		return disagg_refuse_missing(info, DISAGG_A_DEVICE_LANE_INDEX,
					     "lane-index is missing");
	dev = disagg_find_device(info);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	if (nla_get_u32(index) >= dev->link->nr_lanes) {
		disagg_device_put(dev);
		return disagg_refuse(info, -ENOENT, DISAGG_A_DEVICE_LANE_INDEX,
				     "lane-index: the device has no such lane");
	}
	reply = disagg_new_reply(info, DISAGG_MSG_LATENCY);
	err = reply ? disagg_put_latencies(reply, info, dev,
					   &dev->link->lanes[nla_get_u32(index)]) : -ENOMEM;
	disagg_device_put(dev);
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	return genlmsg_reply(reply, info);
}

/* The device's timers and lanes, as far as the message has them. admin_lock held. */
static int disagg_set_link(struct genl_info *info, struct disagg_device *dev, u32 io_timeout)
{
	struct disagg_link *link = dev->link;
	int err;

	if (disagg_device_state(dev) == DISAGG_DEVICE_STATE_REMOVING)
		return disagg_refuse(info, -ENODEV, DISAGG_A_DEVICE_NAME,
				     "name: the device is being deleted");
	if (info->attrs[DISAGG_A_DEVICE_FAIL_FAST] || info->attrs[DISAGG_A_DEVICE_DEAD_AFTER]) {
		err = disagg_link_set_timers(link,
					     disagg_get_timer(info, DISAGG_A_DEVICE_FAIL_FAST,
							      link->fail_fast),
					     disagg_get_timer(info, DISAGG_A_DEVICE_DEAD_AFTER,
							      link->dead_after));
		if (err)
			return err;
	}
	/* Cannot fail, and so comes last of the timers. */
	if (io_timeout)
		disagg_device_set_timeout(dev, io_timeout);
	err = disagg_set_lanes(info, link, true);
	/* The disk stays while the lock is held. */
	if (!info->attrs[DISAGG_A_DEVICE_LANE])
		disagg_netlink_notify_device(dev, DISAGG_CMD_DEVICE_CHANGE_NTF);
	return err;
}

/*
 * Who has sockets to hand over must not wait: what holds the lock may wait for I/O, of
 * this device or of another one whose lanes the same caller will restore next.
 */
static int disagg_lock_for_link(struct genl_info *info, struct disagg_device *dev)
{
	if (!info->attrs[DISAGG_A_DEVICE_LANE])
		return mutex_lock_killable(&dev->admin_lock);
	if (!mutex_trylock(&dev->admin_lock))
		return disagg_refuse(info, -EBUSY, DISAGG_A_DEVICE_LANE,
				     "lane: the device is just being changed; try again");
	return 0;
}

int disagg_nl_device_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *size = info->attrs[DISAGG_A_DEVICE_SIZE];
	struct disagg_device *dev;
	const char *why = NULL;
	u32 io_timeout = 0;
	bool timers, lanes, link;
	int err;

	err = disagg_check_timeout(info, &io_timeout);
	if (err)
		return err;
	timers = io_timeout || info->attrs[DISAGG_A_DEVICE_FAIL_FAST] ||
		 info->attrs[DISAGG_A_DEVICE_DEAD_AFTER];
	lanes = info->attrs[DISAGG_A_DEVICE_LANE];
	link = timers || lanes;
	/* What is refused has done nothing. */
	if (!!size + timers + lanes > 1)
		return disagg_refuse(info, -EINVAL,
				     lanes ? DISAGG_A_DEVICE_LANE : DISAGG_A_DEVICE_SIZE,
				     "size, timers and lanes are changed by a message each");
	dev = disagg_find_device(info);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = disagg_check_lease(info, dev);
	if (!err && !size && !link)
		err = disagg_refuse_missing(info, DISAGG_A_DEVICE_SIZE,
					    "size, a timer or a lane is missing");
	if (!err && size) {
		err = disagg_device_resize(dev, nla_get_u64(size), &why);
		if (err)
			disagg_refuse(info, err, DISAGG_A_DEVICE_SIZE, why);
	}
	if (!err && link)
		err = disagg_lock_for_link(info, dev);
	if (!err && link) {
		err = disagg_set_link(info, dev, io_timeout);
		mutex_unlock(&dev->admin_lock);
	}
	disagg_device_put(dev);
	return err;
}

int disagg_nl_device_del_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct disagg_device *dev;
	const char *why = NULL;
	int err;

	dev = disagg_find_device(info);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	err = disagg_device_detach(dev, nla_get_flag(info->attrs[DISAGG_A_DEVICE_FORCE]),
				   &why);
	if (err)
		disagg_refuse(info, err, DISAGG_A_DEVICE_NAME, why);
	disagg_device_put(dev);
	return err;
}

int __init disagg_netlink_init(void)
{
#define OPS 16
	static const struct genl_multicast_group groups[] = {
		[DISAGG_NLGRP_EVENTS] = { DISAGG_MCGRP_EVENTS, GENL_MCAST_CAP_NET_ADMIN },
	};
	static struct genl_split_ops folded[OPS];
	int err;

	/*
	 * The generator has no words for these: control is for the initial namespace
	 * alone, and events are for those who may control.
	 */
	disagg_nl_family.netnsok = false;
	disagg_nl_family.mcgrps = groups;
	if (WARN_ON(disagg_nl_family.n_split_ops > OPS))
		return -EINVAL;
	disagg_compat_genl_fold(&disagg_nl_family, folded);
	err = genl_register_family(&disagg_nl_family);
	WRITE_ONCE(disagg_netlink_up, !err);
	return err;
#undef OPS
}

void disagg_netlink_exit(void)
{
	WRITE_ONCE(disagg_netlink_up, false);
	genl_unregister_family(&disagg_nl_family);
}
