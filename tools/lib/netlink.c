// SPDX-License-Identifier: GPL-2.0
/* Requests to disagg.ko. */
#include <errno.h>
#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "netlink_internal.h"

#define DUMP_TRIES	10
#define MESSAGE_SIZE	16384	/* room for DISAGG_MAX_LANES nests */

struct dsg_netlink {
	struct nl_sock *sock;
	int family;
};

/* A list that grows while a dump is read. */
struct list {
	size_t size;		/* bytes of an item */
	size_t count;
	void *items;
};

/* One request on its way. */
struct request {
	struct nl_msg *msg;
	struct dsg_fault *fault;
	bool done;
	bool failed;
	bool (*parse)(struct nlmsghdr *nlh, struct request *req);
	void *out;
	struct list *list;
};

int dsg_netlink_open(struct dsg_netlink **nl, struct dsg_fault *fault)
{
	struct dsg_netlink *new;
	int err, on = 1;

	/* Asking for a family by name would have the kernel load a module for it. */
	if (access("/sys/module/disagg", F_OK)) {
		dsg_fault_set(fault, DSG_NOT_FOUND, "the module disagg is not loaded");
		return dsg_fault_hint(fault, "modprobe disagg");
	}
	new = calloc(1, sizeof(*new));
	if (!new)
		return dsg_fault_memory(fault);
	new->sock = nl_socket_alloc();
	if (!new->sock) {
		free(new);
		return dsg_fault_memory(fault);
	}
	err = genl_connect(new->sock);
	if (err) {
		dsg_fault_set(fault, DSG_FAILED, "opening generic netlink: %s",
			      nl_geterror(err));
		goto err_close;
	}
	/* Without it errors have no explanation; that is no reason to stop. */
	setsockopt(nl_socket_get_fd(new->sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	new->family = genl_ctrl_resolve(new->sock, DISAGG_FAMILY_NAME);
	if (new->family < 0) {
		dsg_fault_set(fault, DSG_NOT_FOUND,
			      "the module disagg is not ready (family %s: %s)",
			      DISAGG_FAMILY_NAME, nl_geterror(new->family));
		dsg_fault_hint(fault, "dmesg says more; modprobe -r disagg && modprobe disagg");
		goto err_close;
	}
	*nl = new;
	return 0;

err_close:
	dsg_netlink_close(new);
	return fault->code;
}

void dsg_netlink_close(struct dsg_netlink *nl)
{
	if (!nl)
		return;
	nl_socket_free(nl->sock);
	free(nl);
}

static enum dsg_code code_of_errno(int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
		return DSG_NOT_FOUND;
	case EEXIST:
	case EBUSY:
	case ENOTUNIQ:
		return DSG_CONFLICT;
	case EPERM:
	case EACCES:
		return DSG_DENIED;
	default:
		return DSG_FAILED;
	}
}

/* The extended ack behind an error message: its text and the attribute it names. */
static void parse_ext_ack(struct nlmsgerr *e, const char **text, const char **attr)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)(void *)((char *)e - NLMSG_HDRLEN);
	struct nlattr *tb[NLMSGERR_ATTR_MAX + 1];
	size_t skip = NLMSG_HDRLEN + sizeof(*e);
	const struct genlmsghdr *genl = nlmsg_data(&e->msg);
	bool capped = nlh->nlmsg_flags & NLM_F_CAPPED;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!capped)
		skip += e->msg.nlmsg_len - sizeof(e->msg);
	skip = NLMSG_ALIGN(skip);
	if (nlh->nlmsg_len <= skip ||
	    nla_parse(tb, NLMSGERR_ATTR_MAX, (struct nlattr *)(void *)((char *)nlh + skip),
		      (int)(nlh->nlmsg_len - skip), NULL) < 0)
		return;
	if (tb[NLMSGERR_ATTR_MSG])
		*text = nla_get_string(tb[NLMSGERR_ATTR_MSG]);
	if (capped)
		return;
	if (tb[NLMSGERR_ATTR_OFFS])
		*attr = dsg_attr_name_at(&e->msg, nla_get_u32(tb[NLMSGERR_ATTR_OFFS]));
	else if (tb[NLMSGERR_ATTR_MISS_TYPE] && !tb[NLMSGERR_ATTR_MISS_NEST])
		*attr = dsg_attr_name(genl->cmd, nla_get_u32(tb[NLMSGERR_ATTR_MISS_TYPE]));
}

