// SPDX-License-Identifier: GPL-2.0
/*
 * Composing a node: reserve on every target, commit, open the lanes, hand them to
 * the module. The record is written first and says at each moment what may have
 * been taken, so that an undo needs nothing else.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "compose.h"
#include "file.h"
#include "registry.h"
#include "release.h"

#define LANES_DEFAULT_MAX	4
#define UDEV_WAIT_NS		(5 * DSG_NSEC_PER_SEC)
#define UDEV_POLL_NS		20000000

/**
 * struct composition - a node on its way
 * @asked: for devices before this one a RESERVE may have been sent
 * @committing: devices before this one may have been committed
 * @attached: the module has the node
 * @features: DISAGG_WIRE_F_* that the module can use
 * @disks: kernel names of the devices that are attached
 * @owner: who attaches, for the registry
 */
struct composition {
	struct cli *cli;
	struct dsg_netlink *nl;
	struct dsg_record *record;
	const char *owner;
	size_t asked;
	size_t committing;
	bool attached;
	uint64_t features;
	char (*disks)[32];
};

int lock_node(const char *name, uint64_t wait_ns, struct dsg_fault *fault)
{
	char file[64];

	snprintf(file, sizeof(file), "node-%s.lock", name);
	return dsg_lock(file, false, wait_ns, fault);
}

int finish_release(struct dsg_record *record, uint64_t wait_ns, bool patient,
		   struct dsg_fault *fault)
{
	struct dsg_fault save;
	int err;

	/* First, since it may be cut off; should it fail, they are given back all the same. */
	record->state = DSG_RECORD_RELEASING;
	dsg_record_save(record, &save);
	err = dsg_release_leases(record, wait_ns, patient, fault);
	if (!err)
		return dsg_record_remove(record->name, fault);
	if (dsg_record_save(record, &save))
		*fault = save;
	return err;
}

static int check_module(struct composition *c, struct dsg_fault *fault)
{
	struct dsg_module_info info;
	struct dsg_kernel_node node;
	int err;

	err = dsg_netlink_info(c->nl, &info, fault);
	if (err)
		return err;
	if (info.wire != DISAGG_WIRE_VERSION) {
		dsg_fault_set(fault, DSG_FAILED,
			      "the module speaks wire version %u, disaggctl %u", info.wire,
			      DISAGG_WIRE_VERSION);
		return dsg_fault_hint(fault, "install both from one release, and reload the module");
	}
	c->features = info.features;
	err = dsg_netlink_node(c->nl, c->record->name, &node, fault);
	if (err == DSG_NOT_FOUND)
		return 0;
	if (err)
		return err;
	dsg_fault_set(fault, DSG_CONFLICT, "the module has a node %s already", c->record->name);
	return dsg_fault_hint(fault, "disaggctl node delete %s, or take another name",
			      c->record->name);
}

/* Order of the targets that every host keeps to, so that none waits in a circle. */
static int compare_targets(const void *a, const void *b)
{
	const struct dsg_record_device *x = a, *y = b;
	int order = strcmp(x->target.name, y->target.name);

	return order ? order : strcmp(x->name, y->name);
}

/* The devices are sorted by target. What has its lease already is left as it is. */
static int reserve_all(struct composition *c, struct dsg_fault *fault)
{
	struct dsg_record *record = c->record;
	struct dsg_session session = { .fd = -1 };
	const char *asked = NULL;
	int err = 0;

	for (size_t i = 0; i < record->count && !err; i++) {
		struct dsg_record_device *dev = &record->devices[i];
		const struct dsg_target *target = &dev->target;

		if (dev->step == DSG_LEASE_COMMITTED)
			continue;
		progress(c->cli, "waiting for target %s", target->name);
		if (!asked || strcmp(asked, target->name)) {
			dsg_session_close(&session);
			asked = target->name;
			err = dsg_target_open(target, dsg_deadline(STEP_NS), &session, fault);
		}
		if (!err)
			err = interrupt_check(fault);
		if (err)
			break;
		c->asked = i + 1;
		err = dsg_lease_reserve(&session, record->name, dev, dsg_deadline(STEP_NS),
					fault);
	}
	dsg_session_close(&session);
	return err ? err : interrupt_check(fault);
}

