// SPDX-License-Identifier: GPL-2.0
/* disaggctl node delete */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compose.h"
#include "describe.h"
#include "file.h"
#include "holders.h"
#include "registry.h"

#define FORCE_LOCK_NS	(DSG_NSEC_PER_SEC / 2)
#define FORCE_RELEASE_NS (DSG_NSEC_PER_SEC / 2)
#define SETTLE_NS	(2 * DSG_NSEC_PER_SEC)	/* for udev to look at a disk */
#define SETTLE_POLL_NS	50000000

static bool force, all, boot;

const struct option node_delete_options[] = {
	{ .name = "force", .flag = &force,
	  .help = "at once: although in use, and without waiting for targets" },
	{ .name = "all", .flag = &all,
	  .help = "all nodes that disaggctl made; with --force, all nodes" },
	{ .name = "boot", .flag = &boot,
	  .help = "with --all: also those that were attached at boot" },
	{ .name = NULL },
};

/* udev looks at a disk whenever somebody has written to it, and soon lets go. */
static bool is_udev(const struct holder *holder)
{
	return holder->kind == HOLDER_PROCESS &&
	       (strstr(holder->name, "udev") || !strcmp(holder->name, "blkid"));
}

/* All uses of the node's disks; free() the list. */
static void find_holders(struct dsg_netlink *nl, const char *node, struct holder **list,
			 size_t *count)
{
	struct dsg_kernel_device *devices;
	struct dsg_fault ignored;
	size_t n;

	*list = NULL;
	*count = 0;
	if (dsg_netlink_devices(nl, &devices, &n, &ignored))
		return;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(devices[i].node, node) && devices[i].openers)
			holders_find(devices[i].disk, list, count);
	free(devices);
}

/* Leave udev out of the list, unless there is nobody else. */
static bool only_udev(struct holder *list, size_t *count)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count; i++)
		if (!is_udev(&list[i]))
			list[kept++] = list[i];
	if (!kept)
		return true;
	*count = kept;
	return false;
}

static struct json_object *holders_array(const struct holder *list, size_t count)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < count; i++) {
		struct json_object *o = json_object_new_object();

		put_string(o, "kind", holder_kind_name(list[i].kind));
		put_string(o, "disk", list[i].disk);
		put_value(o, "pid", list[i].pid ? json_object_new_int(list[i].pid) : NULL);
		put_string(o, "name", list[i].name);
		json_object_array_add(array, o);
	}
	return array;
}

static int explain_busy(struct cli *cli, const char *node, const struct holder *list,
			size_t count, struct dsg_fault *fault)
{
	const struct holder *mount = NULL, *swap = NULL;

	dsg_fault_set(fault, DSG_CONFLICT, "node %s is in use%s", node, count ? ":" : "");
	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(fault->reason);
		char text[320];

		snprintf(fault->reason + used, sizeof(fault->reason) - used, "\n%s is %s",
			 list[i].disk, holder_text(&list[i], text));
		if (list[i].kind == HOLDER_MOUNT)
			mount = &list[i];
		if (list[i].kind == HOLDER_SWAP)
			swap = &list[i];
	}
	if (!cli->details)
		cli->details = json_object_new_object();
	put_value(cli->details, "holders", holders_array(list, count));
	if (mount)
		return dsg_fault_hint(fault, "umount %s", mount->name);
	if (swap)
		return dsg_fault_hint(fault, "swapoff %s", swap->name);
	return dsg_fault_hint(fault,
			      "end what uses it, or disaggctl node delete --force %s (its I/O fails)",
			      node);
}

int detach_node(struct cli *cli, struct dsg_netlink *nl, const char *node, bool by_force,
		struct dsg_fault *fault)
{
	static const struct timespec pause = { .tv_nsec = SETTLE_POLL_NS };
	uint64_t deadline = dsg_deadline(SETTLE_NS);
	int err;

