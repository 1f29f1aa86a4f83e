// SPDX-License-Identifier: GPL-2.0
/* Target records (targets.d/NAME.yaml) and control sessions with targets. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "file.h"
#include "target.h"

#define RECORD_MAX	16384	/* bytes of a record */
#define TARGETS_DIR	"targets.d"

const char *dsg_hostname(void)
{
	static char name[DISAGG_WIRE_NAME_LEN];

	if (!name[0]) {
		char full[HOST_NAME_MAX + 1] = "";

		gethostname(full, sizeof(full) - 1);
		memcpy(name, full, sizeof(name) - 1);
		if (!dsg_string_ok(name, sizeof(name)) || !name[0])
			snprintf(name, sizeof(name), "unknown");
	}
	return name;
}

static const char *parse_port(const char *text, uint16_t *port)
{
	unsigned long value;
	char *end;

	if (*text < '0' || *text > '9')
		return "the port is no number";
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*end)
		return "the port is no number";
	if (errno || !value || value > UINT16_MAX)
		return "the port is not between 1 and 65535";
	*port = (uint16_t)value;
	return NULL;
}

const char *dsg_address_parse(const char *text, char host[DSG_HOST_LEN], uint16_t *port)
{
	const char *end, *colon = strchr(text, ':'), *service = NULL;

	if (*text == '[') {
		end = strchr(++text, ']');
		if (!end)
			return "']' is missing";
		if (end[1] == ':')
			service = end + 2;
		else if (end[1])
			return "after ']' comes nothing but :PORT";
		/* Records have it without brackets: it must not look like HOST:PORT. */
		colon = memchr(text, ':', (size_t)(end - text));
		if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1)))
			return "what is in brackets is no IPv6 address";
	} else if (colon && !strchr(colon + 1, ':')) {
		end = colon;
		service = colon + 1;
	} else {
		end = text + strlen(text);
	}
	if (end == text)
		return "the host is empty";
	if (end - text >= DSG_HOST_LEN)
		return "the host is too long";
	for (const char *p = text; p < end; p++)
		if (*p <= ' ' || *p > '~' || strchr("\"'\\/#@,[]", *p))
			return "the host has characters that no host has";
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	*port = DISAGG_WIRE_PORT;
	return service ? parse_port(service, port) : NULL;
}

char *dsg_address_format(const char *host, uint16_t port, char buf[DSG_ADDRESS_LEN])
{
	snprintf(buf, DSG_ADDRESS_LEN, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
	return buf;
}

static int record_path(const char *name, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s/" TARGETS_DIR "/%s.yaml", dsg_confdir(), name);
}

/* Take one "key: value" of the record; NULL or what is wrong. */
static const char *take_setting(const char *key, const char *value, struct dsg_target *target)
{
	uint16_t port = target->port;
	const char *bad;

	if (!strcmp(key, "address")) {
		bad = dsg_address_parse(value, target->host, &target->port);
		/* A setting of its own wins, in whichever order they come. */
		if (!bad && port)
			target->port = port;
		return bad;
	}
	if (!strcmp(key, "port"))
		return parse_port(value, &target->port);
	return "unknown setting; address and port are the ones that exist";
}

static int parse_record(const char *path, const char *text, size_t len,
			struct dsg_target *target, struct dsg_fault *fault)
{
	yaml_document_t document;
	yaml_parser_t parser;
	yaml_node_t *root;

	if (!yaml_parser_initialize(&parser))
		return dsg_fault_memory(fault);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	fault->code = DSG_OK;
	if (!yaml_parser_load(&parser, &document)) {
		dsg_fault_set(fault, DSG_FAILED, "%s:%zu: %s", path,
			      parser.problem_mark.line + 1,
			      parser.problem ? parser.problem : "not YAML");
		yaml_parser_delete(&parser);
		return fault->code;
	}
	root = yaml_document_get_root_node(&document);
	if (!root || root->type != YAML_MAPPING_NODE) {
		dsg_fault_set(fault, DSG_FAILED, "%s: expected settings, such as address: HOST",
			      path);
		goto out;
	}
	for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
	     pair < root->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = yaml_document_get_node(&document, pair->key);
		yaml_node_t *value = yaml_document_get_node(&document, pair->value);
		const char *bad = "expected KEY: VALUE";

		if (key->type == YAML_SCALAR_NODE && value->type == YAML_SCALAR_NODE)
			bad = take_setting((const char *)key->data.scalar.value,
					   (const char *)value->data.scalar.value, target);
		if (bad) {
			dsg_fault_set(fault, DSG_FAILED, "%s:%zu: %s", path,
				      key->start_mark.line + 1, bad);
			goto out;
		}
	}
	if (!target->host[0])
		dsg_fault_set(fault, DSG_FAILED, "%s: the setting address is missing", path);
	else if (!target->port)
		target->port = DISAGG_WIRE_PORT;
out:
	yaml_document_delete(&document);
	yaml_parser_delete(&parser);
	return fault->code;
}

int dsg_target_load(const char *name, struct dsg_target *target, struct dsg_fault *fault)
{
	char path[PATH_MAX];
	char *text;
	size_t len;
	int err;

	record_path(name, path);
	err = dsg_file_read(path, RECORD_MAX, &text, &len, fault);
	if (err == DSG_NOT_FOUND) {
		dsg_fault_set(fault, DSG_NOT_FOUND, "there is no target %s", name);
		return dsg_fault_hint(fault, "known targets: disaggctl target list");
	}
	if (err)
		return err;
	memset(target, 0, sizeof(*target));
	snprintf(target->name, sizeof(target->name), "%s", name);
	err = parse_record(path, text, len, target, fault);
	free(text);
	return err;
}

int dsg_targets_load(struct dsg_target **targets, size_t *count, struct dsg_fault *fault)
{
	struct dsg_target *list;
	char dir[PATH_MAX];
	char **names;
	size_t n;
	int err;

	snprintf(dir, sizeof(dir), "%s/" TARGETS_DIR, dsg_confdir());
	err = dsg_file_names(dir, ".yaml", &names, &n, fault);
	if (err)
		return err;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		err = dsg_fault_memory(fault);
	for (size_t i = 0; i < n && !err; i++)
		err = dsg_target_load(names[i], &list[i], fault);
	dsg_names_free(names, n);
	if (err) {
		free(list);
		return err;
	}
	*targets = list;
	*count = n;
	return 0;
}

int dsg_target_save(const struct dsg_target *target, struct dsg_fault *fault)
{
	char path[PATH_MAX], text[DSG_HOST_LEN + 128];
	int len;

	record_path(target->name, path);
	len = snprintf(text, sizeof(text),
		       "# A disaggd that this host may use; see disaggctl(8).\n"
		       "address: \"%s\"\nport: %u\n", target->host, target->port);
	return dsg_file_write(path, text, (size_t)len, 0644, 0755, fault);
}

int dsg_target_remove(const char *name, struct dsg_fault *fault)
{
	char path[PATH_MAX];

	record_path(name, path);
	return dsg_file_remove(path, fault);
}

int dsg_target_open(const char *name, const char *host, uint16_t port, uint64_t deadline,
		    struct dsg_session *session, struct dsg_fault *fault)
{
	struct dsg_error error = { 0 };
	int fd;

	fd = dsg_connect(host, port, deadline, &error);
	if (fd < 0)
		return dsg_fault_wire(fault, &error, name);
	if (dsg_handshake_control(fd, dsg_hostname(), DISAGG_WIRE_F_CRC32C, deadline, session,
				  &error)) {
		close(fd);
		return dsg_fault_wire(fault, &error, name);
	}
	return 0;
}