static int on_error(struct sockaddr_nl *who, struct nlmsgerr *e, void *arg)
{
	struct request *req = arg;
	const char *text = NULL, *attr = NULL;
	int err = -e->error;

	(void)who;
	parse_ext_ack(e, &text, &attr);
	dsg_fault_set(req->fault, code_of_errno(err), "the module refused: %s%s%s%s",
		      text ? text : strerror(err), attr ? " (attribute " : "",
		      attr ? attr : "", attr ? ")" : "");
	if (req->fault->code == DSG_DENIED)
		dsg_fault_hint(req->fault, "run it as root (it needs CAP_NET_ADMIN)");
	req->failed = true;
	req->done = true;
	return NL_STOP;
}

static int on_end(struct nl_msg *msg, void *arg)
{
	struct request *req = arg;

	(void)msg;
	req->done = true;
	return NL_STOP;
}

static int on_reply(struct nl_msg *msg, void *arg)
{
	struct request *req = arg;

	if (!req->failed && req->parse && !req->parse(nlmsg_hdr(msg), req)) {
		dsg_fault_set(req->fault, DSG_FAILED, "the module's answer is malformed");
		dsg_fault_hint(req->fault, "compare the versions: disaggctl version");
		req->failed = true;
	}
	return NL_OK;
}

static struct nl_msg *new_message(struct dsg_netlink *nl, uint8_t cmd, int flags)
{
	struct nl_msg *msg = nlmsg_alloc_size(MESSAGE_SIZE);

	if (msg && !genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, nl->family, 0, flags, cmd,
				DISAGG_FAMILY_VERSION)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return msg;
}

/* Send req->msg and read the answer to its end. -NLE_DUMP_INTR: once more. */
static int exchange(struct dsg_netlink *nl, struct request *req)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int err;

	if (!cb)
		return dsg_fault_memory(req->fault);
	req->done = false;
	nl_cb_err(cb, NL_CB_CUSTOM, on_error, req);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_end, req);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_end, req);
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_reply, req);
	err = nl_send_auto(nl->sock, req->msg);
	while (err >= 0 && !req->done)
		err = nl_recvmsgs(nl->sock, cb);
	nl_cb_put(cb);
	if (err == -NLE_DUMP_INTR)
		return err;
	if (err < 0 && !req->failed) {
		dsg_fault_set(req->fault, DSG_FAILED, "talking to the module: %s",
			      nl_geterror(err));
		req->failed = true;
	}
	return req->failed ? (int)req->fault->code : 0;
}

/* A message whose building failed (@msg NULL) counts as no memory. */
static int request(struct dsg_netlink *nl, struct nl_msg *msg,
		   bool (*parse)(struct nlmsghdr *nlh, struct request *req), void *out,
		   struct dsg_fault *fault)
{
	struct request req = { .msg = msg, .fault = fault, .parse = parse, .out = out };
	int err;

	if (!msg)
		return dsg_fault_memory(fault);
	err = exchange(nl, &req);
	nlmsg_free(msg);
	return err;
}

/* Read a whole dump; once more from its start if it changed meanwhile. */
static int dump(struct dsg_netlink *nl, uint8_t cmd,
		bool (*parse)(struct nlmsghdr *nlh, struct request *req), struct list *list,
		struct dsg_fault *fault)
{
	int err = -NLE_DUMP_INTR;

	for (int i = 0; i < DUMP_TRIES && err == -NLE_DUMP_INTR; i++) {
		struct request req = {
			.msg = new_message(nl, cmd, NLM_F_DUMP),
			.fault = fault,
			.parse = parse,
			.list = list,
		};

		if (!req.msg) {
			err = dsg_fault_memory(fault);
			break;
		}
		list->count = 0;
		err = exchange(nl, &req);
		nlmsg_free(req.msg);
		if (err == -NLE_DUMP_INTR) {
			/* What was still to come belongs to the dump that was cut. */
			struct dsg_netlink *fresh;

			if (dsg_netlink_open(&fresh, fault)) {
				err = fault->code;
				break;
			}
			nl_socket_free(nl->sock);
			*nl = *fresh;
			free(fresh);
		}
	}
	if (err == -NLE_DUMP_INTR)
		err = dsg_fault_set(fault, DSG_FAILED,
				    "nodes and devices change faster than they can be listed");
	if (err) {
		free(list->items);
		list->items = NULL;
		list->count = 0;
	}
	return err;
}

/* Room for one more item, zeroed; NULL: no memory. */
static void *list_add(struct list *list)
{
	void *more, *item;

	/* One spare item: a list without items isn't NULL. */
	more = realloc(list->items, (list->count + 2) * list->size);
	if (!more)
		return NULL;
	list->items = more;
	item = (char *)more + list->count++ * list->size;
	memset(item, 0, list->size);
	return item;
}

