// SPDX-License-Identifier: GPL-2.0
/* disaggctl node create: what is wanted, and where it comes from. */
#include <endian.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "compose.h"
#include "describe.h"
#include "file.h"
#include "inventory.h"
#include "plan.h"
#include "size.h"
#include "timers.h"

#define RACES_MAX		8	/* lost to other creates, before giving up */
#define REFUSED_AGAIN_MAX	2	/* where there is no other place */

static struct {
	struct text_list memory;
	struct text_list storage;
	const char *target;
	const char *lanes;
	const char *depth;
	const char *block_size;
	const char *io_timeout;
	const char *fail_fast;
	const char *dead_after;
	const char *lease;
	bool read_only;
	bool crc;
	bool dry_run;
	bool persist;
} opt;

const struct option node_create_options[] = {
	{ .name = "memory", .arg = "SIZE[,SIZE...]", .list = &opt.memory,
	  .help = "devices mem0, mem1 ... of memory" },
	{ .name = "storage", .arg = "SIZE[,SIZE...]", .list = &opt.storage,
	  .help = "devices disk0, disk1 ... of storage" },
	{ .name = "target", .arg = "TARGET", .text = &opt.target,
	  .help = "from this target only" },
	{ .name = "lanes", .arg = "N", .text = &opt.lanes,
	  .help = "connections per device (default: CPUs, at most 4)" },
	{ .name = "depth", .arg = "N", .text = &opt.depth,
	  .help = "requests in flight per lane (default: 128)" },
	{ .name = "block-size", .arg = "N", .text = &opt.block_size,
	  .help = "logical block size, 512 to 4096 (default: 4096)" },
	{ .name = "io-timeout", .arg = "DURATION", .text = &opt.io_timeout,
	  .help = "that a request may take; after half of it the target is asked if it lives (default: 30s)" },
	{ .name = "fail-fast", .arg = "DURATION", .text = &opt.fail_fast,
	  .help = "after which I/O of a lost lane fails, or never (default)" },
	{ .name = "dead-after", .arg = "DURATION", .text = &opt.dead_after,
	  .help = "after which a lost device is given up, or never (default; without disagg-agent at once)" },
	{ .name = "lease", .arg = "DURATION", .text = &opt.lease,
	  .help = "for how long (default: until the node is deleted)" },
	{ .name = "read-only", .flag = &opt.read_only, .help = "devices that cannot be written" },
	{ .name = "crc", .flag = &opt.crc, .help = "checksums over all that travels" },
	{ .name = "persist", .flag = &opt.persist,
	  .help = "attach it again whenever this host boots" },
	{ .name = "dry-run", .flag = &opt.dry_run,
	  .help = "show what would be done, and do nothing" },
	{ .name = NULL },
};

static int parse_number(const char *option, const char *text, uint32_t min, uint32_t max,
			uint32_t *value, struct dsg_fault *fault)
{
	unsigned long n;
	char *end;

	if (!text)
		return 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || n < min || n > max)
		return dsg_fault_set(fault, DSG_USAGE, "--%s %s: expected a number from %u to %u",
				     option, text, min, max);
	*value = (uint32_t)n;
	return 0;
}

static int parse_common(struct dsg_spec *common, struct dsg_fault *fault)
{
	const char *bad;

	if (parse_number("lanes", opt.lanes, 1, DISAGG_WIRE_MAX_LANES, &common->lanes, fault) ||
	    parse_number("depth", opt.depth, 1, DISAGG_WIRE_MAX_DEPTH, &common->depth, fault) ||
	    parse_number("block-size", opt.block_size, 512, 4096, &common->block_size, fault))
		return fault->code;
	if (common->block_size & (common->block_size - 1))
		return dsg_fault_set(fault, DSG_USAGE,
				     "--block-size %s: expected 512, 1024, 2048 or 4096",
				     opt.block_size);
	common->dead_after_set = opt.dead_after;
	common->read_only = opt.read_only;
	common->crc = opt.crc;
	if (parse_timer("io-timeout", opt.io_timeout, &common->io_timeout_ms, fault) ||
	    parse_timer("fail-fast", opt.fail_fast, &common->fail_fast_ms, fault) ||
	    parse_timer("dead-after", opt.dead_after, &common->dead_after_ms, fault))
		return fault->code;
	if (opt.lease) {
		bad = dsg_duration_parse(opt.lease, &common->lease_ns);
		if (bad)
			return dsg_fault_set(fault, DSG_USAGE, "--lease %s: %s", opt.lease, bad);
	}
	return 0;
}

