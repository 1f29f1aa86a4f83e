/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	Documentation/netlink/specs/disagg.yaml */
/* YNL-GEN kernel header */
/* To regenerate run: tools/net/ynl/ynl-regen.sh */

#ifndef _LINUX_DISAGG_GEN_H
#define _LINUX_DISAGG_GEN_H

#include <net/netlink.h>
#include <net/genetlink.h>

#include <uapi/linux/disagg_netlink.h>

/* Common nested types */
extern const struct nla_policy disagg_lane_nl_policy[DISAGG_A_LANE_SECURITY + 1];

int disagg_nl_device_get_start(struct netlink_callback *cb);

int disagg_nl_info_get_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_node_get_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_node_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb);
int disagg_nl_node_new_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_node_del_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_device_get_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_device_get_dumpit(struct sk_buff *skb,
				struct netlink_callback *cb);
int disagg_nl_device_new_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_device_set_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_device_del_doit(struct sk_buff *skb, struct genl_info *info);
int disagg_nl_latency_get_doit(struct sk_buff *skb, struct genl_info *info);

enum {
	DISAGG_NLGRP_EVENTS,
};

extern struct genl_family disagg_nl_family;

#endif /* _LINUX_DISAGG_GEN_H */
