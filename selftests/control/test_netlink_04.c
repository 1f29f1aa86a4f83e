// SPDX-License-Identifier: GPL-2.0
/*
 * What test_netlink_01 and 02 leave to a program that is quick: every attribute
 * too short and too long, what is just within the bounds, sockets on their way
 * out, dumps cut into small pieces, and the order of events under load. After
 * each refusal the target sees its connection end as soon as the caller closes
 * it, so nothing of it was kept.
 */
#include "dgnl.h"

static struct dgnl nl;

/* Nothing but the node that all the cases use. */
static bool nothing_left(void)
{
	return count(&nl, DISAGG_CMD_NODE_GET) == 1 &&
	       count(&nl, DISAGG_CMD_DEVICE_GET) == 0 && module_free();
}

/* @m must be refused with @err, or any errno if that is 0, naming @attr. */
static void refused(struct msg *m, int err, int attr, const char *fmt, ...)
{
	char name[200];
	struct answer a;
	va_list args;
	bool ok;

	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);
	ask(&nl, m, &a);
	ok = a.error && (!err || a.error == err) && a.text[0] &&
	     (a.bad_attr == attr || a.missing == attr) && nothing_left();
	if (!ok)
		note("errno %d (want %d), text '%s', points at %d, misses %d (want %d), left: %s",
		     a.error, err, a.text, a.bad_attr, a.missing, attr,
		     nothing_left() ? "nothing" : "something");
	result(ok, "%s: %s", name, a.text);
}

/* ---- lengths ---- */

struct length {
	int attr;
	const char *name;
	unsigned int size;	/* what it must be */
};

static const struct length lengths[] = {
	{ DISAGG_A_DEVICE_KIND, "kind", 4 },
	{ DISAGG_A_DEVICE_CLASS, "class", 4 },
	{ DISAGG_A_DEVICE_SIZE, "size", 8 },
	{ DISAGG_A_DEVICE_BLOCK_SIZE, "block-size", 4 },
	{ DISAGG_A_DEVICE_FLAGS, "flags", 4 },
	{ DISAGG_A_DEVICE_FEATURES, "features", 8 },
	{ DISAGG_A_DEVICE_LEASE, "lease", DISAGG_LEASE_LEN },
	{ DISAGG_A_DEVICE_GENERATION, "generation", 8 },
	{ DISAGG_A_DEVICE_MAX_PAYLOAD, "max-payload", 4 },
	{ DISAGG_A_DEVICE_MAX_DISCARD, "max-discard", 4 },
	{ DISAGG_A_DEVICE_DEPTH, "depth", 4 },
	{ DISAGG_A_DEVICE_IO_TIMEOUT, "io-timeout", 4 },
};

/* The last attribute of a type counts: append a bad one. */
static void bad_lengths(void)
{
	static const char bytes[32];
	int peer, fd = tcp_pair(&peer);
	struct device_new d = device_defaults(&fd, 1);
	struct msg m;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		const struct length *l = &lengths[i];

		device_new_msg(&nl, &m, &d);
		put(&m, l->attr, bytes, l->size - 1);
		refused(&m, 0, l->attr, "%s, a byte short", l->name);
		device_new_msg(&nl, &m, &d);
		put(&m, l->attr, bytes, l->size + 1);
		refused(&m, 0, l->attr, "%s, a byte long", l->name);
		device_new_msg(&nl, &m, &d);
		put(&m, l->attr, NULL, 0);
		refused(&m, 0, l->attr, "%s, empty", l->name);
	}
	close(fd);
	result(is_closed(peer), "the socket of all these was not kept");
	close(peer);
}

/* ---- lanes ---- */

