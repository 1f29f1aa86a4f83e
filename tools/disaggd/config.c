// SPDX-License-Identifier: GPL-2.0
/*
 * The configuration is strict: whatever it doesn't know is an error with a line
 * number, so that a typo never silently offers memory that nobody meant to offer.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config.h"
#include "wire.h"

#define MAX_LEASES_DEFAULT	1024	/* each has a process */
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define MIB		(1ULL << 20)
#define GIB		(1ULL << 30)

struct reader {
	const char *path;
	yaml_document_t doc;
	struct config *config;
};

/* One key of a mapping and what reads its value into @to. */
struct key {
	const char *name;
	bool (*read)(struct reader *r, yaml_node_t *value, void *to);
	void *to;
	bool required;
};

__attribute__((format(printf, 3, 4)))
static bool complain(struct reader *r, const yaml_node_t *node, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s:%zu: ", r->path, node ? node->start_mark.line + 1 : 1);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return false;
}

static const char *scalar(const yaml_node_t *node)
{
	/* A scalar with a NUL inside would be read as something shorter. */
	if (node->type != YAML_SCALAR_NODE ||
	    strlen((const char *)node->data.scalar.value) != node->data.scalar.length)
		return NULL;
	return (const char *)node->data.scalar.value;
}

static bool read_mapping(struct reader *r, yaml_node_t *node, struct key *keys,
			 size_t count, const char *what)
{
	bool seen[16] = { false };

	if (node->type != YAML_MAPPING_NODE)
		return complain(r, node, "%s must be a mapping", what);
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
	     p < node->data.mapping.pairs.top; p++) {
		yaml_node_t *k = yaml_document_get_node(&r->doc, p->key);
		yaml_node_t *v = yaml_document_get_node(&r->doc, p->value);
		const char *name = scalar(k);
		size_t i;

		if (!name)
			return complain(r, k, "a key of %s must be a word", what);
		for (i = 0; i < count; i++)
			if (!strcmp(keys[i].name, name))
				break;
		if (i == count)
			return complain(r, k, "unknown key '%s' in %s", name, what);
		if (seen[i])
			return complain(r, k, "key '%s' appears twice in %s", name, what);
		seen[i] = true;
		if (!keys[i].read(r, v, keys[i].to))
			return false;
	}
	for (size_t i = 0; i < count; i++)
		if (keys[i].required && !seen[i])
			return complain(r, node, "%s lacks the key '%s'", what,
					keys[i].name);
	return true;
}

/* Digits and one of @units; the result is never above UINT64_MAX. */
struct unit {
	const char *name;
	uint64_t factor;
};

static bool parse_number(const char *s, const struct unit *units, size_t count,
			 uint64_t *value)
{
	unsigned long long n;
	char *end;

	if (!s || *s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (errno)
		return false;
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(end, units[i].name))
			continue;
		return !__builtin_mul_overflow((uint64_t)n, units[i].factor, value);
	}
	return false;
}

static const struct unit sizes[] = {
	{ "", 1 }, { "B", 1 }, { "KiB", 1ULL << 10 }, { "MiB", MIB }, { "GiB", GIB },
	{ "TiB", 1ULL << 40 }, { "PiB", 1ULL << 50 },
};

static const struct unit times[] = {
	{ "ms", 1000000 }, { "s", DSG_NSEC_PER_SEC }, { "m", 60 * DSG_NSEC_PER_SEC },
	{ "h", 3600 * DSG_NSEC_PER_SEC },
};

static bool read_size(struct reader *r, yaml_node_t *node, void *to)
{
	uint64_t n;

	if (!parse_number(scalar(node), sizes, ARRAY_SIZE(sizes), &n) || !n ||
	    n > INT64_MAX)
		return complain(r, node, "expected a size such as 4GiB or 512MiB");
	*(uint64_t *)to = n;
	return true;
}

static bool read_count(struct reader *r, yaml_node_t *node, void *to)
{
	uint64_t n;

	if (!parse_number(scalar(node), sizes, 1, &n) || !n || n > UINT32_MAX)
		return complain(r, node, "expected a number from 1 to %u", UINT32_MAX);
	*(uint64_t *)to = n;
	return true;
}