/* A COMMIT that a target works on: zeroing takes its time. */
struct commit {
	struct dsg_session session;
	struct disagg_wire_frame frame;
};

static int start_commit(struct composition *c, size_t i, struct commit *commit,
			struct dsg_fault *fault)
{
	const struct dsg_record_device *dev = &c->record->devices[i];
	uint64_t deadline = dsg_deadline(STEP_NS);
	int err;

	err = dsg_target_open(&dev->target, deadline, &commit->session, fault);
	if (err)
		return err;
	/* The wait may be long, but not for a target that is gone. */
	dsg_lane_tune(commit->session.fd, STEP_NS / 1000000);
	c->committing = i + 1;
	return dsg_lease_commit(&commit->session, dev, &commit->frame, deadline, fault);
}

/* All at once: no reservation may end because another device is being zeroed. */
static int commit_all(struct composition *c, struct dsg_fault *fault)
{
	struct dsg_record *record = c->record;
	struct commit *commits = calloc(record->count + 1, sizeof(*commits));
	uint64_t bytes = 0, deadline;
	int err = 0;

	if (!commits)
		return dsg_fault_memory(fault);
	for (size_t i = 0; i < record->count; i++)
		commits[i].session.fd = -1;
	for (size_t i = 0; i < record->count && !err; i++) {
		if (record->devices[i].step == DSG_LEASE_COMMITTED)
			continue;
		progress(c->cli, "waiting for target %s", record->devices[i].target.name);
		bytes += record->devices[i].size;
		err = start_commit(c, i, &commits[i], fault);
		if (!err)
			err = interrupt_check(fault);
	}
	deadline = dsg_deadline(STEP_NS + dsg_zeroing_ns(bytes));
	for (size_t i = 0; i < record->count && !err; i++) {
		if (commits[i].session.fd < 0)
			continue;
		progress(c->cli, "target %s prepares %s", record->devices[i].target.name,
			 record->devices[i].name);
		err = dsg_lease_committed(&commits[i].session, &record->devices[i],
					  &commits[i].frame, deadline, fault);
	}
	for (size_t i = 0; i < record->count; i++)
		dsg_session_close(&commits[i].session);
	free(commits);
	return err ? err : interrupt_check(fault);
}

/* Lanes that weren't asked for by number: one per CPU, few, and no more than allowed. */
static int choose_lanes(struct dsg_record_device *dev, struct dsg_fault *fault)
{
	uint32_t most = dev->max_lanes;

	if (most > DISAGG_WIRE_MAX_LANES)
		most = DISAGG_WIRE_MAX_LANES;
	if (dev->lanes > most) {
		dsg_fault_set(fault, DSG_USAGE, "target %s: %s may have %u lanes, not %u",
			      dev->target.name, dev->name, most, dev->lanes);
		return dsg_fault_hint(fault, "use --lanes %u or less", most);
	}
	if (!dev->lanes) {
		dev->lanes = (uint32_t)get_nprocs();
		if (dev->lanes > LANES_DEFAULT_MAX)
			dev->lanes = LANES_DEFAULT_MAX;
		if (dev->lanes > most)
			dev->lanes = most;
	}
	return 0;
}

static int attach_device(struct composition *c, size_t i, struct dsg_fault *fault)
{
	struct dsg_record_device *dev = &c->record->devices[i];
	struct dsg_lanes lanes;
	int err;

	progress(c->cli, "connecting %s to target %s", dev->name, dev->target.name);
	err = dsg_lanes_open(dev, c->features, dsg_deadline(STEP_NS), &lanes, fault);
	if (err)
		return err;
	err = interrupt_check(fault);
	/* The agent, which reads the record, compares what comes with these lanes. */
	if (!err && dev->epoch != lanes.epoch) {
		dev->epoch = lanes.epoch;
		err = dsg_record_save(c->record, fault);
	}
	if (!err) {
		progress(c->cli, "attaching %s", dev->name);
		err = dsg_netlink_device_new(c->nl, c->record->name, dev, &lanes, c->disks[i],
					     fault);
		if (err)
			dsg_fault_prefix(fault, "attaching %s: ", dev->name);
	}
	dsg_lanes_close(&lanes);
	if (!err)
		err = dsg_registry_note(c->disks[i], c->record->name, c->owner, fault);
	return err;
}

