// SPDX-License-Identifier: GPL-2.0
/* disaggctl device list | show */
#include <stdlib.h>
#include <string.h>

#include "describe.h"
#include "size.h"
#include "timers.h"

static int compare_devices(const void *a, const void *b)
{
	const struct dsg_kernel_device *x = a, *y = b;
	int order = strcmp(x->node, y->node);

	return order ? order : strcmp(x->name, y->name);
}

static void print_devices(const struct dsg_kernel_device *devices, size_t count)
{
	struct table table = {
		.headers = { "DEVICE", "STATE", "DISK", "SIZE", "FROM", "LANES", "READ", "WRITTEN" },
		.right = 0xe8,
	};

	for (size_t i = 0; i < count; i++) {
		const struct dsg_kernel_device *dev = &devices[i];
		char name[2 * DISAGG_NAME_MAX + 2], size[DSG_SIZE_STRLEN], lanes[16];
		char rd[DSG_SIZE_STRLEN], wr[DSG_SIZE_STRLEN], from[2 * DSG_TEXT_LEN + 1];

		snprintf(name, sizeof(name), "%s/%s", dev->node, dev->name);
		snprintf(from, sizeof(from), "%s/%s", dev->target, dev->resource);
		snprintf(lanes, sizeof(lanes), "%u", dev->lane_count);
		table_row(&table, name, dsg_device_state_name(dev->state), dev->disk,
			  dsg_size_format(dev->size, size), from, lanes,
			  dsg_size_format(dev->read_bytes, rd),
			  dsg_size_format(dev->write_bytes, wr));
	}
	table_print(&table);
}

int device_list(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_kernel_device *devices = NULL;
	struct dsg_netlink *nl;
	size_t count = 0;
	int err;

	(void)argc;
	(void)argv;
	err = module_open_if_loaded(&nl, fault);
	if (!err && nl)
		err = dsg_netlink_devices(nl, &devices, &count, fault);
	dsg_netlink_close(nl);
	if (err)
		return err;
	if (count)
		qsort(devices, count, sizeof(*devices), compare_devices);
	if (cli->json) {
		struct json_object *document = json_document();
		struct json_object *list = json_object_new_array();

		for (size_t i = 0; i < count; i++)
			json_object_array_add(list, device_object(&devices[i]));
		put_value(document, "devices", list);
		json_print(cli, document);
	} else {
		print_devices(devices, count);
	}
	free(devices);
	return 0;
}

static void print_lanes(const struct dsg_kernel_device *dev)
{
	struct table table = {
		.headers = { "LANE", "STATE", "PEER", "REQUESTS", "REPLIES", "STALE", "SENT",
			     "RECEIVED" },
		.right = 0xf9,
	};

	for (uint32_t i = 0; i < dev->lane_count; i++) {
		const struct dsg_kernel_lane *lane = &dev->lanes[i];
		char index[16], requests[24], replies[24], stale[24];
		char tx[DSG_SIZE_STRLEN], rx[DSG_SIZE_STRLEN];

		snprintf(index, sizeof(index), "%u", lane->index);
		snprintf(requests, sizeof(requests), "%llu", (unsigned long long)lane->requests);
		snprintf(replies, sizeof(replies), "%llu", (unsigned long long)lane->replies);
		snprintf(stale, sizeof(stale), "%llu", (unsigned long long)lane->stale);
		table_row(&table, index, dsg_lane_state_name(lane->state), lane->peer, requests,
			  replies, stale, dsg_size_format(lane->tx_bytes, tx),
			  dsg_size_format(lane->rx_bytes, rx));
	}
	table_print(&table);
}

/* What protects the lanes: mostly all alike. */
static void print_security(const struct dsg_kernel_device *dev)
{
	uint32_t tls = 0;

	for (uint32_t i = 0; i < dev->lane_count; i++)
		tls += dev->lanes[i].security == DISAGG_LANE_SECURITY_TLS;
	if (tls && tls < dev->lane_count)
		printf("security    tls on %u of %u lanes\n", tls, dev->lane_count);
	else if (dev->lane_count)
		printf("security    %s\n", dsg_lane_security_name(dev->lanes[0].security));
}