static bool read_bool(struct reader *r, yaml_node_t *node, void *to)
{
	const char *s = scalar(node);

	if (s && (!strcmp(s, "yes") || !strcmp(s, "true")))
		*(bool *)to = true;
	else if (s && (!strcmp(s, "no") || !strcmp(s, "false")))
		*(bool *)to = false;
	else
		return complain(r, node, "expected yes or no");
	return true;
}

static bool read_path(struct reader *r, yaml_node_t *node, void *to)
{
	const char *s = scalar(node);

	if (!s || s[0] != '/' || strlen(s) > 1000)
		return complain(r, node, "expected an absolute path");
	free(*(char **)to);
	*(char **)to = strdup(s);
	return *(char **)to || complain(r, node, "out of memory");
}

static bool read_id(struct reader *r, yaml_node_t *node, void *to)
{
	const char *s = scalar(node);

	if (!s || !dsg_name_ok(s))
		return complain(r, node,
				"expected a name of at most %d letters, digits, dots, dashes and underscores",
				DISAGG_WIRE_NAME_LEN - 1);
	dsg_string_set(to, DISAGG_WIRE_NAME_LEN, s);
	return true;
}

static bool read_class(struct reader *r, yaml_node_t *node, void *to)
{
	const char *s = scalar(node);

	if (s && !strcmp(s, "memory"))
		*(uint32_t *)to = DISAGG_WIRE_CLASS_MEMORY;
	else if (s && !strcmp(s, "storage"))
		*(uint32_t *)to = DISAGG_WIRE_CLASS_STORAGE;
	else
		return complain(r, node, "expected the class memory or storage");
	return true;
}

static bool read_hugepages(struct reader *r, yaml_node_t *node, void *to)
{
	const char *s = scalar(node);
	uint64_t n = 0;

	if (s && strcmp(s, "no") && strcmp(s, "false") &&
	    (!parse_number(s, sizes, ARRAY_SIZE(sizes), &n) ||
	     (n != 2 * MIB && n != GIB)))
		s = NULL;
	if (!s)
		return complain(r, node, "expected no, 2MiB or 1GiB");
	*(uint64_t *)to = n;
	return true;
}

static bool read_block_size(struct reader *r, yaml_node_t *node, void *to)
{
	uint64_t n;

	if (!parse_number(scalar(node), sizes, ARRAY_SIZE(sizes), &n) || n < 512 ||
	    n > 4096 || (n & (n - 1)))
		return complain(r, node, "expected 512, 1024, 2048 or 4096");
	*(uint32_t *)to = (uint32_t)n;
	return true;
}

static bool read_lanes(struct reader *r, yaml_node_t *node, void *to)
{
	uint64_t n;

	if (!parse_number(scalar(node), sizes, 1, &n) || !n || n > DISAGG_WIRE_MAX_LANES)
		return complain(r, node, "expected a number from 1 to %u",
				DISAGG_WIRE_MAX_LANES);
	*(uint32_t *)to = (uint32_t)n;
	return true;
}

static bool read_grace(struct reader *r, yaml_node_t *node, void *to)
{
	uint64_t n;

	if (!parse_number(scalar(node), times, ARRAY_SIZE(times), &n) ||
	    n > 3600 * DSG_NSEC_PER_SEC)
		return complain(r, node, "expected a time from 0s to 1h, such as 30s");
	*(uint64_t *)to = n;
	return true;
}

static bool read_ttl(struct reader *r, yaml_node_t *node, void *to)
{
	uint64_t n;

	if (!parse_number(scalar(node), times, ARRAY_SIZE(times), &n) ||
	    n < DSG_NSEC_PER_SEC / 10 || n > 24 * 3600 * DSG_NSEC_PER_SEC)
		return complain(r, node, "expected a time from 100ms to 24h, such as 30s");
	*(uint64_t *)to = n;
	return true;
}

static bool parse_listen(const char *s, struct listen_config *listen)
{
	const char *colon = s ? strrchr(s, ':') : NULL;
	uint64_t port;
	size_t len;

	if (!colon || !parse_number(colon + 1, sizes, 1, &port) || port > 65535)
		return false;
	len = (size_t)(colon - s);
	if (len >= 2 && s[0] == '[' && s[len - 1] == ']') {
		s++;
		len -= 2;
	} else if (memchr(s, ':', len)) {
		return false;
	}
	if (!len || len >= sizeof(listen->host))
		return false;
	memcpy(listen->host, s, len);
	listen->host[len] = '\0';
	listen->port = (uint16_t)port;
	return true;
}

