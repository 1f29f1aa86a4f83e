// SPDX-License-Identifier: GPL-2.0
/* disaggctl target add | list | remove */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "output.h"
#include "probe.h"
#include "record.h"
#include "size.h"

#define LOCK_WAIT_NS	(10 * DSG_NSEC_PER_SEC)

static bool no_check;
static struct {
	const char *identity, *psk_file, *certificate, *key, *ca;
} opt;

const struct option target_add_options[] = {
	{ .name = "no-check", .flag = &no_check,
	  .help = "do not ask it whether it is a target" },
	{ .name = "psk-identity", .arg = "NAME", .text = &opt.identity,
	  .help = "TLS with a shared key: whose" },
	{ .name = "psk-file", .arg = "FILE", .text = &opt.psk_file,
	  .help = "the file that has it" },
	{ .name = "cert", .arg = "FILE", .text = &opt.certificate,
	  .help = "TLS with certificates: this host's" },
	{ .name = "key", .arg = "FILE", .text = &opt.key,
	  .help = "its private key" },
	{ .name = "ca", .arg = "FILE", .text = &opt.ca,
	  .help = "who signed the target's" },
	{ .name = NULL },
};

const struct option target_list_options[] = {
	{ .name = "no-check", .flag = &no_check, .help = "do not ask the targets anything" },
	{ .name = NULL },
};

/* Bytes of one class on one target. */
struct space {
	uint64_t capacity;
	uint64_t available;
};

static uint64_t add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static struct space space_of(const struct dsg_probe *probe, uint32_t class)
{
	struct space sum = { 0, 0 };

	for (size_t i = 0; i < probe->count; i++) {
		if (le32toh(probe->resources[i].class) != class)
			continue;
		sum.capacity = add(sum.capacity, le64toh(probe->resources[i].capacity));
		sum.available = add(sum.available, le64toh(probe->resources[i].available));
	}
	return sum;
}

static struct json_object *space_object(const struct dsg_probe *probe, uint32_t class)
{
	struct space sum = space_of(probe, class);
	struct json_object *o = json_object_new_object();

	put_number(o, "capacity", sum.capacity);
	put_number(o, "available", sum.available);
	return o;
}

/* "1 GiB of 4 GiB", or nothing if it offers none. */
static char *space_text(const struct dsg_probe *probe, uint32_t class, char buf[64])
{
	char free_text[DSG_SIZE_STRLEN], all[DSG_SIZE_STRLEN];
	struct space sum = space_of(probe, class);

	buf[0] = '\0';
	if (sum.capacity)
		snprintf(buf, 64, "%s of %s", dsg_size_format(sum.available, free_text),
			 dsg_size_format(sum.capacity, all));
	return buf;
}

/* @probe: what it answered; NULL: it wasn't asked. */
static struct json_object *target_object(const struct dsg_target *target,
					 const struct dsg_probe *probe)
{
	struct json_object *o = json_object_new_object();
	char address[DSG_ADDRESS_LEN];
	bool reachable = probe && !probe->fault.code;

	put_string(o, "name", target->name);
	put_string(o, "address", dsg_address_format(target->host, target->port, address));
	put_string(o, "host", target->host);
	put_number(o, "port", target->port);
	put_string(o, "security", dsg_security_text(target->keys.security));
	put_string_or_null(o, "identity", target->keys.identity);
	put_value(o, "reachable", probe ? json_object_new_boolean(reachable) : NULL);
	put_string_or_null(o, "reason", probe && !reachable ? probe->fault.reason : "");
	put_value(o, "rtt_ns", reachable ? json_object_new_uint64(probe->rtt_ns) : NULL);
	put_value(o, "resources", reachable ? json_object_new_uint64(probe->count) : NULL);
	put_value(o, "memory",
		  reachable ? space_object(probe, DISAGG_WIRE_CLASS_MEMORY) : NULL);
	put_value(o, "storage",
		  reachable ? space_object(probe, DISAGG_WIRE_CLASS_STORAGE) : NULL);
	return o;
}

/* The one target, asked; unreachable is a failure. */
static int check_target(struct cli *cli, const struct dsg_target *target,
			struct dsg_probe **probe, struct dsg_fault *fault)
{
	progress(cli, "waiting for %s", target->host);
	if (dsg_probe_targets(target, 1, DSG_PROBE_INVENTORY, DSG_PROBE_NS, probe, fault))
		return fault->code;
	if (!(*probe)->fault.code)
		return 0;
	*fault = (*probe)->fault;
	dsg_probes_free(*probe, 1);
	*probe = NULL;
	if (fault->code == DSG_DENIED)
		return fault->code;
	return dsg_fault_hint(fault, "start disaggd there, or add the target with --no-check");
}

