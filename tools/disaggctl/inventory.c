// SPDX-License-Identifier: GPL-2.0
/* disaggctl resource list, disaggctl lease list */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "inventory.h"
#include "output.h"
#include "size.h"

static const char *only_target, *only_class;

const struct option resource_list_options[] = {
	{ .name = "target", .arg = "TARGET", .text = &only_target, .help = "of this target only" },
	{ .name = "class", .arg = "CLASS", .text = &only_class,
	  .help = "of this class only: memory, storage or gpu" },
	{ .name = NULL },
};

const struct option lease_list_options[] = {
	{ .name = "target", .arg = "TARGET", .text = &only_target, .help = "of this target only" },
	{ .name = NULL },
};

int inventory_ask(struct cli *cli, const char *name, enum dsg_probe_what what,
		  struct dsg_probe **probes, size_t *count, struct dsg_fault *fault)
{
	struct dsg_target *targets;
	int err;

	*probes = NULL;
	*count = 0;
	if (name) {
		targets = calloc(1, sizeof(*targets));
		if (!targets)
			return dsg_fault_memory(fault);
		*count = 1;
		if (dsg_name_ok(name)) {
			err = dsg_target_load(name, targets, fault);
		} else {
			err = dsg_fault_set(fault, DSG_NOT_FOUND, "there is no target %s", name);
			dsg_fault_hint(fault, "known targets: disaggctl target list");
		}
	} else {
		err = dsg_targets_load(&targets, count, fault);
		if (err)
			return err;
	}
	if (!err) {
		progress(cli, "waiting for targets");
		err = dsg_probe_targets(targets, *count, what, DSG_PROBE_NS, probes, fault);
	}
	free(targets);
	if (!err && name && (*probes)->fault.code) {
		*fault = (*probes)->fault;
		err = fault->code;
		dsg_probes_free(*probes, *count);
	}
	if (err) {
		*probes = NULL;
		*count = 0;
	}
	return err;
}

int inventory_complete(const struct dsg_probe *probes, size_t count, const char *what,
		       struct dsg_fault *fault)
{
	size_t missing = 0;

	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(fault->reason);

		if (!probes[i].fault.code)
			continue;
		if (!missing++)
			*fault = probes[i].fault;
		else
			snprintf(fault->reason + used, sizeof(fault->reason) - used, "\n%s",
				 probes[i].fault.reason);
	}
	if (!missing)
		return 0;
	dsg_fault_prefix(fault, "%s of %zu of %zu targets are missing:\n", what, missing, count);
	return fault->code;
}

static struct json_object *resource_object(const char *target,
					   const struct disagg_wire_resource *res)
{
	struct json_object *o = json_object_new_object();

	put_string(o, "target", target);
	put_string(o, "id", res->id);
	put_string(o, "class", dsg_class_text(le32toh(res->class)));
	put_number(o, "capacity", le64toh(res->capacity));
	put_number(o, "available", le64toh(res->available));
	put_number(o, "largest", le64toh(res->largest));
	put_number(o, "leases", le32toh(res->leases));
	put_number(o, "block_size", le32toh(res->block_size));
	put_bool(o, "read_only", le32toh(res->attrs) & DISAGG_WIRE_ATTR_READ_ONLY);
	put_bool(o, "rotational", le32toh(res->attrs) & DISAGG_WIRE_ATTR_ROTATIONAL);
	put_string(o, "model", res->model);
	return o;
}

static void resource_row(struct table *table, const char *target,
			 const struct disagg_wire_resource *res)
{
	char capacity[DSG_SIZE_STRLEN], available[DSG_SIZE_STRLEN], largest[DSG_SIZE_STRLEN];
	char leases[16];

	snprintf(leases, sizeof(leases), "%u", le32toh(res->leases));
	table_row(table, target, res->id, dsg_class_text(le32toh(res->class)),
		  dsg_size_format(le64toh(res->capacity), capacity),
		  dsg_size_format(le64toh(res->available), available),
		  dsg_size_format(le64toh(res->largest), largest), leases, res->model);
}

