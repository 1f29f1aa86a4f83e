// SPDX-License-Identifier: GPL-2.0
/*
 * Events of disagg.ko. The module may come and go meanwhile: the family
 * controller's own notifications say so.
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "netlink_internal.h"

#define RECEIVE_BUFFER	(1 << 20)

struct monitor {
	struct nl_sock *sock;
	int family;		/* of disagg, 0: it isn't loaded */
	int (*cb)(const struct dsg_event *event, void *arg);
	void *arg;
	struct dsg_event event;	/* large, so not on the stack */
	int verdict;		/* what cb returned */
	bool denied;		/* the module is there, but its events are for root */
};

static int emit(struct monitor *m)
{
	if (!m->verdict)
		m->verdict = m->cb(&m->event, m->arg);
	return m->verdict ? NL_STOP : NL_OK;
}

static int join_group(struct nl_sock *sock, const char *family, const char *group)
{
	struct nl_sock *ask = nl_socket_alloc();
	int id = -NLE_NOMEM;

	if (!ask)
		return id;
	id = genl_connect(ask);
	if (!id)
		id = genl_ctrl_resolve_grp(ask, family, group);
	nl_socket_free(ask);
	return id < 0 ? id : nl_socket_add_membership(sock, id);
}

/* Join the events of disagg, if it is there. */
static void join_disagg(struct monitor *m)
{
	struct nl_sock *ask;

	if (access("/sys/module/disagg", F_OK))
		return;
	ask = nl_socket_alloc();
	if (!ask)
		return;
	if (!genl_connect(ask)) {
		int family = genl_ctrl_resolve(ask, DISAGG_FAMILY_NAME);
		int err = family > 0 ? join_group(m->sock, DISAGG_FAMILY_NAME,
						  DISAGG_MCGRP_EVENTS) : family;

		if (!err)
			m->family = family;
		m->denied = err == -NLE_PERM;
	}
	nl_socket_free(ask);
}

static int on_controller(struct monitor *m, struct nlmsghdr *nlh)
{
	struct genlmsghdr *genl = nlmsg_data(nlh);
	struct nlattr *tb[CTRL_ATTR_MAX + 1];

	if (genlmsg_parse(nlh, 0, tb, CTRL_ATTR_MAX, NULL) < 0 || !tb[CTRL_ATTR_FAMILY_NAME] ||
	    strcmp(nla_get_string(tb[CTRL_ATTR_FAMILY_NAME]), DISAGG_FAMILY_NAME))
		return NL_OK;
	if (genl->cmd == CTRL_CMD_NEWFAMILY) {
		join_disagg(m);		/* who is told that it is there can rely on it */
		if (m->denied)
			return NL_STOP;
		m->event.kind = DSG_EVENT_LOADED;
		return emit(m);
	}
	if (genl->cmd == CTRL_CMD_DELFAMILY) {
		m->family = 0;
		m->event.kind = DSG_EVENT_UNLOADED;
		return emit(m);
	}
	return NL_OK;
}

static int on_message(struct nl_msg *msg, void *arg)
{
	struct monitor *m = arg;
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct genlmsghdr *genl = nlmsg_data(nlh);

	if (nlh->nlmsg_len < NLMSG_LENGTH(GENL_HDRLEN))
		return NL_SKIP;
	memset(&m->event, 0, sizeof(m->event));
	if (nlh->nlmsg_type == GENL_ID_CTRL)
		return on_controller(m, nlh);
	if (nlh->nlmsg_type != m->family)
		return NL_SKIP;
	m->event.cmd = genl->cmd;
	switch (genl->cmd) {
	case DISAGG_CMD_NODE_NEW_NTF:
	case DISAGG_CMD_NODE_DEL_NTF:
		m->event.kind = DSG_EVENT_NODE;
		return dsg_parse_node(nlh, &m->event.node) ? emit(m) : NL_SKIP;
	case DISAGG_CMD_DEVICE_NEW_NTF:
	case DISAGG_CMD_DEVICE_DEL_NTF:
	case DISAGG_CMD_DEVICE_CHANGE_NTF:
	case DISAGG_CMD_LINK_CHANGE_NTF:
		m->event.kind = DSG_EVENT_DEVICE;
		return dsg_parse_device(nlh, &m->event.device) ? emit(m) : NL_SKIP;
	default:
		return NL_SKIP;
	}
}

static int wait_events(struct monitor *m, int stop, struct dsg_fault *fault)
{
	struct pollfd fds[] = {
		{ .fd = nl_socket_get_fd(m->sock), .events = POLLIN },
		{ .fd = stop, .events = POLLIN },
	};

	while (!m->verdict) {
		int err;

		if (m->denied) {
			dsg_fault_set(fault, DSG_DENIED,
				      "the module refused: its events are for root");
			return dsg_fault_hint(fault, "run it as root (it needs CAP_NET_ADMIN)");
		}
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return dsg_fault_errno(fault, errno, "waiting for events");
		}
		if (fds[1].revents)
			return 0;
		if (!fds[0].revents)
			continue;
		err = nl_recvmsgs_default(m->sock);
		if (err == -NLE_NOMEM) {	/* ENOBUFS: the kernel had no room for more */
			memset(&m->event, 0, sizeof(m->event));
			m->event.kind = DSG_EVENT_OVERRUN;
			emit(m);
		} else if (err < 0 && err != -NLE_AGAIN) {
			return dsg_fault_set(fault, DSG_FAILED, "receiving events: %s",
					     nl_geterror(err));
		}
	}
	return 0;
}

int dsg_netlink_monitor(int (*cb)(const struct dsg_event *event, void *arg), void *arg,
			int stop, struct dsg_fault *fault)
{
	struct monitor m = { .cb = cb, .arg = arg };
	int err;

	m.sock = nl_socket_alloc();
	if (!m.sock)
		return dsg_fault_memory(fault);
	nl_socket_disable_seq_check(m.sock);
	nl_socket_modify_cb(m.sock, NL_CB_VALID, NL_CB_CUSTOM, on_message, &m);
	err = genl_connect(m.sock);
	if (!err)
		err = join_group(m.sock, "nlctrl", "notify");
	if (err < 0) {
		err = dsg_fault_set(fault, DSG_FAILED, "subscribing to events: %s",
				    nl_geterror(err));
	} else {
		nl_socket_set_buffer_size(m.sock, RECEIVE_BUFFER, 0);
		nl_socket_set_nonblocking(m.sock);
		join_disagg(&m);
		m.event.kind = DSG_EVENT_READY;
		m.event.loaded = m.family > 0;
		if (!m.denied)
			emit(&m);
		err = wait_events(&m, stop, fault);
	}
	nl_socket_free(m.sock);
	return err;
}