static int add_device(struct dsg_spec *spec, uint32_t class, unsigned int number,
		      const char *text, struct dsg_fault *fault)
{
	const char *option = class == DISAGG_WIRE_CLASS_MEMORY ? "memory" : "storage";
	const char *prefix = class == DISAGG_WIRE_CLASS_MEMORY ? "mem" : "disk";
	struct dsg_spec_device *dev = &spec->devices[spec->count];
	const char *bad;

	if (spec->count == DSG_PLAN_WANTS_MAX)
		return dsg_fault_set(fault, DSG_USAGE, "a node has at most %d devices",
				     DSG_PLAN_WANTS_MAX);
	bad = dsg_size_parse(text, &dev->size);
	if (bad)
		return dsg_fault_set(fault, DSG_USAGE, "--%s %s: %s", option, text, bad);
	if (dev->size % spec->block_size) {
		dsg_fault_set(fault, DSG_USAGE,
			      "--%s %s: not a multiple of the block size, %u bytes", option, text,
			      spec->block_size);
		return dsg_fault_hint(fault, "another size, or --block-size 512");
	}
	snprintf(dev->name, sizeof(dev->name), "%s%u", prefix, number);
	dev->class = class;
	spec->count++;
	return 0;
}

static int add_devices(struct dsg_spec *spec, uint32_t class, const struct text_list *list,
		       struct dsg_fault *fault)
{
	unsigned int number = 0;
	int err = 0;

	for (size_t i = 0; i < list->count && !err; i++) {
		char *copy = strdup(list->items[i]), *rest = copy, *item;

		if (!copy)
			return dsg_fault_memory(fault);
		while (!err && (item = strsep(&rest, ",")))
			err = add_device(spec, class, number++, item, fault);
		free(copy);
	}
	return err;
}

static int parse_request(const char *name, struct dsg_spec *spec, struct dsg_fault *fault)
{
	int err;

	if (!dsg_name_ok(name)) {
		dsg_fault_set(fault, DSG_USAGE, "%s is no name for a node", name);
		return dsg_fault_hint(fault,
				      "1 to 31 letters, digits, '.', '_' or '-'; first a letter or digit");
	}
	dsg_spec_init(spec, name);
	err = parse_common(spec, fault);
	if (!err)
		err = add_devices(spec, DISAGG_WIRE_CLASS_MEMORY, &opt.memory, fault);
	if (!err)
		err = add_devices(spec, DISAGG_WIRE_CLASS_STORAGE, &opt.storage, fault);
	if (!err && !spec->count) {
		err = dsg_fault_set(fault, DSG_USAGE, "node %s: no devices", name);
		dsg_fault_hint(fault, "disaggctl node create %s --memory 1GiB, for example", name);
	}
	return err;
}

void choose_dead_after(struct dsg_record *record)
{
	/* Who would restore a link? I/O that waits for nobody is worse than I/O that fails. */
	uint32_t ms = dsg_lock_held(DSG_AGENT_LOCK, NULL) ? DISAGG_NEVER : 0;

	for (size_t i = 0; i < record->count; i++)
		if (!record->devices[i].dead_after_set)
			record->devices[i].dead_after_ms = ms;
}

int record_of_spec(const struct dsg_spec *spec, struct dsg_record *record,
		   struct dsg_fault *fault)
{
	struct timespec ts;

