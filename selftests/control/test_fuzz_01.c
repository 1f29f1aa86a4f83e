// SPDX-License-Identifier: GPL-2.0
/*
 * Malformed messages to the family, until FUZZ_MESSAGES of them were refused: good ones
 * of every command that are then made wrong by chance, some in ways that a library would
 * not let happen. What a message has done is compared with its answer: an error has
 * changed nothing, and a success has made or removed what it says. In the end nothing is
 * left, and the kernel has no complaint (the runner reads its log). FUZZ_SEED repeats a
 * run.
 */
#include "dgnl.h"

#define MESSAGES	10000
#define SLAB_GROWTH	512	/* KiB that may stay in caches, and bytes for each message: */
#define SLAB_MESSAGE	64	/* one of 128 that each of them loses is seen */

static struct dgnl nl;
static struct server kept_server, spare_server;
static int kept_fd = -1, spare_fd = -1, file_fd, closed_fd;
static unsigned int accepted, refused, silent, wrong;
static unsigned int accepted_by[DISAGG_CMD_MAX + 1], sent_by[DISAGG_CMD_MAX + 1];

/* ---- chance ---- */

static uint64_t chance_state;

static uint32_t chance(uint32_t below)
{
	/* xorshift64* (Vigna 2014) */
	chance_state ^= chance_state >> 12;
	chance_state ^= chance_state << 25;
	chance_state ^= chance_state >> 27;
	return (uint32_t)(chance_state * 0x2545f4914f6cdd1dULL >> 32) % below;
}

static uint64_t odd_number(void)
{
	static const uint64_t odd[] = {
		0, 1, 2, 3, 63, 64, 65, 99, 100, 511, 512, 4095, 4096, 4097, 65535, 1 << 20,
		INT32_MAX, 1U << 31, UINT32_MAX, 1ULL << 32, INT64_MAX, 1ULL << 63,
		UINT64_MAX - 4095, UINT64_MAX,
	};

	return chance(8) ? odd[chance(sizeof(odd) / sizeof(odd[0]))] :
			   (uint64_t)chance(UINT32_MAX) << 32 | chance(UINT32_MAX);
}

static int odd_fd(void)
{
	switch (chance(12)) {
	case 0:
		return -1;
	case 1:
		return closed_fd;
	case 2:
		return file_fd;
	case 3:
		return nl.fd;
	case 4:
		return (int)odd_number();
	default:
		return spare_fd;
	}
}

static const char *odd_name(void)
{
	static const char *const names[] = {
		"n", "d", "x", "nobody", "", ".", "-x", "a/b", "a b", "\xff", "x\n",
		"0123456789012345678901234567890", "01234567890123456789012345678901",
	};

	return names[chance(3) ? chance(3) : chance(sizeof(names) / sizeof(names[0]))];
}

/* ---- good messages ---- */

static void put_odd_lane(struct msg *m, bool replaces)
{
	struct nlattr *lane = nest(m, DISAGG_A_DEVICE_LANE);
	int fd = odd_fd();

	put_u32(m, DISAGG_A_LANE_INDEX, chance(4) ? 0 : (uint32_t)odd_number());
	if (replaces)
		put_u32(m, DISAGG_A_LANE_GENERATION, 1 + chance(3));
	put(m, DISAGG_A_LANE_FD, &fd, sizeof(fd));
	nest_end(m, lane);
}

static void good_device_new(struct msg *m)
{
	struct device_new d = device_defaults(&spare_fd, chance(8) ? 1 : 0);

	/* Now the name is free, now it is taken. */
	d.name = chance(4) ? "x" : "d";
	device_new_msg(&nl, m, &d);
}

static void good_device_set(struct msg *m)
{
	static const int timers[] = {
		DISAGG_A_DEVICE_IO_TIMEOUT, DISAGG_A_DEVICE_FAIL_FAST, DISAGG_A_DEVICE_DEAD_AFTER,
	};

	msg_begin(m, nl.family, DISAGG_CMD_DEVICE_SET);
	put_str(m, DISAGG_A_DEVICE_NODE, chance(8) ? "n" : odd_name());
	put_str(m, DISAGG_A_DEVICE_NAME, chance(8) ? "d" : odd_name());
	switch (chance(3)) {
	case 0:
		put_u64(m, DISAGG_A_DEVICE_SIZE, odd_number());
		break;
	case 1:
		put_u32(m, timers[chance(3)], (uint32_t)odd_number());
		break;
	case 2:
		put_odd_lane(m, true);
		break;
	}
}

