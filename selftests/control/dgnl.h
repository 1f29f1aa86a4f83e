/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests in C that talk to disagg.ko themselves: results in KTAP, messages that
 * may be as wrong as a test wants them, pairs of connected sockets, and a target's
 * end of a lane. Plain system calls: a library would not send what is wrong.
 */
#ifndef DISAGG_TEST_DGNL_H
#define DISAGG_TEST_DGNL_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/disagg_netlink.h>
#include <linux/disagg_wire.h>

/* Not every test uses everything. */
#define DG_FN static __attribute__((unused))

/* ---- results ---- */

static unsigned int dg_results, dg_failures;

DG_FN void note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("# ", stdout);
	vprintf(fmt, args);
	putchar('\n');
	va_end(args);
}

DG_FN bool result(bool ok, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("%sok %u ", ok ? "" : "not ", ++dg_results);
	vprintf(fmt, args);
	putchar('\n');
	fflush(stdout);
	va_end(args);
	dg_failures += !ok;
	return ok;
}

DG_FN void skip(const char *name, const char *why)
{
	printf("ok %u %s # SKIP %s\n", ++dg_results, name, why);
}

__attribute__((noreturn)) DG_FN void bail(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The plan comes last: a test that dies on the way has none. */
DG_FN int finish(void)
{
	printf("1..%u\n", dg_results);
	return dg_failures ? 1 : 0;
}

DG_FN uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* ---- messages ---- */

struct msg {
	union {
		struct nlmsghdr hdr;
		char buf[16384];
	};
};

/* What came back for a message. */
struct answer {
	int error;		/* positive errno, 0 when it was accepted */
	char text[256];		/* of the extended ack */
	int bad_attr;		/* type of the attribute it points at, -1: none */
	int missing;		/* type of the attribute it misses, -1: none */
	size_t len;		/* of the reply, 0: none */
	char reply[16384];	/* its attributes */
};

struct dgnl {
	int fd;
	uint16_t family;
	uint32_t group;
	uint32_t seq;
};

DG_FN void msg_begin(struct msg *m, uint16_t type, uint8_t cmd)
{
	struct genlmsghdr *genl = NLMSG_DATA(&m->hdr);

	memset(m, 0, NLMSG_SPACE(GENL_HDRLEN));
	m->hdr.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	m->hdr.nlmsg_type = type;
	m->hdr.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	genl->cmd = cmd;
	genl->version = 1;
}

DG_FN struct nlattr *put(struct msg *m, int type, const void *data, size_t len)
{
	struct nlattr *attr = (struct nlattr *)(m->buf + NLMSG_ALIGN(m->hdr.nlmsg_len));
	size_t space = NLA_ALIGN(NLA_HDRLEN + len);

	if (NLMSG_ALIGN(m->hdr.nlmsg_len) + space > sizeof(m->buf))
		bail("a message is too long");
	memset(attr, 0, space);
	attr->nla_type = type;
	attr->nla_len = NLA_HDRLEN + len;
	if (len)
		memcpy((char *)attr + NLA_HDRLEN, data, len);
	m->hdr.nlmsg_len = NLMSG_ALIGN(m->hdr.nlmsg_len) + space;
	return attr;
}

DG_FN void put_u32(struct msg *m, int type, uint32_t value)
{
	put(m, type, &value, sizeof(value));
}

DG_FN void put_u64(struct msg *m, int type, uint64_t value)
{
	put(m, type, &value, sizeof(value));
}

DG_FN void put_str(struct msg *m, int type, const char *value)
{
	put(m, type, value, strlen(value) + 1);
}

DG_FN struct nlattr *nest(struct msg *m, int type)
{
	return put(m, type | NLA_F_NESTED, NULL, 0);
}

DG_FN void nest_end(struct msg *m, struct nlattr *attr)
{
	attr->nla_len = m->buf + m->hdr.nlmsg_len - (char *)attr;
}

#define for_each_attr(pos, start, len)						\
	for (const struct nlattr *pos = (const void *)(start),			\
				 *pos##_end = (const void *)((const char *)(start) + (len)); \
	     (const char *)pos + NLA_HDRLEN <= (const char *)pos##_end &&	\
	     pos->nla_len >= NLA_HDRLEN;					\
	     pos = (const void *)((const char *)pos + NLA_ALIGN(pos->nla_len)))

DG_FN const void *attr_data(const struct nlattr *attr)
{
	return (const char *)attr + NLA_HDRLEN;
}

DG_FN const struct nlattr *find_attr(const void *start, size_t len, int type)
{
	for_each_attr(attr, start, len)
		if ((attr->nla_type & NLA_TYPE_MASK) == type)
			return attr;
	return NULL;
}

/* An attribute's value; zero or "" when it is not there. */
DG_FN uint64_t get_num(const void *start, size_t len, int type)
{
	const struct nlattr *attr = find_attr(start, len, type);
	uint64_t value = 0;

	if (attr)
		memcpy(&value, attr_data(attr), attr->nla_len - NLA_HDRLEN < 8 ? 4 : 8);
	return value;
}

DG_FN const char *get_str(const void *start, size_t len, int type)
{
	const struct nlattr *attr = find_attr(start, len, type);

	return attr ? attr_data(attr) : "";
}

/* ---- talking ---- */

DG_FN void dgnl_timeout(int fd, int seconds)
{
	struct timeval tv = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

DG_FN int dgnl_socket(void)
{
	int one = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

	if (fd < 0)
		bail("no netlink socket");
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	dgnl_timeout(fd, 60);
	return fd;
}

DG_FN void answer_ack(struct answer *a, const struct msg *m, const struct nlmsghdr *hdr)
{
	const struct nlmsgerr *err = NLMSG_DATA(hdr);
	size_t skip = sizeof(*err), len = hdr->nlmsg_len - NLMSG_HDRLEN;
	const char *tlvs;
	uint32_t offset;

	a->error = -err->error;
	if (!(hdr->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(hdr->nlmsg_flags & NLM_F_CAPPED))
		skip += NLMSG_ALIGN(err->msg.nlmsg_len) - NLMSG_HDRLEN;
	tlvs = (const char *)err + skip;
	len -= skip;
	snprintf(a->text, sizeof(a->text), "%s", get_str(tlvs, len, NLMSGERR_ATTR_MSG));
	if (find_attr(tlvs, len, NLMSGERR_ATTR_MISS_TYPE))
		a->missing = get_num(tlvs, len, NLMSGERR_ATTR_MISS_TYPE);
	if (find_attr(tlvs, len, NLMSGERR_ATTR_OFFS)) {
		offset = get_num(tlvs, len, NLMSGERR_ATTR_OFFS);
		if (offset < m->hdr.nlmsg_len)
			a->bad_attr = ((struct nlattr *)(m->buf + offset))->nla_type &
				      NLA_TYPE_MASK;
	}
}

/* Send @m as it is and wait for its acknowledgement. Return: a->error. */
DG_FN int ask(struct dgnl *nl, struct msg *m, struct answer *a)
{
	static __thread char buf[65536];
	struct nlmsghdr *hdr;
	ssize_t n;

	memset(a, 0, offsetof(struct answer, reply));
	a->bad_attr = -1;
	a->missing = -1;
	m->hdr.nlmsg_seq = ++nl->seq;
	if (send(nl->fd, m, m->hdr.nlmsg_len, 0) < 0)
		bail("netlink: send");
	for (;;) {
		n = recv(nl->fd, buf, sizeof(buf), 0);
		if (n < 0)
			bail("netlink: no answer");
		for (hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n); hdr = NLMSG_NEXT(hdr, n)) {
			if (hdr->nlmsg_seq != nl->seq)
				continue;
			if (hdr->nlmsg_type == NLMSG_ERROR) {
				answer_ack(a, m, hdr);
				return a->error;
			}
			a->len = hdr->nlmsg_len - NLMSG_SPACE(GENL_HDRLEN);
			memcpy(a->reply, (char *)hdr + NLMSG_SPACE(GENL_HDRLEN), a->len);
		}
	}
}

/* Find the family. Return: 0, or the errno of the refusal. */
DG_FN int dgnl_resolve(struct dgnl *nl)
{
	struct answer a;
	struct msg m;

	msg_begin(&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	put_str(&m, CTRL_ATTR_FAMILY_NAME, DISAGG_FAMILY_NAME);
	if (ask(nl, &m, &a))
		return a.error;
	nl->family = *(const uint16_t *)attr_data(find_attr(a.reply, a.len, CTRL_ATTR_FAMILY_ID));
	const struct nlattr *groups = find_attr(a.reply, a.len, CTRL_ATTR_MCAST_GROUPS);

	for_each_attr(group, attr_data(groups), groups->nla_len - NLA_HDRLEN)
		if (!strcmp(get_str(attr_data(group), group->nla_len - NLA_HDRLEN,
				    CTRL_ATTR_MCAST_GRP_NAME), DISAGG_MCGRP_EVENTS))
			nl->group = get_num(attr_data(group), group->nla_len - NLA_HDRLEN,
					    CTRL_ATTR_MCAST_GRP_ID);
	return 0;
}

DG_FN struct dgnl dgnl_open(void)
{
	struct dgnl nl = { .fd = dgnl_socket() };

	errno = dgnl_resolve(&nl);
	if (errno)
		bail("the family is not there");
	return nl;
}

/* One more connection, for events only. */
DG_FN int dgnl_listen(const struct dgnl *nl)
{
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	int fd = dgnl_socket(), size = 4 << 20;

	/* A socket without a name is taken for the sender, and told nothing. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(fd, (void *)&any, sizeof(any)) ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &nl->group, sizeof(nl->group)))
		bail("cannot listen");
	return fd;
}

/*
 * Dump by @cmd with a buffer of @size bytes; @each is called for each entry's
 * attributes. Return: 0 or errno; *@interrupted says if any message bore
 * NLM_F_DUMP_INTR.
 */
DG_FN int dump(struct dgnl *nl, uint8_t cmd, size_t size,
	       void (*each)(void *data, const void *attrs, size_t len), void *data,
	       bool *interrupted)
{
	char *buf = malloc(size);
	struct nlmsghdr *hdr;
	struct msg m;
	ssize_t n;
	int err = -1;

	if (interrupted)
		*interrupted = false;
	msg_begin(&m, nl->family, cmd);
	m.hdr.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	m.hdr.nlmsg_seq = ++nl->seq;
	if (send(nl->fd, &m, m.hdr.nlmsg_len, 0) < 0)
		bail("dump: send");
	while (err < 0) {
		n = recv(nl->fd, buf, size, 0);
		if (n < 0)
			bail("dump: recv");
		for (hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n); hdr = NLMSG_NEXT(hdr, n)) {
			if (interrupted && hdr->nlmsg_flags & NLM_F_DUMP_INTR)
				*interrupted = true;
			if (hdr->nlmsg_type == NLMSG_DONE)
				err = -*(int *)NLMSG_DATA(hdr);
			else if (hdr->nlmsg_type == NLMSG_ERROR)
				err = -((struct nlmsgerr *)NLMSG_DATA(hdr))->error;
			else if (each)
				each(data, (char *)hdr + NLMSG_SPACE(GENL_HDRLEN),
				     hdr->nlmsg_len - NLMSG_SPACE(GENL_HDRLEN));
		}
	}
	free(buf);
	return err;
}

DG_FN void count_one(void *data, const void *attrs, size_t len)
{
	(void)attrs;
	(void)len;
	++*(unsigned int *)data;
}

DG_FN unsigned int count(struct dgnl *nl, uint8_t cmd)
{
	unsigned int n = 0;

	if (dump(nl, cmd, 65536, count_one, &n, NULL))
		return ~0u;
	return n;
}

/* ---- nodes and devices ---- */

DG_FN int node_new(struct dgnl *nl, const char *name)
{
	struct answer a;
	struct msg m;

	msg_begin(&m, nl->family, DISAGG_CMD_NODE_NEW);
	put_str(&m, DISAGG_A_NODE_NAME, name);
	return ask(nl, &m, &a);
}

DG_FN int node_del(struct dgnl *nl, const char *name, bool force)
{
	struct answer a;
	struct msg m;

	msg_begin(&m, nl->family, DISAGG_CMD_NODE_DEL);
	put_str(&m, DISAGG_A_NODE_NAME, name);
	if (force)
		put(&m, DISAGG_A_NODE_FORCE, NULL, 0);
	return ask(nl, &m, &a);
}

DG_FN int device_del(struct dgnl *nl, const char *node, const char *name, bool force)
{
	struct answer a;
	struct msg m;

	msg_begin(&m, nl->family, DISAGG_CMD_DEVICE_DEL);
	put_str(&m, DISAGG_A_DEVICE_NODE, node);
	put_str(&m, DISAGG_A_DEVICE_NAME, name);
	if (force)
		put(&m, DISAGG_A_DEVICE_FORCE, NULL, 0);
	return ask(nl, &m, &a);
}

/* @type: DISAGG_A_DEVICE_SIZE, or a timer */
DG_FN int device_set(struct dgnl *nl, const char *node, const char *name, int type,
		     uint64_t value)
{
	struct answer a;
	struct msg m;

	msg_begin(&m, nl->family, DISAGG_CMD_DEVICE_SET);
	put_str(&m, DISAGG_A_DEVICE_NODE, node);
	put_str(&m, DISAGG_A_DEVICE_NAME, name);
	if (type == DISAGG_A_DEVICE_SIZE)
		put_u64(&m, type, value);
	else
		put_u32(&m, type, value);
	return ask(nl, &m, &a);
}

/* Fills @a with the device. Return: a->error. */
DG_FN int device_get(struct dgnl *nl, const char *node, const char *name, struct answer *a)
{
	struct msg m;

	msg_begin(&m, nl->family, DISAGG_CMD_DEVICE_GET);
	put_str(&m, DISAGG_A_DEVICE_NODE, node);
	put_str(&m, DISAGG_A_DEVICE_NAME, name);
	return ask(nl, &m, a);
}

DG_FN int device_state(struct dgnl *nl, const char *node, const char *name)
{
	struct answer a;

	if (device_get(nl, node, name, &a))
		return -a.error;
	return get_num(a.reply, a.len, DISAGG_A_DEVICE_STATE);
}

/* What a device is made of. */
struct device_new {
	const char *node, *name;
	uint64_t size, features;
	uint32_t block_size, flags, max_payload, max_discard, depth, io_timeout;
	uint32_t dead_after;	/* 0: not said */
	const int *lanes;
	unsigned int nr_lanes;
};

/* n/d, 16 MiB, over @nr_lanes sockets. */
DG_FN struct device_new device_defaults(const int *lanes, unsigned int nr_lanes)
{
	return (struct device_new) {
		.node = "n",
		.name = "d",
		.size = 16 << 20,
		.features = DISAGG_WIRE_F_DISCARD | DISAGG_WIRE_F_WRITE_ZEROES,
		.block_size = 4096,
		.max_payload = 1 << 20,
		.max_discard = 1 << 20,
		.depth = 16,
		.io_timeout = 30000,
		.lanes = lanes,
		.nr_lanes = nr_lanes,
	};
}

DG_FN void put_lane(struct msg *m, uint32_t index, int fd)
{
	struct nlattr *lane = nest(m, DISAGG_A_DEVICE_LANE);

	put_u32(m, DISAGG_A_LANE_INDEX, index);
	put(m, DISAGG_A_LANE_FD, &fd, sizeof(fd));
	nest_end(m, lane);
}

DG_FN void device_new_msg(const struct dgnl *nl, struct msg *m, const struct device_new *d)
{
	char lease[DISAGG_LEASE_LEN + 1] = "";

	snprintf(lease, sizeof(lease), "%s/%s", d->node, d->name);
	msg_begin(m, nl->family, DISAGG_CMD_DEVICE_NEW);
	put_str(m, DISAGG_A_DEVICE_NODE, d->node);
	put_str(m, DISAGG_A_DEVICE_NAME, d->name);
	put_u32(m, DISAGG_A_DEVICE_KIND, DISAGG_DEVICE_KIND_BLOCK);
	put_u32(m, DISAGG_A_DEVICE_CLASS, DISAGG_RESOURCE_CLASS_MEMORY);
	put_u64(m, DISAGG_A_DEVICE_SIZE, d->size);
	put_u32(m, DISAGG_A_DEVICE_BLOCK_SIZE, d->block_size);
	put_u32(m, DISAGG_A_DEVICE_FLAGS, d->flags);
	put_u64(m, DISAGG_A_DEVICE_FEATURES, d->features);
	put_str(m, DISAGG_A_DEVICE_TARGET, "t");
	put_str(m, DISAGG_A_DEVICE_RESOURCE, "r");
	put(m, DISAGG_A_DEVICE_LEASE, lease, DISAGG_LEASE_LEN);
	put_u64(m, DISAGG_A_DEVICE_GENERATION, 1);
	put_u32(m, DISAGG_A_DEVICE_MAX_PAYLOAD, d->max_payload);
	put_u32(m, DISAGG_A_DEVICE_MAX_DISCARD, d->max_discard);
	put_u32(m, DISAGG_A_DEVICE_DEPTH, d->depth);
	put_u32(m, DISAGG_A_DEVICE_IO_TIMEOUT, d->io_timeout);
	if (d->dead_after)
		put_u32(m, DISAGG_A_DEVICE_DEAD_AFTER, d->dead_after);
	for (unsigned int i = 0; i < d->nr_lanes; i++)
		put_lane(m, i, d->lanes[i]);
}

/* What the device has of lane @index. Return: whether there is one. */
DG_FN bool find_lane(const struct answer *a, uint32_t index, const void **start, size_t *len)
{
	for_each_attr(attr, a->reply, a->len) {
		if ((attr->nla_type & NLA_TYPE_MASK) != DISAGG_A_DEVICE_LANE)
			continue;
		*start = attr_data(attr);
		*len = attr->nla_len - NLA_HDRLEN;
		if (get_num(*start, *len, DISAGG_A_LANE_INDEX) == index)
			return true;
	}
	return false;
}

/* A number of lane @index of a device; 0 if there is none. */
DG_FN uint64_t lane_num(struct dgnl *nl, const char *node, const char *name, uint32_t index,
			int type)
{
	struct answer a;
	const void *start;
	size_t len;

	if (device_get(nl, node, name, &a) || !find_lane(&a, index, &start, &len))
		return 0;
	return get_num(start, len, type);
}

/* Hand @fd to lane @index in place of its socket number @generation. Return: errno. */
DG_FN int lane_replace(struct dgnl *nl, const char *node, const char *name, uint32_t index,
		       uint32_t generation, int fd, struct answer *a)
{
	struct nlattr *lane;
	struct msg m;

	msg_begin(&m, nl->family, DISAGG_CMD_DEVICE_SET);
	put_str(&m, DISAGG_A_DEVICE_NODE, node);
	put_str(&m, DISAGG_A_DEVICE_NAME, name);
	lane = nest(&m, DISAGG_A_DEVICE_LANE);
	put_u32(&m, DISAGG_A_LANE_INDEX, index);
	put_u32(&m, DISAGG_A_LANE_GENERATION, generation);
	put(&m, DISAGG_A_LANE_FD, &fd, sizeof(fd));
	nest_end(&m, lane);
	return ask(nl, &m, a);
}

/* Return: 0 with the number of the disk in *@id, or errno. */
DG_FN int device_new(struct dgnl *nl, const struct device_new *d, unsigned int *id)
{
	struct answer a;
	struct msg m;

	device_new_msg(nl, &m, d);
	if (!ask(nl, &m, &a) && id)
		*id = get_num(a.reply, a.len, DISAGG_A_DEVICE_ID);
	return a.error;
}

/* ---- sockets ---- */

DG_FN int tcp_listener(struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_in) {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	if (fd < 0 || bind(fd, (void *)addr, len) || listen(fd, 64) ||
	    getsockname(fd, (void *)addr, &len))
		bail("no listening socket");
	return fd;
}

/* Return: a socket for the module; *@peer is the target's end of it. */
DG_FN int tcp_pair(int *peer)
{
	struct sockaddr_in addr;
	int listener = tcp_listener(&addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0 || connect(fd, (void *)&addr, sizeof(addr)))
		bail("cannot connect");
	*peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*peer < 0)
		bail("cannot accept");
	setsockopt(*peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
	return fd;
}

/* Has the other end of @peer let go, within some seconds? */
DG_FN bool is_closed(int peer)
{
	struct pollfd p = { .fd = peer, .events = POLLIN };
	uint64_t end = now_ms() + 5000;
	char byte[4096];
	ssize_t n;

	while (now_ms() < end) {
		poll(&p, 1, 100);
		n = recv(peer, byte, sizeof(byte), MSG_DONTWAIT);
		if (!n || (n < 0 && errno != EAGAIN))
			return true;
	}
	return false;
}

/* ---- disks ---- */

/* The disk of device @id, which udev may not have made yet; O_CLOEXEC and @flags. */
DG_FN int open_disk(unsigned int id, int flags)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/dev/disagg%u", id);
	for (int i = 0; i < 500; i++) {
		fd = open(path, flags | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		poll(NULL, 0, 20);
	}
	bail(path);
}

/* Memory for direct I/O. */
DG_FN void *aligned(size_t len)
{
	void *buf;

	if (posix_memalign(&buf, 4096, len))
		bail("no memory");
	return buf;
}

/* ---- a target's end of a lane ---- */

#define KEPT_MAX	8

struct server {
	int fd;
	pthread_t thread;
	char *store;		/* what the device holds; NULL: zeros */
	/* Answers @frame in another way than usual. Return: false to go no further. */
	bool (*odd)(struct server *s, struct disagg_wire_frame *frame);
	char *payload;		/* of the WRITE that is being answered */
	unsigned int requests;
	pthread_mutex_t answering;	/* an answer comes whole, and nothing in between */
	volatile bool keep;	/* READs, those who ask keep_read() */
	volatile unsigned int nr_kept;
	struct disagg_wire_frame kept[KEPT_MAX];
};

DG_FN bool read_all(int fd, void *buf, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, buf, len, MSG_WAITALL);

		if (n <= 0)
			return false;
		buf = (char *)buf + n;
		len -= n;
	}
	return true;
}

DG_FN bool write_all(int fd, const void *buf, size_t len)
{
	while (len) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		buf = (const char *)buf + n;
		len -= n;
	}
	return true;
}