static bool read_listen(struct reader *r, yaml_node_t *node, void *to)
{
	struct config *c = to;

	if (node->type != YAML_SEQUENCE_NODE ||
	    node->data.sequence.items.start == node->data.sequence.items.top)
		return complain(r, node, "listen must be a list of ADDRESS:PORT");
	c->listen_count = 0;
	for (yaml_node_item_t *i = node->data.sequence.items.start;
	     i < node->data.sequence.items.top; i++) {
		yaml_node_t *item = yaml_document_get_node(&r->doc, *i);

		if (c->listen_count == CONFIG_LISTEN_MAX)
			return complain(r, item, "more than %d addresses",
					CONFIG_LISTEN_MAX);
		if (!parse_listen(scalar(item), &c->listen[c->listen_count]))
			return complain(r, item,
					"expected ADDRESS:PORT, such as 127.0.0.1:%d or [::1]:%d",
					DISAGG_WIRE_PORT, DISAGG_WIRE_PORT);
		c->listen_count++;
	}
	return true;
}

static bool read_quota(struct reader *r, yaml_node_t *node, void *to)
{
	struct quota_config *q = to;
	struct key keys[] = {
		{ "max-lease-size", read_size, &q->max_lease_size, false },
		{ "max-leases", read_count, &q->max_leases, false },
		{ "max-leases-per-host", read_count, &q->max_leases_per_host, false },
		{ "max-size-per-host", read_size, &q->max_size_per_host, false },
	};

	return read_mapping(r, node, keys, ARRAY_SIZE(keys), "quota");
}

/* What keys a resource may have depends on its class: look that up first. */
static uint32_t peek_class(struct reader *r, yaml_node_t *node)
{
	if (node->type != YAML_MAPPING_NODE)
		return 0;
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
	     p < node->data.mapping.pairs.top; p++) {
		const char *k = scalar(yaml_document_get_node(&r->doc, p->key));
		const char *v = scalar(yaml_document_get_node(&r->doc, p->value));

		if (k && v && !strcmp(k, "class"))
			return !strcmp(v, "storage") ? DISAGG_WIRE_CLASS_STORAGE :
						       DISAGG_WIRE_CLASS_MEMORY;
	}
	return 0;
}

static bool read_resource(struct reader *r, yaml_node_t *node,
			  struct resource_config *res)
{
	struct key memory[] = {
		{ "id", read_id, res->id, true },
		{ "class", read_class, &res->class, true },
		{ "block-size", read_block_size, &res->block_size, false },
		{ "size", read_size, &res->size, true },
		{ "hugepages", read_hugepages, &res->hugepage, false },
		{ "prealloc", read_bool, &res->prealloc, false },
	};
	struct key storage[] = {
		{ "id", read_id, res->id, true },
		{ "class", read_class, &res->class, true },
		{ "block-size", read_block_size, &res->block_size, false },
		{ "size", read_size, &res->size, false },
		{ "path", read_path, &res->path, true },
		{ "direct", read_bool, &res->direct, false },
		{ "read-only", read_bool, &res->read_only, false },
	};
	uint64_t unit;
	bool ok;

	res->block_size = 4096;
	res->direct = true;
	res->line = (unsigned int)node->start_mark.line + 1;
	if (peek_class(r, node) == DISAGG_WIRE_CLASS_STORAGE)
		ok = read_mapping(r, node, storage, ARRAY_SIZE(storage),
				  "a resource of class storage");
	else
		ok = read_mapping(r, node, memory, ARRAY_SIZE(memory),
				  "a resource of class memory");
	if (!ok)
		return false;
	unit = res->hugepage ? res->hugepage : res->block_size;
	if (res->size % unit)
		return complain(r, node,
				"the size of '%s' is not a multiple of %llu bytes",
				res->id, (unsigned long long)unit);
	return true;
}

