// SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/disagg.yaml */
/* YNL-GEN kernel source */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#include <net/netlink.h>
#include <net/genetlink.h>

#include "netlink_gen.h"

#include <uapi/linux/disagg_netlink.h>

/* Common nested types */
const struct nla_policy disagg_lane_nl_policy[DISAGG_A_LANE_SECURITY + 1] = {
	[DISAGG_A_LANE_INDEX] = { .type = NLA_U32, },
	[DISAGG_A_LANE_FD] = { .type = NLA_S32, },
	[DISAGG_A_LANE_STATE] = NLA_POLICY_MAX(NLA_U32, 1),
	[DISAGG_A_LANE_PEER] = { .type = NLA_NUL_STRING, },
	[DISAGG_A_LANE_REQUESTS] = { .type = NLA_U64, },
	[DISAGG_A_LANE_REPLIES] = { .type = NLA_U64, },
	[DISAGG_A_LANE_STALE] = { .type = NLA_U64, },
	[DISAGG_A_LANE_TX_BYTES] = { .type = NLA_U64, },
	[DISAGG_A_LANE_RX_BYTES] = { .type = NLA_U64, },
	[DISAGG_A_LANE_GENERATION] = { .type = NLA_U32, },
	[DISAGG_A_LANE_REPLAYS] = { .type = NLA_U64, },
	[DISAGG_A_LANE_REASON] = { .type = NLA_NUL_STRING, },
	[DISAGG_A_LANE_SECURITY] = NLA_POLICY_MAX(NLA_U32, 1),
};

/* DISAGG_CMD_NODE_GET - do */
static const struct nla_policy disagg_node_get_nl_policy[DISAGG_A_NODE_NAME + 1] = {
	[DISAGG_A_NODE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
};

/* DISAGG_CMD_NODE_NEW - do */
static const struct nla_policy disagg_node_new_nl_policy[DISAGG_A_NODE_NAME + 1] = {
	[DISAGG_A_NODE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
};

/* DISAGG_CMD_NODE_DEL - do */
static const struct nla_policy disagg_node_del_nl_policy[DISAGG_A_NODE_FORCE + 1] = {
	[DISAGG_A_NODE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_NODE_FORCE] = { .type = NLA_FLAG, },
};

/* DISAGG_CMD_DEVICE_GET - do */
static const struct nla_policy disagg_device_get_nl_policy[DISAGG_A_DEVICE_NAME + 1] = {
	[DISAGG_A_DEVICE_NODE] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_ID] = { .type = NLA_U32, },
};

/* DISAGG_CMD_DEVICE_NEW - do */
static const struct nla_policy disagg_device_new_nl_policy[DISAGG_A_DEVICE_DEAD_AFTER + 1] = {
	[DISAGG_A_DEVICE_NODE] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_KIND] = NLA_POLICY_MAX(NLA_U32, 2),
	[DISAGG_A_DEVICE_CLASS] = NLA_POLICY_MAX(NLA_U32, 2),
	[DISAGG_A_DEVICE_SIZE] = { .type = NLA_U64, },
	[DISAGG_A_DEVICE_BLOCK_SIZE] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_FLAGS] = NLA_POLICY_MASK(NLA_U32, 0x7),
	[DISAGG_A_DEVICE_FEATURES] = NLA_POLICY_MASK(NLA_U64, 0x1f),
	[DISAGG_A_DEVICE_TARGET] = { .type = NLA_NUL_STRING, .len = DISAGG_LABEL_MAX, },
	[DISAGG_A_DEVICE_RESOURCE] = { .type = NLA_NUL_STRING, .len = DISAGG_LABEL_MAX, },
	[DISAGG_A_DEVICE_LEASE] = NLA_POLICY_EXACT_LEN(DISAGG_LEASE_LEN),
	[DISAGG_A_DEVICE_GENERATION] = { .type = NLA_U64, },
	[DISAGG_A_DEVICE_MAX_PAYLOAD] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_MAX_DISCARD] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_DEPTH] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_IO_TIMEOUT] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_LANE] = NLA_POLICY_NESTED(disagg_lane_nl_policy),
	[DISAGG_A_DEVICE_FAIL_FAST] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_DEAD_AFTER] = { .type = NLA_U32, },
};