	record->devices = calloc(spec->count + 1, sizeof(*record->devices));
	if (!record->devices)
		return dsg_fault_memory(fault);
	for (size_t i = 0; i < spec->count; i++) {
		struct dsg_record_device *dev = &record->devices[i];

		if (dsg_uuid_random(dev->txid))
			return dsg_fault_set(fault, DSG_FAILED,
					     "the kernel gives no random numbers");
		memcpy(dev->name, spec->devices[i].name, sizeof(dev->name));
		dev->class = spec->devices[i].class;
		dev->size = spec->devices[i].size;
		dev->lanes = spec->lanes;
		dev->depth = spec->depth;
		dev->block_size = spec->block_size;
		dev->io_timeout_ms = spec->io_timeout_ms;
		dev->fail_fast_ms = spec->fail_fast_ms;
		dev->dead_after_ms = spec->dead_after_ms;
		dev->dead_after_set = spec->dead_after_set;
		dev->lease_ns = spec->lease_ns;
		dev->read_only = spec->read_only;
		dev->crc = spec->crc;
		dev->step = DSG_LEASE_ASKED;
	}
	record->count = spec->count;
	choose_dead_after(record);
	snprintf(record->name, sizeof(record->name), "%s", spec->name);
	record->state = DSG_RECORD_CREATING;
	record->pid = getpid();
	clock_gettime(CLOCK_REALTIME, &ts);
	record->created_ns = (uint64_t)ts.tv_sec * DSG_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
	return 0;
}

/**
 * struct refusals - what did not take a device although there seemed to be room for it
 * @again: how often they were asked again all the same
 * @most: so many it took before
 */
struct refusals {
	unsigned int again;
	size_t count;
	struct {
		char target[DISAGG_WIRE_NAME_LEN];
		char resource[DISAGG_WIRE_NAME_LEN];
		size_t most;
	} of[RACES_MAX];
};

static bool is_on(const struct dsg_record_device *dev, const char *target, const char *resource)
{
	return !strcmp(dev->target.name, target) && !strcmp(dev->resource, resource);
}

/* The devices of @record are in the order in which they were asked for. */
static void note_refusal(struct refusals *refusals, const struct dsg_record *record)
{
	for (size_t i = 0; i < record->count; i++) {
		const struct dsg_record_device *dev = &record->devices[i];
		size_t n = refusals->count;

		if (!dev->refused || n == COUNT(refusals->of))
			continue;
		snprintf(refusals->of[n].target, sizeof(refusals->of[n].target), "%s",
			 dev->target.name);
		snprintf(refusals->of[n].resource, sizeof(refusals->of[n].resource), "%s",
			 dev->resource);
		refusals->of[n].most = 0;
		for (size_t j = 0; j < i; j++)
			refusals->of[n].most += is_on(&record->devices[j], dev->target.name,
						      dev->resource);
		refusals->count++;
	}
}

static size_t most_on(const struct refusals *refusals, const char *target, const char *resource)
{
	size_t most = SIZE_MAX;

	for (size_t i = 0; i < refusals->count; i++)
		if (!strcmp(refusals->of[i].target, target) &&
		    !strcmp(refusals->of[i].resource, resource) && refusals->of[i].most < most)
			most = refusals->of[i].most;
	return most;
}

/* Fill in target and resource of every device that has none. */
static int plan_devices(struct dsg_record *record, const struct dsg_probe *probes, size_t count,
			struct refusals *refusals, struct dsg_fault *fault)
{
	struct dsg_plan_want wants[DSG_PLAN_WANTS_MAX];
	struct dsg_plan_resource *resources;
	const struct dsg_probe **owners;
	size_t devices[DSG_PLAN_WANTS_MAX], wanted = 0, total = 0, n = 0;
	int err;