/* A name without a folder is one of the files in keys/. */
static int take_file(const char *option, const char *path, char to[DSG_PATH_LEN],
		     struct dsg_fault *fault)
{
	const char *dir = strchr(path, '/') ? "" : dsg_confdir();

	if (snprintf(to, DSG_PATH_LEN, "%s%s%s", dir, *dir ? "/keys/" : "", path) >= DSG_PATH_LEN)
		return dsg_fault_set(fault, DSG_USAGE, "--%s: the path is too long", option);
	return 0;
}

/* The keys that the options name, which must be there and fit for use. */
static int take_keys(struct dsg_keys *keys, const char *name, struct dsg_fault *fault)
{
	struct dsg_error error = { 0 };
	struct dsg_creds *creds;
	const char *bad;

	if (opt.identity &&
	    dsg_string_set(keys->identity, sizeof(keys->identity), opt.identity))
		return dsg_fault_set(fault, DSG_USAGE, "--psk-identity: it is too long");
	if ((opt.psk_file && take_file("psk-file", opt.psk_file, keys->psk_file, fault)) ||
	    (opt.certificate && take_file("cert", opt.certificate, keys->certificate, fault)) ||
	    (opt.key && take_file("key", opt.key, keys->key, fault)) ||
	    (opt.ca && take_file("ca", opt.ca, keys->ca, fault)))
		return fault->code;
	bad = dsg_keys_bad(keys);
	if (bad) {
		dsg_fault_set(fault, DSG_USAGE, "%s", bad);
		return dsg_fault_hint(fault, "--psk-identity NAME --psk-file FILE, or --cert FILE --key FILE --ca FILE");
	}
	keys->security = opt.identity ? DSG_PSK : opt.certificate ? DSG_X509 : DSG_PLAIN;
	if (keys->security == DSG_PLAIN)
		return 0;
	if (dsg_creds_load(keys, false, &creds, &error))
		return dsg_fault_keys(fault, &error, name);
	dsg_creds_free(creds);
	return 0;
}

int target_add(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_target target = { .port = 0 }, old;
	char address[DSG_ADDRESS_LEN];
	struct dsg_probe *probe = NULL;
	const char *bad;
	int lock, err;

	(void)argc;
	if (!dsg_name_ok(argv[0])) {
		dsg_fault_set(fault, DSG_USAGE, "%s is no name for a target", argv[0]);
		return dsg_fault_hint(fault,
				      "1 to 31 letters, digits, '.', '_' or '-'; first a letter or digit");
	}
	bad = dsg_address_parse(argv[1], target.host, &target.port);
	if (bad) {
		dsg_fault_set(fault, DSG_USAGE, "%s: %s", argv[1], bad);
		return dsg_fault_hint(fault, "HOST, HOST:PORT, or [IPv6 ADDRESS]:PORT");
	}
	snprintf(target.name, sizeof(target.name), "%s", argv[0]);
	if (take_keys(&target.keys, target.name, fault))
		return fault->code;
	dsg_address_format(target.host, target.port, address);
	if (!no_check && check_target(cli, &target, &probe, fault))
		return fault->code;
	lock = dsg_lock("lock", false, LOCK_WAIT_NS, fault);
	if (lock < 0) {
		dsg_probes_free(probe, 1);
		return fault->code;
	}
	err = dsg_target_load(target.name, &old, fault);
	if (!err && (strcmp(old.host, target.host) || old.port != target.port)) {
		err = dsg_fault_set(fault, DSG_CONFLICT, "there is a target %s already, at %s",
				    target.name,
				    dsg_address_format(old.host, old.port, address));
		dsg_fault_hint(fault, "disaggctl target remove %s", target.name);
	} else if (!err && old.keys.security && !target.keys.security) {
		/* Going without must be meant. */
		err = dsg_fault_set(fault, DSG_CONFLICT, "target %s has keys", target.name);
		dsg_fault_hint(fault, "give them again, or first: disaggctl target remove %s",
			       target.name);
	} else if (err == DSG_NOT_FOUND || (!err && memcmp(&old.keys, &target.keys,
							   sizeof(old.keys)))) {
		/* Other keys for the same target: that is how they are changed. */
		err = dsg_target_save(&target, fault);
	}
	dsg_unlock(lock);
	if (!err && cli->json) {
		struct json_object *document = json_document();

		put_value(document, "target", target_object(&target, probe));
		json_print(cli, document);
	} else if (!err) {
		printf("target %s: %s%s%s\n", target.name, address,
		       target.keys.security ? ", TLS: " : "",
		       target.keys.security ? dsg_security_text(target.keys.security) : "");
	}
	dsg_probes_free(probe, 1);
	return err;
}

