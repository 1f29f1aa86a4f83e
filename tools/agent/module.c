// SPDX-License-Identifier: GPL-2.0
/*
 * The module's end: its events come in by one socket, requests go out by another,
 * whose answers are there at once. Buffers are static.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <syslog.h>
#include <unistd.h>

#include "agent.h"
#include "wire.h"

#define EVENT_ROOM	(8 << 20)	/* bytes of events that may wait */
#define ANSWER_S	10		/* the module answers at once; the kernel may be busy */
#define AGAIN_NS	100000000ULL	/* after the module could not be asked */
/* After a device could not be watched; then twice as long, and so on. */
#define LATER_NS	1000000000ULL
#define LATER_MAX_NS	60000000000ULL

static struct mnl_socket *events, *requests;
static uint16_t family;
static uint32_t group;
static unsigned int sequence;
static uint64_t look_at = DSG_NO_DEADLINE, later = LATER_NS;
static bool unwatched;	/* a device is that should be watched */
static char buffer[64 << 10];
static char message[1024];

int module_fd(void)
{
	return mnl_socket_get_fd(events);
}

/* All will be looked at again, in @ns or before. */
static void look_again(uint64_t ns)
{
	uint64_t deadline = dsg_deadline(ns);

	if (deadline < look_at)
		look_at = deadline;
}

/* ---- what comes in ---- */

static int to_table(const struct nlattr *attr, void *data)
{
	const struct nlattr **tb = data;

	if (mnl_attr_get_type(attr) <= DISAGG_A_DEVICE_MAX)
		tb[mnl_attr_get_type(attr)] = attr;
	return MNL_CB_OK;
}

static uint32_t u32_of(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) >= 4 ? mnl_attr_get_u32(attr) : 0;
}

static uint64_t u64_of(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) >= 8 ? mnl_attr_get_u64(attr) : 0;
}

static const char *str_of(const struct nlattr *attr)
{
	return attr && !mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) ? mnl_attr_get_str(attr) : "";
}

static void parse_lane(const struct nlattr *nest, struct news *news)
{
	const struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1] = { NULL };
	uint32_t i = news->nr_lanes;

	mnl_attr_parse_nested(nest, to_table, tb);
	news->lanes[i].index = u32_of(tb[DISAGG_A_LANE_INDEX]);
	news->lanes[i].state = u32_of(tb[DISAGG_A_LANE_STATE]);
	news->lanes[i].generation = u32_of(tb[DISAGG_A_LANE_GENERATION]);
	news->lanes[i].peer = str_of(tb[DISAGG_A_LANE_PEER]);
	news->lanes[i].reason = str_of(tb[DISAGG_A_LANE_REASON]);
	if (news->lanes[i].index < DISAGG_MAX_LANES)
		news->nr_lanes++;
}

static void on_device(const struct nlmsghdr *nlh)
{
	const struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1] = { NULL };
	static struct news news;
	const struct nlattr *attr;

	mnl_attr_parse(nlh, sizeof(struct genlmsghdr), to_table, tb);
	if (!tb[DISAGG_A_DEVICE_ID] || !tb[DISAGG_A_DEVICE_LEASE] ||
	    mnl_attr_get_payload_len(tb[DISAGG_A_DEVICE_LEASE]) != DISAGG_LEASE_LEN)
		return;
	news = (struct news) {
		.id = u32_of(tb[DISAGG_A_DEVICE_ID]),
		.node = str_of(tb[DISAGG_A_DEVICE_NODE]),
		.name = str_of(tb[DISAGG_A_DEVICE_NAME]),
		.target = str_of(tb[DISAGG_A_DEVICE_TARGET]),
		.state = u32_of(tb[DISAGG_A_DEVICE_STATE]),
		.lease = mnl_attr_get_payload(tb[DISAGG_A_DEVICE_LEASE]),
		.generation = u64_of(tb[DISAGG_A_DEVICE_GENERATION]),
		.size = u64_of(tb[DISAGG_A_DEVICE_SIZE]),
		.features = u64_of(tb[DISAGG_A_DEVICE_FEATURES]),
		.max_payload = u32_of(tb[DISAGG_A_DEVICE_MAX_PAYLOAD]),
		.depth = u32_of(tb[DISAGG_A_DEVICE_DEPTH]),
		.block_size = u32_of(tb[DISAGG_A_DEVICE_BLOCK_SIZE]),
		.io_timeout = u32_of(tb[DISAGG_A_DEVICE_IO_TIMEOUT]),
		.dead_after = u32_of(tb[DISAGG_A_DEVICE_DEAD_AFTER]),
	};
	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == DISAGG_A_DEVICE_LANE &&
		    news.nr_lanes < DISAGG_MAX_LANES)
			parse_lane(attr, &news);
	if (news.nr_lanes && !device_heard(&news)) {
		unwatched = true;
		look_again(later);
	}
}

