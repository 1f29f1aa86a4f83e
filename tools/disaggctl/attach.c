// SPDX-License-Identifier: GPL-2.0
/*
 * disaggctl node attach | detach | save: nodes that outlive a boot. A lease that its
 * target still has is used again, with what is in it; only what has ended is replaced.
 */
#include <endian.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "compose.h"
#include "describe.h"
#include "file.h"
#include "lease.h"
#include "probe.h"
#include "size.h"

#define RETRY_MIN_NS	(DSG_NSEC_PER_SEC / 2)
#define RETRY_MAX_NS	(15 * DSG_NSEC_PER_SEC)
#define SLEEP_STEP_NS	100000000	/* in which an interruption is noticed */

static const char *wait_text;
static bool boot, replace_lost, force, missing_ok;

const struct option node_attach_options[] = {
	{ .name = "wait", .arg = "DURATION", .text = &wait_text,
	  .help = "keep trying for so long if a target is not there yet" },
	{ .name = "boot", .flag = &boot,
	  .help = "note that it was attached at boot (disagg-node@.service)" },
	{ .name = "replace-lost", .flag = &replace_lost,
	  .help = "empty storage instead of what a target has ended" },
	{ .name = NULL },
};

const struct option node_detach_options[] = {
	{ .name = "force", .flag = &force, .help = "although in use; its I/O fails" },
	{ .name = "missing-ok", .flag = &missing_ok, .help = "no failure if there is no such node" },
	{ .name = NULL },
};

static int no_node(const char *name, struct dsg_fault *fault)
{
	dsg_fault_set(fault, DSG_NOT_FOUND, "there is no node %s", name);
	return dsg_fault_hint(fault, "nodes of this host: disaggctl node list");
}

/* Whether the module has all of the node's devices, none of them dead or on its way out. */
static int is_whole(struct dsg_netlink *nl, const struct dsg_record *record, bool *there,
		    bool *whole, struct dsg_fault *fault)
{
	struct dsg_kernel_device *dev = calloc(1, sizeof(*dev));
	struct dsg_kernel_node node;
	int err;

	*there = *whole = false;
	if (!dev)
		return dsg_fault_memory(fault);
	err = dsg_netlink_node(nl, record->name, &node, fault);
	*there = *whole = !err;
	for (size_t i = 0; i < record->count && !err && *whole; i++) {
		err = dsg_netlink_device(nl, record->name, record->devices[i].name, dev, fault);
		*whole = !err && dev->state != DISAGG_DEVICE_STATE_DEAD &&
			 dev->state != DISAGG_DEVICE_STATE_REMOVING;
	}
	free(dev);
	return err == DSG_NOT_FOUND ? 0 : err;
}

/* Where the node's targets are now, each once; whether with TLS the record says. */
static size_t find_targets(struct dsg_record *record, struct dsg_target *targets)
{
	struct dsg_fault ignored;
	struct dsg_target now;
	size_t count = 0;

	for (size_t i = 0; i < record->count; i++) {
		struct dsg_target *target = &record->devices[i].target;
		size_t j = 0;

		if (!dsg_target_load(target->name, &now, &ignored)) {
			memcpy(target->host, now.host, sizeof(target->host));
			target->port = now.port;
		}
		while (j < count && strcmp(targets[j].name, target->name))
			j++;
		if (j == count)
			targets[count++] = *target;
	}
	return count;
}

static bool has_lease(const struct dsg_probe *probe, const struct dsg_record_device *dev)
{
	for (size_t i = 0; i < probe->count; i++) {
		const struct disagg_wire_lease_info *info = &probe->leases[i];

		if (!memcmp(info->lease, dev->lease, sizeof(dev->lease)) &&
		    le64toh(info->generation) == dev->generation)
			return le32toh(info->state) == DISAGG_WIRE_LEASE_COMMITTED;
	}
	return false;
}

