/* SPDX-License-Identifier: GPL-2.0 */
/* What netlink.c, netlink_parse.c and monitor.c share. */
#ifndef DISAGG_LIB_NETLINK_INTERNAL_H
#define DISAGG_LIB_NETLINK_INTERNAL_H

#include <netlink/msg.h>

#include "netlink.h"

/* Read the attributes of a message of the family; false if it is malformed. */
bool dsg_parse_info(struct nlmsghdr *nlh, struct dsg_module_info *info);
bool dsg_parse_node(struct nlmsghdr *nlh, struct dsg_kernel_node *node);
bool dsg_parse_device(struct nlmsghdr *nlh, struct dsg_kernel_device *device);
bool dsg_parse_latency(struct nlmsghdr *nlh, struct dsg_latency latency[DSG_OPERATIONS]);

/*
 * Name of the attribute at byte @offset of the request @nlh ("device lane fd"),
 * or of attribute @type of @cmd's set; NULL: none.
 */
const char *dsg_attr_name_at(const struct nlmsghdr *nlh, uint32_t offset);
const char *dsg_attr_name(unsigned int cmd, unsigned int type);

#endif /* DISAGG_LIB_NETLINK_INTERNAL_H */