static void bad_lane_nests(void)
{
	int peer, fd = tcp_pair(&peer);
	struct device_new d = device_defaults(NULL, 0);
	struct nlattr *lane;
	struct msg m;

	device_new_msg(&nl, &m, &d);
	put(&m, DISAGG_A_DEVICE_LANE, NULL, 0);
	refused(&m, EINVAL, DISAGG_A_DEVICE_LANE, "a lane that is not marked as a nest");

	device_new_msg(&nl, &m, &d);
	nest(&m, DISAGG_A_DEVICE_LANE);
	refused(&m, EINVAL, DISAGG_A_DEVICE_LANE, "an empty lane");

	device_new_msg(&nl, &m, &d);
	lane = nest(&m, DISAGG_A_DEVICE_LANE);
	put(&m, DISAGG_A_LANE_INDEX, "\0\0", 2);
	put(&m, DISAGG_A_LANE_FD, &fd, sizeof(fd));
	nest_end(&m, lane);
	refused(&m, 0, DISAGG_A_LANE_INDEX, "a lane with an index of two bytes");

	device_new_msg(&nl, &m, &d);
	lane = nest(&m, DISAGG_A_DEVICE_LANE);
	put_u32(&m, DISAGG_A_LANE_INDEX, 0);
	put(&m, DISAGG_A_LANE_FD, &fd, sizeof(fd));
	put_u32(&m, 99, 0);
	nest_end(&m, lane);
	refused(&m, EINVAL, 99, "a lane with an unknown attribute");

	device_new_msg(&nl, &m, &d);
	put_lane(&m, 0, fd);
	put_lane(&m, UINT32_MAX, fd);
	refused(&m, EINVAL, DISAGG_A_DEVICE_LANE, "a lane with an index of 2^32 - 1");

	close(fd);
	result(is_closed(peer), "the socket of all these was not kept");
	close(peer);
}

struct fd_case {
	const char *name;
	int err;
	int (*make)(int *peer);	/* *@peer stays -1 if there is no other end */
};

static int fd_pipe(int *peer)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		bail("no pipe");
	close(fds[1]);
	(void)peer;
	return fds[0];
}

static int fd_path(int *peer)
{
	(void)peer;
	return open("/", O_PATH | O_CLOEXEC);
}

static int fd_netlink(int *peer)
{
	(void)peer;
	return dgnl_socket();
}

static int fd_connected_udp(int *peer)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(9),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)peer;
	if (connect(fd, (void *)&to, sizeof(to)))
		bail("no UDP socket");
	return fd;
}

/* A connection attempt to an address where nobody answers. */
static int fd_connecting(int *peer)
{
	struct sockaddr_in addr, to;
	socklen_t len = sizeof(to);
	int listener = tcp_listener(&addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)peer;
	/* A listener with a full queue answers no more. */
	listen(listener, 0);
	for (int i = 0; i < 8; i++) {
		close(fd);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(fd, (void *)&addr, sizeof(addr)) && errno != EINPROGRESS)
			bail("connect");
		/* It is not just about to come, either. */
		if (getpeername(fd, (void *)&to, &len) &&
		    !poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 200))
			break;
	}
	/* The listener ends with the process. */
	return fd;
}

static int fd_peer_closed(int *peer)
{
	int fd = tcp_pair(peer);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	close(*peer);
	*peer = -1;
	poll(&p, 1, 5000);
	return fd;
}

static int fd_peer_reset(int *peer)
{
	struct linger hard = { .l_onoff = 1 };
	int fd = tcp_pair(peer);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	setsockopt(*peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(*peer);
	*peer = -1;
	poll(&p, 1, 5000);
	return fd;
}

static int fd_half_closed(int *peer)
{
	int fd = tcp_pair(peer);

	shutdown(fd, SHUT_WR);
	return fd;
}

static int fd_tls(int *peer)
{
	int fd = tcp_pair(peer);

	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 4)) {
		close(fd);
		return -1;
	}
	return fd;
}

static const struct fd_case fd_cases[] = {
	{ "a pipe", ENOTSOCK, fd_pipe },
	{ "an O_PATH descriptor", EBADF, fd_path },
	{ "a netlink socket", EPROTONOSUPPORT, fd_netlink },
	{ "a connected UDP socket", EPROTONOSUPPORT, fd_connected_udp },
	{ "a socket that is connecting", ENOTCONN, fd_connecting },
	{ "a connection that the peer has closed", ENOTCONN, fd_peer_closed },
	{ "a connection that the peer has reset", ENOTCONN, fd_peer_reset },
	{ "a connection that is half closed", ENOTCONN, fd_half_closed },
	{ "a connection with TLS in the kernel", EPROTONOSUPPORT, fd_tls },
};

