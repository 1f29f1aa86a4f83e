// SPDX-License-Identifier: GPL-2.0
/*
 * A target whose answers are wrong, cut short, late, or too many. A request ends
 * with the right error in time; what ends the link ends it for good; what does not
 * leaves the device alive; and the device can be deleted at once in each case.
 */
#include "../control/dgnl.h"

#define SIZE		(16 << 20)
#define TIMEOUT_MS	1000
/* blk-mq looks for late requests about once a second; and the guest is slow. */
#define BOUND_MS	(TIMEOUT_MS + 4000)

static struct dgnl nl;
static char *store;

/* ---- ways to answer a READ ---- */

static bool bad_magic(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->magic = DISAGG_WIRE_MAGIC_REQUEST;
	return write_all(s->fd, f, sizeof(*f));
}

static bool bad_tag(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->tag = 4096;
	return write_all(s->fd, f, sizeof(*f));
}

static bool bad_op(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->op = DISAGG_WIRE_OP_FLUSH;
	f->payload = 0;
	return write_all(s->fd, f, sizeof(*f));
}

static bool reserved_bits(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->reserved[7] = 1;
	return write_all(s->fd, f, sizeof(*f));
}

static bool flags_set(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->flags = DISAGG_WIRE_FLAG_FUA;
	return write_all(s->fd, f, sizeof(*f));
}

static bool uninvited_crc(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->header_crc = 1;
	return write_all(s->fd, f, sizeof(*f));
}

static bool long_payload(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->payload = 0xfffffff0;
	return write_all(s->fd, f, sizeof(*f));
}

static bool short_payload(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->payload -= 512;
	return write_all(s->fd, f, sizeof(*f));
}

static bool payload_with_error(struct server *s, struct disagg_wire_frame *f)
{
	const char *payload = make_reply(s, f);

	f->status = DISAGG_WIRE_E_IO;
	return write_all(s->fd, f, sizeof(*f)) && write_all(s->fd, payload, f->payload);
}

static bool half_frame(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	return write_all(s->fd, f, sizeof(*f) / 2);
}

static bool half_payload(struct server *s, struct disagg_wire_frame *f)
{
	const char *payload = make_reply(s, f);

	return write_all(s->fd, f, sizeof(*f)) && write_all(s->fd, payload, f->payload / 2);
}

