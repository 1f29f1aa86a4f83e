// SPDX-License-Identifier: GPL-2.0
/*
 * The configuration is strict: whatever it doesn't know is an error with a line
 * number, so that a typo never silently offers memory that nobody meant to offer.
 */
#include <arpa/inet.h>
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

static bool read_address(struct reader *r, yaml_node_t *node, void *to)
{
	if (parse_listen(scalar(node), to))
		return true;
	return complain(r, node,
			"expected ADDRESS:PORT, such as 127.0.0.1:%d or [::1]:%d, or {address: ADDRESS:PORT, tls: yes}",
			DISAGG_WIRE_PORT, DISAGG_WIRE_PORT);
}

static bool read_listener(struct reader *r, yaml_node_t *node, struct listen_config *l)
{
	struct key keys[] = {
		{ "address", read_address, l, true },
		{ "tls", read_bool, &l->tls, false },
	};

	l->tls = false;
	if (node->type != YAML_MAPPING_NODE)
		return read_address(r, node, l);
	return read_mapping(r, node, keys, ARRAY_SIZE(keys), "a listener");
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
		if (!read_listener(r, item, &c->listen[c->listen_count]))
			return false;
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

/* A list of at most @most entries of @size bytes in *@to, each by @read; NULL: empty. */
static bool read_list(struct reader *r, yaml_node_t *node, const char *what, size_t most,
		      size_t size, bool (*read)(struct reader *r, yaml_node_t *value, void *to),
		      void **to, unsigned int *n)
{
	size_t entries;
	char *list;

	if (node->type != YAML_SEQUENCE_NODE)
		return complain(r, node, "%s must be a list", what);
	entries = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (entries > most)
		return complain(r, node, "more than %zu %s", most, what);
	list = calloc(entries + 1, size);
	if (!list)
		return complain(r, node, "out of memory");
	*to = list;
	*n = 0;
	for (size_t i = 0; i < entries; i++) {
		yaml_node_t *item = yaml_document_get_node(
			&r->doc, node->data.sequence.items.start[i]);

		/* What it holds so far is freed also when it fails. */
		*n = (unsigned int)i + 1;
		if (!read(r, item, list + i * size))
			return false;
	}
	return true;
}

static bool read_network(struct reader *r, yaml_node_t *node, void *to)
{
	struct network_config *n = to;
	const char *s = scalar(node), *slash = s ? strchr(s, '/') : NULL;
	char address[64] = "";
	uint64_t bits = 128;
	bool v4;

	if (s && (slash ? (size_t)(slash - s) : strlen(s)) < sizeof(address))
		memcpy(address, s, slash ? (size_t)(slash - s) : strlen(s));
	memset(n->address, 0, 10);
	memset(n->address + 10, 0xff, 2);
	v4 = inet_pton(AF_INET, address, n->address + 12) == 1;
	if ((!v4 && inet_pton(AF_INET6, address, n->address) != 1) ||
	    (slash && (!parse_number(slash + 1, sizes, 1, &bits) || bits > (v4 ? 32 : 128))))
		return complain(r, node,
				"expected an address or a network, such as 10.1.0.0/16 or fd00::/8");
	n->bits = (unsigned int)(slash && v4 ? bits + 96 : bits);
	/* One with more bits set was meant otherwise. */
	for (unsigned int i = n->bits; i < 128; i++)
		if (n->address[i / 8] & 0x80 >> i % 8)
			return complain(r, node, "%s has bits beyond its length", s);
	return true;
}

static bool read_plaintext(struct reader *r, yaml_node_t *node, void *to)
{
	struct config *c = to;

	free(c->plaintext);
	c->plaintext = NULL;
	return read_list(r, node, "plaintext", CONFIG_LIST_MAX, sizeof(*c->plaintext),
			 read_network, (void **)&c->plaintext, &c->plaintext_count);
}

/* No names: they would have to be looked up again and again, and this must not wait. */
static bool read_announce_address(struct reader *r, yaml_node_t *node, void *to)
{
	struct announce_config *a = to;
	const char *s = scalar(node);
	char address[DSG_HOST_LEN];
	uint8_t parsed[16];

	if (!s || dsg_address_parse(s, a->host, &a->port))
		goto bad;
	/* Which interface is only known when it is there. */
	strcpy(address, a->host);
	if (strchr(address, ':'))
		*strchrnul(address, '%') = '\0';
	if (inet_pton(AF_INET, address, parsed) == 1 || inet_pton(AF_INET6, address, parsed) == 1)
		return true;
bad:
	return complain(r, node,
			"expected an address, such as 10.1.0.5, [fd00::5]:%d or ff02::1%%eth0",
			DISAGG_WIRE_PORT);
}

static bool read_announce(struct reader *r, yaml_node_t *node, void *to)
{
	struct config *c = to;

	return read_list(r, node, "announce", CONFIG_ANNOUNCE_MAX, sizeof(*c->announce),
			 read_announce_address, (void **)&c->announce, &c->announce_count);
}

static bool read_key_path(struct reader *r, yaml_node_t *node, void *to)
{
	const char *s = scalar(node);

	if (!s || s[0] != '/' || strlen(s) >= DSG_PATH_LEN)
		return complain(r, node, "expected an absolute path of at most %d bytes",
				DSG_PATH_LEN - 1);
	strcpy(to, s);
	return true;
}

static bool read_tls(struct reader *r, yaml_node_t *node, void *to)
{
	struct config *c = to;
	struct key keys[] = {
		{ "psk-file", read_key_path, c->keys.psk_file, false },
		{ "certificate", read_key_path, c->keys.certificate, false },
		{ "key", read_key_path, c->keys.key, false },
		{ "ca", read_key_path, c->keys.ca, false },
		{ "ktls", read_bool, &c->ktls, false },
	};

	if (!read_mapping(r, node, keys, ARRAY_SIZE(keys), "tls"))
		return false;
	if (!c->keys.certificate[0] != !c->keys.key[0] || !c->keys.key[0] != !c->keys.ca[0])
		return complain(r, node, "certificate, key and ca belong together");
	if (!c->keys.certificate[0] && !c->keys.psk_file[0])
		return complain(r, node, "tls needs a psk-file, or certificate, key and ca");
	c->has_tls = true;
	return true;
}

static bool read_identity(struct reader *r, yaml_node_t *node, void *to)
{
	const char *s = scalar(node);

	if (!s || !dsg_identity_ok(s) || strchr(s, '+'))
		return complain(r, node,
				"expected an identity: letters, digits, and any of . _ - @, at most %d",
				DSG_IDENTITY_LEN - 1);
	strcpy(to, s);
	return true;
}

static bool read_identities(struct reader *r, yaml_node_t *node, void *to)
{
	struct tenant_config *t = to;

	return read_list(r, node, "identities", CONFIG_LIST_MAX, DSG_IDENTITY_LEN, read_identity,
			 (void **)&t->identities, &t->identity_count);
}

static bool read_tenant_resources(struct reader *r, yaml_node_t *node, void *to)
{
	struct tenant_config *t = to;

	return read_list(r, node, "resources", CONFIG_RESOURCES_MAX, DISAGG_WIRE_NAME_LEN,
			 read_id, (void **)&t->resources, &t->resource_count);
}

static void unlimited(struct tenant_config *t)
{
	t->max_lease_size = UINT64_MAX;
	t->max_leases = UINT64_MAX;
	t->max_size = UINT64_MAX;
}

static bool read_tenant(struct reader *r, yaml_node_t *node, void *to)
{
	struct tenant_config *t = to;
	struct key keys[] = {
		{ "name", read_id, t->name, true },
		{ "identities", read_identities, t, false },
		{ "resources", read_tenant_resources, t, false },
		{ "max-lease-size", read_size, &t->max_lease_size, false },
		{ "max-leases", read_count, &t->max_leases, false },
		{ "max-size", read_size, &t->max_size, false },
	};

	unlimited(t);
	t->line = (unsigned int)node->start_mark.line + 1;
	return read_mapping(r, node, keys, ARRAY_SIZE(keys), "a tenant");
}

static bool read_tenants(struct reader *r, yaml_node_t *node, void *to)
{
	struct config *c = to;

	/* config_new()'s is in the file, or is added again at the end. */
	free(c->tenants);
	c->tenants = NULL;
	c->tenant_count = 0;
	c->has_tenants = true;
	return read_list(r, node, "tenants", CONFIG_LIST_MAX, sizeof(*c->tenants), read_tenant,
			 (void **)&c->tenants, &c->tenant_count);
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
		{ "replaced", read_bool, &res->replaced, false },
		{ "overwrite", read_bool, &res->overwrite, false },
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

/* The tenant of those who have no identity. */
static bool add_default_tenant(struct config *c)
{
	struct tenant_config *more;

	for (unsigned int i = 0; i < c->tenant_count; i++)
		if (!strcmp(c->tenants[i].name, CONFIG_TENANT_DEFAULT))
			return true;
	more = realloc(c->tenants, (c->tenant_count + 1) * sizeof(*more));
	if (!more)
		return false;
	c->tenants = more;
	more += c->tenant_count++;
	memset(more, 0, sizeof(*more));
	strcpy(more->name, CONFIG_TENANT_DEFAULT);
	unlimited(more);
	return true;
}

/* One client, one tenant. */
static const char *identity_taken(const struct config *c, const struct tenant_config *t)
{
	for (const struct tenant_config *o = c->tenants; o <= t; o++)
		for (unsigned int i = 0; i < t->identity_count; i++)
			for (unsigned int k = 0; k < (o == t ? i : o->identity_count); k++)
				if (!strcmp(t->identities[i], o->identities[k]))
					return t->identities[i];
	return NULL;
}

/* What has to do with each other, in whichever order it came. */
static bool check_access(struct reader *r)
{
	struct config *c = r->config;

	for (unsigned int i = 0; i < c->listen_count; i++)
		if (c->listen[i].tls && !c->has_tls)
			return complain(r, NULL, "a listener has TLS, but there is no section tls");
	for (unsigned int i = 0; i < c->tenant_count; i++) {
		const struct tenant_config *t = &c->tenants[i];
		const char *taken = identity_taken(c, t);

		for (unsigned int k = 0; k < i; k++)
			if (!strcmp(c->tenants[k].name, t->name))
				return complain(r, NULL, "tenant '%s' (line %u) is there already",
						t->name, t->line);
		if (taken)
			return complain(r, NULL, "tenant '%s' (line %u): '%s' has a tenant already",
					t->name, t->line, taken);
		for (unsigned int k = 0; k < t->resource_count; k++) {
			unsigned int n = 0;

			while (n < c->resource_count &&
			       strcmp(c->resources[n].id, t->resources[k]))
				n++;
			if (n == c->resource_count)
				return complain(r, NULL, "tenant '%s' (line %u): there is no resource '%s'",
						t->name, t->line, t->resources[k]);
		}
	}
	return add_default_tenant(c) || complain(r, NULL, "out of memory");
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
		{ "tls", read_tls, c, false },
		{ "plaintext", read_plaintext, c, false },
		{ "tenants", read_tenants, c, false },
		{ "announce", read_announce, c, false },
	};
	yaml_node_t *root = yaml_document_get_root_node(&r->doc);

	if (!root)
		return complain(r, NULL, "the file is empty");
	return read_mapping(r, root, keys, ARRAY_SIZE(keys), "the configuration") &&
	       check_access(r);
}

static struct config *config_new(void)
{
	static const uint8_t loopback_v4[16] = { [10] = 0xff, [11] = 0xff, [12] = 127 };
	struct config *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->state_dir = strdup("/var/lib/disaggd");
	c->plaintext = calloc(2, sizeof(*c->plaintext));
	if (!c->state_dir || !c->plaintext) {
		config_free(c);
		return NULL;
	}
	/* Without a word of the file: who is on this host. */
	memcpy(c->plaintext[0].address, loopback_v4, sizeof(loopback_v4));
	c->plaintext[0].bits = 104;
	c->plaintext[1].address[15] = 1;
	c->plaintext[1].bits = 128;
	c->plaintext_count = 2;
	c->ktls = true;
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
	for (unsigned int i = 0; i < c->tenant_count; i++) {
		free(c->tenants[i].identities);
		free(c->tenants[i].resources);
	}
	free(c->tenants);
	free(c->plaintext);
	free(c->announce);
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