static void bad_fds(void)
{
	struct device_new d = device_defaults(NULL, 0);
	struct msg m;

	for (size_t i = 0; i < sizeof(fd_cases) / sizeof(*fd_cases); i++) {
		const struct fd_case *c = &fd_cases[i];
		int good_peer, good = tcp_pair(&good_peer);
		int peer = -1, fd = c->make(&peer);

		if (fd < 0) {
			skip(c->name, "cannot be made here");
			close(good);
			close(good_peer);
			continue;
		}
		/* In second place: the first socket must be let go again. */
		device_new_msg(&nl, &m, &d);
		put_lane(&m, 0, good);
		put_lane(&m, 1, fd);
		refused(&m, c->err, DISAGG_A_DEVICE_LANE, "%s", c->name);
		close(fd);
		close(good);
		result(is_closed(good_peer) && (peer < 0 || is_closed(peer)),
		       "%s: no socket was kept", c->name);
		close(good_peer);
		if (peer >= 0)
			close(peer);
	}
}

/* ---- what is just good enough ---- */

struct bound {
	const char *name;
	int attr;
	uint64_t value;
	uint32_t block_size;
};

static const struct bound bounds[] = {
	{ "depth 1", DISAGG_A_DEVICE_DEPTH, 1, 4096 },
	{ "depth 1024", DISAGG_A_DEVICE_DEPTH, 1024, 4096 },
	{ "io-timeout 100 ms", DISAGG_A_DEVICE_IO_TIMEOUT, 100, 4096 },
	{ "io-timeout an hour", DISAGG_A_DEVICE_IO_TIMEOUT, 3600000, 4096 },
	{ "max-payload 4 KiB", DISAGG_A_DEVICE_MAX_PAYLOAD, 4096, 4096 },
	{ "max-payload 4 MiB", DISAGG_A_DEVICE_MAX_PAYLOAD, 4 << 20, 4096 },
	{ "max-payload nine sectors", DISAGG_A_DEVICE_MAX_PAYLOAD, 9 * 512, 512 },
	{ "max-discard zero", DISAGG_A_DEVICE_MAX_DISCARD, 0, 512 },
	{ "max-discard 2^32 - 1", DISAGG_A_DEVICE_MAX_DISCARD, UINT32_MAX, 512 },
	{ "one sector", DISAGG_A_DEVICE_SIZE, 512, 512 },
	{ "nearly 8 EiB", DISAGG_A_DEVICE_SIZE, INT64_MAX - 4095, 4096 },
};

static void accepted(struct msg *m, const char *name)
{
	struct answer a;

	ask(&nl, m, &a);
	if (a.error)
		note("errno %d: %s", a.error, a.text);
	result(!a.error && !device_del(&nl, "n", "d", true) && nothing_left(),
	       "accepted: %s", name);
}

static void good_bounds(void)
{
	struct msg m;

	for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
		struct server s = {};
		int fd = serve(&s);
		struct device_new d = device_defaults(&fd, 1);

		d.block_size = bounds[i].block_size;
		device_new_msg(&nl, &m, &d);
		if (bounds[i].attr == DISAGG_A_DEVICE_SIZE)
			put_u64(&m, bounds[i].attr, bounds[i].value);
		else
			put_u32(&m, bounds[i].attr, bounds[i].value);
		accepted(&m, bounds[i].name);
		close(fd);
		serve_end(&s);
	}
}

/* ---- a device of as many lanes as there can be ---- */

static void look_at_lanes(void *data, const void *attrs, size_t len)
{
	unsigned int *lanes = data;

	for_each_attr(attr, attrs, len)
		*lanes += (attr->nla_type & NLA_TYPE_MASK) == DISAGG_A_DEVICE_LANE;
}