static int on_dumped(const struct nlmsghdr *nlh, void *data)
{
	(void)data;
	on_device(nlh);
	return MNL_CB_OK;
}

/* What is left of an answer; a dump goes on, and ends, only as it is read. */
static void drain_answers(void)
{
	while (recv(mnl_socket_get_fd(requests), buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
}

/* Send what is in message; answers go to @cb. Return: 0 or -errno. */
static int request(const struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	unsigned int port = mnl_socket_get_portid(requests);
	ssize_t n;
	int more;

	drain_answers();
	if (mnl_socket_sendto(requests, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	do {
		n = mnl_socket_recvfrom(requests, buffer, sizeof(buffer));
		if (n < 0)
			return -errno;
		errno = 0;
		more = mnl_cb_run(buffer, (size_t)n, nlh->nlmsg_seq, port, cb, data);
	} while (more > MNL_CB_STOP);
	return more < 0 ? -errno : 0;
}

static struct nlmsghdr *begin(uint16_t type, uint8_t cmd, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(message);
	struct genlmsghdr *genl;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++sequence;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = cmd;
	genl->version = 1;
	return nlh;
}

/* All devices as they are; those that are not there are forgotten. */
static int look_at_devices(void)
{
	struct nlmsghdr *nlh = begin(family, DISAGG_CMD_DEVICE_GET, NLM_F_DUMP);
	int err;

	devices_mark();
	err = request(nlh, on_dumped, NULL);
	if (!err)
		devices_sweep();
	return err;
}

/* ---- the family, which comes and goes with the module ---- */

static int on_group(const struct nlattr *nest)
{
	const struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1] = { NULL };

	mnl_attr_parse_nested(nest, to_table, tb);
	if (!strcmp(str_of(tb[CTRL_ATTR_MCAST_GRP_NAME]), DISAGG_MCGRP_EVENTS))
		group = u32_of(tb[CTRL_ATTR_MCAST_GRP_ID]);
	return 0;
}

static int on_family(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1] = { NULL };
	const struct nlattr *attr;

	(void)data;
	mnl_attr_parse(nlh, sizeof(struct genlmsghdr), to_table, tb);
	if (strcmp(str_of(tb[CTRL_ATTR_FAMILY_NAME]), DISAGG_FAMILY_NAME) ||
	    !tb[CTRL_ATTR_FAMILY_ID] || !tb[CTRL_ATTR_MCAST_GROUPS])
		return MNL_CB_OK;
	mnl_attr_for_each_nested(attr, tb[CTRL_ATTR_MCAST_GROUPS])
		on_group(attr);
	family = mnl_attr_get_u16(tb[CTRL_ATTR_FAMILY_ID]);
	return MNL_CB_OK;
}

static void module_gone(void)
{
	family = 0;
	devices_forget();
}

/* Find the family as it is now; another number than before is another module. */
static int find_family(void)
{
	uint16_t before = family;
	struct nlmsghdr *nlh;
	int err = -ENOENT;

	family = 0;
	/* Asking for a family would have the kernel load the module for it. */
	if (!access("/sys/module/disagg", F_OK)) {
		nlh = begin(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);
		mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, DISAGG_FAMILY_NAME);
		err = request(nlh, on_family, NULL);
	}
	if (err && err != -ENOENT) {
		family = before;
		return err;
	}
	if (before && before != family)
		devices_forget();
	return 0;
}

/* Whatever events said or did not say: this is how things are. */
static void look_at_all(void)
{
	static bool said;
	uint16_t before = family;
	int err = find_family();

	look_at = DSG_NO_DEADLINE;
	if (!err && !family)
		return;
	later = !unwatched ? LATER_NS : 2 * later < LATER_MAX_NS ? 2 * later : LATER_MAX_NS;
	unwatched = false;
	/* Joined already is well. */
	if (!err && mnl_socket_setsockopt(events, NETLINK_ADD_MEMBERSHIP, &group,
					  sizeof(group)) < 0)
		err = -errno;
	if (!err)
		err = look_at_devices();
	if (!err && before != family)
		say(LOG_INFO, "watching %u devices", devices_count());
	if (err && !said)
		say(LOG_WARNING, "asking the module for its devices: %s; trying on",
		    strerror(-err));
	said = err;
	if (err)
		look_again(AGAIN_NS);
}

static void on_controller(const struct nlmsghdr *nlh)
{
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1] = { NULL };

	mnl_attr_parse(nlh, sizeof(*genl), to_table, tb);
	if (strcmp(str_of(tb[CTRL_ATTR_FAMILY_NAME]), DISAGG_FAMILY_NAME))
		return;
	if (genl->cmd == CTRL_CMD_NEWFAMILY)
		look_again(0);
	else if (genl->cmd == CTRL_CMD_DELFAMILY)
		module_gone();
}

