// SPDX-License-Identifier: GPL-2.0
/* Messages of the family "disagg": attributes to structs, numbers to words. */
#include <netlink/attr.h>
#include <netlink/genl/genl.h>
#include <string.h>

#include "netlink_internal.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Absent attributes leave zero. */

static uint32_t get_u32(struct nlattr *attr)
{
	return attr && nla_len(attr) >= (int)sizeof(uint32_t) ? nla_get_u32(attr) : 0;
}

static uint64_t get_u64(struct nlattr *attr)
{
	return attr && nla_len(attr) >= (int)sizeof(uint64_t) ? nla_get_u64(attr) : 0;
}

static void get_string(struct nlattr *attr, char *buf, size_t size)
{
	buf[0] = '\0';
	if (attr)
		nla_strlcpy(buf, attr, size);
}

bool dsg_parse_info(struct nlmsghdr *nlh, struct dsg_module_info *info)
{
	struct nlattr *tb[DISAGG_A_INFO_MAX + 1];

	if (genlmsg_parse(nlh, 0, tb, DISAGG_A_INFO_MAX, NULL) < 0)
		return false;
	get_string(tb[DISAGG_A_INFO_MODULE_VERSION], info->version, sizeof(info->version));
	info->api = get_u32(tb[DISAGG_A_INFO_API_VERSION]);
	info->wire = get_u32(tb[DISAGG_A_INFO_WIRE_VERSION]);
	info->features = get_u64(tb[DISAGG_A_INFO_FEATURES]);
	info->nodes = get_u32(tb[DISAGG_A_INFO_NODES]);
	info->devices = get_u32(tb[DISAGG_A_INFO_DEVICES]);
	return true;
}

bool dsg_parse_node(struct nlmsghdr *nlh, struct dsg_kernel_node *node)
{
	struct nlattr *tb[DISAGG_A_NODE_MAX + 1];

	if (genlmsg_parse(nlh, 0, tb, DISAGG_A_NODE_MAX, NULL) < 0 || !tb[DISAGG_A_NODE_NAME])
		return false;
	get_string(tb[DISAGG_A_NODE_NAME], node->name, sizeof(node->name));
	node->devices = get_u32(tb[DISAGG_A_NODE_DEVICES]);
	node->created = get_u64(tb[DISAGG_A_NODE_CREATED]);
	return true;
}

static bool parse_lane(struct nlattr *nest, struct dsg_kernel_lane *lane)
{
	struct nlattr *tb[DISAGG_A_LANE_MAX + 1];

	if (nla_parse_nested(tb, DISAGG_A_LANE_MAX, nest, NULL) < 0)
		return false;
	lane->index = get_u32(tb[DISAGG_A_LANE_INDEX]);
	lane->state = get_u32(tb[DISAGG_A_LANE_STATE]);
	lane->security = get_u32(tb[DISAGG_A_LANE_SECURITY]);
	get_string(tb[DISAGG_A_LANE_PEER], lane->peer, sizeof(lane->peer));
	lane->requests = get_u64(tb[DISAGG_A_LANE_REQUESTS]);
	lane->replies = get_u64(tb[DISAGG_A_LANE_REPLIES]);
	lane->stale = get_u64(tb[DISAGG_A_LANE_STALE]);
	lane->generation = get_u32(tb[DISAGG_A_LANE_GENERATION]);
	lane->replays = get_u64(tb[DISAGG_A_LANE_REPLAYS]);
	get_string(tb[DISAGG_A_LANE_REASON], lane->reason, sizeof(lane->reason));
	lane->tx_bytes = get_u64(tb[DISAGG_A_LANE_TX_BYTES]);
	lane->rx_bytes = get_u64(tb[DISAGG_A_LANE_RX_BYTES]);
	return true;
}