static void many_lanes(void)
{
	struct server servers[DISAGG_MAX_LANES] = {};
	char label[DISAGG_LABEL_MAX + 1] = "";
	int fds[DISAGG_MAX_LANES];
	struct device_new d = device_defaults(fds, DISAGG_MAX_LANES);
	struct dgnl small;
	unsigned int lanes;
	struct answer a;
	struct msg m;
	int err;

	for (int i = 0; i < DISAGG_MAX_LANES; i++)
		fds[i] = serve(&servers[i]);
	device_new_msg(&nl, &m, &d);
	memset(label, 'x', DISAGG_LABEL_MAX);
	put_str(&m, DISAGG_A_DEVICE_TARGET, label);
	result(!ask(&nl, &m, &a), "64 lanes: accepted");
	lanes = 0;
	if (!device_get(&nl, "n", "d", &a))
		look_at_lanes(&lanes, a.reply, a.len);
	result(lanes == DISAGG_MAX_LANES, "64 lanes: all are shown");

	/* The first part of a dump is made before the module knows the reader's buffer. */
	small = (struct dgnl){ .fd = dgnl_socket(), .family = nl.family };
	lanes = 0;
	err = dump(&small, DISAGG_CMD_DEVICE_GET, 16384, look_at_lanes, &lanes, NULL);
	if (err)
		note("dump: %s", strerror(err));
	result(!err && lanes == DISAGG_MAX_LANES, "64 lanes: all are in a dump");
	close(small.fd);
	result(!node_del(&nl, "n", true) && !node_new(&nl, "n"), "64 lanes: and it goes");
	for (int i = 0; i < DISAGG_MAX_LANES; i++) {
		close(fds[i]);
		serve_end(&servers[i]);
	}
}

/*
 * A dump to a reader of 4 KiB, whose parts are no larger than what they must hold, and in
 * the midst of which, when @when parts were read, a device of 64 lanes comes. Netlink makes
 * a part ahead. Return: errno.
 */
static int outgrown(int when, unsigned int *devices, bool *interrupted)
{
	struct dgnl mine = { .fd = dgnl_socket(), .family = nl.family };
	struct server servers[DISAGG_MAX_LANES] = {};
	int fds[DISAGG_MAX_LANES], err = -1;
	struct device_new d = device_defaults(fds, DISAGG_MAX_LANES);
	static char buf[65536];
	struct nlmsghdr *hdr;
	struct msg m;
	ssize_t n;

	*devices = 0;
	*interrupted = false;
	d.name = "large";
	for (int i = 0; i < DISAGG_MAX_LANES; i++)
		fds[i] = serve(&servers[i]);
	msg_begin(&m, mine.family, DISAGG_CMD_DEVICE_GET);
	m.hdr.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	if (send(mine.fd, &m, m.hdr.nlmsg_len, 0) < 0)
		bail("dump");
	for (int part = 0; err < 0; part++) {
		if (part == when && device_new(&nl, &d, NULL))
			bail("no device");
		n = 4096;
		if (part >= when)
			n = recv(mine.fd, buf, n, MSG_PEEK | MSG_TRUNC);
		n = recv(mine.fd, buf, n, 0);
		if (n < 0)
			bail("dump");
		for (hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n); hdr = NLMSG_NEXT(hdr, n)) {
			*interrupted |= hdr->nlmsg_flags & NLM_F_DUMP_INTR;
			if (hdr->nlmsg_type == NLMSG_DONE)
				err = -*(int *)NLMSG_DATA(hdr);
			else if (hdr->nlmsg_type == NLMSG_ERROR)
				err = -((struct nlmsgerr *)NLMSG_DATA(hdr))->error;
			else
				++*devices;
		}
	}
	close(mine.fd);
	if (device_del(&nl, "n", "large", true))
		bail("the device stays");
	for (int i = 0; i < DISAGG_MAX_LANES; i++) {
		close(fds[i]);
		serve_end(&servers[i]);
	}
	return err;
}

/* Many devices are no reason to need a large buffer. */
static void small_reader(void)
{
	struct dgnl small = { .fd = dgnl_socket(), .family = nl.family };
	struct server servers[16] = {};
	bool interrupted = false;
	unsigned int n = 0;
	char name[32];
	int err;

	for (int i = 0; i < 16; i++) {
		int fd = serve(&servers[i]);
		struct device_new d = device_defaults(&fd, 1);

		snprintf(name, sizeof(name), "d%d", i);
		d.name = name;
		if (device_new(&nl, &d, NULL))
			bail("no device");
		close(fd);
	}
	err = dump(&small, DISAGG_CMD_DEVICE_GET, 4096, count_one, &n, NULL);
	result(!err && n == 16, "16 devices: all are dumped to a reader of 4 KiB");
	close(small.fd);
	err = outgrown(0, &n, &interrupted);
	note("%u devices, errno %d", n, err);
	result(!err && n == 17 && interrupted,
	       "16 devices: a large one that comes meanwhile is in the dump too");
	err = outgrown(1, &n, &interrupted);
	note("%u devices, errno %d", n, err);
	result(!err && n >= 16 && interrupted,
	       "16 devices: if it comes so late that there is no room, the dump says so");
	result(!node_del(&nl, "n", true) && !node_new(&nl, "n"), "16 devices: they go");
	for (int i = 0; i < 16; i++)
		serve_end(&servers[i]);
}