static char dg_zeros[DISAGG_WIRE_MAX_PAYLOAD];

/* Make the reply to @frame of it. Return: its payload. */
DG_FN const char *make_reply(struct server *s, struct disagg_wire_frame *frame)
{
	char *at = s->store ? s->store + frame->offset : NULL;

	frame->magic = DISAGG_WIRE_MAGIC_REPLY;
	frame->flags = 0;
	frame->payload = 0;
	switch (frame->op) {
	case DISAGG_WIRE_OP_READ:
		frame->payload = frame->length;
		return at ? at : dg_zeros;
	case DISAGG_WIRE_OP_WRITE:
		if (at)
			memcpy(at, s->payload, frame->length);
		break;
	case DISAGG_WIRE_OP_DISCARD:
	case DISAGG_WIRE_OP_WRITE_ZEROES:
		if (at)
			memset(at, 0, frame->length);
		break;
	}
	return NULL;
}

DG_FN bool answer_well(struct server *s, struct disagg_wire_frame *frame)
{
	const char *payload = make_reply(s, frame);

	return write_all(s->fd, frame, sizeof(*frame)) &&
	       write_all(s->fd, payload, frame->payload);
}

/* Return: whether @frame is a READ that is kept, for release_kept() to answer. */
DG_FN bool keep_read(struct server *s, const struct disagg_wire_frame *frame)
{
	if (!s->keep || frame->op != DISAGG_WIRE_OP_READ)
		return false;
	if (s->nr_kept == KEPT_MAX)
		bail("more READs than can be kept");
	s->kept[s->nr_kept] = *frame;
	s->nr_kept++;
	return true;
}