	for (;;) {
		struct holder *list;
		size_t count;
		bool retry;

		err = dsg_netlink_node_del(nl, node, by_force, fault);
		if (err != DSG_CONFLICT || by_force)
			break;
		find_holders(nl, node, &list, &count);
		retry = only_udev(list, &count) && dsg_now_ns() < deadline;
		if (!retry)
			err = explain_busy(cli, node, list, count, fault);
		free(list);
		if (!retry)
			break;
		nanosleep(&pause, NULL);
	}
	dsg_registry_clean();
	return err == DSG_NOT_FOUND ? 0 : err;
}

/* Give the leases back; under --force a target that is gone is no failure. */
static int release(struct cli *cli, struct dsg_record *record, bool *released,
		   struct dsg_fault *fault)
{
	int err = finish_release(record, force ? FORCE_RELEASE_NS : RELEASE_NS, !force, fault);

	*released = !err;
	if (!err)
		return 0;
	if (force) {
		cli_warn(cli, "node %s is gone from this host, but not all of its leases:\n%s\n"
			 "disaggctl node delete %s finishes it", record->name, fault->reason,
			 record->name);
		return 0;
	}
	dsg_fault_prefix(fault, "node %s is gone from this host, but not all of its leases: ",
			 record->name);
	fault->code = DSG_ROLLBACK_INCOMPLETE;
	return dsg_fault_hint(fault, "once the target answers: disaggctl node delete %s",
			      record->name);
}

/* @released: whether no lease is left; @forgotten: it had a file, which is gone. */
static int delete_node(struct cli *cli, struct dsg_netlink *nl, const char *name,
		       bool *released, bool *forgotten, struct dsg_fault *fault)
{
	struct dsg_kernel_node in_kernel;
	struct dsg_record record = { .count = 0 };
	bool recorded = true;
	int lock, err;

	*released = true;
	*forgotten = false;
	lock = lock_node(name, force ? FORCE_LOCK_NS : LOCK_WAIT_NS, fault);
	if (lock < 0)
		return fault->code;
	err = dsg_record_load(name, &record, fault);
	if (err == DSG_NOT_FOUND) {
		recorded = false;
		err = nl ? dsg_netlink_node(nl, name, &in_kernel, fault) : DSG_NOT_FOUND;
		if (err == DSG_NOT_FOUND && dsg_spec_exists(name)) {
			err = 0;
		} else if (err == DSG_NOT_FOUND) {
			dsg_fault_set(fault, DSG_NOT_FOUND, "there is no node %s", name);
			dsg_fault_hint(fault, "nodes of this host: disaggctl node list");
		}
	}
	progress(cli, "taking node %s apart", name);
	if (!err && nl)
		err = detach_node(cli, nl, name, force, fault);
	/* First of all it must not come back at the next boot. */
	if (!err && dsg_spec_exists(name)) {
		err = dsg_spec_remove(name, fault);
		*forgotten = !err;
	}
	progress(cli, "giving back the leases of node %s", name);
	if (!err && recorded)
		err = release(cli, &record, released, fault);
	dsg_record_free(&record);
	dsg_unlock(lock);
	return err;
}

static void print_deleted(struct cli *cli, struct json_object *list)
{
	size_t count = json_object_array_length(list);
	struct json_object *document;

	if (cli->json) {
		document = json_document();
		put_value(document, "deleted", json_object_get(list));
		json_print(cli, document);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct json_object *name, *forgotten;

		json_object_object_get_ex(json_object_array_get_idx(list, i), "node", &name);
		json_object_object_get_ex(json_object_array_get_idx(list, i), "forgotten",
					  &forgotten);
		printf("node %s deleted%s\n", json_object_get_string(name),
		       json_object_get_boolean(forgotten) ?
		       ", and its file: it will not be attached at boot" : "");
	}
}

static void note_deleted(struct json_object *list, const char *name, bool released,
			 bool forgotten)
{
	struct json_object *o = json_object_new_object();

	put_string(o, "node", name);
	put_bool(o, "leases_released", released);
	put_bool(o, "forgotten", forgotten);
	json_object_array_add(list, o);
}

