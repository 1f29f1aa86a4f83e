// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of every operation fails once: of a node, of a device with two lanes,
 * of what changes them, shows them and takes them away, of requests, and of the module's
 * own coming. It is refused or it succeeds; nothing is half made, and what was there works
 * as before. That nothing is lost kmemleak says, after the test.
 */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "inject.h"

#define NTH_MAX	20000U

/* ---- one message ---- */

enum outcome { DONE, REFUSED, UNTOLD };

/*
 * Send @m with its @nth allocation failing. Return: what is said of it; UNTOLD: there was
 * no memory to say it.
 */
static unsigned int wordless;

static enum outcome attempt(struct msg *m, unsigned int nth, bool *injected, int *error)
{
	static char buf[65536];
	struct answer a = { 0 };
	struct nlmsghdr *hdr;
	ssize_t n;

	m->hdr.nlmsg_seq = ++nl.seq;
	arm(nth);
	n = send(nl.fd, m, m->hdr.nlmsg_len, 0);
	*error = errno;
	*injected = disarm();
	if (n < 0)
		return REFUSED;
	for (;;) {
		n = recv(nl.fd, buf, sizeof(buf), 0);
		if (n < 0 && errno == ENOBUFS)
			return UNTOLD;
		if (n < 0)
			bail("netlink: no answer");
		for (hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n); hdr = NLMSG_NEXT(hdr, n)) {
			if (hdr->nlmsg_seq != nl.seq || hdr->nlmsg_type != NLMSG_ERROR)
				continue;
			answer_ack(&a, m, hdr);
			*error = a.error;
			if (!a.error)
				return DONE;
			wordless += !a.text[0];
			return REFUSED;
		}
	}
}

/* ---- the walk ---- */

static const char *over(void)
{
	return cipher ? " over TLS" : "";
}

/*
 * struct op - one kind of message
 * @prepare: before it
 * @build: the message
 * @is_done: whether what it asks for is so
 * @whole: whether all is as it should be, if it is done and if it isn't
 * @undo: back to before @prepare
 * @never: it is never refused: it needs no memory to go on
 * @also: what functions of the kernel's own say as well when there is no memory, or 0
 */
struct op {
	const char *name;
	void (*prepare)(void);
	void (*build)(struct msg *m);
	bool (*is_done)(void);
	bool (*whole)(bool done);
	void (*undo)(bool done);
	bool never;
	int also;
};

static bool walk(const struct op *op)
{
	unsigned int counts[3] = { 0 }, nth, bad = 0;
	bool injected = true;

	never_told = 0;
	for (nth = 1; injected && nth < NTH_MAX; nth++) {
		enum outcome outcome;
		bool done, fits;
		struct msg m;
		int error;

		if (op->prepare)
			op->prepare();
		op->build(&m);
		outcome = attempt(&m, nth, &injected, &error);
		counts[outcome]++;
		done = op->is_done();
		fits = outcome == UNTOLD || done == (outcome == DONE);
		if (outcome == REFUSED && error != ENOMEM && error != ENOBUFS &&
		    error != op->also)
			fits = false;
		if (!injected && outcome != DONE)
			fits = false;
		if (!fits || (op->whole && !op->whole(done))) {
			bad++;
			note("%s%s, allocation %u: %s (%s), and %s", op->name, over(), nth,
			     outcome == DONE ? "done" : outcome == REFUSED ? "refused" : "untold",
			     outcome == REFUSED ? strerror(error) : "",
			     fits ? "not whole" : done ? "it is done" : "it is not done");
		}
		if (op->undo)
			op->undo(done);
	}
	note("%s%s: %u allocations; refused %u times, done %u times, untold %u times",
	     op->name, over(), nth - 2, counts[REFUSED], counts[DONE] - 1, counts[UNTOLD]);
	if (never_told)
		note("%s%s: %u peers were not told of the end", op->name, over(), never_told);
	return !bad && !injected && !counts[REFUSED] == op->never && never_told <= LANES;
}