static int attach(struct composition *c, struct dsg_fault *fault)
{
	int err = dsg_netlink_node_new(c->nl, c->record->name, fault);

	if (err)
		return err;
	c->attached = true;
	for (size_t i = 0; i < c->record->count && !err; i++)
		err = attach_device(c, i, fault);
	return err ? err : interrupt_check(fault);
}

/* Wait until udev has named the devices. That it doesn't is worth a warning only. */
static void wait_for_names(struct composition *c)
{
	static const struct timespec pause = { .tv_nsec = UDEV_POLL_NS };
	bool udev = !access("/run/udev/control", F_OK);
	struct dsg_fault ignored;
	uint64_t deadline = dsg_deadline(UDEV_WAIT_NS);

	for (size_t i = 0; i < c->record->count; i++) {
		const struct dsg_record_device *dev = &c->record->devices[i];
		char path[128];

		snprintf(path, sizeof(path), "/dev/disagg/%s/%s", c->record->name, dev->name);
		progress(c->cli, "waiting for udev to make %s", path);
		while (access(path, F_OK) && udev && dsg_now_ns() < deadline &&
		       !interrupt_check(&ignored))
			nanosleep(&pause, NULL);
		if (!interrupt_check(&ignored) && access(path, F_OK))
			cli_warn(c->cli, "%s has not made %s; the device is /dev/%s",
				 udev ? "udev" : "udev isn't running, and", path, c->disks[i]);
	}
}

static int build(struct composition *c, struct dsg_fault *fault)
{
	int err;

	err = dsg_record_save(c->record, fault);
	if (!err)
		err = interrupt_check(fault);
	if (!err)
		err = reserve_all(c, fault);
	for (size_t i = 0; i < c->record->count && !err; i++)
		err = choose_lanes(&c->record->devices[i], fault);
	/* The tokens, without which nothing can be released, before any COMMIT. */
	if (!err)
		err = dsg_record_save(c->record, fault);
	if (!err)
		err = commit_all(c, fault);
	if (!err)
		err = attach(c, fault);
	if (err)
		return err;
	wait_for_names(c);
	err = interrupt_check(fault);
	if (err)
		return err;
	c->record->state = DSG_RECORD_UP;
	c->record->pid = 0;
	return dsg_record_save(c->record, fault);
}

/* A reservation that was never committed ends without anybody's help. */
static int release_or_expire(struct composition *c, struct dsg_fault *fault)
{
	bool left = false;
	int err;

	for (size_t i = c->asked; i < c->record->count; i++)
		c->record->devices[i].step = DSG_LEASE_RELEASED;
	err = dsg_release_leases(c->record, RELEASE_NS, true, fault);
	for (size_t i = 0; i < c->record->count && err; i++) {
		struct dsg_record_device *dev = &c->record->devices[i];

		if (dev->step == DSG_LEASE_RELEASED)
			continue;
		if (i < c->committing) {
			left = true;
			continue;
		}
		cli_warn(c->cli, "%s\nthe reservation of %s ends by itself, %llu s after it was made",
			 fault->reason, dev->name,
			 (unsigned long long)(DSG_RESERVE_TTL_NS / DSG_NSEC_PER_SEC));
		dev->step = DSG_LEASE_RELEASED;
	}
	return left ? err : 0;
}

/*
 * Undo in reverse order. The exit code is the cause's own if nothing had been
 * asked of a target yet, or if the cause is a lack of room.
 */