static bool is_boot_node(const struct host_view *view, const char *name)
{
	if (dsg_spec_exists(name))
		return true;
	for (size_t i = 0; i < view->device_count; i++)
		if (!strcmp(view->devices[i].node, name) &&
		    dsg_registry_is(view->devices[i].disk, OWNER_BOOT))
			return true;
	return false;
}

/* @err of one of many: the first is the command's, the others are warnings. */
static void note_failed(struct cli *cli, int err, struct dsg_fault *one, int *first,
			struct dsg_fault *fault)
{
	if (*first) {
		cli_warn(cli, "%s", one->reason);
		return;
	}
	*fault = *one;
	*first = err;
}

/* Nodes that have a file and have not been made yet: only that can go. */
static int delete_files(struct cli *cli, struct dsg_netlink *nl, const struct host_view *view,
			struct json_object *list, int first, struct dsg_fault *fault)
{
	struct dsg_fault one = { .code = DSG_OK };
	bool released, forgotten;
	char **names;
	size_t count;
	int err;

	err = dsg_spec_names(&names, &count, &one);
	if (err) {
		note_failed(cli, err, &one, &first, fault);
		return first;
	}
	for (size_t i = 0; i < count; i++) {
		if (host_view_find(view, names[i]))
			continue;
		err = delete_node(cli, nl, names[i], &released, &forgotten, &one);
		if (!err)
			note_deleted(list, names[i], released, forgotten);
		else if (err != DSG_NOT_FOUND)
			note_failed(cli, err, &one, &first, fault);
	}
	dsg_names_free(names, count);
	return first;
}

static int delete_all(struct cli *cli, struct dsg_netlink *nl, struct json_object *list,
		      struct dsg_fault *fault)
{
	struct host_view view;
	int first;

	first = host_view_load(cli, nl, &view, fault);
	if (first)
		return first;
	for (size_t i = 0; i < view.node_count; i++) {
		const char *name = view.nodes[i].name;
		struct dsg_fault one = { .code = DSG_OK };
		bool released, forgotten;
		int err;

		if (!boot && is_boot_node(&view, name)) {
			cli_warn(cli, "node %s is attached at boot, and stays (--boot)", name);
			continue;
		}
		if (!view.nodes[i].managed && !force) {
			cli_warn(cli, "node %s was not made by disaggctl, and stays", name);
			continue;
		}
		err = delete_node(cli, nl, name, &released, &forgotten, &one);
		if (!err) {
			note_deleted(list, name, released, forgotten);
		} else if (err != DSG_NOT_FOUND) {	/* somebody else was faster */
			note_failed(cli, err, &one, &first, fault);
		}
	}
	if (boot)
		first = delete_files(cli, nl, &view, list, first, fault);
	host_view_free(&view);
	return first;
}

int node_delete(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct json_object *list;
	struct dsg_netlink *nl;
	bool released, forgotten;
	int err;

	if (boot && !all) {
		dsg_fault_set(fault, DSG_USAGE, "--boot goes with --all");
		return dsg_fault_hint(fault, "a NAME is deleted whoever attached it");
	}
	if ((argc == 1) == all) {
		dsg_fault_set(fault, DSG_USAGE, argc ? "--all and a NAME exclude each other" :
						       "which node?");
		return dsg_fault_hint(fault, "disaggctl node delete NAME, or --all");
	}
	if (argc && !dsg_name_ok(argv[0]))
		return dsg_fault_set(fault, DSG_NOT_FOUND, "there is no node %s", argv[0]);
	err = module_open_if_loaded(&nl, fault);
	if (err)
		return err;
	list = json_object_new_array();
	if (all) {
		err = delete_all(cli, nl, list, fault);
	} else {
		err = delete_node(cli, nl, argv[0], &released, &forgotten, fault);
		if (!err)
			note_deleted(list, argv[0], released, forgotten);
	}
	dsg_netlink_close(nl);
	if (!err || json_object_array_length(list))
		print_deleted(cli, list);
	json_object_put(list);
	return err;
}
