// SPDX-License-Identifier: GPL-2.0
/* Node files (nodes.d/NAME.yaml), read strictly and written. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include <linux/disagg_netlink.h>

#include "file.h"
#include "size.h"
#include "spec.h"

#define SPEC_MAX	65536	/* bytes of a file */
#define NS_PER_MS	1000000ULL
#define KEYS_MAX	16	/* of one mapping */
#define COUNT(array)	(sizeof(array) / sizeof(*(array)))

void dsg_spec_init(struct dsg_spec *spec, const char *name)
{
	memset(spec, 0, sizeof(*spec));
	snprintf(spec->name, sizeof(spec->name), "%s", name);
	spec->depth = DSG_SPEC_DEPTH;
	spec->block_size = DSG_SPEC_BLOCK_SIZE;
	spec->io_timeout_ms = DSG_SPEC_IO_TIMEOUT_MS;
	spec->fail_fast_ms = DISAGG_NEVER;
	spec->dead_after_ms = DISAGG_NEVER;
}

void dsg_spec_of_record(const struct dsg_record *record, struct dsg_spec *spec)
{
	const struct dsg_record_device *dev = record->devices;

	dsg_spec_init(spec, record->name);
	if (!record->count)
		return;
	spec->lanes = dev->lanes;
	spec->depth = dev->depth;
	spec->block_size = dev->block_size;
	spec->io_timeout_ms = dev->io_timeout_ms;
	spec->fail_fast_ms = dev->fail_fast_ms;
	spec->dead_after_ms = dev->dead_after_ms;
	spec->dead_after_set = dev->dead_after_set;
	spec->lease_ns = dev->lease_ns;
	spec->read_only = dev->read_only;
	spec->crc = dev->crc;
	for (size_t i = 0; i < record->count && i < DSG_PLAN_WANTS_MAX; i++) {
		struct dsg_spec_device *to = &spec->devices[spec->count++];

		memcpy(to->name, record->devices[i].name, sizeof(to->name));
		to->class = record->devices[i].class;
		to->size = record->devices[i].size;
	}
}

char *dsg_spec_path(const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/nodes.d/%s.yaml", dsg_confdir(), name);
	return path;
}

int dsg_spec_names(char ***names, size_t *count, struct dsg_fault *fault)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/nodes.d", dsg_confdir());
	return dsg_file_names(dir, ".yaml", names, count, fault);
}

bool dsg_spec_exists(const char *name)
{
	char path[PATH_MAX];

	return !access(dsg_spec_path(name, path), F_OK);
}

int dsg_spec_remove(const char *name, struct dsg_fault *fault)
{
	char path[PATH_MAX];

	return dsg_file_remove(dsg_spec_path(name, path), fault);
}

struct reader {
	const char *path;
	yaml_document_t doc;
	struct dsg_spec *spec;
	struct dsg_fault *fault;
};

/* A key, and what takes its value to @to. */
struct key {
	const char *name;
	bool (*take)(struct reader *r, const yaml_node_t *value, void *to);
	void *to;
	bool needed;
};

__attribute__((format(printf, 3, 4)))
static bool wrong(struct reader *r, const yaml_node_t *node, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	dsg_fault_set(r->fault, DSG_USAGE, "%s:%zu: %s", r->path,
		      node ? node->start_mark.line + 1 : 1, text);
	dsg_fault_hint(r->fault, "man disagg-node.yaml");
	return false;
}

/* A text without a NUL in it, or NULL. */
static const char *word(const yaml_node_t *node)
{
	const char *text = (const char *)node->data.scalar.value;

	return node->type == YAML_SCALAR_NODE && strlen(text) == node->data.scalar.length ?
	       text : NULL;
}

static bool take_key(struct reader *r, const yaml_node_pair_t *pair, const struct key *keys,
		     size_t count, const char *what, unsigned int *seen)
{
	const yaml_node_t *name = yaml_document_get_node(&r->doc, pair->key);
	const char *text = word(name);

	for (size_t i = 0; text && i < count; i++) {
		if (strcmp(text, keys[i].name))
			continue;
		if (*seen & 1U << i)
			return wrong(r, name, "%s has %s twice", what, text);
		*seen |= 1U << i;
		return keys[i].take(r, yaml_document_get_node(&r->doc, pair->value), keys[i].to);
	}
	return wrong(r, name, "%s has no key %s", what, text ? text : "like this");
}

static bool take_keys(struct reader *r, const yaml_node_t *node, const struct key *keys,
		      size_t count, const char *what)
{
	unsigned int seen = 0;

	if (node->type != YAML_MAPPING_NODE)
		return wrong(r, node, "%s: expected KEY: VALUE", what);
	for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
	     p < node->data.mapping.pairs.top; p++)
		if (!take_key(r, p, keys, count, what, &seen))
			return false;
	for (size_t i = 0; i < count; i++)
		if (keys[i].needed && !(seen & 1U << i))
			return wrong(r, node, "%s lacks %s", what, keys[i].name);
	return true;
}