/* Answer what is kept, and keep no more. */
DG_FN bool release_kept(struct server *s)
{
	bool ok = true;

	pthread_mutex_lock(&s->answering);
	s->keep = false;
	for (unsigned int i = 0; i < s->nr_kept; i++)
		ok &= answer_well(s, &s->kept[i]);
	s->nr_kept = 0;
	pthread_mutex_unlock(&s->answering);
	return ok;
}

DG_FN void *server_main(void *data)
{
	struct disagg_wire_frame frame;
	struct server *s = data;
	bool ok = true;

	s->payload = malloc(DISAGG_WIRE_MAX_PAYLOAD);
	while (ok && read_all(s->fd, &frame, sizeof(frame)) &&
	       read_all(s->fd, s->payload, frame.payload)) {
		s->requests++;
		pthread_mutex_lock(&s->answering);
		ok = (s->odd ? s->odd : answer_well)(s, &frame);
		pthread_mutex_unlock(&s->answering);
	}
	free(s->payload);
	return NULL;
}

/* Serve what is connected with s->fd. */
DG_FN void serve_on(struct server *s)
{
	s->requests = 0;
	s->nr_kept = 0;
	pthread_mutex_init(&s->answering, NULL);
	if (pthread_create(&s->thread, NULL, server_main, s))
		bail("no thread");
}