static int on_event(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *tb[DISAGG_A_DEVICE_MAX + 1] = { NULL };
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);

	(void)data;
	if (nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(*genl))
		return MNL_CB_OK;
	if (nlh->nlmsg_type == GENL_ID_CTRL) {
		on_controller(nlh);
	} else if (nlh->nlmsg_type == family) {
		switch (genl->cmd) {
		case DISAGG_CMD_DEVICE_NEW_NTF:
		case DISAGG_CMD_DEVICE_CHANGE_NTF:
		case DISAGG_CMD_LINK_CHANGE_NTF:
			on_device(nlh);
			break;
		case DISAGG_CMD_DEVICE_DEL_NTF:
			mnl_attr_parse(nlh, sizeof(*genl), to_table, tb);
			device_gone(u32_of(tb[DISAGG_A_DEVICE_ID]));
			break;
		}
	}
	return MNL_CB_OK;
}

void module_ready(void)
{
	static char incoming[64 << 10];

	for (;;) {
		ssize_t n = recv(module_fd(), incoming, sizeof(incoming), MSG_DONTWAIT);

		/* More may be missing until the queue is empty; then it is looked at all. */
		if (n < 0 && errno == ENOBUFS) {
			say(LOG_WARNING, "events were lost: looking at everything");
			look_again(0);
			continue;
		}
		if (n <= 0)
			return;
		mnl_cb_run(incoming, (size_t)n, 0, 0, on_event, NULL);
	}
}

uint64_t module_check(uint64_t now)
{
	if (look_at <= now)
		look_at_all();
	return look_at;
}

/* ---- what goes out ---- */

static struct nlmsghdr *begin_set(const struct device *device)
{
	struct nlmsghdr *nlh = begin(family, DISAGG_CMD_DEVICE_SET, NLM_F_ACK);

	mnl_attr_put_strz(nlh, DISAGG_A_DEVICE_NODE, device->node);
	mnl_attr_put_strz(nlh, DISAGG_A_DEVICE_NAME, device->name);
	mnl_attr_put(nlh, DISAGG_A_DEVICE_LEASE, sizeof(device->lease), device->lease);
	mnl_attr_put_u64(nlh, DISAGG_A_DEVICE_GENERATION, device->generation);
	return nlh;
}

int module_hand_over(const struct lane *lane, int fd)
{
	struct nlmsghdr *nlh = begin_set(lane->device);
	struct nlattr *nest = mnl_attr_nest_start(nlh, DISAGG_A_DEVICE_LANE);

	mnl_attr_put_u32(nlh, DISAGG_A_LANE_INDEX, lane->index);
	mnl_attr_put_u32(nlh, DISAGG_A_LANE_GENERATION, lane->generation);
	mnl_attr_put_u32(nlh, DISAGG_A_LANE_FD, (uint32_t)fd);
	mnl_attr_nest_end(nlh, nest);
	return request(nlh, NULL, NULL);
}

int module_give_up(const struct device *device)
{
	struct nlmsghdr *nlh = begin_set(device);

	mnl_attr_put_u32(nlh, DISAGG_A_DEVICE_DEAD_AFTER, 0);
	return request(nlh, NULL, NULL);
}

static struct mnl_socket *open_socket(unsigned int groups)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	int err;

	if (s && mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0) {
		err = errno;
		mnl_socket_close(s);
		errno = err;
		s = NULL;
	}
	return s;
}

int module_open(void)
{
	struct timeval patience = { .tv_sec = ANSWER_S };
	uint32_t notify = GENL_ID_CTRL;	/* the group's number, by definition */
	int room = EVENT_ROOM;

	events = open_socket(0);
	requests = open_socket(0);
	if (!events || !requests)
		return -errno;
	if (setsockopt(module_fd(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(mnl_socket_get_fd(requests), SOL_SOCKET, SO_RCVTIMEO, &patience,
		       sizeof(patience)) ||
	    mnl_socket_setsockopt(events, NETLINK_ADD_MEMBERSHIP, &notify, sizeof(notify)))
		return -errno;
	look_at_all();
	return 0;
}
