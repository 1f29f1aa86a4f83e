// SPDX-License-Identifier: GPL-2.0
/* Nodes and devices in words and as JSON. */
#include <string.h>
#include <unistd.h>

#include "describe.h"
#include "size.h"

#define NS_PER_MS	1000000ULL

char *device_path(const char *node, const char *name, const char *disk, char buf[128])
{
	snprintf(buf, 128, "/dev/disagg/%s/%s", node, name);
	if (access(buf, F_OK))
		snprintf(buf, 128, "/dev/%s", disk);
	return buf;
}

static struct json_object *features_array(uint64_t features)
{
	static const char *const names[] = { "crc32c", "discard", "write-zeroes", "fua", "flush" };
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < COUNT(names); i++)
		if (features >> i & 1)
			json_object_array_add(list, json_object_new_string(names[i]));
	return list;
}

static struct json_object *lane_object(const struct dsg_kernel_lane *lane)
{
	struct json_object *o = json_object_new_object();

	put_number(o, "index", lane->index);
	put_string(o, "state", dsg_lane_state_name(lane->state));
	put_string_or_null(o, "peer", lane->peer);
	put_string(o, "security", dsg_lane_security_name(lane->security));
	put_number(o, "requests", lane->requests);
	put_number(o, "replies", lane->replies);
	put_number(o, "stale", lane->stale);
	put_number(o, "connections", lane->generation);
	put_number(o, "replays", lane->replays);
	put_string_or_null(o, "reason", lane->reason);
	put_number(o, "tx_bytes", lane->tx_bytes);
	put_number(o, "rx_bytes", lane->rx_bytes);
	return o;
}

/* Nanoseconds; null: never. */
static void put_timer(struct json_object *o, const char *key, uint32_t ms)
{
	if (ms == DISAGG_NEVER)
		put_value(o, key, NULL);
	else
		put_number(o, key, ms * NS_PER_MS);
}

struct json_object *device_object(const struct dsg_kernel_device *dev)
{
	struct json_object *o = json_object_new_object();
	struct json_object *lanes = json_object_new_array();
	char path[128], lease[DSG_UUID_STRLEN];

	put_string(o, "node", dev->node);
	put_string(o, "name", dev->name);
	put_string(o, "state", dsg_device_state_name(dev->state));
	put_string_or_null(o, "reason", dev->reason);
	put_string(o, "class", dsg_resource_class_name(dev->class));
	put_number(o, "size", dev->size);
	put_number(o, "block_size", dev->block_size);
	put_bool(o, "read_only", dev->flags & DISAGG_DEVICE_FLAGS_READ_ONLY);
	put_string(o, "target", dev->target);
	put_string(o, "resource", dev->resource);
	put_string(o, "lease", dsg_uuid_format(dev->lease, lease));
	put_number(o, "generation", dev->generation);
	put_number(o, "id", dev->id);
	put_string(o, "kind", dsg_device_kind_name(dev->kind));
	put_string(o, "disk", dev->disk);
	put_string(o, "path", device_path(dev->node, dev->name, dev->disk, path));
	put_bool(o, "rotational", dev->flags & DISAGG_DEVICE_FLAGS_ROTATIONAL);
	put_value(o, "features", features_array(dev->features));
	put_number(o, "max_payload", dev->max_payload);
	put_number(o, "max_discard", dev->max_discard);
	put_number(o, "depth", dev->depth);
	put_number(o, "io_timeout_ns", dev->io_timeout_ms * NS_PER_MS);
	put_timer(o, "fail_fast_ns", dev->fail_fast_ms);
	put_timer(o, "dead_after_ns", dev->dead_after_ms);
	put_number(o, "inflight", dev->inflight);
	put_number(o, "openers", dev->openers);
	put_number(o, "read_bytes", dev->read_bytes);
	put_number(o, "write_bytes", dev->write_bytes);
	put_number(o, "errors", dev->errors);
	put_number(o, "created_ns", dev->created);
	for (uint32_t i = 0; i < dev->lane_count; i++)
		json_object_array_add(lanes, lane_object(&dev->lanes[i]));
	put_value(o, "lanes", lanes);
	return o;
}

struct json_object *absent_object(const char *node, const struct dsg_record_device *dev)
{
	struct json_object *o = json_object_new_object();
	char lease[DSG_UUID_STRLEN];

	put_string(o, "node", node);
	put_string(o, "name", dev->name);
	put_string(o, "state", "absent");
	put_value(o, "reason", NULL);
	put_string(o, "class", dsg_class_text(dev->class));
	put_number(o, "size", dev->size);
	put_number(o, "block_size", dev->block_size);
	put_bool(o, "read_only", dev->read_only);
	put_string(o, "target", dev->target.name);
	put_string(o, "resource", dev->resource);
	put_string(o, "lease", dsg_uuid_format(dev->lease, lease));
	put_number(o, "generation", dev->generation);
	return o;
}

size_t node_device_count(const struct host_view *view, const struct node_view *node)
{
	size_t count = 0;

	if (node->managed && !node->damaged)
		return node->record.count;
	for (size_t i = 0; i < view->device_count; i++)
		if (!strcmp(view->devices[i].node, node->name))
			count++;
	return count;
}