/* Return: a socket for the module whose other end @s serves. */
DG_FN int serve(struct server *s)
{
	int fd = tcp_pair(&s->fd);

	serve_on(s);
	return fd;
}

DG_FN void serve_end(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
}

/* ---- the disk ---- */

/* Until the disk has a request, which may wait for a lane yet. */
DG_FN void wait_submitted(int fd)
{
	unsigned int reads = 0, writes = 0;
	struct stat st;
	char path[64];
	FILE *f;

	if (fstat(fd, &st))
		bail("no disk");
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/inflight", major(st.st_rdev),
		 minor(st.st_rdev));
	for (int i = 0; i < 1000; i++) {
		f = fopen(path, "re");
		if (!f || fscanf(f, "%u %u", &reads, &writes) != 2)
			bail(path);
		fclose(f);
		if (reads || writes)
			return;
		poll(NULL, 0, 10);
	}
	bail("no request comes");
}

/* ---- the module ---- */

DG_FN bool module_loaded(void)
{
	return access("/sys/module/disagg", F_OK) == 0;
}

DG_FN void need_module(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	puts("TAP version 13");
	if (!module_loaded() && system("modprobe disagg"))
		bail("the module cannot be loaded");
}

/* udev has seen what there is: it holds a disk for as long as it looks at it. */
DG_FN void settle_udev(void)
{
	if (system("udevadm settle --timeout=60"))
		note("udev is not done");
}