	for (size_t t = 0; t < count; t++)
		total += probes[t].count;
	resources = calloc(total + 1, sizeof(*resources));
	owners = calloc(total + 1, sizeof(*owners));
	if (!resources || !owners) {
		free(resources);
		free(owners);
		return dsg_fault_memory(fault);
	}
	for (size_t t = 0; t < count; t++) {
		for (size_t i = 0; i < probes[t].count; i++, n++) {
			const struct disagg_wire_resource *res = &probes[t].resources[i];

			owners[n] = &probes[t];
			resources[n] = (struct dsg_plan_resource) {
				.target = probes[t].target.name,
				.id = res->id,
				.class = le32toh(res->class),
				.read_only = le32toh(res->attrs) & DISAGG_WIRE_ATTR_READ_ONLY,
				.block_size = le32toh(res->block_size),
				.available = le64toh(res->available),
				.largest = le64toh(res->largest),
				.most = most_on(refusals, probes[t].target.name, res->id),
			};
		}
	}
	for (size_t i = 0; i < record->count && wanted < DSG_PLAN_WANTS_MAX; i++) {
		if (record->devices[i].resource[0])
			continue;
		devices[wanted] = i;
		wants[wanted++] = (struct dsg_plan_want) {
			.name = record->devices[i].name,
			.class = record->devices[i].class,
			.read_only = record->devices[i].read_only,
			.size = record->devices[i].size,
		};
	}
	err = wanted ? dsg_plan(wants, wanted, resources, n, fault) : 0;
	if (err == DSG_NO_SPACE && refusals->count && refusals->again < REFUSED_AGAIN_MAX) {
		/* Then it may have been a race only. */
		refusals->again++;
		for (size_t j = 0; j < n; j++)
			resources[j].most = SIZE_MAX;
		err = dsg_plan(wants, wanted, resources, n, fault);
	}
	for (size_t i = 0; i < wanted && !err; i++) {
		struct dsg_record_device *dev = &record->devices[devices[i]];

		dev->target = owners[wants[i].resource]->target;
		snprintf(dev->resource, sizeof(dev->resource), "%s",
			 resources[wants[i].resource].id);
	}
	free(resources);
	free(owners);
	return err;
}

static int place_beside(struct cli *cli, struct dsg_record *record, const char *target,
			struct refusals *refusals, struct dsg_fault *fault)
{
	struct dsg_fault missing = { .code = DSG_OK };
	struct dsg_probe *probes;
	size_t count, answered = 0;
	int err;

	err = inventory_ask(cli, *target ? target : NULL, DSG_PROBE_INVENTORY, &probes, &count,
			    fault);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		answered += !probes[i].fault.code;
	if (!count) {
		err = dsg_fault_set(fault, DSG_NOT_FOUND, "this host knows no target");
		dsg_fault_hint(fault, "disaggctl target add NAME ADDRESS");
	} else if (!answered) {
		err = inventory_complete(probes, count, "resources", fault);
	} else {
		err = plan_devices(record, probes, count, refusals, fault);
		if (inventory_complete(probes, count, "resources", &missing))
			cli_warn(cli, "%s", missing.reason);
	}
	dsg_probes_free(probes, count);
	return err;
}

int place(struct cli *cli, struct dsg_record *record, const char *target,
	  struct dsg_fault *fault)
{
	struct refusals none = { .count = 0 };

	return place_beside(cli, record, target, &none, fault);
}

/* Number of lanes that the device will have, as far as this host decides it. */
static uint32_t planned_lanes(const struct dsg_record_device *dev)
{
	int cpus = get_nprocs();

	return dev->lanes ? dev->lanes : cpus < 4 ? (uint32_t)cpus : 4;
}

static void print_plan(struct cli *cli, const struct dsg_record *record)
{
	struct table table = {
		.headers = { "DEVICE", "CLASS", "SIZE", "TARGET", "RESOURCE", "LANES" },
		.right = 1 << 2 | 1 << 5,
	};
	struct json_object *document, *plan, *list;

	if (!cli->json) {
		for (size_t i = 0; i < record->count; i++) {
			const struct dsg_record_device *dev = &record->devices[i];
			char size[DSG_SIZE_STRLEN], lanes[16];

			snprintf(lanes, sizeof(lanes), "%u", planned_lanes(dev));
			table_row(&table, dev->name, dsg_class_text(dev->class),
				  dsg_size_format(dev->size, size), dev->target.name,
				  dev->resource, lanes);
		}
		printf("node %s would have:\n\n", record->name);
		table_print(&table);
		puts("\nNothing was reserved (--dry-run).");
		return;
	}
	document = json_document();
	plan = json_object_new_object();
	list = json_object_new_array();
	put_string(plan, "node", record->name);
	for (size_t i = 0; i < record->count; i++) {
		const struct dsg_record_device *dev = &record->devices[i];
		struct json_object *o = json_object_new_object();

		put_string(o, "name", dev->name);
		put_string(o, "class", dsg_class_text(dev->class));
		put_number(o, "size", dev->size);
		put_string(o, "target", dev->target.name);
		put_string(o, "resource", dev->resource);
		put_number(o, "block_size", dev->block_size);
		put_number(o, "lanes", planned_lanes(dev));
		put_bool(o, "read_only", dev->read_only);
		json_object_array_add(list, o);
	}
	put_value(plan, "devices", list);
	put_bool(document, "dry_run", true);
	put_value(document, "plan", plan);
	json_print(cli, document);
}