/* ---- device-set ---- */

static void bad_sets(void)
{
	struct server s = {};
	int fd = serve(&s);
	struct device_new d = device_defaults(&fd, 1);
	static const uint64_t sizes[] = { 0, 4096, (16 << 20) + 512, 1ULL << 63, -4096ULL, -1ULL };
	struct answer a;
	struct msg m;

	if (device_new(&nl, &d, NULL))
		bail("no device");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		msg_begin(&m, nl.family, DISAGG_CMD_DEVICE_SET);
		put_str(&m, DISAGG_A_DEVICE_NODE, "n");
		put_str(&m, DISAGG_A_DEVICE_NAME, "d");
		put_u64(&m, DISAGG_A_DEVICE_SIZE, sizes[i]);
		ask(&nl, &m, &a);
		result(a.error == EINVAL && a.text[0] && a.bad_attr == DISAGG_A_DEVICE_SIZE,
		       "resize to %#llx: %s", (unsigned long long)sizes[i], a.text);
	}
	for (int i = 1; i < 8; i++) {
		if (!(i & (i - 1)))
			continue;
		msg_begin(&m, nl.family, DISAGG_CMD_DEVICE_SET);
		put_str(&m, DISAGG_A_DEVICE_NODE, "n");
		put_str(&m, DISAGG_A_DEVICE_NAME, "d");
		if (i & 1)
			put_u64(&m, DISAGG_A_DEVICE_SIZE, 32 << 20);
		if (i & 2)
			put_u32(&m, DISAGG_A_DEVICE_IO_TIMEOUT, 5000);
		if (i & 4) {
			struct nlattr *lane = nest(&m, DISAGG_A_DEVICE_LANE);

			put_u32(&m, DISAGG_A_LANE_INDEX, 0);
			put_u32(&m, DISAGG_A_LANE_GENERATION, 77);
			put(&m, DISAGG_A_LANE_FD, &fd, sizeof(fd));
			nest_end(&m, lane);
		}
		ask(&nl, &m, &a);
		result(a.error == EINVAL && a.bad_attr == (i & 4 ? DISAGG_A_DEVICE_LANE :
								   DISAGG_A_DEVICE_SIZE),
		       "device-set of %s%s%s: %s", i & 1 ? "size " : "", i & 2 ? "timer " : "",
		       i & 4 ? "lane" : "", a.text);
	}
	msg_begin(&m, nl.family, DISAGG_CMD_DEVICE_SET);
	put_str(&m, DISAGG_A_DEVICE_NODE, "n");
	put_str(&m, DISAGG_A_DEVICE_NAME, "d");
	ask(&nl, &m, &a);
	result(a.error == EINVAL && a.text[0] && a.missing == DISAGG_A_DEVICE_SIZE,
	       "device-set of nothing: %s", a.text);
	device_get(&nl, "n", "d", &a);
	result(get_num(a.reply, a.len, DISAGG_A_DEVICE_SIZE) == 16 << 20 &&
	       get_num(a.reply, a.len, DISAGG_A_DEVICE_IO_TIMEOUT) == 30000,
	       "size and timeout are as they were");
	result(!device_set(&nl, "n", "d", DISAGG_A_DEVICE_IO_TIMEOUT, 100) &&
	       !device_set(&nl, "n", "d", DISAGG_A_DEVICE_SIZE, 32 << 20), "what is right is done");

	/* A dead device keeps its size, and can still be given a timeout. */
	serve_end(&s);
	for (int i = 0; i < 100 && device_state(&nl, "n", "d") == DISAGG_DEVICE_STATE_LIVE; i++)
		poll(NULL, 0, 50);
	result(device_state(&nl, "n", "d") == DISAGG_DEVICE_STATE_DEAD, "its target goes");
	result(device_set(&nl, "n", "d", DISAGG_A_DEVICE_SIZE, 64 << 20) == ENODEV,
	       "a dead device cannot grow");
	result(!device_del(&nl, "n", "d", true), "it goes");
	close(fd);
}