static void print_features(uint64_t features)
{
	static const char *const names[] = { "crc32c", "discard", "write-zeroes", "fua", "flush" };
	const char *gap = "";

	printf("features    ");
	for (size_t i = 0; i < COUNT(names); i++) {
		if (features >> i & 1) {
			printf("%s%s", gap, names[i]);
			gap = " ";
		}
	}
	puts(*gap ? "" : "-");
}

static void print_device(const struct dsg_kernel_device *dev)
{
	char a[DSG_SIZE_STRLEN], b[DSG_SIZE_STRLEN], path[128], lease[DSG_UUID_STRLEN], when[32];

	printf("device      %s/%s\n", dev->node, dev->name);
	printf("state       %s\n", dsg_device_state_name(dev->state));
	if (*dev->reason)
		printf("reason      %.80s\n", dev->reason);
	printf("path        %s\n", device_path(dev->node, dev->name, dev->disk, path));
	printf("disk        %s\n", dev->disk);
	printf("size        %s (%llu bytes)%s\n", dsg_size_format(dev->size, a),
	       (unsigned long long)dev->size,
	       dev->flags & DISAGG_DEVICE_FLAGS_READ_ONLY ? ", read-only" : "");
	printf("block size  %u\n", dev->block_size);
	printf("class       %s\n", dsg_resource_class_name(dev->class));
	printf("target      %s\n", dev->target);
	printf("resource    %s\n", dev->resource);
	printf("lease       %s, generation %llu\n", dsg_uuid_format(dev->lease, lease),
	       (unsigned long long)dev->generation);
	print_security(dev);
	print_features(dev->features);
	printf("timers      I/O timeout %s, ",
	       dsg_duration_format(dev->io_timeout_ms * 1000000ULL, a));
	printf("fail-fast %s, ", timer_format(dev->fail_fast_ms, a));
	printf("dead after %s\n", timer_format(dev->dead_after_ms, a));
	printf("traffic     %s read, %s written, %llu errors\n",
	       dsg_size_format(dev->read_bytes, a), dsg_size_format(dev->write_bytes, b),
	       (unsigned long long)dev->errors);
	printf("in use      %u requests in flight (depth %u per lane), open %u times\n",
	       dev->inflight, dev->depth, dev->openers);
	if (*time_format(dev->created, when))
		printf("created     %s\n", when);
	putchar('\n');
	print_lanes(dev);
}

int device_show(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	char *slash = strchr(argv[0], '/');
	struct dsg_kernel_device *dev;
	struct dsg_netlink *nl;
	int err;

	(void)argc;
	if (!slash) {
		dsg_fault_set(fault, DSG_USAGE, "%s does not name a device", argv[0]);
		return dsg_fault_hint(fault, "NODE/DEVICE, as disaggctl device list shows it");
	}
	*slash = '\0';
	err = module_open_if_loaded(&nl, fault);
	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		err = dsg_fault_memory(fault);
	else if (!nl || !dsg_name_ok(argv[0]) || !dsg_name_ok(slash + 1))
		err = DSG_NOT_FOUND;
	else
		err = dsg_netlink_device(nl, argv[0], slash + 1, dev, fault);
	dsg_netlink_close(nl);
	if (err == DSG_NOT_FOUND) {
		dsg_fault_set(fault, DSG_NOT_FOUND, "there is no device %s/%s", argv[0],
			      slash + 1);
		dsg_fault_hint(fault, "devices of this host: disaggctl device list");
	}
	if (!err && cli->json) {
		struct json_object *document = json_document();

		put_value(document, "device", device_object(dev));
		json_print(cli, document);
	} else if (!err) {
		print_device(dev);
	}
	free(dev);
	return err;
}