/* The name must be free; a release that was left unfinished is finished first. */
static int check_name(struct cli *cli, const char *name, struct dsg_fault *fault)
{
	struct dsg_record record;
	struct dsg_fault why;
	int err = dsg_record_load(name, &record, fault);

	if (err == DSG_NOT_FOUND)
		return 0;
	if (err)
		return err;
	if (record.state == DSG_RECORD_UP) {
		err = dsg_fault_set(fault, DSG_CONFLICT, "there is a node %s already", name);
		dsg_fault_hint(fault, "see it: disaggctl node show %s; or take another name", name);
	} else if (record.state == DSG_RECORD_CREATING) {
		err = dsg_fault_set(fault, DSG_CONFLICT,
				    "node %s is incomplete: its creation was cut off", name);
		dsg_fault_hint(fault, "clean up first: disaggctl node delete %s", name);
	} else {
		progress(cli, "releasing what the last node %s left", name);
		err = finish_release(&record, RELEASE_NS, true, &why);
		if (err) {
			err = dsg_fault_set(fault, DSG_CONFLICT,
					    "the last node %s still has leases: %s", name,
					    why.reason);
			dsg_fault_hint(fault, "take another name, or try again once the target answers");
		}
	}
	dsg_record_free(&record);
	return err;
}

int print_node(struct cli *cli, struct dsg_netlink *nl, const char *name,
	       struct dsg_fault *fault)
{
	const struct node_view *node;
	struct host_view view;
	int err = host_view_load(cli, nl, &view, fault);

	if (err) {
		dsg_fault_prefix(fault, "node %s was made, but cannot be shown: ", name);
		return err;
	}
	node = host_view_find(&view, name);
	if (!node) {
		err = dsg_fault_set(fault, DSG_NOT_FOUND, "node %s was made, and deleted at once",
				    name);
	} else if (cli->json) {
		struct json_object *document = json_document();

		put_value(document, "node", node_object(&view, node, true));
		json_print(cli, document);
	} else {
		node_print(&view, node);
	}
	host_view_free(&view);
	return err;
}

/* Undo what placing and composing have written into the devices. */
static int start_over(struct dsg_record *record, const struct dsg_record_device *asked,
		      struct dsg_fault *fault)
{
	memcpy(record->devices, asked, record->count * sizeof(*asked));
	record->state = DSG_RECORD_CREATING;
	for (size_t i = 0; i < record->count; i++)
		if (dsg_uuid_random(record->devices[i].txid))
			return dsg_fault_set(fault, DSG_FAILED,
					     "the kernel gives no random numbers");
	return 0;
}

/*
 * Place and compose. What was free when the targets were asked may be gone when it
 * is reserved, because somebody else was faster; or there are bounds that an inventory
 * does not tell, such as a tenant's: then look again, elsewhere if that can be.
 */