/* @to: the only text that it may be */
static bool take_constant(struct reader *r, const yaml_node_t *node, void *to)
{
	const char *text = word(node);

	return (text && !strcmp(text, to)) || wrong(r, node, "expected %s", (const char *)to);
}

static bool take_name(struct reader *r, const yaml_node_t *node, void *to)
{
	const char *text = word(node);

	if (!text || !dsg_name_ok(text))
		return wrong(r, node,
			     "expected a name: 1 to 31 letters, digits, '.', '_' or '-'");
	snprintf(to, DISAGG_WIRE_NAME_LEN, "%s", text);
	return true;
}

static bool take_own_name(struct reader *r, const yaml_node_t *node, void *to)
{
	const char *text = word(node);

	return (text && !strcmp(text, to)) ||
	       wrong(r, node, "the file is that of node %s, which its name must be",
		     (const char *)to);
}

static bool take_bool(struct reader *r, const yaml_node_t *node, void *to)
{
	const char *text = word(node);
	bool yes = text && (!strcmp(text, "yes") || !strcmp(text, "true"));

	if (!yes && (!text || (strcmp(text, "no") && strcmp(text, "false"))))
		return wrong(r, node, "expected yes or no");
	*(bool *)to = yes;
	return true;
}

static bool take_size(struct reader *r, const yaml_node_t *node, void *to)
{
	const char *text = word(node);
	const char *bad = text ? dsg_size_parse(text, to) : "expected a size";

	return !bad || wrong(r, node, "%s", bad);
}

static bool take_lease(struct reader *r, const yaml_node_t *node, void *to)
{
	const char *text = word(node);
	const char *bad = text ? dsg_duration_parse(text, to) : "expected a duration";

	return !bad || wrong(r, node, "%s", bad);
}

static bool take_number(struct reader *r, const yaml_node_t *node, uint32_t max, uint32_t *to)
{
	const char *text = word(node);
	unsigned long value;
	char *end;

	if (text && *text >= '0' && *text <= '9') {
		errno = 0;
		value = strtoul(text, &end, 10);
		if (!errno && !*end && value && value <= max) {
			*to = (uint32_t)value;
			return true;
		}
	}
	return wrong(r, node, "expected a number from 1 to %u", max);
}

static bool take_lanes(struct reader *r, const yaml_node_t *node, void *to)
{
	return take_number(r, node, DISAGG_WIRE_MAX_LANES, to);
}

static bool take_depth(struct reader *r, const yaml_node_t *node, void *to)
{
	return take_number(r, node, DISAGG_WIRE_MAX_DEPTH, to);
}

static bool take_block_size(struct reader *r, const yaml_node_t *node, void *to)
{
	static const char *const sizes[] = { "512", "1024", "2048", "4096" };
	const char *text = word(node);

	for (size_t i = 0; text && i < COUNT(sizes); i++) {
		if (strcmp(text, sizes[i]))
			continue;
		*(uint32_t *)to = 512U << i;
		return true;
	}
	return wrong(r, node, "expected 512, 1024, 2048 or 4096");
}

static bool take_ms(struct reader *r, const yaml_node_t *node, uint64_t min, uint64_t max,
		    uint32_t *to)
{
	const char *text = word(node);
	uint64_t ns = 0;
	const char *bad = text ? dsg_duration_parse(text, &ns) : "expected a duration";

	if (bad)
		return wrong(r, node, "%s", bad);
	if (ns < min * NS_PER_MS || ns > max * NS_PER_MS)
		return wrong(r, node, "expected %s", min ? "100ms to 1h" : "0 to 49 days, or never");
	*to = (uint32_t)(ns / NS_PER_MS);
	return true;
}

static bool take_io_timeout(struct reader *r, const yaml_node_t *node, void *to)
{
	return take_ms(r, node, 100, 3600000, to);
}

static bool take_timer(struct reader *r, const yaml_node_t *node, void *to)
{
	const char *text = word(node);

	if (text && (!strcmp(text, "never") || !strcmp(text, "0"))) {
		*(uint32_t *)to = *text == '0' ? 0 : DISAGG_NEVER;
		return true;
	}
	return take_ms(r, node, 0, DISAGG_NEVER - 1, to);
}

static bool take_dead_after(struct reader *r, const yaml_node_t *node, void *to)
{
	r->spec->dead_after_set = true;
	return take_timer(r, node, to);
}