bool dsg_parse_device(struct nlmsghdr *nlh, struct dsg_kernel_device *device)
{
	struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1];
	struct nlattr *attr;
	int left;

	if (genlmsg_parse(nlh, 0, tb, DISAGG_A_DEVICE_MAX, NULL) < 0 ||
	    !tb[DISAGG_A_DEVICE_NODE] || !tb[DISAGG_A_DEVICE_NAME])
		return false;
	device->id = get_u32(tb[DISAGG_A_DEVICE_ID]);
	get_string(tb[DISAGG_A_DEVICE_NODE], device->node, sizeof(device->node));
	get_string(tb[DISAGG_A_DEVICE_NAME], device->name, sizeof(device->name));
	device->kind = get_u32(tb[DISAGG_A_DEVICE_KIND]);
	device->class = get_u32(tb[DISAGG_A_DEVICE_CLASS]);
	device->state = get_u32(tb[DISAGG_A_DEVICE_STATE]);
	get_string(tb[DISAGG_A_DEVICE_DISK], device->disk, sizeof(device->disk));
	device->size = get_u64(tb[DISAGG_A_DEVICE_SIZE]);
	device->block_size = get_u32(tb[DISAGG_A_DEVICE_BLOCK_SIZE]);
	device->flags = get_u32(tb[DISAGG_A_DEVICE_FLAGS]);
	device->features = get_u64(tb[DISAGG_A_DEVICE_FEATURES]);
	get_string(tb[DISAGG_A_DEVICE_TARGET], device->target, sizeof(device->target));
	get_string(tb[DISAGG_A_DEVICE_RESOURCE], device->resource, sizeof(device->resource));
	attr = tb[DISAGG_A_DEVICE_LEASE];
	if (attr && nla_len(attr) == DISAGG_LEASE_LEN)
		memcpy(device->lease, nla_data(attr), DISAGG_LEASE_LEN);
	device->generation = get_u64(tb[DISAGG_A_DEVICE_GENERATION]);
	device->max_payload = get_u32(tb[DISAGG_A_DEVICE_MAX_PAYLOAD]);
	device->max_discard = get_u32(tb[DISAGG_A_DEVICE_MAX_DISCARD]);
	device->depth = get_u32(tb[DISAGG_A_DEVICE_DEPTH]);
	device->io_timeout_ms = get_u32(tb[DISAGG_A_DEVICE_IO_TIMEOUT]);
	device->fail_fast_ms = get_u32(tb[DISAGG_A_DEVICE_FAIL_FAST]);
	device->dead_after_ms = get_u32(tb[DISAGG_A_DEVICE_DEAD_AFTER]);
	device->inflight = get_u32(tb[DISAGG_A_DEVICE_INFLIGHT]);
	device->openers = get_u32(tb[DISAGG_A_DEVICE_OPENERS]);
	device->read_bytes = get_u64(tb[DISAGG_A_DEVICE_READ_BYTES]);
	device->write_bytes = get_u64(tb[DISAGG_A_DEVICE_WRITE_BYTES]);
	device->errors = get_u64(tb[DISAGG_A_DEVICE_ERRORS]);
	get_string(tb[DISAGG_A_DEVICE_REASON], device->reason, sizeof(device->reason));
	device->created = get_u64(tb[DISAGG_A_DEVICE_CREATED]);

	/* The table above holds the last lane only. */
	attr = NULL;
	nlmsg_for_each_attr(attr, nlh, GENL_HDRLEN, left) {
		if (nla_type(attr) != DISAGG_A_DEVICE_LANE)
			continue;
		if (device->lane_count == COUNT(device->lanes))
			break;
		if (!parse_lane(attr, &device->lanes[device->lane_count++]))
			return false;
	}
	return true;
}

static bool parse_latency(struct nlattr *nest, struct dsg_latency latency[DSG_OPERATIONS])
{
	struct nlattr *tb[DISAGG_A_LATENCY_MAX + 1], *buckets;
	struct dsg_latency *l;
	uint32_t operation;

	if (nla_parse_nested(tb, DISAGG_A_LATENCY_MAX, nest, NULL) < 0)
		return false;
	operation = get_u32(tb[DISAGG_A_LATENCY_OPERATION]);
	if (operation >= DSG_OPERATIONS)
		return true;	/* one that came later */
	l = &latency[operation];
	l->replies = get_u64(tb[DISAGG_A_LATENCY_REPLIES]);
	l->total_ns = get_u64(tb[DISAGG_A_LATENCY_TOTAL]);
	l->longest_ns = get_u64(tb[DISAGG_A_LATENCY_LONGEST]);
	buckets = tb[DISAGG_A_LATENCY_BUCKETS];
	if (!buckets || nla_len(buckets) != sizeof(l->buckets))
		return false;
	memcpy(l->buckets, nla_data(buckets), sizeof(l->buckets));
	return true;
}

bool dsg_parse_latency(struct nlmsghdr *nlh, struct dsg_latency latency[DSG_OPERATIONS])
{
	struct nlattr *attr;
	int left;

	nlmsg_for_each_attr(attr, nlh, sizeof(struct genlmsghdr), left)
		if (nla_type(attr) == DISAGG_A_DEVICE_LATENCY && !parse_latency(attr, latency))
			return false;
	return true;
}

static const char *word(const char *const *words, size_t count, uint32_t value)
{
	return value < count ? words[value] : "unknown";
}

const char *dsg_device_state_name(uint32_t state)
{
	static const char *const words[] = { "connecting", "live", "lost", "removing", "dead" };

	return word(words, COUNT(words), state);
}

const char *dsg_lane_state_name(uint32_t state)
{
	static const char *const words[] = { "live", "lost" };

	return word(words, COUNT(words), state);
}