int place_and_compose(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
		      const char *target, const char *owner, struct dsg_fault *fault)
{
	struct dsg_record_device *asked = calloc(record->count, sizeof(*asked));
	struct refusals refusals = { .count = 0 };
	bool undone = false;	/* leases of an earlier try */
	struct dsg_fault last = { .code = DSG_OK };
	int err = 0;

	if (!asked)
		return dsg_fault_memory(fault);
	memcpy(asked, record->devices, record->count * sizeof(*asked));
	for (int i = 0; i < RACES_MAX; i++) {
		interrupt_catch();
		err = interrupt_check(fault);
		if (!err)
			err = place_beside(cli, record, target, &refusals, fault);
		/* What it was refused for says more than that there is no other place. */
		if (err == DSG_NO_SPACE && refusals.again == REFUSED_AGAIN_MAX)
			*fault = last;
		if (interrupt_check(fault))
			err = fault->code;
		if (err)
			break;
		err = compose(cli, nl, record, owner, fault);
		if (err != DSG_NO_SPACE)
			break;
		undone = true;
		last = *fault;
		note_refusal(&refusals, record);
		if (start_over(record, asked, fault)) {
			err = fault->code;
			break;
		}
	}
	free(asked);
	if (undone && err && err != DSG_NO_SPACE && err != DSG_ROLLED_BACK &&
	    err != DSG_ROLLBACK_INCOMPLETE) {
		dsg_fault_prefix(fault, "node %s was rolled back: ", record->name);
		err = fault->code = DSG_ROLLED_BACK;
	}
	return err;
}

/* The file comes first, so that udev finds it when the disks come. */
static int persist(const struct dsg_spec *spec, struct dsg_fault *fault)
{
	char path[PATH_MAX];

	if (!opt.persist)
		return 0;
	if (!dsg_spec_exists(spec->name))
		return dsg_spec_save(spec, fault);
	dsg_fault_set(fault, DSG_CONFLICT, "there is a file %s already",
		      dsg_spec_path(spec->name, path));
	return dsg_fault_hint(fault, "what it describes: disaggctl node attach %s", spec->name);
}

static int create_locked(struct cli *cli, const struct dsg_spec *spec,
			 struct dsg_record *record, struct dsg_fault *fault)
{
	struct dsg_netlink *nl = NULL;
	struct dsg_fault ignored;
	int err;

	interrupt_catch();
	err = check_name(cli, record->name, fault);
	if (!err)
		err = module_open(&nl, fault);
	if (!err)
		err = persist(spec, fault);
	if (!err) {
		err = place_and_compose(cli, nl, record, spec->target, OWNER_OPERATOR, fault);
		if (err && opt.persist)
			dsg_spec_remove(spec->name, &ignored);
	}
	if (!err)
		err = print_node(cli, nl, record->name, fault);
	dsg_netlink_close(nl);
	return err;
}

static int create(struct cli *cli, const struct dsg_spec *spec, struct dsg_record *record,
		  struct dsg_fault *fault)
{
	int targets_lock, node_lock, err;

	/* Targets that are in use now must not be removed meanwhile. */
	targets_lock = dsg_lock("lock", true, LOCK_WAIT_NS, fault);
	if (targets_lock < 0)
		return fault->code;
	node_lock = lock_node(record->name, LOCK_WAIT_NS, fault);
	err = node_lock < 0 ? (int)fault->code : create_locked(cli, spec, record, fault);
	dsg_unlock(node_lock);
	dsg_unlock(targets_lock);
	return err;
}

static int take_target(struct dsg_spec *spec, struct dsg_fault *fault)
{
	if (!opt.target)
		return 0;
	if (dsg_name_ok(opt.target)) {
		snprintf(spec->target, sizeof(spec->target), "%s", opt.target);
		return 0;
	}
	dsg_fault_set(fault, DSG_NOT_FOUND, "there is no target %s", opt.target);
	return dsg_fault_hint(fault, "known targets: disaggctl target list");
}

int node_create(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_record record = { .count = 0 };
	struct dsg_spec spec;
	int err;

	(void)argc;
	err = parse_request(argv[0], &spec, fault);
	if (!err)
		err = take_target(&spec, fault);
	if (!err)
		err = record_of_spec(&spec, &record, fault);
	if (!err && opt.dry_run) {
		err = place(cli, &record, spec.target, fault);
		if (!err)
			print_plan(cli, &record);
	} else if (!err) {
		err = create(cli, &spec, &record, fault);
	}
	dsg_record_free(&record);
	return err;
}
