// SPDX-License-Identifier: GPL-2.0
/* Node records as JSON files: nodes/NAME.json below the state folder. */
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/disagg_netlink.h>

#include "file.h"
#include "record.h"

#define RECORD_MAX	(1 << 20)	/* bytes of a record */
#define SCHEMA		1

static const char *const state_names[] = { "creating", "up", "releasing" };
static const char *const step_names[] = { "asked", "reserved", "committed", "released" };

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

const char *dsg_record_state_name(enum dsg_record_state state)
{
	return state_names[state];
}

static void record_path(const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/nodes/%s.json", dsg_statedir(), name);
}

static struct json_object *hex_object(const uint8_t *data, size_t len)
{
	char text[2 * DISAGG_WIRE_KEY_LEN + 1];

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", data[i]);
	return json_object_new_string(text);
}

static struct json_object *uuid_object(const uint8_t *uuid)
{
	char text[DSG_UUID_STRLEN];

	return json_object_new_string(dsg_uuid_format(uuid, text));
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static struct json_object *device_object(const struct dsg_record_device *dev)
{
	struct json_object *o = json_object_new_object();

	add_string(o, "name", dev->name);
	add_string(o, "class", dsg_class_text(dev->class));
	add_number(o, "size", dev->size);
	add_number(o, "block_size", dev->block_size);
	add_string(o, "target", dev->target.name);
	add_string(o, "host", dev->target.host);
	add_number(o, "port", dev->target.port);
	json_object_object_add(o, "tls", json_object_new_boolean(
		dev->target.recorded ? dev->target.tls :
				       dev->target.keys.security != DSG_PLAIN));
	add_string(o, "resource", dev->resource);
	add_string(o, "step", step_names[dev->step]);
	json_object_object_add(o, "txid", uuid_object(dev->txid));
	json_object_object_add(o, "lease", uuid_object(dev->lease));
	add_number(o, "generation", dev->generation);
	json_object_object_add(o, "token", hex_object(dev->token, sizeof(dev->token)));
	add_number(o, "max_lanes", dev->max_lanes);
	add_number(o, "lanes", dev->lanes);
	add_number(o, "depth", dev->depth);
	add_number(o, "io_timeout_ms", dev->io_timeout_ms);
	add_number(o, "fail_fast_ms", dev->fail_fast_ms);
	add_number(o, "dead_after_ms", dev->dead_after_ms);
	json_object_object_add(o, "dead_after_set", json_object_new_boolean(dev->dead_after_set));
	add_number(o, "epoch", dev->epoch);
	add_number(o, "lease_ns", dev->lease_ns);
	json_object_object_add(o, "read_only", json_object_new_boolean(dev->read_only));
	json_object_object_add(o, "crc", json_object_new_boolean(dev->crc));
	return o;
}

int dsg_record_save(const struct dsg_record *record, struct dsg_fault *fault)
{
	struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();
	char path[PATH_MAX];
	const char *text;
	int err;

	add_number(o, "schema", SCHEMA);
	add_string(o, "name", record->name);
	add_string(o, "state", state_names[record->state]);
	add_number(o, "pid", (uint64_t)record->pid);
	add_number(o, "created_ns", record->created_ns);
	json_object_object_add(o, "devices", list);
	for (size_t i = 0; i < record->count; i++)
		json_object_array_add(list, device_object(&record->devices[i]));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY);
	record_path(record->name, path);
	err = dsg_file_write(path, text, strlen(text), 0600, 0700, fault);
	json_object_put(o);
	return err;
}

/* Readers of one field: false if it is missing or of another type. */

static bool get_number(struct json_object *o, const char *key, uint64_t max, uint64_t *value)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int) ||
	    json_object_get_int64(v) < 0)
		return false;
	*value = json_object_get_uint64(v);
	return *value <= max;
}

static bool get_u32(struct json_object *o, const char *key, uint32_t *value)
{
	uint64_t wide;

	if (!get_number(o, key, UINT32_MAX, &wide))
		return false;
	*value = (uint32_t)wide;
	return true;
}

static bool get_bool(struct json_object *o, const char *key, bool *value)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, json_type_boolean))
		return false;
	*value = json_object_get_boolean(v);
	return true;
}

static const char *get_text(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
		return NULL;
	return json_object_get_string(v);
}

static bool get_string(struct json_object *o, const char *key, char *buf, size_t size)
{
	const char *text = get_text(o, key);

	return text && snprintf(buf, size, "%s", text) < (int)size;
}

static bool get_name(struct json_object *o, const char *key, char buf[DISAGG_WIRE_NAME_LEN])
{
	return get_string(o, key, buf, DISAGG_WIRE_NAME_LEN) && dsg_name_ok(buf);
}

static bool get_uuid(struct json_object *o, const char *key, uint8_t *uuid)
{
	const char *text = get_text(o, key);

	return text && !dsg_uuid_parse(text, uuid);
}

static bool get_hex(struct json_object *o, const char *key, uint8_t *data, size_t len)
{
	const char *text = get_text(o, key);

	if (!text || strlen(text) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned int byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		data[i] = (uint8_t)byte;
	}
	return true;
}

static bool get_word(struct json_object *o, const char *key, const char *const *words,
		     size_t count, unsigned int *value)
{
	const char *text = get_text(o, key);

	for (size_t i = 0; text && i < count; i++) {
		if (!strcmp(text, words[i])) {
			*value = (unsigned int)i;
			return true;
		}
	}
	return false;
}