static void good_message(struct msg *m)
{
	static const uint8_t cmds[] = {
		DISAGG_CMD_INFO_GET, DISAGG_CMD_NODE_GET, DISAGG_CMD_NODE_NEW,
		DISAGG_CMD_NODE_DEL, DISAGG_CMD_DEVICE_GET, DISAGG_CMD_DEVICE_SET,
		DISAGG_CMD_DEVICE_DEL, DISAGG_CMD_DEVICE_NEW, DISAGG_CMD_DEVICE_NEW,
		DISAGG_CMD_DEVICE_NEW, DISAGG_CMD_LATENCY_GET,
	};
	uint8_t cmd = cmds[chance(sizeof(cmds))];

	msg_begin(m, nl.family, cmd);
	switch (cmd) {
	case DISAGG_CMD_NODE_GET:
	case DISAGG_CMD_NODE_NEW:
	case DISAGG_CMD_NODE_DEL:
		put_str(m, DISAGG_A_NODE_NAME, odd_name());
		if (cmd == DISAGG_CMD_NODE_DEL && !chance(4))
			put(m, DISAGG_A_NODE_FORCE, NULL, 0);
		break;
	case DISAGG_CMD_DEVICE_GET:
	case DISAGG_CMD_DEVICE_DEL:
		if (cmd == DISAGG_CMD_DEVICE_GET && chance(2))
			put_u32(m, DISAGG_A_DEVICE_ID, chance(4));
		put_str(m, DISAGG_A_DEVICE_NODE, chance(3) ? "n" : odd_name());
		put_str(m, DISAGG_A_DEVICE_NAME, chance(2) ? "d" : odd_name());
		if (cmd == DISAGG_CMD_DEVICE_DEL && !chance(4))
			put(m, DISAGG_A_DEVICE_FORCE, NULL, 0);
		break;
	case DISAGG_CMD_LATENCY_GET:
		put_str(m, DISAGG_A_DEVICE_NODE, chance(8) ? "n" : odd_name());
		put_str(m, DISAGG_A_DEVICE_NAME, chance(8) ? "d" : odd_name());
		put_u32(m, DISAGG_A_DEVICE_LANE_INDEX, chance(2) ? 0 : (uint32_t)odd_number());
		break;
	case DISAGG_CMD_DEVICE_SET:
		good_device_set(m);
		break;
	case DISAGG_CMD_DEVICE_NEW:
		good_device_new(m);
		break;
	}
}

/* ---- and what makes them bad ---- */

/* One of the attributes, or of a lane's; NULL: there is none. */
static struct nlattr *some_attr(struct msg *m, bool inner)
{
	char *start = m->buf + NLMSG_SPACE(GENL_HDRLEN), *end = m->buf + m->hdr.nlmsg_len;
	const struct nlattr *found = NULL;
	unsigned int n = 0;

	if (end <= start)
		return NULL;
	for_each_attr(attr, start, end - start)
		if (!chance(++n))
			found = attr;
	if (found && inner && (found->nla_type & NLA_TYPE_MASK) == DISAGG_A_DEVICE_LANE) {
		const struct nlattr *lane = found;

		if ((char *)lane + lane->nla_len > end)
			return (struct nlattr *)lane;
		n = 0;
		for_each_attr(attr, attr_data(lane), lane->nla_len - NLA_HDRLEN)
			if (!chance(++n))
				found = attr;
	}
	return (struct nlattr *)found;
}

static size_t room(const struct msg *m)
{
	return sizeof(m->buf) - NLMSG_ALIGN(m->hdr.nlmsg_len);
}

/* An attribute of any type and length, of any bytes. */
static void put_noise(struct msg *m)
{
	static const unsigned int lengths[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 127, 2000 };
	unsigned int len = lengths[chance(sizeof(lengths) / sizeof(lengths[0]))];
	uint8_t data[2000];

	if (room(m) < len + 64)
		return;
	for (unsigned int i = 0; i < len; i++)
		data[i] = (uint8_t)chance(256);
	put(m, (int)(chance(4) ? chance(DISAGG_A_DEVICE_MAX + 2) : chance(65536)), data, len);
}

/* The same again, cut or grown: the last one of a type counts. */
static void put_again(struct msg *m)
{
	const struct nlattr *attr = some_attr(m, false);
	char data[256] = "";
	size_t len;

	if (!attr || attr->nla_len < NLA_HDRLEN || attr->nla_len > 200 || room(m) < 512)
		return;
	len = attr->nla_len - NLA_HDRLEN;
	memcpy(data, attr_data(attr), len);
	len += chance(9);
	put(m, attr->nla_type, data, len > 4 ? len - 4 : 0);
}