static bool take_device(struct reader *r, const yaml_node_t *node, uint32_t class,
			unsigned int number)
{
	struct dsg_spec_device *dev = &r->spec->devices[r->spec->count];
	const struct key keys[] = {
		{ "name", take_name, dev->name, false },
		{ "size", take_size, &dev->size, true },
		{ "use", take_constant, "block", false },
	};

	if (r->spec->count == DSG_PLAN_WANTS_MAX)
		return wrong(r, node, "a node has at most %d devices", DSG_PLAN_WANTS_MAX);
	dev->class = class;
	snprintf(dev->name, sizeof(dev->name), "%s%u",
		 class == DISAGG_WIRE_CLASS_MEMORY ? "mem" : "disk", number);
	if (!take_keys(r, node, keys, COUNT(keys), "a device"))
		return false;
	for (size_t i = 0; i < r->spec->count; i++)
		if (!strcmp(r->spec->devices[i].name, dev->name))
			return wrong(r, node, "two devices are called %s", dev->name);
	r->spec->count++;
	return true;
}

/* One device, or a list of them. */
static bool take_devices(struct reader *r, const yaml_node_t *node, uint32_t class)
{
	unsigned int number = 0;

	if (node->type != YAML_SEQUENCE_NODE)
		return take_device(r, node, class, 0);
	for (const yaml_node_item_t *i = node->data.sequence.items.start;
	     i < node->data.sequence.items.top; i++)
		if (!take_device(r, yaml_document_get_node(&r->doc, *i), class, number++))
			return false;
	return true;
}

static bool take_memory(struct reader *r, const yaml_node_t *node, void *to)
{
	(void)to;
	return take_devices(r, node, DISAGG_WIRE_CLASS_MEMORY);
}

static bool take_storage(struct reader *r, const yaml_node_t *node, void *to)
{
	(void)to;
	return take_devices(r, node, DISAGG_WIRE_CLASS_STORAGE);
}

static bool take_metadata(struct reader *r, const yaml_node_t *node, void *to)
{
	const struct key keys[] = { { "name", take_own_name, to, true } };

	return take_keys(r, node, keys, COUNT(keys), "metadata");
}

static bool take_spec(struct reader *r, const yaml_node_t *node, void *to)
{
	struct dsg_spec *s = to;
	const struct key keys[] = {
		{ "lease", take_lease, &s->lease_ns, false },
		{ "target", take_name, s->target, false },
		{ "memory", take_memory, NULL, false },
		{ "storage", take_storage, NULL, false },
		{ "lanes", take_lanes, &s->lanes, false },
		{ "depth", take_depth, &s->depth, false },
		{ "blockSize", take_block_size, &s->block_size, false },
		{ "ioTimeout", take_io_timeout, &s->io_timeout_ms, false },
		{ "failFast", take_timer, &s->fail_fast_ms, false },
		{ "deadAfter", take_dead_after, &s->dead_after_ms, false },
		{ "readOnly", take_bool, &s->read_only, false },
		{ "crc", take_bool, &s->crc, false },
		{ "onFailure", take_constant, "rollback", false },
	};

	_Static_assert(COUNT(keys) <= KEYS_MAX, "seen has a bit for each");
	if (!take_keys(r, node, keys, COUNT(keys), "spec"))
		return false;
	if (!s->count)
		return wrong(r, node, "spec has no devices: memory or storage");
	for (size_t i = 0; i < s->count; i++)
		if (s->devices[i].size % s->block_size)
			return wrong(r, node,
				     "the size of %s is not a multiple of the block size, %u bytes",
				     s->devices[i].name, s->block_size);
	return true;
}

static bool take_document(struct reader *r)
{
	const struct key keys[] = {
		{ "apiVersion", take_constant, "disagg/v1", true },
		{ "kind", take_constant, "Node", true },
		{ "metadata", take_metadata, r->spec->name, true },
		{ "spec", take_spec, r->spec, true },
	};
	const yaml_node_t *root = yaml_document_get_root_node(&r->doc);

	if (!root)
		return wrong(r, NULL, "the file is empty");
	return take_keys(r, root, keys, COUNT(keys), "the file");
}

/* The next document of the parser; no root: there is no more. */
static bool next_document(struct reader *r, yaml_parser_t *parser)
{
	yaml_node_t at = { .start_mark = { .line = 0 } };

	if (yaml_parser_load(parser, &r->doc))
		return true;
	at.start_mark = parser->problem_mark;
	return wrong(r, &at, "%s", parser->problem ? parser->problem : "not YAML");
}

