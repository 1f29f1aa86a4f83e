// SPDX-License-Identifier: GPL-2.0
/* disaggctl device stats */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "describe.h"
#include "size.h"

#define OPERATIONS	DSG_OPERATIONS
#define INTERVAL_MS	1000

/* struct stats - a device; @lanes[lane][operation], cumulative since @created */
struct stats {
	uint32_t id;
	uint64_t created;
	char node[DISAGG_NAME_MAX + 1];
	char name[DISAGG_NAME_MAX + 1];
	uint32_t lane_count;
	struct dsg_latency (*lanes)[OPERATIONS];
};

/* struct snapshot - all devices that were asked for; @time: ns since 1970 */
struct snapshot {
	uint64_t time;
	struct stats *devices;
	size_t count;
};

static bool watch;

const struct option device_stats_options[] = {
	{ .name = "watch", .flag = &watch, .help = "what happens, every second" },
	{ .name = NULL },
};

static void snapshot_free(struct snapshot *shot)
{
	for (size_t i = 0; i < shot->count; i++)
		free(shot->devices[i].lanes);
	free(shot->devices);
	*shot = (struct snapshot) { .count = 0 };
}

static int take_stats(struct dsg_netlink *nl, const struct dsg_kernel_device *dev,
		      struct stats *stats, struct dsg_fault *fault)
{
	int err = 0;

	stats->id = dev->id;
	stats->created = dev->created;
	memcpy(stats->node, dev->node, sizeof(stats->node));
	memcpy(stats->name, dev->name, sizeof(stats->name));
	stats->lane_count = dev->lane_count;
	stats->lanes = calloc(dev->lane_count + 1, sizeof(*stats->lanes));
	if (!stats->lanes)
		return dsg_fault_memory(fault);
	for (uint32_t i = 0; i < dev->lane_count && !err; i++)
		err = dsg_netlink_latency(nl, dev->node, dev->name, i, stats->lanes[i], fault);
	return err;
}

/* A device that goes meanwhile is left out. */
static int take_snapshot(struct dsg_netlink *nl, const struct dsg_kernel_device *devices,
			 size_t count, struct snapshot *shot, struct dsg_fault *fault)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	*shot = (struct snapshot) {
		.time = (uint64_t)ts.tv_sec * DSG_NSEC_PER_SEC + (uint64_t)ts.tv_nsec,
		.devices = calloc(count + 1, sizeof(*shot->devices)),
	};
	if (!shot->devices)
		return dsg_fault_memory(fault);
	for (size_t i = 0; i < count; i++) {
		struct stats *stats = &shot->devices[shot->count];
		int err = take_stats(nl, &devices[i], stats, fault);

		if (!err) {
			shot->count++;
			continue;
		}
		free(stats->lanes);
		stats->lanes = NULL;
		if (err != DSG_NOT_FOUND)
			return err;
	}
	return 0;
}

/* Without a module there is no device. */
static int snapshot_of(struct dsg_netlink *nl, const char *node, const char *name,
		       struct snapshot *shot, struct dsg_fault *fault)
{
	struct dsg_kernel_device *devices = NULL;
	size_t count = 1;
	int err;

	*shot = (struct snapshot) { .count = 0 };
	if (!nl) {
		count = 0;
		err = node ? DSG_NOT_FOUND : 0;
	} else if (!node) {
		err = dsg_netlink_devices(nl, &devices, &count, fault);
	} else {
		devices = calloc(1, sizeof(*devices));
		err = devices ? dsg_netlink_device(nl, node, name, devices, fault) :
				dsg_fault_memory(fault);
	}
	if (!err)
		err = take_snapshot(nl, devices, count, shot, fault);
	free(devices);
	return err;
}

static void add(struct dsg_latency *sum, const struct dsg_latency *l)
{
	sum->replies += l->replies;
	sum->total_ns += l->total_ns;
	if (l->longest_ns > sum->longest_ns)
		sum->longest_ns = l->longest_ns;
	for (int i = 0; i < DISAGG_LATENCY_BUCKETS; i++)
		sum->buckets[i] += l->buckets[i];
}