DG_FN void start_udev(void)
{
	if (system("pkill -CONT -x systemd-udevd"))
		note("udev is not started again");
}

/*
 * Nobody looks at disks from here on, nor at one that had appeared before; until the end. Its
 * queue alone is not enough: what udev watches for close() it opens itself, and by name.
 */
DG_FN void stop_udev(void)
{
	static bool before;

	settle_udev();
	if (system("pkill -STOP -x systemd-udevd"))
		bail("udev cannot be stopped");
	if (!before)
		atexit(start_udev);
	before = true;
}

DG_FN int module_refs(void)
{
	FILE *f = fopen("/sys/module/disagg/refcnt", "re");
	int n = -1;

	if (f) {
		if (fscanf(f, "%d", &n) != 1)
			n = -1;
		fclose(f);
	}
	return n;
}

/*
 * Whether nobody holds the module. udev may be looking at a disk that was deleted
 * by force, and holds it until its reads have failed: soon.
 */
DG_FN bool module_free(void)
{
	for (int i = 0; i < 1000 && module_refs(); i++)
		poll(NULL, 0, 10);
	return !module_refs();
}

/* Unload it, which nobody holds, and close @nl. Return: after how many milliseconds, or -1. */
DG_FN int unload_module(struct dgnl *nl)
{
	uint64_t start;
	int ms;

	if (!module_free())
		bail("the module is in use");
	close(nl->fd);
	start = now_ms();
	if (syscall(SYS_delete_module, "disagg", O_NONBLOCK))
		return -1;
	ms = now_ms() - start;
	note("rmmod took %d ms", ms);
	return ms;
}

#endif /* DISAGG_TEST_DGNL_H */
