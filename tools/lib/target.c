// SPDX-License-Identifier: GPL-2.0
/* Target records (targets.d/NAME.yaml) and control sessions with targets. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
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

/* How keys are kept: what may be said, and where it goes. */
static const struct key_setting {
	const char *name;
	size_t offset, size;
} key_settings[] = {
#define SETTING(name, field) \
	{ name, offsetof(struct dsg_keys, field), sizeof(((struct dsg_keys *)0)->field) }
	SETTING("psk-identity", identity),
	SETTING("psk-file", psk_file),
	SETTING("certificate", certificate),
	SETTING("key", key),
	SETTING("ca", ca),
#undef SETTING
};

#define KEY_SETTINGS (sizeof(key_settings) / sizeof(*key_settings))

static const char *take_key(const char *name, const char *value, struct dsg_keys *keys)
{
	for (size_t i = 0; i < KEY_SETTINGS; i++) {
		if (strcmp(key_settings[i].name, name))
			continue;
		if (strlen(value) >= key_settings[i].size)
			return "it is too long";
		strcpy((char *)keys + key_settings[i].offset, value);
		return NULL;
	}
	return "unknown setting; there are address, port, psk-identity, psk-file, certificate, key, ca";
}

/* Paths that are written into a record must be read from it as the same. */
static bool path_ok(const char *path)
{
	if (*path != '/')
		return false;
	for (; *path; path++)
		if (*path < ' ' || *path > '~' || *path == '"' || *path == '\\')
			return false;
	return true;
}

const char *dsg_keys_bad(const struct dsg_keys *keys)
{
	bool psk = keys->identity[0] || keys->psk_file[0];
	bool x509 = keys->certificate[0] || keys->key[0] || keys->ca[0];

	if (psk && x509)
		return "either a shared key or certificates, not both";
	if (psk && (!keys->identity[0] || !keys->psk_file[0]))
		return "a shared key has an identity and a file";
	if (x509 && (!keys->certificate[0] || !keys->key[0] || !keys->ca[0]))
		return "certificates are three files: certificate, key and CA";
	if (psk && !dsg_identity_ok(keys->identity))
		return "the identity has characters that none has";
	if ((psk && !path_ok(keys->psk_file)) ||
	    (x509 && (!path_ok(keys->certificate) || !path_ok(keys->key) || !path_ok(keys->ca))))
		return "files of keys have absolute paths, without quotes or backslashes";
	return NULL;
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
	return take_key(key, value, &target->keys);
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
	target->keys.security = target->keys.identity[0] ? DSG_PSK :
				target->keys.certificate[0] ? DSG_X509 : DSG_PLAIN;
	/* Half of what TLS needs is no reason to go without. */
	if (dsg_keys_bad(&target->keys))
		dsg_fault_set(fault, DSG_FAILED, "%s: %s", path, dsg_keys_bad(&target->keys));
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
	char path[PATH_MAX], text[DSG_HOST_LEN + sizeof(struct dsg_keys) + 256];
	int len;

	record_path(target->name, path);
	len = snprintf(text, sizeof(text),
		       "# A disaggd that this host may use; see disaggctl(8).\n"
		       "address: \"%s\"\nport: %u\n", target->host, target->port);
	for (size_t i = 0; i < KEY_SETTINGS; i++) {
		const char *value = (const char *)&target->keys + key_settings[i].offset;

		if (*value)
			len += snprintf(text + len, sizeof(text) - (size_t)len, "%s: \"%s\"\n",
					key_settings[i].name, value);
	}
	return dsg_file_write(path, text, (size_t)len, 0644, 0755, fault);
}

int dsg_target_remove(const char *name, struct dsg_fault *fault)
{
	char path[PATH_MAX];

	record_path(name, path);
	return dsg_file_remove(path, fault);
}

int dsg_target_keys(const struct dsg_target *target, struct dsg_keys *keys,
		    struct dsg_fault *fault)
{
	struct dsg_target now;
	int err;

	*keys = target->keys;
	if (!target->recorded)
		return 0;
	err = dsg_target_load(target->name, &now, fault);
	if (!err)
		*keys = now.keys;
	if (err == DSG_NOT_FOUND && !target->tls)
		return 0;
	if (err == DSG_NOT_FOUND)
		return dsg_fault_hint(fault, "add it again, with its keys: disaggctl target add %s",
				      target->name);
	return err;
}

int dsg_target_connect(const struct dsg_target *target, uint64_t deadline, int *fd,
		       struct dsg_creds **creds, struct dsg_tls **tls, struct dsg_fault *fault)
{
	struct dsg_error error = { 0 };
	struct dsg_keys keys;
	int err;

	*creds = NULL;
	*tls = NULL;
	if (dsg_target_keys(target, &keys, fault))
		return fault->code;
	if (keys.security != DSG_PLAIN && dsg_creds_load(&keys, false, creds, &error))
		return dsg_fault_keys(fault, &error, target->name);
	*fd = dsg_connect(target->host, target->port, deadline, &error);
	if (*fd < 0)
		goto err_creds;
	if (!*creds)
		return 0;
	err = dsg_tls_new(*creds, *fd, target->host, tls, &error);
	if (!err)
		err = dsg_tls_handshake_until(*tls, deadline, &error);
	if (!err)
		return 0;
	dsg_tls_free(*tls);
	close(*fd);
err_creds:
	dsg_creds_free(*creds);
	return dsg_fault_wire(fault, &error, target->name);
}

int dsg_target_open(const struct dsg_target *target, uint64_t deadline,
		    struct dsg_session *session, struct dsg_fault *fault)
{
	struct dsg_error error = { 0 };
	struct dsg_creds *creds;
	struct dsg_tls *tls;
	int fd;

	session->fd = -1;
	if (dsg_target_connect(target, deadline, &fd, &creds, &tls, fault))
		return fault->code;
	if (!dsg_handshake_control(fd, tls, dsg_hostname(), DISAGG_WIRE_F_CRC32C, deadline,
				   session, &error)) {
		session->creds = creds;
		return 0;
	}
	dsg_tls_free(tls);
	dsg_creds_free(creds);
	close(fd);
	return dsg_fault_wire(fault, &error, target->name);
}