/* ---- the operations ---- */

static void build_node(struct msg *m)
{
	msg_begin(m, nl.family, DISAGG_CMD_NODE_NEW);
	put_str(m, DISAGG_A_NODE_NAME, "x");
}

static bool node_is_there(void)
{
	struct answer a;
	struct msg m;

	msg_begin(&m, nl.family, DISAGG_CMD_NODE_GET);
	put_str(&m, DISAGG_A_NODE_NAME, "x");
	return !ask(&nl, &m, &a);
}

static void undo_node(bool done)
{
	if (done && node_del(&nl, "x", false))
		bail("the node stays");
}

static void build_device(struct msg *m)
{
	struct device_new d = device_defaults(lanes, LANES);

	d.dead_after = DISAGG_NEVER;
	d.depth = 2;
	device_new_msg(&nl, m, &d);
}

static bool device_whole(bool done)
{
	struct answer a;

	close_lanes();
	if (!done) {
		await_lanes();
		return count(&nl, DISAGG_CMD_DEVICE_GET) == 0;
	}
	if (device_get(&nl, "n", "d", &a))
		return false;
	disk_id = get_num(a.reply, a.len, DISAGG_A_DEVICE_ID);
	return works();
}

static void undo_device(bool done)
{
	if (done)
		delete_device();
}

static void build_set(struct msg *m, int type, uint64_t value)
{
	msg_begin(m, nl.family, DISAGG_CMD_DEVICE_SET);
	put_str(m, DISAGG_A_DEVICE_NODE, "n");
	put_str(m, DISAGG_A_DEVICE_NAME, "d");
	if (type == DISAGG_A_DEVICE_SIZE)
		put_u64(m, type, value);
	else
		put_u32(m, type, value);
}

static uint64_t device_num(int type)
{
	struct answer a;

	if (device_get(&nl, "n", "d", &a))
		bail("the device is gone");
	return get_num(a.reply, a.len, type);
}

static uint64_t old_size;

static void prepare_size(void)
{
	old_size = device_num(DISAGG_A_DEVICE_SIZE);
}

static void build_size(struct msg *m)
{
	build_set(m, DISAGG_A_DEVICE_SIZE, old_size + 65536);
}

static bool is_resized(void)
{
	return device_num(DISAGG_A_DEVICE_SIZE) == old_size + 65536;
}

static bool size_whole(bool done)
{
	uint64_t bytes = 0;
	int fd = open_disk(disk_id, O_RDWR | O_DIRECT);
	bool ok = !ioctl(fd, BLKGETSIZE64, &bytes) && bytes == old_size + (done ? 65536 : 0);

	close(fd);
	return ok && works();
}

static void prepare_timer(void)
{
	if (device_set(&nl, "n", "d", DISAGG_A_DEVICE_IO_TIMEOUT, 30000))
		bail("the timer does not change");
}

static void build_timer(struct msg *m)
{
	build_set(m, DISAGG_A_DEVICE_IO_TIMEOUT, 20000);
}

static bool is_timed(void)
{
	return device_num(DISAGG_A_DEVICE_IO_TIMEOUT) == 20000;
}

static bool still_works(bool done)
{
	(void)done;
	return device_num(DISAGG_A_DEVICE_STATE) == DISAGG_DEVICE_STATE_LIVE && works();
}

static struct server *spare;
static int spare_lane;
static uint32_t old_generation;

static void prepare_lane(void)
{
	old_generation = lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION);
	spare = new_server(&spare_lane);
}