int resource_list(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct table table = {
		.headers = { "TARGET", "ID", "CLASS", "CAPACITY", "AVAILABLE", "LARGEST", "LEASES",
			     "MODEL" },
		.right = 0x78,
	};
	static const char *const classes[] = { "memory", "storage", "gpu" };
	struct json_object *list;
	struct dsg_probe *probes;
	size_t count;
	bool known = !only_class;
	int err;

	(void)argc;
	(void)argv;
	for (size_t i = 0; i < COUNT(classes) && !known; i++)
		known = !strcmp(only_class, classes[i]);
	if (!known) {
		dsg_fault_set(fault, DSG_USAGE, "there is no class %s", only_class);
		return dsg_fault_hint(fault, "memory, storage or gpu");
	}
	err = inventory_ask(cli, only_target, DSG_PROBE_INVENTORY, &probes, &count, fault);
	if (err)
		return err;
	list = json_object_new_array();
	for (size_t t = 0; t < count; t++) {
		for (size_t i = 0; i < probes[t].count; i++) {
			const struct disagg_wire_resource *res = &probes[t].resources[i];

			if (only_class &&
			    strcmp(only_class, dsg_class_text(le32toh(res->class))))
				continue;
			if (cli->json)
				json_object_array_add(list,
						      resource_object(probes[t].target.name, res));
			else
				resource_row(&table, probes[t].target.name, res);
		}
	}
	if (cli->json) {
		struct json_object *document = json_document();

		put_value(document, "resources", json_object_get(list));
		json_print(cli, document);
	} else {
		table_print(&table);
	}
	json_object_put(list);
	err = inventory_complete(probes, count, "resources", fault);
	dsg_probes_free(probes, count);
	return err;
}

static const char *lease_state(uint32_t state)
{
	switch (state) {
	case DISAGG_WIRE_LEASE_RESERVED:
		return "reserved";
	case DISAGG_WIRE_LEASE_COMMITTED:
		return "committed";
	case DISAGG_WIRE_LEASE_ENDING:
		return "ending";
	default:
		return "unknown";
	}
}

static struct json_object *lease_object(const char *target,
					const struct disagg_wire_lease_info *lease)
{
	struct json_object *o = json_object_new_object();
	uint64_t expires = le64toh(lease->expires_ns);
	char id[DSG_UUID_STRLEN];

	put_string(o, "target", target);
	put_string(o, "lease", dsg_uuid_format(lease->lease, id));
	put_number(o, "generation", le64toh(lease->generation));
	put_string(o, "class", dsg_class_text(le32toh(lease->class)));
	put_string(o, "state", lease_state(le32toh(lease->state)));
	put_number(o, "size", le64toh(lease->size));
	put_value(o, "expires_in_ns", expires ? json_object_new_uint64(expires) : NULL);
	put_string(o, "resource", lease->resource);
	put_string(o, "host", lease->host);
	put_string(o, "node", lease->node);
	put_string(o, "device", lease->device);
	put_number(o, "lanes", le32toh(lease->lanes));
	put_number(o, "read_bytes", le64toh(lease->read_bytes));
	put_number(o, "written_bytes", le64toh(lease->written_bytes));
	return o;
}

static void lease_row(struct table *table, const char *target,
		      const struct disagg_wire_lease_info *lease)
{
	char device[2 * DISAGG_WIRE_NAME_LEN + 1], size[DSG_SIZE_STRLEN], lanes[16];
	char ends[DSG_SIZE_STRLEN] = "", id[DSG_UUID_STRLEN];

	snprintf(device, sizeof(device), "%s/%s", lease->node, lease->device);
	snprintf(lanes, sizeof(lanes), "%u", le32toh(lease->lanes));
	if (lease->expires_ns)
		dsg_duration_format(le64toh(lease->expires_ns), ends);
	dsg_uuid_format(lease->lease, id);
	id[8] = '\0';
	table_row(table, target, id, lease->resource, lease_state(le32toh(lease->state)),
		  dsg_size_format(le64toh(lease->size), size), lease->host, device, lanes, ends);
}

int lease_list(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct table table = {
		.headers = { "TARGET", "LEASE", "RESOURCE", "STATE", "SIZE", "HOST", "DEVICE",
			     "LANES", "ENDS IN" },
		.right = 1 << 4 | 1 << 7 | 1 << 8,
	};
	struct json_object *list;
	struct dsg_probe *probes;
	size_t count;
	int err;

	(void)argc;
	(void)argv;
	err = inventory_ask(cli, only_target, DSG_PROBE_LEASES, &probes, &count, fault);
	if (err)
		return err;
	list = json_object_new_array();
	for (size_t t = 0; t < count; t++) {
		for (size_t i = 0; i < probes[t].count; i++) {
			const struct disagg_wire_lease_info *lease = &probes[t].leases[i];

			if (cli->json)
				json_object_array_add(list,
						      lease_object(probes[t].target.name, lease));
			else
				lease_row(&table, probes[t].target.name, lease);
		}
	}
	if (cli->json) {
		struct json_object *document = json_document();

		put_value(document, "leases", json_object_get(list));
		json_print(cli, document);
	} else {
		table_print(&table);
	}
	json_object_put(list);
	err = inventory_complete(probes, count, "leases", fault);
	dsg_probes_free(probes, count);
	return err;
}