/* ---- messages that are no messages ---- */

static void bad_headers(void)
{
	struct answer a;
	struct msg m;

	msg_begin(&m, nl.family, 200);
	result(ask(&nl, &m, &a) == EOPNOTSUPP, "an unknown command");
	msg_begin(&m, nl.family, DISAGG_CMD_NODE_NEW_NTF);
	result(ask(&nl, &m, &a) == EOPNOTSUPP, "an event is no command");
	msg_begin(&m, nl.family, DISAGG_CMD_NODE_NEW);
	m.hdr.nlmsg_flags |= NLM_F_DUMP;
	result(ask(&nl, &m, &a) == EOPNOTSUPP, "a dump of what has none");
	msg_begin(&m, nl.family, DISAGG_CMD_NODE_NEW);
	put_str(&m, DISAGG_A_NODE_NAME, "x");
	put_u32(&m, DISAGG_A_NODE_DEVICES, 1);
	refused(&m, EINVAL, DISAGG_A_NODE_DEVICES, "what only answers have");
	msg_begin(&m, nl.family, DISAGG_CMD_NODE_DEL);
	put_str(&m, DISAGG_A_NODE_NAME, "n");
	put_u32(&m, DISAGG_A_NODE_FORCE, 1);
	refused(&m, 0, DISAGG_A_NODE_FORCE, "a flag with a value");
	msg_begin(&m, nl.family, DISAGG_CMD_NODE_NEW);
	put_str(&m, DISAGG_A_NODE_NAME, "x");
	/* The last one says that it is longer than the message. */
	((struct nlattr *)(m.buf + NLMSG_SPACE(GENL_HDRLEN)))->nla_len = 400;
	ask(&nl, &m, &a);
	result(a.error && nothing_left(), "an attribute that goes on beyond its message");
}

/* ---- dumps ---- */

struct seen {
	unsigned int kept, others, twice;
	bool have[300];
};

static void see_node(void *data, const void *attrs, size_t len)
{
	const char *name = get_str(attrs, len, DISAGG_A_NODE_NAME);
	struct seen *seen = data;
	unsigned int n;

	if (sscanf(name, "stay%u", &n) != 1 || n >= 300) {
		seen->others++;
		return;
	}
	seen->twice += seen->have[n];
	seen->kept += !seen->have[n];
	seen->have[n] = true;
}

/* Reads the first part of a dump, lets @change happen, and reads the rest. */
static bool interrupted_by(void (*change)(struct dgnl *), struct dgnl *other)
{
	struct dgnl mine = { .fd = dgnl_socket(), .family = nl.family };
	bool interrupted = false, done = false;
	struct nlmsghdr *hdr;
	char buf[4096];
	struct msg m;
	ssize_t n;

	msg_begin(&m, mine.family, DISAGG_CMD_NODE_GET);
	m.hdr.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	if (send(mine.fd, &m, m.hdr.nlmsg_len, 0) < 0)
		bail("dump");
	for (int part = 0; !done; part++) {
		if (part == 1 && change)
			change(other);
		n = recv(mine.fd, buf, sizeof(buf), 0);
		if (n < 0)
			bail("dump");
		for (hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n); hdr = NLMSG_NEXT(hdr, n)) {
			interrupted |= hdr->nlmsg_flags & NLM_F_DUMP_INTR;
			done |= hdr->nlmsg_type == NLMSG_DONE;
		}
	}
	close(mine.fd);
	return interrupted;
}

static void make_one(struct dgnl *other)
{
	node_new(other, "new");
}

static void delete_one(struct dgnl *other)
{
	node_del(other, "new", false);
}

static volatile bool stop_now;

static void *churn(void *data)
{
	struct dgnl mine = dgnl_open();
	_Atomic unsigned int *changes = data;
	char name[32];

	for (; !stop_now; ++*changes) {
		snprintf(name, sizeof(name), "come%u", *changes % 50);
		if (node_new(&mine, name))
			node_del(&mine, name, false);
	}
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "come%u", i);
		node_del(&mine, name, false);
	}
	close(mine.fd);
	return NULL;
}