uint64_t node_size(const struct host_view *view, const struct node_view *node)
{
	uint64_t size = 0;

	if (node->managed && !node->damaged) {
		for (size_t i = 0; i < node->record.count; i++)
			size += node->record.devices[i].size;
		return size;
	}
	for (size_t i = 0; i < view->device_count; i++)
		if (!strcmp(view->devices[i].node, node->name))
			size += view->devices[i].size;
	return size;
}

/* Call @fn for each target of the node, once. */
static void each_target(const struct host_view *view, const struct node_view *node,
			void (*fn)(const char *name, void *arg), void *arg)
{
	if (node->managed && !node->damaged) {
		for (size_t i = 0; i < node->record.count; i++) {
			const char *name = node->record.devices[i].target.name;
			bool seen = false;

			for (size_t j = 0; j < i && !seen; j++)
				seen = !strcmp(node->record.devices[j].target.name, name);
			if (!seen)
				fn(name, arg);
		}
		return;
	}
	for (size_t i = 0; i < view->device_count; i++) {
		bool seen = !*view->devices[i].target || strcmp(view->devices[i].node, node->name);

		for (size_t j = 0; j < i && !seen; j++)
			seen = !strcmp(view->devices[j].node, node->name) &&
			       !strcmp(view->devices[j].target, view->devices[i].target);
		if (!seen)
			fn(view->devices[i].target, arg);
	}
}

static void add_to_array(const char *name, void *arg)
{
	json_object_array_add(arg, json_object_new_string(name));
}

struct text {
	char *buf;
	size_t size;
};

static void add_to_text(const char *name, void *arg)
{
	struct text *text = arg;
	size_t used = strlen(text->buf);

	snprintf(text->buf + used, text->size - used, "%s%s", used ? ", " : "", name);
}

char *node_targets(const struct host_view *view, const struct node_view *node, char *buf,
		   size_t size)
{
	struct text text = { buf, size };

	buf[0] = '\0';
	each_target(view, node, add_to_text, &text);
	return buf;
}

static struct json_object *devices_array(const struct host_view *view,
					 const struct node_view *node)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < node->record.count; i++) {
		const struct dsg_record_device *dev = &node->record.devices[i];
		const struct dsg_kernel_device *in =
			host_view_device(view, node->name, dev->name);

		json_object_array_add(list, in ? device_object(in) :
						 absent_object(node->name, dev));
	}
	for (size_t i = 0; i < view->device_count; i++) {
		const struct dsg_kernel_device *in = &view->devices[i];
		bool recorded = false;

		if (strcmp(in->node, node->name))
			continue;
		for (size_t j = 0; j < node->record.count && !recorded; j++)
			recorded = !strcmp(node->record.devices[j].name, in->name);
		if (!recorded)
			json_object_array_add(list, device_object(in));
	}
	return list;
}

struct json_object *node_object(const struct host_view *view, const struct node_view *node,
				bool devices)
{
	struct json_object *o = json_object_new_object();
	struct json_object *targets = json_object_new_array();

	put_string(o, "name", node->name);
	put_string(o, "state", node_view_state(view, node));
	put_bool(o, "managed", node->managed);
	put_bool(o, "attached", node->attached);
	put_number(o, "created_ns", node->created_ns);
	put_number(o, "size", node_size(view, node));
	put_number(o, "device_count", node_device_count(view, node));
	each_target(view, node, add_to_array, targets);
	put_value(o, "targets", targets);
	if (devices)
		put_value(o, "devices", devices_array(view, node));
	return o;
}

static void print_device_row(struct table *table, const char *name, const char *state,
			     uint64_t size, const char *target, const char *resource,
			     const char *path)
{
	char text[DSG_SIZE_STRLEN], from[2 * DSG_SIZE_STRLEN + 256];

	snprintf(from, sizeof(from), "%s/%s", target, resource);
	table_row(table, name, state, dsg_size_format(size, text), from, path);
}

void node_print(const struct host_view *view, const struct node_view *node)
{
	struct table table = {
		.headers = { "DEVICE", "STATE", "SIZE", "FROM", "PATH" },
		.right = 1 << 2,
	};
	char when[32], path[128];

	printf("node     %s\n", node->name);
	printf("state    %s\n", node_view_state(view, node));
	if (*time_format(node->created_ns, when))
		printf("created  %s\n", when);
	putchar('\n');
	for (size_t i = 0; i < node->record.count; i++) {
		const struct dsg_record_device *dev = &node->record.devices[i];

		if (!host_view_device(view, node->name, dev->name))
			print_device_row(&table, dev->name, "absent", dev->size, dev->target.name,
					 dev->resource, "");
	}
	for (size_t i = 0; i < view->device_count; i++) {
		const struct dsg_kernel_device *dev = &view->devices[i];

		if (!strcmp(dev->node, node->name))
			print_device_row(&table, dev->name, dsg_device_state_name(dev->state),
					 dev->size, dev->target, dev->resource,
					 device_path(dev->node, dev->name, dev->disk, path));
	}
	table_print(&table);
}