/* Make @dev one that has to be placed. */
static int want_again(struct dsg_record_device *dev, struct dsg_fault *fault)
{
	memset(&dev->target, 0, sizeof(dev->target));
	memset(dev->resource, 0, sizeof(dev->resource));
	memset(dev->lease, 0, sizeof(dev->lease));
	explicit_bzero(dev->token, sizeof(dev->token));
	dev->generation = 0;
	dev->max_lanes = 0;
	dev->epoch = 0;
	dev->step = DSG_LEASE_ASKED;
	if (dsg_uuid_random(dev->txid))
		return dsg_fault_set(fault, DSG_FAILED, "the kernel gives no random numbers");
	return 0;
}

/*
 * A lease that its target does not list may still be there, and this record has its only
 * secret: a target lists neither what is another tenant's nor what it keeps aside while
 * the resource is not offered. Of a COMMIT that was cut off, nobody has any data.
 */
static int settle(const struct dsg_record *record, struct dsg_record_device *dev, bool *ended,
		  struct dsg_fault *fault)
{
	uint64_t deadline = dsg_deadline(STEP_NS);
	struct dsg_session session;
	unsigned int status;
	int err;

	*ended = dev->step == DSG_LEASE_ASKED || dev->step == DSG_LEASE_RELEASED;
	if (*ended)
		return 0;
	err = dsg_target_open(&dev->target, deadline, &session, fault);
	if (err)
		return err;
	err = dsg_lease_renew(&session, dev, deadline, &status, fault);
	*ended = err && status == DISAGG_WIRE_E_STALE;
	if (err && !*ended && dev->step == DSG_LEASE_RESERVED) {
		err = dsg_lease_release(&session, record->name, dev, deadline, fault);
		*ended = !err;
	}
	dsg_session_close(&session);
	if (!err || *ended)
		return 0;
	dsg_fault_prefix(fault, "it is not known that the lease of %s/%s has ended: ",
			 record->name, dev->name);
	if (status)
		dsg_fault_hint(fault, "is %s the same target, with the same keys and resources? "
			       "what is lost is given up by: disaggctl node delete %s",
			       dev->target.name, record->name);
	return fault->code;
}

/*
 * A lease that was there has ended. Memory is expected to be lost some time; what storage
 * had in it is not to be replaced by nothing before somebody has seen that it is gone.
 */
static int may_replace(struct cli *cli, const struct dsg_record *record,
		       const struct dsg_record_device *dev, struct dsg_fault *fault)
{
	if (dev->class == DISAGG_WIRE_CLASS_STORAGE && !replace_lost) {
		dsg_fault_set(fault, DSG_LOST,
			      "target %s has ended the lease of %s/%s, and what was on it is gone",
			      dev->target.name, record->name, dev->name);
		return dsg_fault_hint(fault, "for a new one, which is empty: disaggctl node attach %s --replace-lost",
				      record->name);
	}
	cli_warn(cli, "target %s has ended the lease of %s/%s: it gets a new one, which is empty",
		 dev->target.name, record->name, dev->name);
	return 0;
}

static int sort_out(struct cli *cli, struct dsg_record *record, const struct dsg_probe *probes,
		    size_t count, bool *lost, struct dsg_fault *fault)
{
	for (size_t i = 0; i < record->count; i++) {
		struct dsg_record_device *dev = &record->devices[i];
		const struct dsg_probe *probe = probes;
		bool ended = false;

		while (probe < probes + count && strcmp(probe->target.name, dev->target.name))
			probe++;
		if ((probe == probes + count || !has_lease(probe, dev)) &&
		    settle(record, dev, &ended, fault))
			return fault->code;
		if (!ended) {
			dev->step = DSG_LEASE_COMMITTED;
			continue;
		}
		if (dev->step == DSG_LEASE_COMMITTED && may_replace(cli, record, dev, fault))
			return fault->code;
		*lost = true;
		if (want_again(dev, fault))
			return fault->code;
	}
	return 0;
}

/* Which leases their targets still have; all of them must say so. */
static int check_leases(struct cli *cli, struct dsg_record *record, bool *lost,
			struct dsg_fault *fault)
{
	struct dsg_target *targets = calloc(record->count + 1, sizeof(*targets));
	struct dsg_probe *probes = NULL;
	size_t count;
	int err;

