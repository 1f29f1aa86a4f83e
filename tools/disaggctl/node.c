// SPDX-License-Identifier: GPL-2.0
/* disaggctl node list | show */
#include "describe.h"
#include "size.h"

/* Look at the host, with the module if it is loaded. */
static int look(struct cli *cli, struct host_view *view, struct dsg_fault *fault)
{
	struct dsg_netlink *nl;
	int err = module_open_if_loaded(&nl, fault);

	if (!err)
		err = host_view_load(cli, nl, view, fault);
	dsg_netlink_close(nl);
	return err;
}

int node_list(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct table table = {
		.headers = { "NODE", "STATE", "DEVICES", "SIZE", "TARGETS", "CREATED" },
		.right = 1 << 2 | 1 << 3,
	};
	struct host_view view;
	int err;

	(void)argc;
	(void)argv;
	err = look(cli, &view, fault);
	if (err)
		return err;
	if (cli->json) {
		struct json_object *document = json_document();
		struct json_object *list = json_object_new_array();

		for (size_t i = 0; i < view.node_count; i++)
			json_object_array_add(list, node_object(&view, &view.nodes[i], false));
		put_value(document, "nodes", list);
		json_print(cli, document);
	} else {
		for (size_t i = 0; i < view.node_count; i++) {
			const struct node_view *node = &view.nodes[i];
			char devices[16], size[DSG_SIZE_STRLEN], targets[256], when[32];

			snprintf(devices, sizeof(devices), "%zu",
				 node_device_count(&view, node));
			table_row(&table, node->name, node_view_state(&view, node), devices,
				  dsg_size_format(node_size(&view, node), size),
				  node_targets(&view, node, targets, sizeof(targets)),
				  time_format(node->created_ns, when));
		}
		table_print(&table);
	}
	host_view_free(&view);
	return 0;
}

int node_show(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	const struct node_view *node;
	struct host_view view;
	int err;

	(void)argc;
	err = look(cli, &view, fault);
	if (err)
		return err;
	node = host_view_find(&view, argv[0]);
	if (!node) {
		err = dsg_fault_set(fault, DSG_NOT_FOUND, "there is no node %s", argv[0]);
		dsg_fault_hint(fault, "nodes of this host: disaggctl node list");
	} else if (cli->json) {
		struct json_object *document = json_document();

		put_value(document, "node", node_object(&view, node, true));
		json_print(cli, document);
	} else {
		node_print(&view, node);
	}
	host_view_free(&view);
	return err;
}