static bool read_resources(struct reader *r, yaml_node_t *node, void *to)
{
	struct config *c = to;
	size_t count;

	if (node->type != YAML_SEQUENCE_NODE)
		return complain(r, node, "resources must be a list");
	count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (!count || count > CONFIG_RESOURCES_MAX)
		return complain(r, node, "expected 1 to %d resources",
				CONFIG_RESOURCES_MAX);
	c->resources = calloc(count, sizeof(*c->resources));
	if (!c->resources)
		return complain(r, node, "out of memory");
	for (size_t i = 0; i < count; i++) {
		yaml_node_t *item = yaml_document_get_node(
			&r->doc, node->data.sequence.items.start[i]);

		c->resource_count = (unsigned int)i + 1;
		if (!read_resource(r, item, &c->resources[i]))
			return false;
		for (size_t k = 0; k < i; k++) {
			if (!strcmp(c->resources[k].id, c->resources[i].id))
				return complain(r, item,
						"the id '%s' is taken by the resource at line %u",
						c->resources[i].id, c->resources[k].line);
			if (c->resources[k].path && c->resources[i].path &&
			    !strcmp(c->resources[k].path, c->resources[i].path))
				return complain(r, item,
						"the path %s is taken by the resource at line %u",
						c->resources[i].path,
						c->resources[k].line);
		}
	}
	return true;
}

static bool read_document(struct reader *r)
{
	struct config *c = r->config;
	struct key keys[] = {
		{ "listen", read_listen, c, false },
		{ "state-dir", read_path, &c->state_dir, false },
		{ "resources", read_resources, c, true },
		{ "quota", read_quota, &c->quota, false },
		{ "max-lanes", read_lanes, &c->max_lanes, false },
		{ "reserve-ttl", read_ttl, &c->reserve_ttl_ns, false },
		{ "restart-grace", read_grace, &c->keep_ns, false },
	};
	yaml_node_t *root = yaml_document_get_root_node(&r->doc);

	if (!root)
		return complain(r, NULL, "the file is empty");
	return read_mapping(r, root, keys, ARRAY_SIZE(keys), "the configuration");
}

static struct config *config_new(void)
{
	struct config *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->state_dir = strdup("/var/lib/disaggd");
	if (!c->state_dir) {
		free(c);
		return NULL;
	}
	parse_listen("127.0.0.1:7420", &c->listen[0]);
	parse_listen("[::1]:7420", &c->listen[1]);
	c->listen_count = 2;
	c->max_lanes = DISAGG_WIRE_MAX_LANES;
	c->reserve_ttl_ns = 60 * DSG_NSEC_PER_SEC;
	c->keep_ns = 30 * DSG_NSEC_PER_SEC;
	c->quota = (struct quota_config){ UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
	c->quota.max_leases = MAX_LEASES_DEFAULT;
	return c;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < c->resource_count; i++)
		free(c->resources[i].path);
	free(c->resources);
	free(c->state_dir);
	free(c);
}

struct config *config_load(const char *path)
{
	struct reader r = { .path = path };
	yaml_parser_t parser;
	bool ok = false;
	FILE *file;

	file = fopen(path, "re");
	if (!file) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return NULL;
	}
	r.config = config_new();
	if (!r.config || !yaml_parser_initialize(&parser)) {
		fprintf(stderr, "%s: out of memory\n", path);
		goto out_close;
	}
	yaml_parser_set_input_file(&parser, file);
	if (!yaml_parser_load(&parser, &r.doc)) {
		fprintf(stderr, "%s:%zu: %s\n", path, parser.problem_mark.line + 1,
			parser.problem ? parser.problem : "not YAML");
		goto out_parser;
	}
	ok = read_document(&r);
	yaml_document_delete(&r.doc);
	if (ok && yaml_parser_load(&parser, &r.doc)) {
		yaml_node_t *second = yaml_document_get_root_node(&r.doc);

		ok = !second || complain(&r, second, "a second document: only one is read");
		yaml_document_delete(&r.doc);
	} else if (ok) {
		ok = false;
		fprintf(stderr, "%s:%zu: %s\n", path, parser.problem_mark.line + 1,
			parser.problem ? parser.problem : "not YAML");
	}
out_parser:
	yaml_parser_delete(&parser);
out_close:
	fclose(file);
	if (ok)
		return r.config;
	config_free(r.config);
	return NULL;
}