static bool parse(struct reader *r, const char *text, size_t len)
{
	const yaml_node_t *second;
	yaml_parser_t parser;
	bool ok;

	if (!yaml_parser_initialize(&parser)) {
		dsg_fault_memory(r->fault);
		return false;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	ok = next_document(r, &parser);
	if (ok) {
		ok = take_document(r);
		yaml_document_delete(&r->doc);
	}
	if (ok && next_document(r, &parser)) {
		second = yaml_document_get_root_node(&r->doc);
		ok = !second || wrong(r, second, "a second document: only one is read");
		yaml_document_delete(&r->doc);
	} else {
		ok = false;
	}
	yaml_parser_delete(&parser);
	return ok;
}

int dsg_spec_load(const char *name, struct dsg_spec *spec, struct dsg_fault *fault)
{
	char path[PATH_MAX];
	struct reader r = { .path = dsg_spec_path(name, path), .spec = spec, .fault = fault };
	char *text;
	size_t len;
	int err;

	err = dsg_file_read(path, SPEC_MAX, &text, &len, fault);
	if (err)
		return err;
	dsg_spec_init(spec, name);
	err = parse(&r, text, len) ? 0 : (int)fault->code;
	free(text);
	return err;
}

/* The largest unit of which @bytes are a whole number; what dsg_size_format() says is rounded. */
static void put_size(FILE *out, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t unit = 0;

	while (bytes && !(bytes % 1024) && unit + 1 < COUNT(units)) {
		bytes /= 1024;
		unit++;
	}
	fprintf(out, "%llu%s", (unsigned long long)bytes, units[unit]);
}

static void put_ms(FILE *out, const char *key, uint32_t ms)
{
	if (ms == DISAGG_NEVER)
		fprintf(out, "  %s: never\n", key);
	else if (ms % 1000 || !ms)
		fprintf(out, ms ? "  %s: %ums\n" : "  %s: %u\n", key, ms);
	else
		fprintf(out, "  %s: %us\n", key, ms / 1000);
}

static void put_devices(FILE *out, const struct dsg_spec *spec, uint32_t class,
			const char *key)
{
	bool any = false;

	for (size_t i = 0; i < spec->count; i++) {
		if (spec->devices[i].class != class)
			continue;
		if (!any)
			fprintf(out, "  %s:\n", key);
		any = true;
		fprintf(out, "    - {name: \"%s\", size: ", spec->devices[i].name);
		put_size(out, spec->devices[i].size);
		fputs("}\n", out);
	}
}

static void put_spec(FILE *out, const struct dsg_spec *spec)
{
	fprintf(out,
		"# A node of this host, which is attached when it boots; see disagg-node.yaml(5).\n"
		"apiVersion: disagg/v1\nkind: Node\nmetadata: {name: \"%s\"}\nspec:\n", spec->name);
	if (spec->target[0])
		fprintf(out, "  target: \"%s\"\n", spec->target);
	put_devices(out, spec, DISAGG_WIRE_CLASS_MEMORY, "memory");
	put_devices(out, spec, DISAGG_WIRE_CLASS_STORAGE, "storage");
	if (spec->lanes)
		fprintf(out, "  lanes: %u\n", spec->lanes);
	if (spec->depth != DSG_SPEC_DEPTH)
		fprintf(out, "  depth: %u\n", spec->depth);
	if (spec->block_size != DSG_SPEC_BLOCK_SIZE)
		fprintf(out, "  blockSize: %u\n", spec->block_size);
	if (spec->io_timeout_ms != DSG_SPEC_IO_TIMEOUT_MS)
		put_ms(out, "ioTimeout", spec->io_timeout_ms);
	if (spec->fail_fast_ms != DISAGG_NEVER)
		put_ms(out, "failFast", spec->fail_fast_ms);
	if (spec->dead_after_set)
		put_ms(out, "deadAfter", spec->dead_after_ms);
	if (spec->lease_ns && !(spec->lease_ns % DSG_NSEC_PER_SEC))
		fprintf(out, "  lease: %llus\n",
			(unsigned long long)(spec->lease_ns / DSG_NSEC_PER_SEC));
	else if (spec->lease_ns)
		fprintf(out, "  lease: %lluns\n", (unsigned long long)spec->lease_ns);
	if (spec->read_only)
		fputs("  readOnly: yes\n", out);
	if (spec->crc)
		fputs("  crc: yes\n", out);
}

int dsg_spec_save(const struct dsg_spec *spec, struct dsg_fault *fault)
{
	char path[PATH_MAX];
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int err;

	if (!out)
		return dsg_fault_memory(fault);
	put_spec(out, spec);
	if (fclose(out)) {
		free(text);
		return dsg_fault_memory(fault);
	}
	err = dsg_file_write(dsg_spec_path(spec->name, path), text, len, 0644, 0755, fault);
	free(text);
	return err;
}