static bool take_info(struct nlmsghdr *nlh, struct request *req)
{
	return dsg_parse_info(nlh, req->out);
}

static bool take_node(struct nlmsghdr *nlh, struct request *req)
{
	struct dsg_kernel_node *node = req->list ? list_add(req->list) : req->out;

	return node && dsg_parse_node(nlh, node);
}

static bool take_device(struct nlmsghdr *nlh, struct request *req)
{
	struct dsg_kernel_device *device = req->list ? list_add(req->list) : req->out;

	return device && dsg_parse_device(nlh, device);
}

int dsg_netlink_info(struct dsg_netlink *nl, struct dsg_module_info *info,
		     struct dsg_fault *fault)
{
	memset(info, 0, sizeof(*info));
	return request(nl, new_message(nl, DISAGG_CMD_INFO_GET, 0), take_info, info, fault);
}

int dsg_netlink_nodes(struct dsg_netlink *nl, struct dsg_kernel_node **nodes, size_t *count,
		      struct dsg_fault *fault)
{
	struct list list = { .size = sizeof(**nodes) };
	int err = dump(nl, DISAGG_CMD_NODE_GET, take_node, &list, fault);

	*nodes = list.items;
	*count = list.count;
	return err;
}

int dsg_netlink_devices(struct dsg_netlink *nl, struct dsg_kernel_device **devices,
			size_t *count, struct dsg_fault *fault)
{
	struct list list = { .size = sizeof(**devices) };
	int err = dump(nl, DISAGG_CMD_DEVICE_GET, take_device, &list, fault);

	*devices = list.items;
	*count = list.count;
	return err;
}

/* A message about a node, or about device @name of @node if @name is given. */
static struct nl_msg *named_message(struct dsg_netlink *nl, uint8_t cmd, const char *node,
				    const char *name)
{
	struct nl_msg *msg = new_message(nl, cmd, 0);
	int err;

	if (!msg)
		return NULL;
	if (name)
		err = nla_put_string(msg, DISAGG_A_DEVICE_NODE, node) |
		      nla_put_string(msg, DISAGG_A_DEVICE_NAME, name);
	else
		err = nla_put_string(msg, DISAGG_A_NODE_NAME, node);
	if (err) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

int dsg_netlink_node(struct dsg_netlink *nl, const char *name, struct dsg_kernel_node *node,
		     struct dsg_fault *fault)
{
	memset(node, 0, sizeof(*node));
	return request(nl, named_message(nl, DISAGG_CMD_NODE_GET, name, NULL), take_node, node,
		       fault);
}

int dsg_netlink_device(struct dsg_netlink *nl, const char *node, const char *name,
		       struct dsg_kernel_device *device, struct dsg_fault *fault)
{
	memset(device, 0, sizeof(*device));
	return request(nl, named_message(nl, DISAGG_CMD_DEVICE_GET, node, name), take_device,
		       device, fault);
}

static bool take_latency(struct nlmsghdr *nlh, struct request *req)
{
	return dsg_parse_latency(nlh, req->out);
}

int dsg_netlink_latency(struct dsg_netlink *nl, const char *node, const char *name,
			uint32_t lane, struct dsg_latency latency[DSG_OPERATIONS],
			struct dsg_fault *fault)
{
	struct nl_msg *msg = named_message(nl, DISAGG_CMD_LATENCY_GET, node, name);

	memset(latency, 0, DSG_OPERATIONS * sizeof(*latency));
	if (msg && nla_put_u32(msg, DISAGG_A_DEVICE_LANE_INDEX, lane)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return request(nl, msg, take_latency, latency, fault);
}

int dsg_netlink_node_new(struct dsg_netlink *nl, const char *name, struct dsg_fault *fault)
{
	return request(nl, named_message(nl, DISAGG_CMD_NODE_NEW, name, NULL), NULL, NULL, fault);
}

int dsg_netlink_node_del(struct dsg_netlink *nl, const char *name, bool force,
			 struct dsg_fault *fault)
{
	struct nl_msg *msg = named_message(nl, DISAGG_CMD_NODE_DEL, name, NULL);

	if (msg && force && nla_put_flag(msg, DISAGG_A_NODE_FORCE)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return request(nl, msg, NULL, NULL, fault);
}

static int put_lane(struct nl_msg *msg, uint32_t index, int fd)
{
	struct nlattr *nest = nla_nest_start(msg, DISAGG_A_DEVICE_LANE);

	if (!nest || nla_put_u32(msg, DISAGG_A_LANE_INDEX, index) ||
	    nla_put_s32(msg, DISAGG_A_LANE_FD, fd))
		return -1;
	nla_nest_end(msg, nest);
	return 0;
}

static uint32_t kernel_class(uint32_t wire_class)
{
	switch (wire_class) {
	case DISAGG_WIRE_CLASS_STORAGE:
		return DISAGG_RESOURCE_CLASS_STORAGE;
	case DISAGG_WIRE_CLASS_GPU:
		return DISAGG_RESOURCE_CLASS_GPU;
	default:
		return DISAGG_RESOURCE_CLASS_MEMORY;
	}
}

static int put_device(struct nl_msg *msg, const struct dsg_record_device *dev,
		      const struct dsg_lanes *lanes)
{
	uint32_t flags = 0;
	int err;

	if (dev->read_only || lanes->attrs & DISAGG_WIRE_ATTR_READ_ONLY)
		flags |= DISAGG_DEVICE_FLAGS_READ_ONLY;
	if (lanes->attrs & DISAGG_WIRE_ATTR_ROTATIONAL)
		flags |= DISAGG_DEVICE_FLAGS_ROTATIONAL;
	err = nla_put_u32(msg, DISAGG_A_DEVICE_KIND, DISAGG_DEVICE_KIND_BLOCK) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_CLASS, kernel_class(dev->class)) |
	      nla_put_u64(msg, DISAGG_A_DEVICE_SIZE, dev->size) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_BLOCK_SIZE, dev->block_size) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_FLAGS, flags) |
	      nla_put_u64(msg, DISAGG_A_DEVICE_FEATURES, lanes->features) |
	      nla_put_string(msg, DISAGG_A_DEVICE_TARGET, dev->target.name) |
	      nla_put_string(msg, DISAGG_A_DEVICE_RESOURCE, dev->resource) |
	      nla_put(msg, DISAGG_A_DEVICE_LEASE, DISAGG_LEASE_LEN, dev->lease) |
	      nla_put_u64(msg, DISAGG_A_DEVICE_GENERATION, dev->generation) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_MAX_PAYLOAD, lanes->max_payload) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_MAX_DISCARD, lanes->max_discard) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_DEPTH, lanes->depth) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_IO_TIMEOUT, dev->io_timeout_ms) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_FAIL_FAST, dev->fail_fast_ms) |
	      nla_put_u32(msg, DISAGG_A_DEVICE_DEAD_AFTER, dev->dead_after_ms);
	for (uint32_t i = 0; i < lanes->count && !err; i++)
		err = put_lane(msg, i, lanes->fds[i]);
	return err;
}