/* DISAGG_CMD_DEVICE_SET - do */
static const struct nla_policy disagg_device_set_nl_policy[DISAGG_A_DEVICE_DEAD_AFTER + 1] = {
	[DISAGG_A_DEVICE_NODE] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_SIZE] = { .type = NLA_U64, },
	[DISAGG_A_DEVICE_LEASE] = NLA_POLICY_EXACT_LEN(DISAGG_LEASE_LEN),
	[DISAGG_A_DEVICE_GENERATION] = { .type = NLA_U64, },
	[DISAGG_A_DEVICE_IO_TIMEOUT] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_LANE] = NLA_POLICY_NESTED(disagg_lane_nl_policy),
	[DISAGG_A_DEVICE_FAIL_FAST] = { .type = NLA_U32, },
	[DISAGG_A_DEVICE_DEAD_AFTER] = { .type = NLA_U32, },
};

/* DISAGG_CMD_DEVICE_DEL - do */
static const struct nla_policy disagg_device_del_nl_policy[DISAGG_A_DEVICE_FORCE + 1] = {
	[DISAGG_A_DEVICE_NODE] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_FORCE] = { .type = NLA_FLAG, },
};

/* DISAGG_CMD_LATENCY_GET - do */
static const struct nla_policy disagg_latency_get_nl_policy[DISAGG_A_DEVICE_LANE_INDEX + 1] = {
	[DISAGG_A_DEVICE_NODE] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_NAME] = { .type = NLA_NUL_STRING, .len = DISAGG_NAME_MAX, },
	[DISAGG_A_DEVICE_LANE_INDEX] = { .type = NLA_U32, },
};

/* Ops table for disagg */
static const struct genl_split_ops disagg_nl_ops[] = {
	{
		.cmd	= DISAGG_CMD_INFO_GET,
		.doit	= disagg_nl_info_get_doit,
		.flags	= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= DISAGG_CMD_NODE_GET,
		.doit		= disagg_nl_node_get_doit,
		.policy		= disagg_node_get_nl_policy,
		.maxattr	= DISAGG_A_NODE_NAME,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= DISAGG_CMD_NODE_GET,
		.dumpit	= disagg_nl_node_get_dumpit,
		.flags	= GENL_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= DISAGG_CMD_NODE_NEW,
		.doit		= disagg_nl_node_new_doit,
		.policy		= disagg_node_new_nl_policy,
		.maxattr	= DISAGG_A_NODE_NAME,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= DISAGG_CMD_NODE_DEL,
		.doit		= disagg_nl_node_del_doit,
		.policy		= disagg_node_del_nl_policy,
		.maxattr	= DISAGG_A_NODE_FORCE,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= DISAGG_CMD_DEVICE_GET,
		.doit		= disagg_nl_device_get_doit,
		.policy		= disagg_device_get_nl_policy,
		.maxattr	= DISAGG_A_DEVICE_NAME,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= DISAGG_CMD_DEVICE_GET,
		.start	= disagg_nl_device_get_start,
		.dumpit	= disagg_nl_device_get_dumpit,
		.flags	= GENL_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= DISAGG_CMD_DEVICE_NEW,
		.doit		= disagg_nl_device_new_doit,
		.policy		= disagg_device_new_nl_policy,
		.maxattr	= DISAGG_A_DEVICE_DEAD_AFTER,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= DISAGG_CMD_DEVICE_SET,
		.doit		= disagg_nl_device_set_doit,
		.policy		= disagg_device_set_nl_policy,
		.maxattr	= DISAGG_A_DEVICE_DEAD_AFTER,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= DISAGG_CMD_DEVICE_DEL,
		.doit		= disagg_nl_device_del_doit,
		.policy		= disagg_device_del_nl_policy,
		.maxattr	= DISAGG_A_DEVICE_FORCE,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= DISAGG_CMD_LATENCY_GET,
		.doit		= disagg_nl_latency_get_doit,
		.policy		= disagg_latency_get_nl_policy,
		.maxattr	= DISAGG_A_DEVICE_LANE_INDEX,
		.flags		= GENL_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
};

static const struct genl_multicast_group disagg_nl_mcgrps[] = {
	[DISAGG_NLGRP_EVENTS] = { "events", },
};

struct genl_family disagg_nl_family __ro_after_init = {
	.name		= DISAGG_FAMILY_NAME,
	.version	= DISAGG_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.split_ops	= disagg_nl_ops,
	.n_split_ops	= ARRAY_SIZE(disagg_nl_ops),
	.mcgrps		= disagg_nl_mcgrps,
	.n_mcgrps	= ARRAY_SIZE(disagg_nl_mcgrps),
};