	if (!targets)
		return dsg_fault_memory(fault);
	count = find_targets(record, targets);
	progress(cli, "waiting for targets");
	err = dsg_probe_targets(targets, count, DSG_PROBE_LEASES, DSG_PROBE_NS, &probes, fault);
	free(targets);
	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		err = probes[i].fault.code;
		if (err)
			*fault = probes[i].fault;
	}
	if (!err)
		err = sort_out(cli, record, probes, count, lost, fault);
	dsg_probes_free(probes, count);
	return err;
}

/* What was kept for an agent is not, without one. */
static void choose_again(struct cli *cli, struct dsg_record *record)
{
	bool kept = false, ends = false;

	for (size_t i = 0; i < record->count; i++)
		kept |= record->devices[i].dead_after_ms == DISAGG_NEVER;
	choose_dead_after(record);
	for (size_t i = 0; i < record->count; i++)
		ends |= !record->devices[i].dead_after_ms && !record->devices[i].dead_after_set;
	if (kept && ends)
		cli_warn(cli, "no disagg-agent runs: devices of node %s are given up once a link is lost",
			 record->name);
}

static int attach_record(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
			 bool *already, struct dsg_fault *fault)
{
	bool there, whole, lost = false;
	struct dsg_spec spec = { .count = 0 };
	int err;

	err = is_whole(nl, record, &there, &whole, fault);
	*already = whole;
	if (err || whole)
		return err;
	if (there)
		err = detach_node(cli, nl, record->name, false, fault);
	if (!err)
		err = check_leases(cli, record, &lost, fault);
	/* Where new ones may come from is the file's to say. */
	if (!err && lost && dsg_spec_exists(record->name))
		err = dsg_spec_load(record->name, &spec, fault);
	if (!err && lost)
		err = place(cli, record, spec.target, fault);
	if (!err)
		err = interrupt_check(fault);
	if (!err)
		choose_again(cli, record);
	return err ? err : compose_again(cli, nl, record, boot ? OWNER_BOOT : OWNER_OPERATOR,
					 fault);
}

static int attach_file(struct cli *cli, struct dsg_netlink *nl, const char *name,
		       struct dsg_fault *fault)
{
	struct dsg_record record = { .count = 0 };
	struct dsg_spec spec;
	int err;

	err = dsg_spec_load(name, &spec, fault);
	if (err == DSG_NOT_FOUND)
		return no_node(name, fault);
	if (!err)
		err = record_of_spec(&spec, &record, fault);
	if (!err)
		err = place_and_compose(cli, nl, &record, spec.target,
					boot ? OWNER_BOOT : OWNER_OPERATOR, fault);
	dsg_record_free(&record);
	return err;
}

/* A record that is not of a whole node: with a file, it is made anew. */
static int clean_up(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
		    struct dsg_fault *fault)
{
	int err;

	if (!dsg_spec_exists(record->name)) {
		dsg_fault_set(fault, DSG_CONFLICT, "node %s is not whole: it is %s", record->name,
			      dsg_record_state_name(record->state));
		return dsg_fault_hint(fault, "clean up: disaggctl node delete %s", record->name);
	}
	progress(cli, "releasing what the last node %s left", record->name);
	err = detach_node(cli, nl, record->name, false, fault);
	return err ? err : finish_release(record, RELEASE_NS, true, fault);
}

static int attach_locked(struct cli *cli, struct dsg_netlink *nl, const char *name,
			 bool *already, struct dsg_fault *fault)
{
	struct dsg_record record;
	int err;

	err = dsg_record_load(name, &record, fault);
	if (err == DSG_NOT_FOUND)
		return attach_file(cli, nl, name, fault);
	if (err)
		return err;
	if (record.state == DSG_RECORD_UP) {
		err = attach_record(cli, nl, &record, already, fault);
	} else {
		err = clean_up(cli, nl, &record, fault);
		if (!err)
			err = attach_file(cli, nl, name, fault);
	}
	dsg_record_free(&record);
	return err;
}

static int attach_once(struct cli *cli, struct dsg_netlink *nl, const char *name, bool *already,
		       struct dsg_fault *fault)
{
	int targets_lock, node_lock, err;

	targets_lock = dsg_lock("lock", true, LOCK_WAIT_NS, fault);
	if (targets_lock < 0)
		return fault->code;
	node_lock = lock_node(name, LOCK_WAIT_NS, fault);
	interrupt_catch();
	err = node_lock < 0 ? (int)fault->code : attach_locked(cli, nl, name, already, fault);
	dsg_unlock(node_lock);
	dsg_unlock(targets_lock);
	return err;
}

