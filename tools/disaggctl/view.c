// SPDX-License-Identifier: GPL-2.0
/* Records and the module's state, put together. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "view.h"

bool record_in_progress(const struct dsg_record *record)
{
	struct dsg_fault ignored;
	char path[64];
	char *comm;
	bool same;

	if (record->state != DSG_RECORD_CREATING || record->pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/comm", record->pid);
	if (dsg_file_read(path, 64, &comm, NULL, &ignored))
		return false;
	same = !strcmp(comm, "disaggctl\n");
	free(comm);
	return same;
}

static struct node_view *add_node(struct host_view *view, const char *name)
{
	struct node_view *more;

	for (size_t i = 0; i < view->node_count; i++)
		if (!strcmp(view->nodes[i].name, name))
			return &view->nodes[i];
	more = realloc(view->nodes, (view->node_count + 1) * sizeof(*more));
	if (!more)
		return NULL;
	view->nodes = more;
	more += view->node_count++;
	memset(more, 0, sizeof(*more));
	snprintf(more->name, sizeof(more->name), "%s", name);
	return more;
}

static int load_records(struct cli *cli, struct host_view *view, struct dsg_fault *fault)
{
	char **names;
	size_t count;
	int err;

	err = dsg_record_names(&names, &count, fault);
	for (size_t i = 0; i < count && !err; i++) {
		struct dsg_record record;
		struct node_view *node;

		err = dsg_record_load(names[i], &record, fault);
		if (err == DSG_NOT_FOUND) {
			err = 0;	/* deleted just now */
			continue;
		}
		if (err == DSG_DENIED)
			break;
		node = add_node(view, names[i]);
		if (!node) {
			dsg_record_free(&record);
			err = dsg_fault_memory(fault);
			break;
		}
		node->managed = true;
		node->damaged = err;
		if (err)
			cli_warn(cli, "%s", fault->reason);
		err = 0;
		node->record = record;
		node->created_ns = record.created_ns;
	}
	dsg_names_free(names, count);
	return err;
}

static int load_kernel(struct dsg_netlink *nl, struct host_view *view, struct dsg_fault *fault)
{
	struct dsg_kernel_node *nodes;
	size_t count;
	int err;

	err = dsg_netlink_nodes(nl, &nodes, &count, fault);
	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		struct node_view *node = add_node(view, nodes[i].name);

		if (!node) {
			err = dsg_fault_memory(fault);
			break;
		}
		node->attached = true;
		if (!node->created_ns)
			node->created_ns = nodes[i].created;
	}
	free(nodes);
	if (!err)
		err = dsg_netlink_devices(nl, &view->devices, &view->device_count, fault);
	return err;
}

static int compare_nodes(const void *a, const void *b)
{
	return strcmp(((const struct node_view *)a)->name, ((const struct node_view *)b)->name);
}

static int compare_devices(const void *a, const void *b)
{
	const struct dsg_kernel_device *x = a, *y = b;
	int order = strcmp(x->node, y->node);

	return order ? order : strcmp(x->name, y->name);
}

int host_view_load(struct cli *cli, struct dsg_netlink *nl, struct host_view *view,
		   struct dsg_fault *fault)
{
	int err;

	memset(view, 0, sizeof(*view));
	err = load_records(cli, view, fault);
	if (!err && nl)
		err = load_kernel(nl, view, fault);
	if (err) {
		host_view_free(view);
		return err;
	}
	if (view->node_count)
		qsort(view->nodes, view->node_count, sizeof(*view->nodes), compare_nodes);
	if (view->device_count)
		qsort(view->devices, view->device_count, sizeof(*view->devices),
		      compare_devices);
	return 0;
}

void host_view_free(struct host_view *view)
{
	for (size_t i = 0; i < view->node_count; i++)
		dsg_record_free(&view->nodes[i].record);
	free(view->nodes);
	free(view->devices);
	memset(view, 0, sizeof(*view));
}

const struct node_view *host_view_find(const struct host_view *view, const char *name)
{
	for (size_t i = 0; i < view->node_count; i++)
		if (!strcmp(view->nodes[i].name, name))
			return &view->nodes[i];
	return NULL;
}

const struct dsg_kernel_device *host_view_device(const struct host_view *view,
						 const char *node, const char *name)
{
	for (size_t i = 0; i < view->device_count; i++)
		if (!strcmp(view->devices[i].node, node) && !strcmp(view->devices[i].name, name))
			return &view->devices[i];
	return NULL;
}

const char *node_view_state(const struct host_view *view, const struct node_view *node)
{
	if (!node->managed)
		return "unmanaged";
	if (node->damaged)
		return "damaged";
	if (node->record.state == DSG_RECORD_CREATING)
		return record_in_progress(&node->record) ? "creating" : "incomplete";
	if (node->record.state == DSG_RECORD_RELEASING)
		return "releasing";
	if (!node->attached)
		return "detached";
	for (size_t i = 0; i < node->record.count; i++) {
		const struct dsg_kernel_device *dev =
			host_view_device(view, node->name, node->record.devices[i].name);

		if (!dev || dev->state != DISAGG_DEVICE_STATE_LIVE)
			return "degraded";
	}
	return "up";
}