static bool get_class(struct json_object *o, uint32_t *class)
{
	const char *text = get_text(o, "class");

	for (*class = DISAGG_WIRE_CLASS_MEMORY; *class <= DISAGG_WIRE_CLASS_GPU; ++*class)
		if (text && !strcmp(text, dsg_class_text(*class)))
			return true;
	return false;
}

/* Name of the first field that is wrong, or NULL. */
static const char *parse_device(struct json_object *o, struct dsg_record_device *dev)
{
	unsigned int step = 0;
	uint64_t port = 0;

#define NEED(get, key) do { if (!(get)) return key; } while (0)
	NEED(get_name(o, "name", dev->name), "name");
	NEED(get_class(o, &dev->class), "class");
	NEED(get_number(o, "size", UINT64_MAX, &dev->size), "size");
	NEED(get_u32(o, "block_size", &dev->block_size), "block_size");
	NEED(get_name(o, "target", dev->target.name), "target");
	NEED(get_string(o, "host", dev->target.host, DSG_HOST_LEN), "host");
	NEED(get_number(o, "port", UINT16_MAX, &port), "port");
	NEED(get_name(o, "resource", dev->resource), "resource");
	NEED(get_word(o, "step", step_names, COUNT(step_names), &step), "step");
	NEED(get_uuid(o, "txid", dev->txid), "txid");
	NEED(get_uuid(o, "lease", dev->lease), "lease");
	NEED(get_number(o, "generation", UINT64_MAX, &dev->generation), "generation");
	NEED(get_hex(o, "token", dev->token, sizeof(dev->token)), "token");
	NEED(get_u32(o, "max_lanes", &dev->max_lanes), "max_lanes");
	NEED(get_u32(o, "lanes", &dev->lanes), "lanes");
	NEED(get_u32(o, "depth", &dev->depth), "depth");
	NEED(get_u32(o, "io_timeout_ms", &dev->io_timeout_ms), "io_timeout_ms");
	/* Older records have none of these, and mean this. */
	dev->fail_fast_ms = DISAGG_NEVER;
	dev->dead_after_ms = 0;
	get_u32(o, "fail_fast_ms", &dev->fail_fast_ms);
	get_u32(o, "dead_after_ms", &dev->dead_after_ms);
	dev->dead_after_set = dev->dead_after_ms && dev->dead_after_ms != DISAGG_NEVER;
	get_bool(o, "dead_after_set", &dev->dead_after_set);
	get_number(o, "epoch", UINT64_MAX, &dev->epoch);
	NEED(get_number(o, "lease_ns", UINT64_MAX, &dev->lease_ns), "lease_ns");
	NEED(get_bool(o, "read_only", &dev->read_only), "read_only");
	NEED(get_bool(o, "crc", &dev->crc), "crc");
#undef NEED
	get_bool(o, "tls", &dev->target.tls);
	dev->target.recorded = true;
	dev->target.port = (uint16_t)port;
	dev->step = (enum dsg_lease_step)step;
	return NULL;
}

static const char *parse_record(struct json_object *o, const char *name,
				struct dsg_record *record)
{
	struct json_object *list;
	unsigned int state = 0;
	uint64_t value;

	if (!get_number(o, "schema", SCHEMA, &value) || value != SCHEMA)
		return "schema";
	if (!get_name(o, "name", record->name) || strcmp(record->name, name))
		return "name";
	if (!get_word(o, "state", state_names, COUNT(state_names), &state))
		return "state";
	record->state = (enum dsg_record_state)state;
	if (!get_number(o, "pid", INT_MAX, &value))
		return "pid";
	record->pid = (pid_t)value;
	if (!get_number(o, "created_ns", UINT64_MAX, &record->created_ns))
		return "created_ns";
	if (!json_object_object_get_ex(o, "devices", &list) ||
	    !json_object_is_type(list, json_type_array))
		return "devices";
	record->count = json_object_array_length(list);
	record->devices = calloc(record->count + 1, sizeof(*record->devices));
	if (!record->devices)
		return "devices";
	for (size_t i = 0; i < record->count; i++) {
		const char *bad = parse_device(json_object_array_get_idx(list, i),
					       &record->devices[i]);

		if (bad)
			return bad;
	}
	return NULL;
}

int dsg_record_load(const char *name, struct dsg_record *record, struct dsg_fault *fault)
{
	struct json_object *o;
	const char *bad = "JSON";
	char path[PATH_MAX];
	size_t len;
	char *text;
	int err;

	memset(record, 0, sizeof(*record));
	record_path(name, path);
	err = dsg_file_read(path, RECORD_MAX, &text, &len, fault);
	if (err)
		return err;
	o = json_tokener_parse(text);
	if (o)
		bad = parse_record(o, name, record);
	json_object_put(o);
	explicit_bzero(text, len);
	free(text);
	if (!bad)
		return 0;
	dsg_record_free(record);
	dsg_fault_set(fault, DSG_FAILED, "the record %s is damaged (%s)", path, bad);
	return dsg_fault_hint(fault,
			      "restore it from a backup, or remove it once its leases have ended");
}

int dsg_record_remove(const char *name, struct dsg_fault *fault)
{
	char path[PATH_MAX];

	record_path(name, path);
	return dsg_file_remove(path, fault);
}

int dsg_record_names(char ***names, size_t *count, struct dsg_fault *fault)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/nodes", dsg_statedir());
	return dsg_file_names(dir, ".json", names, count, fault);
}

void dsg_record_free(struct dsg_record *record)
{
	if (record->devices)
		explicit_bzero(record->devices, record->count * sizeof(*record->devices));
	free(record->devices);
	record->devices = NULL;
	record->count = 0;
}