/* Whether time alone may mend it. */
static bool may_pass(int err)
{
	return err == DSG_UNREACHABLE || err == DSG_NO_SPACE || err == DSG_CONFLICT ||
	       err == DSG_ROLLED_BACK;
}

/* When a target last announced itself, as disagg-attach.service notes it. */
static struct timespec announced_at(void)
{
	struct stat st = { .st_mtim = { 0 } };
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/announced", dsg_rundir());
	stat(path, &st);
	return st.st_mtim;
}

/* For @ns, or until a target announces itself, if none has since @announced. */
static void sleep_for(uint64_t ns, struct timespec announced)
{
	static const struct timespec step = { .tv_nsec = SLEEP_STEP_NS };
	uint64_t until = dsg_deadline(ns);
	struct dsg_fault ignored;

	while (dsg_now_ns() < until && !interrupt_check(&ignored)) {
		struct timespec now = announced_at();

		if (now.tv_sec != announced.tv_sec || now.tv_nsec != announced.tv_nsec)
			return;
		nanosleep(&step, NULL);
	}
}

/* Try until it is attached, it can't be, or the time is over. */
static int attach_waiting(struct cli *cli, struct dsg_netlink *nl, const char *name,
			  uint64_t wait_ns, bool *already, struct dsg_fault *fault)
{
	uint64_t deadline = dsg_deadline(wait_ns), pause = RETRY_MIN_NS;
	char said[sizeof(fault->reason)] = "";
	struct dsg_fault interrupted;
	int err;

	for (;;) {
		/* An announcement while that is tried is one for the next try. */
		struct timespec announced = announced_at();
		uint64_t now;

		err = attach_once(cli, nl, name, already, fault);
		now = dsg_now_ns();
		if (!err || !may_pass(err) || now >= deadline || interrupt_check(&interrupted))
			return err;
		if (!cli->json && strcmp(said, fault->reason)) {
			fprintf(stderr, "disaggctl: %s\ndisaggctl: trying again for %llu s\n",
				fault->reason,
				(unsigned long long)((deadline - now) / DSG_NSEC_PER_SEC));
			memcpy(said, fault->reason, sizeof(said));
		}
		if (pause > deadline - now)
			pause = deadline - now;
		progress(cli, "waiting to attach node %s", name);
		sleep_for(pause, announced);
		if (interrupt_check(fault))
			return fault->code;
		pause = pause * 2 < RETRY_MAX_NS ? pause * 2 : RETRY_MAX_NS;
	}
}

/* A file that cannot be used is refused before anything else, unless it isn't needed. */
static int check_file(const char *name, struct dsg_fault *fault)
{
	struct dsg_record record;
	struct dsg_spec spec;
	int err = dsg_record_load(name, &record, fault);

	dsg_record_free(&record);
	if (err != DSG_NOT_FOUND)
		return err;
	err = dsg_spec_load(name, &spec, fault);
	return err == DSG_NOT_FOUND ? no_node(name, fault) : err;
}

int node_attach(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_netlink *nl;
	uint64_t wait_ns = 0;
	bool already = false;
	const char *bad;
	int err;

	(void)argc;
	bad = wait_text && strcmp(wait_text, "0") ? dsg_duration_parse(wait_text, &wait_ns) : NULL;
	if (bad)
		return dsg_fault_set(fault, DSG_USAGE, "--wait %s: %s", wait_text, bad);
	if (!dsg_name_ok(argv[0]))
		return no_node(argv[0], fault);
	err = check_file(argv[0], fault);
	if (!err)
		err = module_open(&nl, fault);
	if (err)
		return err;
	err = attach_waiting(cli, nl, argv[0], wait_ns, &already, fault);
	if (!err && already && !cli->json)
		printf("node %s is attached already\n\n", argv[0]);
	if (!err)
		err = print_node(cli, nl, argv[0], fault);
	dsg_netlink_close(nl);
	return err;
}