static void print_targets(const struct dsg_target *targets, const struct dsg_probe *probes,
			  size_t count)
{
	struct table table = {
		.headers = { "NAME", "ADDRESS", "SECURITY", "STATE", "RTT", "MEMORY FREE",
			     "STORAGE FREE" },
		.right = 1 << 4,
	};

	for (size_t i = 0; i < count; i++) {
		char address[DSG_ADDRESS_LEN], rtt[DSG_SIZE_STRLEN] = "", memory[64], storage[64];
		struct dsg_probe none = { .count = 0 };
		const struct dsg_probe *probe = probes ? &probes[i] : &none;
		bool reachable = probes && !probe->fault.code;

		if (reachable)
			dsg_duration_format(probe->rtt_ns, rtt);
		table_row(&table, targets[i].name,
			  dsg_address_format(targets[i].host, targets[i].port, address),
			  dsg_security_text(targets[i].keys.security),
			  !probes ? "" : reachable ? "reachable" : "unreachable", rtt,
			  space_text(probe, DISAGG_WIRE_CLASS_MEMORY, memory),
			  space_text(probe, DISAGG_WIRE_CLASS_STORAGE, storage));
	}
	table_print(&table);
	for (size_t i = 0; probes && i < count; i++)
		if (probes[i].fault.code)
			fprintf(stderr, "disaggctl: %s\n", probes[i].fault.reason);
}

int target_list(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_target *targets;
	struct dsg_probe *probes = NULL;
	size_t count;

	(void)argc;
	(void)argv;
	if (dsg_targets_load(&targets, &count, fault))
		return fault->code;
	progress(cli, "waiting for targets");
	if (!no_check && dsg_probe_targets(targets, count, DSG_PROBE_INVENTORY, DSG_PROBE_NS,
					   &probes, fault)) {
		free(targets);
		return fault->code;
	}
	if (cli->json) {
		struct json_object *document = json_document();
		struct json_object *list = json_object_new_array();

		for (size_t i = 0; i < count; i++)
			json_object_array_add(list, target_object(&targets[i],
								  probes ? &probes[i] : NULL));
		put_value(document, "targets", list);
		json_print(cli, document);
	} else {
		print_targets(targets, probes, count);
	}
	dsg_probes_free(probes, count);
	free(targets);
	return 0;
}

/* Refuse if a node record has something from the target. */
static int check_unused(const char *target, struct dsg_fault *fault)
{
	char **names;
	size_t count;
	int err;

	err = dsg_record_names(&names, &count, fault);
	for (size_t i = 0; i < count && !err; i++) {
		struct dsg_record record;

		err = dsg_record_load(names[i], &record, fault);
		if (err == DSG_NOT_FOUND) {
			err = 0;	/* deleted just now */
			continue;
		}
		for (size_t d = 0; d < record.count && !err; d++) {
			if (strcmp(record.devices[d].target.name, target))
				continue;
			err = dsg_fault_set(fault, DSG_CONFLICT, "node %s uses target %s (%s)",
					    names[i], target, record.devices[d].name);
			dsg_fault_hint(fault, "disaggctl node delete %s", names[i]);
		}
		dsg_record_free(&record);
	}
	dsg_names_free(names, count);
	return err;
}

int target_remove(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_target target;
	int lock, err;

	(void)argc;
	if (!dsg_name_ok(argv[0]))
		return dsg_fault_set(fault, DSG_NOT_FOUND, "there is no target %s", argv[0]);
	lock = dsg_lock("lock", false, LOCK_WAIT_NS, fault);
	if (lock < 0)
		return fault->code;
	err = dsg_target_load(argv[0], &target, fault);
	/* A record that can't be read is no reason to keep it. */
	if (err == DSG_FAILED)
		err = 0;
	if (!err)
		err = check_unused(argv[0], fault);
	if (!err)
		err = dsg_target_remove(argv[0], fault);
	dsg_unlock(lock);
	if (err)
		return err;
	if (cli->json) {
		struct json_object *document = json_document();

		put_string(document, "removed", argv[0]);
		json_print(cli, document);
	} else {
		printf("target %s removed\n", argv[0]);
	}
	return 0;
}
