// SPDX-License-Identifier: GPL-2.0
/* disagg: GPUs, memory and storage of other machines as local devices. */
#include <linux/module.h>

#include "device.h"
#include "link.h"
#include "netlink.h"
#include "node.h"

static int __init disagg_init(void)
{
	int err;

	err = disagg_link_init();
	if (err)
		return err;
	err = disagg_devices_init();
	if (err)
		goto err_link;
	err = disagg_netlink_init();
	if (err)
		goto err_devices;
	return 0;

err_devices:
	disagg_devices_exit();
err_link:
	disagg_link_exit();
	return err;
}

static void __exit disagg_exit(void)
{
	disagg_netlink_exit();
	disagg_devices_exit();
	disagg_nodes_exit();
	disagg_link_exit();
}

module_init(disagg_init);
module_exit(disagg_exit);

MODULE_DESCRIPTION("Remote memory, storage and GPUs as local devices");
MODULE_AUTHOR("The disagg authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(DISAGG_VERSION);
MODULE_ALIAS_GENL_FAMILY("disagg");