/* The module, if it is loaded, and the lock of the node. */
static int open_node(const char *name, struct dsg_netlink **nl, int *lock,
		     struct dsg_fault *fault)
{
	int err = dsg_name_ok(name) ? module_open_if_loaded(nl, fault) : no_node(name, fault);

	if (err)
		return err;
	*lock = lock_node(name, LOCK_WAIT_NS, fault);
	if (*lock >= 0)
		return 0;
	dsg_netlink_close(*nl);
	return fault->code;
}

static int detach_locked(struct cli *cli, struct dsg_netlink *nl, const char *name,
			 struct dsg_fault *fault)
{
	struct dsg_record record = { .count = 0 };
	int err;

	err = dsg_record_load(name, &record, fault);
	dsg_record_free(&record);
	/* Without a record nobody could attach it again. */
	if (err == DSG_NOT_FOUND)
		return no_node(name, fault);
	if (err)
		return err;
	progress(cli, "detaching node %s", name);
	return nl ? detach_node(cli, nl, name, force, fault) : 0;
}

static int print_nothing(struct cli *cli, const char *name)
{
	if (cli->json)
		json_print(cli, json_document());
	else
		printf("there is no node %s to detach\n", name);
	return 0;
}

int node_detach(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_netlink *nl;
	int lock, err;

	(void)argc;
	err = open_node(argv[0], &nl, &lock, fault);
	if (err)
		return err;
	err = detach_locked(cli, nl, argv[0], fault);
	dsg_unlock(lock);
	if (err == DSG_NOT_FOUND && missing_ok) {
		dsg_netlink_close(nl);
		return print_nothing(cli, argv[0]);
	}
	if (!err && cli->json)
		err = print_node(cli, nl, argv[0], fault);
	else if (!err)
		printf("node %s detached; its leases stay\n", argv[0]);
	dsg_netlink_close(nl);
	return err;
}

/* Let udev look at the node's disks again: it starts the unit of a node with a file. */
static void tell_udev(struct dsg_netlink *nl, const char *name)
{
	struct dsg_kernel_device *devices;
	struct dsg_fault ignored;
	char path[64];
	size_t count;

	if (!nl || dsg_netlink_devices(nl, &devices, &count, &ignored))
		return;
	for (size_t i = 0; i < count; i++) {
		FILE *uevent;

		if (strcmp(devices[i].node, name))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/uevent", devices[i].disk);
		uevent = fopen(path, "we");
		if (!uevent)
			continue;
		fputs("change\n", uevent);
		fclose(uevent);
	}
	free(devices);
}

static int save_locked(const char *name, struct dsg_fault *fault)
{
	struct dsg_spec spec, before;
	struct dsg_fault ignored;
	struct dsg_record record;
	int err;

	err = dsg_record_load(name, &record, fault);
	if (err == DSG_NOT_FOUND)
		return no_node(name, fault);
	if (err)
		return err;
	if (record.state != DSG_RECORD_UP) {
		err = dsg_fault_set(fault, DSG_CONFLICT, "node %s is not whole: it is %s", name,
				    dsg_record_state_name(record.state));
		dsg_fault_hint(fault, "disaggctl node show %s", name);
	} else {
		dsg_spec_of_record(&record, &spec);
		/* Which targets it may have is nowhere but in the file. */
		if (!dsg_spec_load(name, &before, &ignored))
			memcpy(spec.target, before.target, sizeof(spec.target));
		err = dsg_spec_save(&spec, fault);
	}
	dsg_record_free(&record);
	return err;
}

int node_save(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	char path[PATH_MAX];
	struct dsg_netlink *nl;
	int lock, err;

	(void)argc;
	err = open_node(argv[0], &nl, &lock, fault);
	if (err)
		return err;
	err = save_locked(argv[0], fault);
	dsg_unlock(lock);
	if (!err)
		tell_udev(nl, argv[0]);
	dsg_netlink_close(nl);
	if (err)
		return err;
	dsg_spec_path(argv[0], path);
	if (cli->json) {
		struct json_object *document = json_document();

		put_string(document, "node", argv[0]);
		put_string(document, "path", path);
		json_print(cli, document);
	} else {
		printf("node %s: %s; it is attached when this host boots\n", argv[0], path);
	}
	return 0;
}
