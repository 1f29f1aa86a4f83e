/* SPDX-License-Identifier: GPL-2.0 */
/* disagg.ko: is it there, and if not, load it. */
#ifndef DISAGGCTL_MODULE_H
#define DISAGGCTL_MODULE_H

#include "cli.h"
#include "netlink.h"

/* Connect to the module, loading it if it isn't loaded. */
int module_open(struct dsg_netlink **nl, struct dsg_fault *fault);
/* Connect if it is loaded; else *@nl is NULL, and that is no failure. */
int module_open_if_loaded(struct dsg_netlink **nl, struct dsg_fault *fault);
/* Whether it could be loaded: 0, or DSG_FAILED and the remedy. */
int module_installed(struct dsg_fault *fault);

#endif /* DISAGGCTL_MODULE_H */