static void dumps(void)
{
	unsigned int wrong = 0, interrupted = 0, dumped = 0;
	_Atomic unsigned int changes = 0;
	struct dgnl other = dgnl_open();
	struct seen seen;
	pthread_t thread;
	char name[32];
	bool flag;

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "stay%u", i);
		if (node_new(&nl, name))
			bail("no node");
	}
	result(!interrupted_by(NULL, &other), "a dump in peace is not marked as interrupted");
	result(interrupted_by(make_one, &other), "one during which a node is made is");
	result(interrupted_by(delete_one, &other), "so is one during which a node is deleted");

	stop_now = false;
	if (pthread_create(&thread, NULL, churn, &changes))
		bail("no thread");
	/* A busy host may not have run the other thread's processor yet. */
	for (; dumped < 60 || ((changes <= 10 || !interrupted) && dumped < 3000); dumped++) {
		/* The parts are as small as what the socket has read before. */
		struct dgnl small = { .fd = dgnl_socket(), .family = nl.family };

		memset(&seen, 0, sizeof(seen));
		wrong += dump(&small, DISAGG_CMD_NODE_GET, 4096, see_node, &seen, &flag) ||
			 seen.kept != 300 || seen.twice;
		interrupted += flag;
		close(small.fd);
		sched_yield();
	}
	stop_now = true;
	pthread_join(thread, NULL);
	note("%u changes, %u of %u dumps interrupted, %u wrong", changes, interrupted, dumped,
	     wrong);
	result(changes > 10 && interrupted && !wrong,
	       "every node that stays is in every dump exactly once");
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "stay%u", i);
		node_del(&nl, name, false);
	}
	close(other.fd);
	result(nothing_left(), "after the dumps: nothing is left");
}

/* ---- the order of events ---- */

static void *same_device(void *data)
{
	struct dgnl mine = dgnl_open();
	unsigned int *made = data;
	struct server s = {};

	while (!stop_now) {
		int fd = serve(&s);
		struct device_new d = device_defaults(&fd, 1);

		if (!device_new(&mine, &d, NULL)) {
			++*made;
			device_del(&mine, "n", "d", true);
		}
		close(fd);
		serve_end(&s);
	}
	close(mine.fd);
	return NULL;
}

/* Threads make and delete a device of one name: it comes, changes, goes, comes… */
static void order(void)
{
	unsigned int made[3] = {}, news = 0, dels = 0, wrong = 0;
	int events = dgnl_listen(&nl);
	pthread_t threads[3];
	struct nlmsghdr *hdr;
	bool there = false;
	char buf[65536];
	ssize_t n;

	stop_now = false;
	for (int i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, same_device, &made[i]))
			bail("no thread");
	poll(NULL, 0, 3000);
	stop_now = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	while ((n = recv(events, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		for (hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n); hdr = NLMSG_NEXT(hdr, n)) {
			uint8_t cmd = ((struct genlmsghdr *)NLMSG_DATA(hdr))->cmd;
			bool is_new = cmd == DISAGG_CMD_DEVICE_NEW_NTF;

			wrong += is_new == there;
			news += is_new;
			dels += cmd == DISAGG_CMD_DEVICE_DEL_NTF;
			there = cmd != DISAGG_CMD_DEVICE_DEL_NTF;
		}
	}
	note("%u made, %u events of new and %u of deleted ones, %u out of order",
	     made[0] + made[1] + made[2], news, dels, wrong);
	result(news && !wrong && !there && news == dels && news == made[0] + made[1] + made[2],
	       "the events of one name are in order");
	close(events);
}

int main(void)
{
	need_module();
	nl = dgnl_open();
	if (node_new(&nl, "n"))
		bail("no node");
	bad_lengths();
	bad_lane_nests();
	bad_fds();
	bad_headers();
	good_bounds();
	many_lanes();
	small_reader();
	bad_sets();
	dumps();
	order();
	result(!node_del(&nl, "n", false), "the node goes");
	result(!count(&nl, DISAGG_CMD_NODE_GET) && !count(&nl, DISAGG_CMD_DEVICE_GET) &&
	       module_free(), "nothing is left");
	return finish();
}