static bool half_payload_then_end(struct server *s, struct disagg_wire_frame *f)
{
	half_payload(s, f);
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

static bool silence(struct server *s, struct disagg_wire_frame *f)
{
	(void)s;
	(void)f;
	return true;
}

static bool end(struct server *s, struct disagg_wire_frame *f)
{
	(void)f;
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

static bool reset(struct server *s, struct disagg_wire_frame *f)
{
	struct linger hard = { .l_onoff = 1 };
	int fd = dup(s->fd), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)f;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	dup2(null, s->fd);	/* the last reference goes, with a RST */
	close(null);
	return false;
}

static bool with_status(struct server *s, struct disagg_wire_frame *f, uint16_t status)
{
	make_reply(s, f);
	f->status = status;
	f->payload = 0;
	return write_all(s->fd, f, sizeof(*f));
}

static bool status_io(struct server *s, struct disagg_wire_frame *f)
{
	return with_status(s, f, DISAGG_WIRE_E_IO);
}

static bool status_no_space(struct server *s, struct disagg_wire_frame *f)
{
	return with_status(s, f, DISAGG_WIRE_E_NO_SPACE);
}

static bool status_unknown(struct server *s, struct disagg_wire_frame *f)
{
	return with_status(s, f, 4711);
}

static bool status_proto(struct server *s, struct disagg_wire_frame *f)
{
	return with_status(s, f, DISAGG_WIRE_E_PROTO);
}

static bool status_stale(struct server *s, struct disagg_wire_frame *f)
{
	return with_status(s, f, DISAGG_WIRE_E_STALE);
}

/* The answer to a request of before, with a payload of its own: to be dropped. */
static bool old_generation_first(struct server *s, struct disagg_wire_frame *f)
{
	static const char junk[100] = "junk";
	struct disagg_wire_frame old = *f;

	old.magic = DISAGG_WIRE_MAGIC_REPLY;
	old.generation--;
	old.payload = sizeof(junk);
	return write_all(s->fd, &old, sizeof(old)) && write_all(s->fd, junk, sizeof(junk)) &&
	       answer_well(s, f);
}

static bool answers_twice(struct server *s, struct disagg_wire_frame *f)
{
	struct disagg_wire_frame again = *f;

	return answer_well(s, f) && answer_well(s, &again);
}

static bool unused_tag_first(struct server *s, struct disagg_wire_frame *f)
{
	struct disagg_wire_frame other = *f;

	other.magic = DISAGG_WIRE_MAGIC_REPLY;
	other.tag = (f->tag + 1) % 16;
	other.payload = 0;
	return write_all(s->fd, &other, sizeof(other)) && answer_well(s, f);
}

/* Every byte of the frame in a segment of its own, and the payload in pieces. */
static bool in_crumbs(struct server *s, struct disagg_wire_frame *f)
{
	const char *payload = make_reply(s, f);

	for (size_t i = 0; i < sizeof(*f); i++)
		if (!write_all(s->fd, (char *)f + i, 1))
			return false;
	for (uint32_t i = 0; i < f->payload; i += 333)
		if (!write_all(s->fd, payload + i,
			       f->payload - i < 333 ? f->payload - i : 333))
			return false;
	return true;
}

struct hostile {
	const char *name;
	bool (*odd)(struct server *s, struct disagg_wire_frame *f);
	int err;	/* of the READ; 0: it returns the right bytes */
	int state;	/* of the device afterwards */
	const char *reason;
};

#define LIVE	DISAGG_DEVICE_STATE_LIVE
#define DEAD	DISAGG_DEVICE_STATE_DEAD

static const struct hostile cases[] = {
	{ "a frame that is no reply", bad_magic, EIO, DEAD, "no reply" },
	{ "a tag out of range", bad_tag, EIO, DEAD, "tag" },
	{ "another operation", bad_op, EIO, DEAD, "another operation" },
	{ "reserved bytes", reserved_bits, EIO, DEAD, "reserved" },
	{ "flags", flags_set, EIO, DEAD, "reserved" },
	{ "a CRC that was not agreed on", uninvited_crc, EIO, DEAD, "CRC" },
	{ "a payload of 4 GiB", long_payload, EIO, DEAD, "too long" },
	{ "a payload too short", short_payload, EIO, DEAD, "length" },
	{ "an error with a payload", payload_with_error, EIO, DEAD, "length" },
	{ "half a frame, then silence", half_frame, EIO, DEAD, "no answer within" },
	{ "half a payload, then silence", half_payload, EIO, DEAD, "no answer within" },
	{ "half a payload, then the end", half_payload_then_end, EIO, DEAD, "closed" },
	{ "silence", silence, EIO, DEAD, "no answer within" },
	{ "the end", end, EIO, DEAD, "closed" },
	{ "a reset", reset, EIO, DEAD, "broke" },
	{ "status: I/O error", status_io, EIO, LIVE, "" },
	{ "status: no space", status_no_space, ENOSPC, LIVE, "" },
	{ "status: one that nobody knows", status_unknown, EIO, LIVE, "" },
	{ "status: bad request", status_proto, EIO, DEAD, "can't read" },
	{ "status: the lease has ended", status_stale, EIO, DEAD, "lease" },
	{ "an old reply before the right one", old_generation_first, 0, LIVE, "" },
	{ "a reply to nothing before the right one", unused_tag_first, 0, LIVE, "" },
	{ "the right reply, twice", answers_twice, 0, LIVE, "" },
	{ "the right reply, in crumbs", in_crumbs, 0, LIVE, "" },
};

/* Devices are probed by udev when they appear: well-behaved until told otherwise. */
static volatile bool misbehave;
static const struct hostile *now;

static bool answer(struct server *s, struct disagg_wire_frame *f)
{
	if (misbehave && f->op == DISAGG_WIRE_OP_READ)
		return now->odd(s, f);
	/* A sign of life would be another case: link/test_probe_01. */
	if (misbehave && f->op == DISAGG_WIRE_OP_PING)
		return true;
	return answer_well(s, f);
}

static int make_unseen(struct server *servers, int nr_lanes, unsigned int timeout_ms)
{
	struct device_new d;
	unsigned int id;
	int fds[2];

	for (int i = 0; i < nr_lanes; i++)
		fds[i] = serve(&servers[i]);
	d = device_defaults(fds, nr_lanes);
	d.size = SIZE;
	d.io_timeout = timeout_ms;
	if (device_new(&nl, &d, &id))
		bail("no device");
	for (int i = 0; i < nr_lanes; i++)
		close(fds[i]);
	return id;
}

/* The same, and udev has seen it. */
static int make_device(struct server *servers, int nr_lanes, unsigned int timeout_ms)
{
	int id = make_unseen(servers, nr_lanes, timeout_ms);

	settle_udev();
	return id;
}

static bool in_state(int state, const char *reason)
{
	struct answer a = {};

	for (int i = 0; i < 100; i++) {
		if (!device_get(&nl, "n", "d", &a) &&
		    (int)get_num(a.reply, a.len, DISAGG_A_DEVICE_STATE) == state)
			break;
		poll(NULL, 0, 30);
	}
	if ((int)get_num(a.reply, a.len, DISAGG_A_DEVICE_STATE) == state &&
	    strstr(get_str(a.reply, a.len, DISAGG_A_DEVICE_REASON), reason))
		return true;
	note("state %u, reason '%s'", (int)get_num(a.reply, a.len, DISAGG_A_DEVICE_STATE),
	     get_str(a.reply, a.len, DISAGG_A_DEVICE_REASON));
	return false;
}

static bool goes_at_once(void)
{
	uint64_t start = now_ms();
	int err = device_del(&nl, "n", "d", true);

	if (err || now_ms() - start > 2000)
		note("delete: errno %d after %llu ms", err,
		     (unsigned long long)(now_ms() - start));
	return !err && now_ms() - start <= 2000 && !count(&nl, DISAGG_CMD_DEVICE_GET);
}

static void run_case(const struct hostile *h)
{
	struct server s = { .odd = answer, .store = store };
	uint64_t start;
	char *buf;
	ssize_t n;
	bool ok;
	int fd;

	misbehave = false;
	now = h;
	fd = open_disk(make_device(&s, 1, TIMEOUT_MS), O_RDONLY | O_DIRECT);
	if (posix_memalign((void **)&buf, 4096, 65536))
		bail("no memory");
	misbehave = true;
	start = now_ms();
	n = pread(fd, buf, 65536, 1 << 20);
	if (h->err)
		ok = n < 0 && errno == h->err;
	else
		ok = n == 65536 && !memcmp(buf, store + (1 << 20), n);
	if (!ok || now_ms() - start > BOUND_MS) {
		note("%zd, %s, after %llu ms", n, n < 0 ? strerror(errno) : "no error",
		     (unsigned long long)(now_ms() - start));
		ok = false;
	}
	result(ok, "%s: the request ends as it should", h->name);
	ok = in_state(h->state, h->reason);
	misbehave = false;
	/* A link that has ended is not used again; one that has not is. */
	n = pread(fd, buf, 4096, 0);
	ok &= h->state == LIVE ? n == 4096 && !memcmp(buf, store, n) : n < 0;
	result(ok, "%s: so does the device", h->name);
	close(fd);
	result(goes_at_once(), "%s: it can be deleted", h->name);
	free(buf);
	serve_end(&s);
}

/* ---- more than one lane, more than one request ---- */

static void one_lane_of_two(void)
{
	struct server s[2] = { { .store = store }, { .store = store } };
	char *buf;
	int fd;

	if (posix_memalign((void **)&buf, 4096, 4096))
		bail("no memory");
	fd = open_disk(make_device(s, 2, 30000), O_RDWR | O_DIRECT);
	shutdown(s[1].fd, SHUT_RDWR);
	result(in_state(DEAD, "lane 1"), "one lane of two is closed: the device is lost");
	result(pread(fd, buf, 4096, 0) < 0 && errno == EIO, "reads fail");
	result(pwrite(fd, buf, 4096, 0) < 0 && errno == EIO, "writes fail");
	result(is_closed(s[0].fd), "the other lane is closed by us");
	close(fd);
	result(goes_at_once(), "one lane of two: it can be deleted");
	for (int i = 0; i < 2; i++)
		serve_end(&s[i]);
	free(buf);
}

/* Somebody who writes to a silent target waits; deleting by force sets him free. */
static int disk_in_use;
static volatile bool writer_done;

static bool silent_writes(struct server *s, struct disagg_wire_frame *f)
{
	return misbehave && f->op == DISAGG_WIRE_OP_WRITE ? true : answer_well(s, f);
}

static void *writer_main(void *data)
{
	if (pwrite(disk_in_use, data, 65536, 0) < 0)
		note("write: %s", strerror(errno));
	close(disk_in_use);	/* writes it out, and waits */
	writer_done = true;
	return NULL;
}

static void stuck_writer(void)
{
	struct server s = { .odd = silent_writes, .store = store };
	pthread_t writer;

	/* Only the last close() writes. */
	stop_udev();
	misbehave = false;
	disk_in_use = open_disk(make_unseen(&s, 1, 600000), O_RDWR);
	misbehave = true;
	writer_done = false;
	s.requests = 0;
	if (pthread_create(&writer, NULL, writer_main, store))
		bail("no thread");
	for (int i = 0; i < 1000 && !s.requests && !writer_done; i++)
		poll(NULL, 0, 20);
	result(s.requests && !writer_done, "a close() that writes waits for a silent target");
	result(device_del(&nl, "n", "d", false) == EBUSY, "its device is in use");
	result(goes_at_once(), "by force it goes at once, io-timeout or not");
	for (int i = 0; i < 100 && !writer_done; i++)
		poll(NULL, 0, 20);
	result(writer_done, "and the writer goes on");
	pthread_join(writer, NULL);
	serve_end(&s);
	start_udev();
}

/* ---- a target that reads late ---- */

#define SLOW_LEN	(4 << 20)

static bool late(struct server *s, struct disagg_wire_frame *f)
{
	if (misbehave)
		poll(NULL, 0, 20);
	return answer_well(s, f);
}

/* Whatever the socket takes at a time, nothing is lost, mixed up or sent twice. */
static void slow_reader(void)
{
	struct server s = { .odd = late, .store = store };
	char *buf, *back;
	int fd, small = 32768;	/* much less, and TCP itself crawls */

	if (posix_memalign((void **)&buf, 4096, SLOW_LEN) ||
	    posix_memalign((void **)&back, 4096, SLOW_LEN))
		bail("no memory");
	for (int i = 0; i < SLOW_LEN / 8; i++)
		((uint64_t *)buf)[i] = i * 0x9e3779b97f4a7c15ULL;
	misbehave = false;
	fd = open_disk(make_device(&s, 1, 60000), O_RDWR | O_DIRECT);
	setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	misbehave = true;
	result(pwrite(fd, buf, SLOW_LEN, 0) == SLOW_LEN, "4 MiB to a target that reads late");
	result(!memcmp(store, buf, SLOW_LEN), "it has got them");
	result(pread(fd, back, SLOW_LEN, 0) == SLOW_LEN && !memcmp(back, buf, SLOW_LEN),
	       "and so do we again");
	close(fd);
	result(in_state(LIVE, ""), "the device lives");
	result(goes_at_once(), "a late target: it can be deleted");
	free(buf);
	free(back);
	serve_end(&s);
}

/* ---- a target that answers before it has read ---- */

#define EARLY_LEN	(256 << 10)	/* one request, and more than its socket takes */

/* Says OK to a WRITE although its payload is still on the way, and stays so. */
static void *early_main(void *data)
{
	struct disagg_wire_frame frame;
	struct server *s = data;

	while (read_all(s->fd, &frame, sizeof(frame))) {
		if (frame.op == DISAGG_WIRE_OP_WRITE) {
			frame.magic = DISAGG_WIRE_MAGIC_REPLY;
			frame.flags = 0;
			frame.payload = 0;
			write_all(s->fd, &frame, sizeof(frame));
			break;
		}
		if (!answer_well(s, &frame))
			break;
	}
	return NULL;
}

/*
 * What TCP has not delivered it will send again, from the pages of the request:
 * which must be the request's as long.
 */
static void early_reply(void)
{
	struct server s = { .store = store };
	struct device_new d;
	int lane, fd, room = 8 << 20;
	unsigned int id;
	char *buf;

	if (posix_memalign((void **)&buf, 4096, EARLY_LEN))
		bail("no memory");
	memset(buf, 7, EARLY_LEN);
	lane = tcp_pair(&s.fd);
	if (setsockopt(lane, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)))
		bail("the socket can't hold a whole request");
	if (pthread_create(&s.thread, NULL, early_main, &s))
		bail("no thread");
	d = device_defaults(&lane, 1);
	d.size = SIZE;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	settle_udev();
	fd = open_disk(id, O_RDWR | O_DIRECT);
	result(pwrite(fd, buf, EARLY_LEN, 0) < 0 && errno == EIO,
	       "an OK to a WRITE that is still on the way is no success");
	result(in_state(DEAD, "before it had the request"), "and ends the link");
	close(fd);
	result(goes_at_once(), "an early target: it can be deleted");
	free(buf);
	serve_end(&s);
}

