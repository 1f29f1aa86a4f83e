/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DISAGG_NETLINK_H
#define _DISAGG_NETLINK_H

#include <linux/types.h>

struct disagg_device;
struct disagg_node;

/* Grows when operations or attributes are added. */
#define DISAGG_API_VERSION	3

void disagg_netlink_notify_device(struct disagg_device *dev, u8 cmd);
void disagg_netlink_notify_node(struct disagg_node *node, u8 cmd);
int disagg_netlink_init(void);
void disagg_netlink_exit(void);

#endif /* _DISAGG_NETLINK_H */