static void many_lanes(struct msg *m)
{
	unsigned int count = chance(2) ? 65 + chance(3) : 2 + chance(300);

	while (count-- && room(m) > 128) {
		struct nlattr *lane = nest(m, DISAGG_A_DEVICE_LANE);

		put_u32(m, DISAGG_A_LANE_INDEX, chance(8) ? count : 0);
		put(m, DISAGG_A_LANE_FD, &spare_fd, sizeof(spare_fd));
		nest_end(m, lane);
	}
}

static void deep_nests(struct msg *m)
{
	struct nlattr *nests[40];
	unsigned int n;

	for (n = 0; n < 40 && room(m) > 64; n++)
		nests[n] = nest(m, DISAGG_A_DEVICE_LANE);
	while (n)
		nest_end(m, nests[--n]);
}

static void make_wrong(struct msg *m)
{
	static const uint16_t lengths[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 400, 32767, 65535 };
	struct genlmsghdr *genl = NLMSG_DATA(&m->hdr);
	struct nlattr *attr = some_attr(m, chance(2));
	size_t space;
	char *data;

	switch (chance(16)) {
	case 0:
		if (attr)
			attr->nla_len = lengths[chance(sizeof(lengths) / sizeof(lengths[0]))];
		break;
	case 1:
		if (attr)
			attr->nla_type = (uint16_t)(chance(2) ? chance(DISAGG_A_DEVICE_MAX + 2) :
								chance(65536));
		break;
	case 2:
		if (attr)
			attr->nla_type ^= chance(2) ? NLA_F_NESTED : NLA_F_NET_BYTEORDER;
		break;
	case 3: /* it is not there */
		space = attr ? NLA_ALIGN(attr->nla_len) : 0;
		data = (char *)attr;
		if (!attr || data + space > m->buf + m->hdr.nlmsg_len)
			break;
		memmove(data, data + space, (size_t)(m->buf + m->hdr.nlmsg_len - data) - space);
		m->hdr.nlmsg_len -= space;
		break;
	case 4: /* another number */
	case 5:
		if (attr && attr->nla_len >= NLA_HDRLEN + 4 &&
		    (char *)attr + attr->nla_len <= m->buf + m->hdr.nlmsg_len) {
			uint64_t number = odd_number();

			memcpy(attr + 1, &number, attr->nla_len >= NLA_HDRLEN + 8 ? 8 : 4);
		}
		break;
	case 6: /* a string without its end */
		if (attr && attr->nla_len > NLA_HDRLEN &&
		    (char *)attr + attr->nla_len <= m->buf + m->hdr.nlmsg_len)
			((char *)attr)[attr->nla_len - 1] = 'x';
		break;
	case 7: /* the message is cut */
		if (m->hdr.nlmsg_len > NLMSG_HDRLEN)
			m->hdr.nlmsg_len -= chance(m->hdr.nlmsg_len - NLMSG_HDRLEN);
		break;
	case 8: /* bytes after the last attribute */
		if (room(m) > 64)
			m->hdr.nlmsg_len += 1 + chance(7);
		break;
	case 9:
		genl->cmd = (uint8_t)(chance(2) ? chance(DISAGG_CMD_MAX + 2) : chance(256));
		break;
	case 10:
		genl->version = (uint8_t)chance(256);
		genl->reserved = (uint16_t)(chance(2) ? 0 : chance(65536));
		break;
	case 11:
		m->hdr.nlmsg_flags |= chance(2) ? NLM_F_DUMP : (uint16_t)(chance(256) << 4);
		break;
	case 12:
		put_noise(m);
		break;
	case 13:
		put_again(m);
		break;
	case 14:
		if (room(m) > 512)
			put_odd_lane(m, chance(2));
		break;
	case 15:
		if (chance(2))
			many_lanes(m);
		else
			deep_nests(m);
		break;
	}
}

/* ---- one message ---- */

struct counts {
	uint32_t nodes, devices;
};

/*
 * Send @m, and ask for the counts: what is not answered by then has no answer. Return:
 * errno, 0, or -1 for silence.
 */