/* ---- partitions ---- */

static bool silent_reads(struct server *s, struct disagg_wire_frame *f)
{
	return misbehave && f->op == DISAGG_WIRE_OP_READ ? true : answer_well(s, f);
}

/* One partition of 4 MiB at 1 MiB, in the first sector's old table. */
static void write_table(char *sector)
{
	static const unsigned char entry[16] = {
		0, 0, 2, 0, 0x83, 0, 2, 0, 0, 8, 0, 0, 0, 32, 0, 0,
	};

	memset(sector, 0, 512);
	memcpy(sector + 446, entry, sizeof(entry));
	sector[510] = 0x55;
	sector[511] = (char)0xaa;
}

static void partitions(void)
{
	struct server s = { .odd = silent_reads, .store = store };
	char path[80], saved[512];
	struct device_new d;
	unsigned int id;
	uint64_t start;
	int lane, err;
	bool found;

	memcpy(saved, store, sizeof(saved));
	write_table(store);
	for (int silent = 0; silent < 2; silent++) {
		misbehave = silent;
		lane = serve(&s);
		d = device_defaults(&lane, 1);
		d.size = SIZE;
		d.block_size = 512;
		d.flags = DISAGG_DEVICE_FLAGS_PARTSCAN;
		start = now_ms();
		err = device_new(&nl, &d, &id);
		close(lane);
		if (err)
			bail("no device");
		if (silent) {
			result(now_ms() - start < 5000,
			       "attaching waits for nothing that is on the device");
		} else {
			snprintf(path, sizeof(path), "/sys/block/disagg%u/disagg%up1", id, id);
			for (int i = 0; i < 200 && access(path, F_OK); i++)
				poll(NULL, 0, 20);
			found = !access(path, F_OK);
			settle_udev();
			result(found, "a partition is found");
		}
		result(goes_at_once(), "%s: it can be deleted",
		       silent ? "a silent target" : "a partitioned device");
		serve_end(&s);
	}
	memcpy(store, saved, sizeof(saved));
}