static void subtract(struct dsg_latency *from, const struct dsg_latency *l)
{
	from->replies -= l->replies;
	from->total_ns -= l->total_ns;
	for (int i = 0; i < DISAGG_LATENCY_BUCKETS; i++)
		from->buckets[i] -= l->buckets[i];
}

static struct dsg_latency sum_of(const struct stats *stats, int operation)
{
	struct dsg_latency sum = { .replies = 0 };

	for (uint32_t i = 0; i < stats->lane_count; i++)
		add(&sum, &stats->lanes[i][operation]);
	return sum;
}

/* The same device, not a later one of its number and names. */
static const struct stats *find(const struct snapshot *shot, const struct stats *stats)
{
	for (size_t i = 0; shot && i < shot->count; i++)
		if (shot->devices[i].id == stats->id &&
		    shot->devices[i].created == stats->created &&
		    !strcmp(shot->devices[i].node, stats->node) &&
		    !strcmp(shot->devices[i].name, stats->name))
			return &shot->devices[i];
	return NULL;
}

/*
 * "<64us": @permille of the requests took less. The histogram knows powers of two. It was
 * not read in the same moment as the number of replies, so its own sum counts.
 */
static const char *percentile(const struct dsg_latency *l, uint64_t permille,
			      char buf[DSG_SIZE_STRLEN + 1])
{
	uint64_t all = 0, below = 0;
	int i = 0;

	for (int k = 0; k < DISAGG_LATENCY_BUCKETS; k++)
		all += l->buckets[k];
	buf[0] = '\0';
	if (!all)
		return buf;
	while (i < DISAGG_LATENCY_BUCKETS - 1) {
		below += l->buckets[i];
		if (below * 1000 >= all * permille)
			break;
		i++;
	}
	if (i == DISAGG_LATENCY_BUCKETS - 1) {
		buf[0] = '>';
		i--;
	} else {
		buf[0] = '<';
	}
	dsg_duration_format(1000ULL << i, buf + 1);
	return buf;
}

static void print_operation(struct table *table, const struct stats *stats, int operation,
			    const struct dsg_latency *l)
{
	char device[2 * DISAGG_NAME_MAX + 2], replies[24], mean[DSG_SIZE_STRLEN];
	char p50[DSG_SIZE_STRLEN + 1], p99[DSG_SIZE_STRLEN + 1], p999[DSG_SIZE_STRLEN + 1];
	char longest[DSG_SIZE_STRLEN];

	snprintf(device, sizeof(device), "%s/%s", stats->node, stats->name);
	snprintf(replies, sizeof(replies), "%llu", (unsigned long long)l->replies);
	table_row(table, device, dsg_operation_name((uint32_t)operation), replies,
		  dsg_duration_format(l->total_ns / l->replies, mean), percentile(l, 500, p50),
		  percentile(l, 990, p99), percentile(l, 999, p999),
		  l->longest_ns ? dsg_duration_format(l->longest_ns, longest) : "");
}

/* What there is, or, with @before, what has come since. */
static void print_table(const struct snapshot *shot, const struct snapshot *before)
{
	struct table table = {
		.headers = { "DEVICE", "OPERATION", "REPLIES", "MEAN", "P50", "P99", "P99.9",
			     before ? NULL : "LONGEST" },
		.right = 0xfc,
	};

	for (size_t i = 0; i < shot->count; i++) {
		const struct stats *stats = &shot->devices[i], *old = find(before, stats);

		for (int operation = 0; operation < OPERATIONS; operation++) {
			struct dsg_latency l = sum_of(stats, operation), was;

			if (old) {
				was = sum_of(old, operation);
				subtract(&l, &was);
			}
			if (l.replies)
				print_operation(&table, stats, operation, &l);
		}
	}
	table_print(&table);
}

static struct json_object *latency_object(int operation, const struct dsg_latency *l)
{
	struct json_object *o = json_object_new_object();
	struct json_object *buckets = json_object_new_array();