static void build_lane(struct msg *m)
{
	struct nlattr *lane;

	msg_begin(m, nl.family, DISAGG_CMD_DEVICE_SET);
	put_str(m, DISAGG_A_DEVICE_NODE, "n");
	put_str(m, DISAGG_A_DEVICE_NAME, "d");
	lane = nest(m, DISAGG_A_DEVICE_LANE);
	put_u32(m, DISAGG_A_LANE_INDEX, 0);
	put_u32(m, DISAGG_A_LANE_GENERATION, old_generation);
	put(m, DISAGG_A_LANE_FD, &spare_lane, sizeof(spare_lane));
	nest_end(m, lane);
}

static bool is_replaced(void)
{
	return lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION) != old_generation;
}

/* The socket that is not used is let go of. */
static bool lane_whole(bool done)
{
	close(spare_lane);
	await_server(done ? servers[0] : spare);
	if (done)
		servers[0] = spare;
	return still_works(done);
}

static void build_get(struct msg *m)
{
	msg_begin(m, nl.family, DISAGG_CMD_DEVICE_GET);
	put_str(m, DISAGG_A_DEVICE_NODE, "n");
	put_str(m, DISAGG_A_DEVICE_NAME, "d");
}

static void build_latency(struct msg *m)
{
	msg_begin(m, nl.family, DISAGG_CMD_LATENCY_GET);
	put_str(m, DISAGG_A_DEVICE_NODE, "n");
	put_str(m, DISAGG_A_DEVICE_NAME, "d");
	put_u32(m, DISAGG_A_DEVICE_LANE_INDEX, 0);
}

static void build_delete(struct msg *m, bool force)
{
	msg_begin(m, nl.family, DISAGG_CMD_DEVICE_DEL);
	put_str(m, DISAGG_A_DEVICE_NODE, "n");
	put_str(m, DISAGG_A_DEVICE_NAME, "d");
	if (force)
		put(m, DISAGG_A_DEVICE_FORCE, NULL, 0);
}

static void build_gentle(struct msg *m)
{
	build_delete(m, false);
}

static void build_force(struct msg *m)
{
	build_delete(m, true);
}

static bool is_deleted(void)
{
	return !device_there();
}

static bool delete_whole(bool done)
{
	return done || works();
}

static void undo_delete(bool done)
{
	(void)done;
	delete_device();
}

static void build_node_force(struct msg *m)
{
	msg_begin(m, nl.family, DISAGG_CMD_NODE_DEL);
	put_str(m, DISAGG_A_NODE_NAME, "n");
	put(m, DISAGG_A_NODE_FORCE, NULL, 0);
}

static void undo_node_force(bool done)
{
	delete_device();
	if (done && node_new(&nl, "n"))
		bail("no node");
}

/* Whether its answer came is all that there is to know. */
static bool asked(const char *name, void (*build)(struct msg *m))
{
	unsigned int nth, refused = 0, bad = 0;
	bool injected = true;

	for (nth = 1; injected && nth < NTH_MAX; nth++) {
		struct msg m;
		int error;

		build(&m);
		switch (attempt(&m, nth, &injected, &error)) {
		case REFUSED:
			refused++;
			bad += !injected || (error != ENOMEM && error != ENOBUFS);
			break;
		case UNTOLD:
			refused++;
			break;
		case DONE:
			break;
		}
	}
	note("%s: %u allocations, %u refused", name, nth - 2, refused);
	return !bad && !injected && refused && still_works(true);
}

static bool dumped(const char *name, uint8_t cmd)
{
	static char buf[65536];
	unsigned int nth, refused = 0;
	bool injected = true;

	for (nth = 1; injected && nth < NTH_MAX; nth++) {
		struct dgnl other = nl;
		bool ended = false;
		struct msg m;

		/* One of its own, so that what is left of a dump that failed is nobody's. */
		other.fd = dgnl_socket();
		msg_begin(&m, other.family, cmd);
		m.hdr.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		arm(nth);
		if (send(other.fd, &m, m.hdr.nlmsg_len, 0) >= 0) {
			while (!ended) {
				ssize_t n = recv(other.fd, buf, sizeof(buf), 0);

				if (n < 0)
					break;
				for (struct nlmsghdr *hdr = (void *)buf; NLMSG_OK(hdr, (size_t)n);
				     hdr = NLMSG_NEXT(hdr, n))
					ended |= hdr->nlmsg_type == NLMSG_DONE ||
						 hdr->nlmsg_type == NLMSG_ERROR;
			}
		}
		injected = disarm();
		refused += !ended;
		close(other.fd);
	}
	note("%s: %u allocations, %u without an end", name, nth - 2, refused);
	return !injected && refused && still_works(true);
}