const char *dsg_lane_security_name(uint32_t security)
{
	static const char *const words[] = { "none", "tls" };

	return word(words, COUNT(words), security);
}

const char *dsg_operation_name(uint32_t operation)
{
	static const char *const words[] = { "read", "write", "flush", "discard", "write-zeroes" };

	return word(words, COUNT(words), operation);
}

const char *dsg_device_kind_name(uint32_t kind)
{
	static const char *const words[] = { "block", "dax", "gpu" };

	return word(words, COUNT(words), kind);
}

const char *dsg_resource_class_name(uint32_t class)
{
	static const char *const words[] = { "memory", "storage", "gpu" };

	return word(words, COUNT(words), class);
}

static const char *const node_attrs[] = {
	[DISAGG_A_NODE_NAME] = "name",
	[DISAGG_A_NODE_DEVICES] = "devices",
	[DISAGG_A_NODE_FORCE] = "force",
};

static const char *const lane_attrs[] = {
	[DISAGG_A_LANE_INDEX] = "lane index",
	[DISAGG_A_LANE_FD] = "lane fd",
	[DISAGG_A_LANE_GENERATION] = "lane generation",
};

static const char *const device_attrs[] = {
	[DISAGG_A_DEVICE_ID] = "id",
	[DISAGG_A_DEVICE_NODE] = "node",
	[DISAGG_A_DEVICE_NAME] = "name",
	[DISAGG_A_DEVICE_KIND] = "kind",
	[DISAGG_A_DEVICE_CLASS] = "class",
	[DISAGG_A_DEVICE_SIZE] = "size",
	[DISAGG_A_DEVICE_BLOCK_SIZE] = "block-size",
	[DISAGG_A_DEVICE_FLAGS] = "flags",
	[DISAGG_A_DEVICE_FEATURES] = "features",
	[DISAGG_A_DEVICE_TARGET] = "target",
	[DISAGG_A_DEVICE_RESOURCE] = "resource",
	[DISAGG_A_DEVICE_LEASE] = "lease",
	[DISAGG_A_DEVICE_GENERATION] = "generation",
	[DISAGG_A_DEVICE_MAX_PAYLOAD] = "max-payload",
	[DISAGG_A_DEVICE_MAX_DISCARD] = "max-discard",
	[DISAGG_A_DEVICE_DEPTH] = "depth",
	[DISAGG_A_DEVICE_IO_TIMEOUT] = "io-timeout",
	[DISAGG_A_DEVICE_FAIL_FAST] = "fail-fast",
	[DISAGG_A_DEVICE_DEAD_AFTER] = "dead-after",
	[DISAGG_A_DEVICE_LANE] = "lane",
	[DISAGG_A_DEVICE_FORCE] = "force",
	[DISAGG_A_DEVICE_LANE_INDEX] = "lane-index",
};

const char *dsg_attr_name(unsigned int cmd, unsigned int type)
{
	switch (cmd) {
	case DISAGG_CMD_NODE_GET:
	case DISAGG_CMD_NODE_NEW:
	case DISAGG_CMD_NODE_DEL:
		return type < COUNT(node_attrs) ? node_attrs[type] : NULL;
	case DISAGG_CMD_DEVICE_GET:
	case DISAGG_CMD_DEVICE_NEW:
	case DISAGG_CMD_DEVICE_SET:
	case DISAGG_CMD_DEVICE_DEL:
		return type < COUNT(device_attrs) ? device_attrs[type] : NULL;
	default:
		return NULL;
	}
}

const char *dsg_attr_name_at(const struct nlmsghdr *nlh, uint32_t offset)
{
	const struct genlmsghdr *genl = nlmsg_data(nlh);
	struct nlattr *attr, *inner;
	int left, inner_left;

	nlmsg_for_each_attr(attr, (struct nlmsghdr *)(uintptr_t)nlh, GENL_HDRLEN, left) {
		uint32_t start = (uint32_t)((char *)attr - (char *)(uintptr_t)nlh);

		if (start == offset)
			return dsg_attr_name(genl->cmd, (unsigned int)nla_type(attr));
		if (genl->cmd != DISAGG_CMD_DEVICE_NEW ||
		    nla_type(attr) != DISAGG_A_DEVICE_LANE || offset < start ||
		    offset >= start + (uint32_t)attr->nla_len)
			continue;
		nla_for_each_nested(inner, attr, inner_left)
			if ((uint32_t)((char *)inner - (char *)(uintptr_t)nlh) == offset &&
			    (size_t)nla_type(inner) < COUNT(lane_attrs))
				return lane_attrs[nla_type(inner)];
		return "lane";
	}
	return NULL;
}