/* The reply to DEVICE_NEW holds the id and the disk only. */
static bool take_disk(struct nlmsghdr *nlh, struct request *req)
{
	struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1];

	if (genlmsg_parse(nlh, 0, tb, DISAGG_A_DEVICE_MAX, NULL) < 0 ||
	    !tb[DISAGG_A_DEVICE_DISK])
		return false;
	nla_strlcpy(req->out, tb[DISAGG_A_DEVICE_DISK], 32);
	return true;
}

int dsg_netlink_device_new(struct dsg_netlink *nl, const char *node,
			   const struct dsg_record_device *dev, const struct dsg_lanes *lanes,
			   char disk[32], struct dsg_fault *fault)
{
	struct nl_msg *msg = named_message(nl, DISAGG_CMD_DEVICE_NEW, node, dev->name);

	disk[0] = '\0';
	if (msg && put_device(msg, dev, lanes)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return request(nl, msg, take_disk, disk, fault);
}

int dsg_netlink_device_resize(struct dsg_netlink *nl, const char *node, const char *name,
			      uint64_t size, struct dsg_fault *fault)
{
	struct nl_msg *msg = named_message(nl, DISAGG_CMD_DEVICE_SET, node, name);

	if (msg && nla_put_u64(msg, DISAGG_A_DEVICE_SIZE, size)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return request(nl, msg, NULL, NULL, fault);
}

int dsg_netlink_device_timers(struct dsg_netlink *nl, const char *node, const char *name,
			      const struct dsg_timers *timers, struct dsg_fault *fault)
{
	struct nl_msg *msg = named_message(nl, DISAGG_CMD_DEVICE_SET, node, name);

	if (msg &&
	    ((timers->set_io_timeout &&
	      nla_put_u32(msg, DISAGG_A_DEVICE_IO_TIMEOUT, timers->io_timeout_ms)) ||
	     (timers->set_fail_fast &&
	      nla_put_u32(msg, DISAGG_A_DEVICE_FAIL_FAST, timers->fail_fast_ms)) ||
	     (timers->set_dead_after &&
	      nla_put_u32(msg, DISAGG_A_DEVICE_DEAD_AFTER, timers->dead_after_ms)))) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return request(nl, msg, NULL, NULL, fault);
}