/* ---- requests ---- */

struct io {
	const char *name;
	enum { READ, WRITE, FSYNC, DISCARD, ZEROES } kind;
	size_t len;
};

static const struct io ios[] = {
	{ "a read of 4 KiB", READ, 4096 },
	{ "a read of 1 MiB", READ, 1 << 20 },
	{ "a write of 4 KiB", WRITE, 4096 },
	{ "a write of 1 MiB", WRITE, 1 << 20 },
	{ "a flush", FSYNC, 0 },
	{ "a discard", DISCARD, 1 << 20 },
	{ "a write-zeroes", ZEROES, 1 << 20 },
};

static ssize_t carry_out(int fd, const struct io *io, char *buf)
{
	uint64_t range[2] = { 4 << 20, io->len };

	switch (io->kind) {
	case READ:
		return pread(fd, buf, io->len, range[0]);
	case WRITE:
		return pwrite(fd, buf, io->len, range[0]);
	case FSYNC:
		return fsync(fd);
	case DISCARD:
		return ioctl(fd, BLKDISCARD, range);
	case ZEROES:
		return ioctl(fd, BLKZEROOUT, range);
	}
	return -1;
}

static bool submitted(const struct io *io)
{
	unsigned int nth, refused = 0, bad = 0;
	char *buf = aligned(1 << 20);
	bool injected = true;
	int fd = open_disk(disk_id, O_RDWR | O_DIRECT);

	for (nth = 1; injected && nth < NTH_MAX; nth++) {
		ssize_t want = io->kind < FSYNC ? (ssize_t)io->len : 0, n;
		bool right = true;
		int error;

		for (size_t i = 0; i < io->len; i++) {
			store[(4 << 20) + i] = (char)(nth + i / 4096);
			buf[i] = io->kind == WRITE ? (char)(nth * 3 + i / 4096) : 0;
		}
		arm(nth);
		n = carry_out(fd, io, buf);
		error = errno;
		injected = disarm();
		if (n != want) {
			refused++;
			/* A short one tells how far it came. */
			if (n < 0 && error != ENOMEM && error != EAGAIN && error != ENOBUFS)
				right = false;
		} else if (io->kind == READ || io->kind == WRITE) {
			right = !memcmp(store + (4 << 20), buf, io->len);
		}
		if (n != want && !injected)
			right = false;
		if (!right || device_num(DISAGG_A_DEVICE_STATE) != DISAGG_DEVICE_STATE_LIVE) {
			bad++;
			note("%s%s, allocation %u: %zd (%s), state %u", io->name, over(), nth, n,
			     n < 0 ? strerror(error) : "",
			     (unsigned int)device_num(DISAGG_A_DEVICE_STATE));
			if (bad > 10)
				break;
		}
	}
	close(fd);
	free(buf);
	note("%s%s: %u allocations, %u refused", io->name, over(), nth - 2, refused);
	return !bad && !refused && !injected && works();
}

/* ---- the module itself ---- */