static int roll_back(struct composition *c, struct dsg_fault *fault)
{
	struct dsg_fault undo = { .code = DSG_OK }, ignored;
	int err = 0;

	progress(c->cli, "undoing what was done for node %s", c->record->name);
	if (c->attached) {
		err = dsg_netlink_node_del(c->nl, c->record->name, true, &undo);
		if (err == DSG_NOT_FOUND)
			err = 0;
	}
	if (!err)
		err = release_or_expire(c, &undo);
	if (!err)
		err = dsg_record_remove(c->record->name, &undo);
	if (err) {
		size_t used = strlen(fault->reason);

		c->record->state = DSG_RECORD_RELEASING;
		c->record->pid = 0;
		dsg_record_save(c->record, &ignored);
		snprintf(fault->reason + used, sizeof(fault->reason) - used,
			 "\nundoing it is incomplete: %s", undo.reason);
		fault->code = DSG_ROLLBACK_INCOMPLETE;
		return dsg_fault_hint(fault, "disaggctl node delete %s finishes it",
				      c->record->name);
	}
	if (c->asked && fault->code != DSG_NO_SPACE)
		fault->code = DSG_ROLLED_BACK;
	if (c->asked)
		dsg_fault_prefix(fault, "node %s was rolled back: ", c->record->name);
	return fault->code;
}

int compose(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
	    const char *owner, struct dsg_fault *fault)
{
	struct composition c = { .cli = cli, .nl = nl, .record = record, .owner = owner };
	int err;

	qsort(record->devices, record->count, sizeof(*record->devices), compare_targets);
	c.disks = calloc(record->count + 1, sizeof(*c.disks));
	if (!c.disks)
		return dsg_fault_memory(fault);
	err = check_module(&c, fault);
	if (!err) {
		err = build(&c, fault);
		if (err) {
			interrupt_hold();
			interrupt_check(fault);
			err = roll_back(&c, fault);
		}
	}
	free(c.disks);
	return err;
}

/*
 * Undo what was done to attach again: the leases that were there stay. Those that
 * were taken are given back, or end by themselves when the target forgets them.
 */
static int put_back(struct composition *c, const bool *kept, struct dsg_fault *fault)
{
	struct dsg_record taken = *c->record;
	struct dsg_fault undo = { .code = DSG_OK };
	int err = 0;

	progress(c->cli, "undoing what was done for node %s", c->record->name);
	if (c->attached)
		err = dsg_netlink_node_del(c->nl, c->record->name, true, &undo);
	if (err && err != DSG_NOT_FOUND)
		cli_warn(c->cli, "%s", undo.reason);
	taken.devices = calloc(taken.count + 1, sizeof(*taken.devices));
	if (!taken.devices)
		return dsg_fault_memory(fault);
	memcpy(taken.devices, c->record->devices, taken.count * sizeof(*taken.devices));
	for (size_t i = 0; i < taken.count; i++)
		if (kept[i] || i >= c->asked)
			taken.devices[i].step = DSG_LEASE_RELEASED;
	if (dsg_release_leases(&taken, RELEASE_NS, true, &undo))
		cli_warn(c->cli, "%s", undo.reason);
	for (size_t i = 0; i < taken.count; i++)
		if (!kept[i])
			c->record->devices[i].step = taken.devices[i].step;
	dsg_record_free(&taken);
	c->record->pid = 0;
	if (dsg_record_save(c->record, &undo))
		cli_warn(c->cli, "%s", undo.reason);
	return fault->code;
}

int compose_again(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
		  const char *owner, struct dsg_fault *fault)
{
	struct composition c = { .cli = cli, .nl = nl, .record = record, .owner = owner };
	bool *kept;
	int err;

	qsort(record->devices, record->count, sizeof(*record->devices), compare_targets);
	c.disks = calloc(record->count + 1, sizeof(*c.disks));
	kept = calloc(record->count + 1, sizeof(*kept));
	err = c.disks && kept ? check_module(&c, fault) : dsg_fault_memory(fault);
	for (size_t i = 0; i < record->count && !err; i++)
		kept[i] = record->devices[i].step == DSG_LEASE_COMMITTED;
	if (!err) {
		err = build(&c, fault);
		if (err) {
			interrupt_hold();
			interrupt_check(fault);
			err = put_back(&c, kept, fault);
		}
	}
	free(c.disks);
	free(kept);
	return err;
}