	put_string(o, "operation", dsg_operation_name((uint32_t)operation));
	put_number(o, "replies", l->replies);
	put_number(o, "total_ns", l->total_ns);
	put_number(o, "longest_ns", l->longest_ns);
	for (int i = 0; i < DISAGG_LATENCY_BUCKETS; i++)
		json_object_array_add(buckets, json_object_new_uint64(l->buckets[i]));
	put_value(o, "buckets", buckets);
	return o;
}

static struct json_object *stats_object(const struct stats *stats)
{
	struct json_object *o = json_object_new_object();
	struct json_object *lanes = json_object_new_array();

	put_string(o, "node", stats->node);
	put_string(o, "name", stats->name);
	for (uint32_t i = 0; i < stats->lane_count; i++) {
		struct json_object *lane = json_object_new_object();
		struct json_object *operations = json_object_new_array();

		put_number(lane, "index", i);
		for (int j = 0; j < OPERATIONS; j++)
			if (stats->lanes[i][j].replies)
				json_object_array_add(operations,
						      latency_object(j, &stats->lanes[i][j]));
		put_value(lane, "operations", operations);
		json_object_array_add(lanes, lane);
	}
	put_value(o, "lanes", lanes);
	return o;
}

static void print_json(struct cli *cli, const struct snapshot *shot)
{
	struct json_object *document = json_document();
	struct json_object *list = json_object_new_array();

	put_number(document, "time_ns", shot->time);
	for (size_t i = 0; i < shot->count; i++)
		json_object_array_add(list, stats_object(&shot->devices[i]));
	put_value(document, "devices", list);
	json_print(cli, document);
}

static void print_snapshot(struct cli *cli, const struct snapshot *shot,
			   const struct snapshot *before)
{
	char when[32];

	if (cli->json) {
		print_json(cli, shot);
		return;
	}
	if (before)
		printf("%s\n", time_format(shot->time, when));
	print_table(shot, before);
	if (before)
		putchar('\n');
}

/* Until a signal comes, the reader or the device goes. The module may come meanwhile. */
static int watch_on(struct cli *cli, struct dsg_netlink **nl, const char *node, const char *name,
		    struct snapshot *before, struct dsg_fault *fault)
{
	struct pollfd stop = { .events = POLLIN };
	sigset_t signals;
	int err = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	stop.fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (stop.fd < 0)
		return dsg_fault_errno(fault, errno, "waiting for signals");
	while (!err && !fflush(stdout) && !ferror(stdout) && !poll(&stop, 1, INTERVAL_MS)) {
		struct snapshot shot;

		if (!*nl)
			err = module_open_if_loaded(nl, fault);
		if (err)
			break;
		err = snapshot_of(*nl, node, name, &shot, fault);
		if (!err)
			print_snapshot(cli, &shot, before);
		snapshot_free(before);
		*before = shot;
	}
	close(stop.fd);
	return err;
}

int device_stats(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	const char *node = argc ? argv[0] : NULL, *name = NULL;
	struct snapshot shot = { .count = 0 };
	struct dsg_netlink *nl;
	int err;

	if (node) {
		char *slash = strchr(argv[0], '/');

		if (!slash) {
			dsg_fault_set(fault, DSG_USAGE, "%s does not name a device", node);
			return dsg_fault_hint(fault, "NODE/DEVICE, as disaggctl device list shows it");
		}
		*slash = '\0';
		name = slash + 1;
	}
	err = module_open_if_loaded(&nl, fault);
	if (err)
		return err;
	if (watch)
		cli->pretty = false;	/* one document per line */
	err = snapshot_of(nl, node, name, &shot, fault);
	if (!err && (!watch || cli->json))
		print_snapshot(cli, &shot, NULL);
	if (!err && watch)
		err = watch_on(cli, &nl, node, name, &shot, fault);
	dsg_netlink_close(nl);
	snapshot_free(&shot);
	if (err == DSG_NOT_FOUND && node) {
		dsg_fault_set(fault, DSG_NOT_FOUND, "there is no device %s/%s", node, name);
		dsg_fault_hint(fault, "devices of this host: disaggctl device list");
	}
	return err;
}
