// SPDX-License-Identifier: GPL-2.0
/* Loading disagg.ko through libkmod. */
#include <errno.h>
#include <libkmod.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "module.h"

#define MODULE	"disagg"

static int explain(struct dsg_fault *fault, int err)
{
	struct utsname uts = { .release = "?" };

	uname(&uts);
	if (access("/proc/modules", F_OK)) {
		dsg_fault_set(fault, DSG_FAILED, "this kernel (%s) cannot load modules",
			      uts.release);
		return dsg_fault_hint(fault, "boot a kernel of your distribution");
	}
	switch (err) {
	case ENOENT:
		dsg_fault_set(fault, DSG_FAILED, "the module " MODULE
			      " is not installed for kernel %s", uts.release);
		return dsg_fault_hint(fault, "sudo make dkms-install, in disagg's sources");
	case EPERM:
	case EACCES:
		dsg_fault_set(fault, DSG_DENIED, "not allowed to load the module " MODULE);
		return dsg_fault_hint(fault, "run it as root");
	case EKEYREJECTED:
	case ENOKEY:
		dsg_fault_set(fault, DSG_FAILED,
			      "the kernel refuses the module " MODULE ": its signature is unknown");
		return dsg_fault_hint(fault,
				      "enrol DKMS's key (mokutil --import), or switch Secure Boot off");
	case ENOEXEC:
	case EINVAL:
		dsg_fault_set(fault, DSG_FAILED, "the module " MODULE
			      " was built for another kernel than %s", uts.release);
		return dsg_fault_hint(fault, "dkms autoinstall; dmesg says more");
	default:
		dsg_fault_set(fault, DSG_FAILED, "loading the module " MODULE ": %s",
			      strerror(err));
		return dsg_fault_hint(fault, "dmesg says more");
	}
}

static int load(struct dsg_fault *fault)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_module *module = NULL;
	int err;

	if (!ctx)
		return dsg_fault_memory(fault);
	/* Its own complaints would come on stderr, in another form than ours. */
	kmod_set_log_priority(ctx, 0);
	err = kmod_module_new_from_name(ctx, MODULE, &module);
	if (!err)
		err = kmod_module_probe_insert_module(module, 0, NULL, NULL, NULL, NULL);
	kmod_module_unref(module);
	kmod_unref(ctx);
	return err ? explain(fault, err < 0 ? -err : EPERM) : 0;
}

int module_installed(struct dsg_fault *fault)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_module *module = NULL;
	const char *path = NULL;

	if (!ctx)
		return dsg_fault_memory(fault);
	kmod_set_log_priority(ctx, 0);
	if (!kmod_module_new_from_name(ctx, MODULE, &module))
		path = kmod_module_get_path(module);
	kmod_module_unref(module);
	kmod_unref(ctx);
	return path ? 0 : explain(fault, ENOENT);
}

int module_open(struct dsg_netlink **nl, struct dsg_fault *fault)
{
	int err = dsg_netlink_open(nl, fault);

	if (err != DSG_NOT_FOUND)
		return err;
	err = load(fault);
	return err ? err : dsg_netlink_open(nl, fault);
}

int module_open_if_loaded(struct dsg_netlink **nl, struct dsg_fault *fault)
{
	int err = dsg_netlink_open(nl, fault);

	if (err)
		*nl = NULL;
	return err == DSG_NOT_FOUND ? 0 : err;
}
