// SPDX-License-Identifier: GPL-2.0
/*
 * libdisagg: messages of the family (netlink_parse.c). The input: the command, where
 * an error points, and the attributes.
 */
#include <endian.h>

#include <netlink/genl/genl.h>

#include "fuzz.h"
#include "netlink_internal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	return 0;
}

static bool ended(const char *s, size_t size)
{
	return strnlen(s, size) < size;
}

static void check_device(struct nlmsghdr *nlh)
{
	struct dsg_kernel_device *d = calloc(1, sizeof(*d));

	if (dsg_parse_device(nlh, d)) {
		fuzz_assert(d->lane_count <= DISAGG_MAX_LANES);
		fuzz_assert(ended(d->node, sizeof(d->node)) && ended(d->name, sizeof(d->name)) &&
			    ended(d->disk, sizeof(d->disk)) &&
			    ended(d->target, sizeof(d->target)) &&
			    ended(d->resource, sizeof(d->resource)) &&
			    ended(d->reason, sizeof(d->reason)));
		for (uint32_t i = 0; i < d->lane_count; i++) {
			fuzz_assert(ended(d->lanes[i].peer, sizeof(d->lanes[i].peer)) &&
				    ended(d->lanes[i].reason, sizeof(d->lanes[i].reason)));
			fuzz_assert(dsg_lane_state_name(d->lanes[i].state) &&
				    dsg_lane_security_name(d->lanes[i].security));
		}
		fuzz_assert(dsg_device_state_name(d->state) && dsg_device_kind_name(d->kind) &&
			    dsg_resource_class_name(d->class));
	}
	free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t cmd = take_u8(&in), at[2];
	struct dsg_kernel_node node = { 0 };
	struct dsg_latency latency[DSG_OPERATIONS] = { 0 };
	struct dsg_module_info info = { 0 };
	struct genlmsghdr *genl;
	struct nlmsghdr *nlh;
	size_t len;

	take(&in, at, sizeof(at));
	/* Exactly as long as it says, so that what reads on is seen. */
	len = NLMSG_HDRLEN + GENL_HDRLEN + in.left;
	nlh = calloc(1, len);
	nlh->nlmsg_len = (uint32_t)len;
	genl = (struct genlmsghdr *)(nlh + 1);
	genl->cmd = cmd;
	if (in.left)
		memcpy(genl + 1, in.p, in.left);
	if (dsg_parse_info(nlh, &info))
		fuzz_assert(ended(info.version, sizeof(info.version)));
	if (dsg_parse_node(nlh, &node))
		fuzz_assert(ended(node.name, sizeof(node.name)));
	check_device(nlh);
	dsg_parse_latency(nlh, latency);
	dsg_attr_name_at(nlh, (uint32_t)(at[0] | at[1] << 8));
	dsg_attr_name(cmd, at[0]);
	free(nlh);
	return 0;
}