/* ---- while a device is attached ---- */

/* One lane of two has something to read that is no reply, before anybody has asked. */
static void while_attaching(void)
{
	static const char junk[sizeof(struct disagg_wire_frame)] = "not a reply";
	struct device_new d;
	struct answer a;
	struct msg m;
	int lanes[2], peers[2];
	struct pollfd p;

	for (int i = 0; i < 2; i++)
		lanes[i] = tcp_pair(&peers[i]);
	p = (struct pollfd) { .fd = lanes[1], .events = POLLIN };
	if (!write_all(peers[1], junk, sizeof(junk)) || poll(&p, 1, 10000) != 1)
		bail("nothing to read");
	d = device_defaults(lanes, 2);
	device_new_msg(&nl, &m, &d);
	ask(&nl, &m, &a);
	note("%s: %s", strerror(a.error), a.text);
	result(a.error == ECONNRESET && strstr(a.text, "lane: "),
	       "a lane that breaks while attaching: refused, and said");
	result(!count(&nl, DISAGG_CMD_DEVICE_GET), "nothing is half made");
	for (int i = 0; i < 2; i++)
		close(lanes[i]);
	result(is_closed(peers[0]) && is_closed(peers[1]), "no socket is kept");
	for (int i = 0; i < 2; i++)
		close(peers[i]);
}

int main(void)
{
	need_module();
	nl = dgnl_open();
	store = malloc(SIZE);
	for (int i = 0; i < SIZE / 4; i++)
		((uint32_t *)store)[i] = i * 2654435761u;
	if (node_new(&nl, "n"))
		bail("no node");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		run_case(&cases[i]);
	one_lane_of_two();
	stuck_writer();
	slow_reader();
	early_reply();
	partitions();
	while_attaching();
	result(!node_del(&nl, "n", false) && module_free(), "nothing is left");
	return finish();
}