static bool loaded(void)
{
	unsigned int nth, refused = 0, bad = 0;
	uint64_t start, end;
	bool injected = true;
	char path[256] = "";
	FILE *f;
	int fd;

	/* What comes before its own function is the kernel's, which makes mistakes there. */
	if (!symbols("do_one_initcall", &start, &end))
		bail("no do_one_initcall()");
	inject_range(start, end);
	close(nl.fd);
	f = popen("modinfo -n disagg", "re");
	if (!f || !fgets(path, sizeof(path), f))
		bail("no module");
	pclose(f);
	path[strcspn(path, "\n")] = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !module_free() || syscall(SYS_delete_module, "disagg", O_NONBLOCK))
		bail(path);
	for (nth = 1; injected && nth < NTH_MAX; nth++) {
		int err;

		arm(nth);
		err = syscall(SYS_finit_module, fd, "", 0) ? errno : 0;
		injected = disarm();
		if (module_loaded() == !!err) {
			bad++;
			note("allocation %u: %s, but it is %sthere", nth, strerror(err),
			     module_loaded() ? "" : "not ");
		}
		if (err && (!injected || (err != ENOMEM && err != ENOBUFS))) {
			bad++;
			note("allocation %u: %s", nth, strerror(err));
		}
		refused += !!err;
		if (!err && syscall(SYS_delete_module, "disagg", O_NONBLOCK))
			bail("the module stays");
	}
	note("the module: %u allocations, %u refused", nth - 2, refused);
	close(fd);
	return !bad && !injected && refused && !system("modprobe disagg");
}

static void walks(const struct op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		result(walk(&ops[i]), "%s%s", ops[i].name, over());
}

static void requests(void)
{
	for (size_t i = 0; i < sizeof(ios) / sizeof(*ios); i++)
		result(submitted(&ios[i]), "%s%s", ios[i].name, over());
}

int main(void)
{
	static const struct op node[] = {
		{ "a node", NULL, build_node, node_is_there, NULL, undo_node, false, 0 },
	};
	static const struct op ops[] = {
		{ "a device", make_lanes, build_device, device_there, device_whole, undo_device,
		  false, EINVAL },
		{ "a deletion", make_device, build_gentle, is_deleted, delete_whole, undo_delete,
		  true, 0 },
		{ "one by force", make_device, build_force, is_deleted, delete_whole, undo_delete,
		  true, 0 },
		{ "that of a node by force", make_device, build_node_force, is_deleted,
		  delete_whole, undo_node_force, true, 0 },
	};
	static const struct op changes[] = {
		{ "a size", prepare_size, build_size, is_resized, size_whole, NULL, true, 0 },
		{ "a timer", prepare_timer, build_timer, is_timed, still_works, NULL, true, 0 },
	};
	static const struct op lane[] = {
		{ "another lane", prepare_lane, build_lane, is_replaced, lane_whole, NULL, true, 0 },
	};

	need_module();
	inject_init();
	nl = dgnl_open();
	store = calloc(1, SIZE);
	if (!store || node_new(&nl, "n"))
		bail("no node");
	/* Nobody else looks at the disks. */
	stop_udev();
	walks(node, 1);
	walks(ops, sizeof(ops) / sizeof(*ops));
	make_device();
	walks(changes, sizeof(changes) / sizeof(*changes));
	walks(lane, 1);
	result(asked("a look at a device", build_get), "a look at a device");
	result(asked("at its latencies", build_latency), "at its latencies");
	/* The memory of dumps is netlink's. */
	inject_range(0, UINT64_MAX);
	result(dumped("a dump of nodes", DISAGG_CMD_NODE_GET), "a dump of nodes");
	result(dumped("a dump of devices", DISAGG_CMD_DEVICE_GET), "a dump of devices");
	inject_module();
	requests();
	delete_device();
	cipher = &ciphers[0];
	walks(ops, sizeof(ops) / sizeof(*ops));
	make_device();
	walks(lane, 1);
	requests();
	delete_device();
	result(!node_del(&nl, "n", false) && count(&nl, DISAGG_CMD_DEVICE_GET) == 0,
	       "nothing is left");
	note("%u refusals without a word", wordless);
	result(!wordless, "every refusal says why");
	result(loaded(), "the module");
	return finish();
}
