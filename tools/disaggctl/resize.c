// SPDX-License-Identifier: GPL-2.0
/* disaggctl node resize */
#include <stdlib.h>
#include <string.h>

#include "compose.h"
#include "describe.h"
#include "file.h"
#include "lease.h"
#include "size.h"

/* SIZE, or +SIZE on top of what it has. */
static int parse_new_size(const char *text, const struct dsg_record_device *dev, uint64_t *size,
			  struct dsg_fault *fault)
{
	bool more = *text == '+';
	const char *bad = dsg_size_parse(text + more, size);

	if (!bad && more && __builtin_add_overflow(*size, dev->size, size))
		bad = "the size is too large";
	if (!bad && *size % dev->block_size)
		bad = "not a multiple of the device's block size";
	if (bad)
		return dsg_fault_set(fault, DSG_USAGE, "%s: %s", text, bad);
	if (*size < dev->size) {
		char now[DSG_SIZE_STRLEN];

		return dsg_fault_set(fault, DSG_USAGE, "%s: devices can only grow; it has %s",
				     text, dsg_size_format(dev->size, now));
	}
	return 0;
}

/* The module lets live devices grow only; better know that before the lease grows. */
static int check_live(struct dsg_netlink *nl, const char *node, const char *name,
		      struct dsg_fault *fault)
{
	struct dsg_kernel_device *dev = calloc(1, sizeof(*dev));
	int err;

	if (!dev)
		return dsg_fault_memory(fault);
	err = dsg_netlink_device(nl, node, name, dev, fault);
	if (!err && dev->state != DISAGG_DEVICE_STATE_LIVE) {
		err = dsg_fault_set(fault, DSG_CONFLICT, "%s/%s is %s: only a live device can grow",
				    node, name, dsg_device_state_name(dev->state));
		dsg_fault_hint(fault, "why: disaggctl device show %s/%s", node, name);
	}
	free(dev);
	return err;
}

static int grow_lease(struct dsg_record *record, struct dsg_record_device *dev, uint64_t size,
		      struct dsg_fault *fault)
{
	uint64_t more = size - dev->size;
	struct dsg_session session;
	int err;

	err = dsg_target_open(&dev->target, dsg_deadline(STEP_NS), &session, fault);
	if (err)
		return err;
	dsg_lane_tune(session.fd, STEP_NS / 1000000);
	err = dsg_lease_resize(&session, dev, size, dsg_deadline(STEP_NS + dsg_zeroing_ns(more)),
			       fault);
	dsg_session_close(&session);
	return err ? err : dsg_record_save(record, fault);
}

/*
 * The lease grows first, the device after it. If the second step fails the lease
 * stays larger, which the record says.
 */
static int resize(struct dsg_netlink *nl, struct dsg_record *record,
		  struct dsg_record_device *dev, const char *text, struct dsg_fault *fault)
{
	uint64_t size;
	int err;

	err = parse_new_size(text, dev, &size, fault);
	if (!err)
		err = check_live(nl, record->name, dev->name, fault);
	if (!err && size != dev->size)
		err = grow_lease(record, dev, size, fault);
	if (err)
		return err;
	err = dsg_netlink_device_resize(nl, record->name, dev->name, size, fault);
	if (err)
		dsg_fault_hint(fault, "the lease has grown; disaggctl node resize %s %s %llu finishes it",
			       record->name, dev->name, (unsigned long long)size);
	return err;
}

static int resize_locked(struct cli *cli, struct dsg_netlink *nl, char **argv,
			 struct dsg_fault *fault)
{
	struct dsg_record_device *dev = NULL;
	struct dsg_record record;
	int err;

	err = dsg_record_load(argv[0], &record, fault);
	if (err == DSG_NOT_FOUND) {
		dsg_fault_set(fault, DSG_NOT_FOUND, "there is no node %s", argv[0]);
		return dsg_fault_hint(fault, "nodes of this host: disaggctl node list");
	}
	if (err)
		return err;
	for (size_t i = 0; i < record.count && !dev; i++)
		if (!strcmp(record.devices[i].name, argv[1]))
			dev = &record.devices[i];
	if (!dev) {
		err = dsg_fault_set(fault, DSG_NOT_FOUND, "node %s has no device %s", argv[0],
				    argv[1]);
		dsg_fault_hint(fault, "its devices: disaggctl node show %s", argv[0]);
	} else if (record.state != DSG_RECORD_UP) {
		err = dsg_fault_set(fault, DSG_CONFLICT, "node %s is not up", argv[0]);
		dsg_fault_hint(fault, "disaggctl node show %s", argv[0]);
	} else {
		progress(cli, "waiting for target %s", dev->target.name);
		err = resize(nl, &record, dev, argv[2], fault);
	}
	dsg_record_free(&record);
	return err;
}

int node_resize(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_kernel_device *dev;
	struct dsg_netlink *nl;
	char size[DSG_SIZE_STRLEN];
	int lock, err;

	(void)argc;
	if (!dsg_name_ok(argv[0]) || !dsg_name_ok(argv[1]))
		return dsg_fault_set(fault, DSG_NOT_FOUND, "there is no device %s/%s", argv[0],
				     argv[1]);
	err = dsg_netlink_open(&nl, fault);
	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev) {
		dsg_netlink_close(nl);
		return dsg_fault_memory(fault);
	}
	lock = lock_node(argv[0], LOCK_WAIT_NS, fault);
	err = lock < 0 ? (int)fault->code : resize_locked(cli, nl, argv, fault);
	dsg_unlock(lock);
	if (!err)
		err = dsg_netlink_device(nl, argv[0], argv[1], dev, fault);
	dsg_netlink_close(nl);
	if (!err && cli->json) {
		struct json_object *document = json_document();

		put_value(document, "device", device_object(dev));
		json_print(cli, document);
	} else if (!err) {
		printf("%s/%s has %s\n", dev->node, dev->name, dsg_size_format(dev->size, size));
	}
	free(dev);
	return err;
}