static int send_wrong(struct msg *m, struct counts *counts)
{
	static char buf[65536];
	uint32_t seq = ++nl.seq, mark = ++nl.seq;
	bool marked = false, dump = m->hdr.nlmsg_flags & NLM_F_DUMP;
	struct nlmsghdr *hdr;
	struct msg info;
	int error = -1;
	ssize_t n;

	m->hdr.nlmsg_seq = seq;
	if (send(nl.fd, m, m->hdr.nlmsg_len, 0) < 0)
		bail("netlink: send");
	msg_begin(&info, nl.family, DISAGG_CMD_INFO_GET);
	info.hdr.nlmsg_seq = mark;
	if (send(nl.fd, &info, info.hdr.nlmsg_len, 0) < 0)
		bail("netlink: send");
	for (;;) {
		n = recv(nl.fd, buf, sizeof(buf), marked ? MSG_DONTWAIT : 0);
		if (n < 0 && marked)
			break;
		if (n < 0)
			bail("netlink: no answer");
		for (hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n); hdr = NLMSG_NEXT(hdr, n)) {
			const char *attrs = (char *)hdr + NLMSG_SPACE(GENL_HDRLEN);
			size_t len = hdr->nlmsg_len - NLMSG_SPACE(GENL_HDRLEN);

			if (hdr->nlmsg_seq == seq && (hdr->nlmsg_type == NLMSG_ERROR ||
						      hdr->nlmsg_type == NLMSG_DONE))
				error = -*(int *)NLMSG_DATA(hdr);
			if (hdr->nlmsg_seq != mark)
				continue;
			if (hdr->nlmsg_type == NLMSG_ERROR) {
				marked = true;
				continue;
			}
			counts->nodes = get_num(attrs, len, DISAGG_A_INFO_NODES);
			counts->devices = get_num(attrs, len, DISAGG_A_INFO_DEVICES);
		}
		/* The rest of a dump is made as it is read. */
		if (marked && !dump)
			break;
	}
	return error;
}

/* ---- what the messages meet ---- */

static void let_go(struct server *s, int *fd)
{
	if (*fd < 0)
		return;
	close(*fd);
	*fd = -1;
	serve_end(s);
}

static void new_spare(void)
{
	let_go(&spare_server, &spare_fd);
	spare_fd = serve(&spare_server);
}

struct names {
	unsigned int count;
	char name[16][DISAGG_NAME_MAX + 1];
};

static void see_name(void *data, const void *attrs, size_t len)
{
	struct names *names = data;

	if (names->count < 16)
		snprintf(names->name[names->count++], DISAGG_NAME_MAX + 1, "%s",
			 get_str(attrs, len, DISAGG_A_NODE_NAME));
}

/* A node n with a device d over a socket that works, and nothing else. */
static void start_afresh(void)
{
	struct names names = {};
	struct device_new d;

	dump(&nl, DISAGG_CMD_NODE_GET, 65536, see_name, &names, NULL);
	while (names.count)
		if (node_del(&nl, names.name[--names.count], true))
			bail("a node cannot be deleted");
	let_go(&kept_server, &kept_fd);
	new_spare();
	kept_fd = serve(&kept_server);
	d = device_defaults(&kept_fd, 1);
	d.dead_after = DISAGG_NEVER;
	if (node_new(&nl, "n") || device_new(&nl, &d, NULL))
		bail("no device");
}

/* May a message of @cmd that went well have made @was of @now? */
static bool fits(uint8_t cmd, const struct counts *was, const struct counts *now)
{
	int nodes = (int)now->nodes - (int)was->nodes;
	int devices = (int)now->devices - (int)was->devices;

	switch (cmd) {
	case DISAGG_CMD_NODE_NEW:
		return nodes == 1 && !devices;
	case DISAGG_CMD_NODE_DEL:
		return nodes == -1 && devices <= 0;
	case DISAGG_CMD_DEVICE_NEW:
		return !nodes && devices == 1;
	case DISAGG_CMD_DEVICE_DEL:
		return !nodes && devices == -1;
	default:
		return !nodes && !devices;
	}
}

static void one_message(void)
{
	static const struct counts base = { 1, 1 };
	struct counts now = base;
	struct genlmsghdr *genl;
	struct msg m, sent;
	bool has_cmd;
	int error;
	uint8_t cmd;

	good_message(&m);
	for (unsigned int i = 1 + chance(3); i; i--)
		make_wrong(&m);
	sent = m;
	genl = NLMSG_DATA(&m.hdr);
	has_cmd = m.hdr.nlmsg_len >= NLMSG_LENGTH(sizeof(*genl));
	cmd = has_cmd ? genl->cmd : 0;
	if (cmd <= DISAGG_CMD_MAX)
		sent_by[cmd]++;
	error = send_wrong(&m, &now);
	if (error < 0) {
		silent++;
	} else if (error) {
		refused++;
	} else {
		accepted++;
		if (cmd <= DISAGG_CMD_MAX)
			accepted_by[cmd]++;
	}
	if (error ? now.nodes != base.nodes || now.devices != base.devices :
		    !fits(cmd, &base, &now)) {
		if (wrong++ < 10) {
			note("command %u, errno %d: now %u nodes and %u devices", cmd, error,
			     now.nodes, now.devices);
			for (uint32_t i = 0; i < sent.hdr.nlmsg_len && i < 512; i += 32) {
				char line[65] = "";

				for (uint32_t k = i; k < i + 32 && k < sent.hdr.nlmsg_len; k++)
					sprintf(line + 2 * (k - i), "%02x", sent.buf[k] & 255);
				note("%04x %s", i, line);
			}
		}
		start_afresh();
	} else if (!error && (now.nodes != base.nodes || now.devices != base.devices)) {
		start_afresh();
	} else if (!error && cmd == DISAGG_CMD_DEVICE_SET) {
		new_spare();	/* it may be a lane now */
	}
}

/* Takes events as they come, so that the module makes them. */
static void *listen_main(void *data)
{
	char buf[65536];

	while (recv(*(int *)data, buf, sizeof(buf), 0) >= 0 || errno == ENOBUFS)
		;
	return NULL;
}

/* What the kernel holds in caches that it cannot shrink, KiB. */
static long slab(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SUnreclaim: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static unsigned long number_of(const char *variable, unsigned long fallback)
{
	const char *value = getenv(variable);

	return value && *value ? strtoul(value, NULL, 0) : fallback;
}

int main(void)
{
	unsigned long messages = number_of("FUZZ_MESSAGES", MESSAGES);
	pthread_t listener;
	uint64_t start;
	long before, bound, grown;
	int events, peer;

	need_module();
	nl = dgnl_open();
	chance_state = number_of("FUZZ_SEED", (unsigned long)time(NULL) * 1000 + now_ms() % 1000);
	note("FUZZ_SEED=%llu", (unsigned long long)chance_state);
	chance_state |= 1;
	events = dgnl_listen(&nl);
	dgnl_timeout(events, 0);
	if (pthread_create(&listener, NULL, listen_main, &events))
		bail("no thread");
	file_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	closed_fd = dup(file_fd);
	close(closed_fd);

	start_afresh();
	before = slab();
	start = now_ms();
	for (unsigned long i = 0; refused < messages; i++) {
		one_message();
		/* Timers and lanes may have been set so that it is of no more use. */
		if (!(i % 512) && device_state(&nl, "n", "d") != DISAGG_DEVICE_STATE_LIVE)
			start_afresh();
		if (i && !(i % 10000))
			note("%u refused after %lu s", refused,
			     (unsigned long)(now_ms() - start) / 1000);
	}
	note("%lu s", (unsigned long)(now_ms() - start) / 1000);
	for (unsigned int i = 0; i <= DISAGG_CMD_MAX; i++)
		if (sent_by[i])
			note("command %u: %u sent, %u accepted", i, sent_by[i], accepted_by[i]);
	result(!wrong,
	       "%u messages refused, %u accepted, %u not answered; %u did what they should not",
	       refused, accepted, silent, wrong);
	result(accepted > messages / 100, "some are still good");

	/* The last socket that was offered over and over again is nobody's. */
	result(!node_del(&nl, "n", true), "the node goes");
	let_go(&kept_server, &kept_fd);
	let_go(&spare_server, &spare_fd);
	spare_fd = tcp_pair(&peer);
	for (int i = 0; i < 200; i++) {
		struct counts counts = {};
		struct msg m;

		good_device_new(&m);
		put_odd_lane(&m, false);
		send_wrong(&m, &counts);	/* there is no node for it */
	}
	close(spare_fd);
	result(is_closed(peer), "no socket was kept");
	close(peer);
	grown = slab() - before;
	bound = SLAB_GROWTH + (long)messages * SLAB_MESSAGE / 1024;
	note("unreclaimable caches have grown by %ld KiB, of %ld", grown, bound);
	if (access("/sys/kernel/debug/kmemleak", F_OK))
		result(grown < bound, "no memory was kept");
	else
		skip("no memory was kept",
		     "what is freed stays in caches here; kmemleak knows what is lost");
	pthread_cancel(listener);
	pthread_join(listener, NULL);
	close(events);
	result(!count(&nl, DISAGG_CMD_NODE_GET) && !count(&nl, DISAGG_CMD_DEVICE_GET) &&
	       module_free(), "nothing is left");
	return finish();
}
