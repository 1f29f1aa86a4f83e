// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes that break and are replaced, by this program in the part of the agent: what
 * was not answered is done again, on the new connection and nowhere else; the
 * other lanes go on; and the timers do what they say, also when they change.
 */
#include <sched.h>

#include "../control/dgnl.h"
#include "wire.h"

#define SIZE		(16 << 20)
#define LEN		65536
#define LIVE		DISAGG_DEVICE_STATE_LIVE
#define LOST		DISAGG_DEVICE_STATE_LOST
#define DEAD		DISAGG_DEVICE_STATE_DEAD

static struct dgnl nl;
static char *store;
static uint64_t features;	/* of the next devices, beyond the usual */

/* A device that is kept, whose lanes @servers serve, and that udev has seen; its number. */
static unsigned int make_closed(struct server *servers, unsigned int nr_lanes,
				unsigned int timeout_ms)
{
	struct device_new d;
	unsigned int id;
	int fds[4];

	for (unsigned int i = 0; i < nr_lanes; i++)
		fds[i] = serve(&servers[i]);
	d = device_defaults(fds, nr_lanes);
	d.size = SIZE;
	d.features |= features;
	d.io_timeout = timeout_ms;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	for (unsigned int i = 0; i < nr_lanes; i++)
		close(fds[i]);
	settle_udev();
	return id;
}

static int make(struct server *servers, unsigned int nr_lanes, unsigned int timeout_ms)
{
	return open_disk(make_closed(servers, nr_lanes, timeout_ms), O_RDWR | O_DIRECT);
}

static bool in_state(int state)
{
	int is = 0;

	for (int i = 0; i < 400; i++) {
		is = device_state(&nl, "n", "d");
		if (is == state)
			return true;
		poll(NULL, 0, 20);
	}
	note("state %d, not %d", is, state);
	return false;
}

static bool lane_in_state(unsigned int lane, unsigned int state)
{
	for (int i = 0; i < 400; i++) {
		if (lane_num(&nl, "n", "d", lane, DISAGG_A_LANE_STATE) == state)
			return true;
		poll(NULL, 0, 20);
	}
	return false;
}

/* As the target does it: the old connection is served to its end, then the new one. */
static int renew(struct server *s, unsigned int lane)
{
	uint32_t generation = lane_num(&nl, "n", "d", lane, DISAGG_A_LANE_GENERATION);
	struct answer a;
	int fd;

	fd = serve(s);
	lane_replace(&nl, "n", "d", lane, generation, fd, &a);
	close(fd);
	if (a.error)
		note("lane %u: %s: %s", lane, strerror(a.error), a.text);
	return a.error;
}

static void unmake(int fd, struct server *servers, unsigned int nr_lanes, const char *name)
{
	uint64_t start = now_ms();
	int err;

	close(fd);
	err = device_del(&nl, "n", "d", true);
	result(!err && now_ms() - start <= 2000, "%s: it can be deleted", name);
	for (unsigned int i = 0; i < nr_lanes; i++)
		serve_end(&servers[i]);
}

/* ---- one request, cut ---- */

struct job {
	pthread_t thread;
	int fd, cpu;
	bool write;
	char *buf;
	off_t offset;
	ssize_t n;
	int error;
	volatile bool done;
};

static void *job_main(void *data)
{
	struct job *j = data;
	cpu_set_t cpus;

	if (j->cpu >= 0) {
		CPU_ZERO(&cpus);
		CPU_SET(j->cpu, &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
	}
	j->n = j->write ? pwrite(j->fd, j->buf, LEN, j->offset) :
			  pread(j->fd, j->buf, LEN, j->offset);
	j->error = j->n < 0 ? errno : 0;
	j->done = true;
	return NULL;
}

static void job_start(struct job *j, int fd, bool write, off_t offset)
{
	j->fd = fd;
	j->write = write;
	j->offset = offset;
	j->done = false;
	if (!j->buf && posix_memalign((void **)&j->buf, 4096, LEN))
		bail("no memory");
	memset(j->buf, write ? 0x5a : 0, LEN);
	if (pthread_create(&j->thread, NULL, job_main, j))
		bail("no thread");
}

/* Return: 0, errno, or -1 if it has not ended within @ms. */
static int job_end(struct job *j, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (!j->done && now_ms() < end)
		poll(NULL, 0, 5);
	if (!j->done)
		return -1;
	pthread_join(j->thread, NULL);
	return j->n == LEN ? 0 : j->error;
}

static volatile bool misbehave;

/* Done, and never answered. */
static bool done_then_end(struct server *s, struct disagg_wire_frame *f)
{
	if (!misbehave)
		return answer_well(s, f);
	make_reply(s, f);
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

/* Not done, not answered. */
static bool end(struct server *s, struct disagg_wire_frame *f)
{
	if (!misbehave)
		return answer_well(s, f);
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

static bool half_reply(struct server *s, struct disagg_wire_frame *f)
{
	const char *payload;

	if (!misbehave)
		return answer_well(s, f);
	payload = make_reply(s, f);
	write_all(s->fd, f, f->payload ? sizeof(*f) : 20);
	write_all(s->fd, payload, f->payload / 2);
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

static bool silence(struct server *s, struct disagg_wire_frame *f)
{
	return misbehave ? true : answer_well(s, f);
}

static bool garbage(struct server *s, struct disagg_wire_frame *f)
{
	if (!misbehave)
		return answer_well(s, f);
	return write_all(s->fd, dg_zeros, 1000);
}

static const struct cut {
	const char *name;
	bool (*odd)(struct server *s, struct disagg_wire_frame *f);
	bool write;
} cuts[] = {
	{ "a WRITE that was done and not answered", done_then_end, true },
	{ "a WRITE that was not done", end, true },
	{ "a WRITE with half an answer", half_reply, true },
	{ "a READ that was not answered", end, false },
	{ "a READ with half an answer", half_reply, false },
	{ "a WRITE met with silence", silence, true },
	{ "a READ answered with garbage", garbage, false },
};

static void one_cut(const struct cut *c)
{
	struct server s = { .odd = c->odd, .store = store };
	struct job j = { .cpu = -1 };
	unsigned int before;
	int fd, err;
	bool ok;

	misbehave = false;
	memset(store + LEN, c->write ? 0 : 0x77, LEN);
	fd = make(&s, 1, 1000);
	misbehave = true;
	job_start(&j, fd, c->write, LEN);
	ok = in_state(LOST);
	poll(NULL, 0, 100);
	result(ok && !j.done && lane_in_state(0, DISAGG_LANE_STATE_LOST), "%s: it waits",
	       c->name);
	/* What the old connection did or did not do must not matter. */
	if (c->write)
		memset(store + LEN, 0, LEN);
	misbehave = false;
	serve_end(&s);
	before = lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_REPLAYS);
	ok = before == 1 && !renew(&s, 0);
	err = job_end(&j, 5000);
	if (err || !ok)
		note("%u replays, errno %d", before, err);
	result(ok && !err && !memcmp(store + LEN, j.buf, LEN), "%s: it is done again", c->name);
	result(in_state(LIVE) && lane_in_state(0, DISAGG_LANE_STATE_LIVE) &&
	       lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION) == 2,
	       "%s: the device lives again", c->name);
	unmake(fd, &s, 1, c->name);
	free(j.buf);
}

static volatile int damages;

/* With CRC32C. So many WRITEs did not arrive as they were sent, says the target. */
static bool damaged(struct server *s, struct disagg_wire_frame *f)
{
	bool bad = f->op == DISAGG_WIRE_OP_WRITE && damages > 0;
	const char *payload;

	damages -= bad;
	payload = bad ? NULL : make_reply(s, f);
	f->magic = DISAGG_WIRE_MAGIC_REPLY;
	f->flags = 0;
	f->status = bad ? DISAGG_WIRE_E_CRC : DISAGG_WIRE_OK;
	if (bad)
		f->payload = 0;
	f->payload_crc = payload ? dsg_crc32c(payload, f->payload) : 0;
	f->header_crc = 0;
	f->header_crc = dsg_crc32c(f, sizeof(*f));
	return write_all(s->fd, f, sizeof(*f)) && write_all(s->fd, payload, f->payload);
}

/* It is sent again, but not for ever: it may be changed by who has it written. */
static void damaged_write(void)
{
	struct server s = { .odd = damaged, .store = store };
	struct job j = { .cpu = -1 };
	int fd;

	damages = 0;
	features = DISAGG_WIRE_F_CRC32C;
	fd = make(&s, 1, 30000);
	features = 0;
	memset(store, 0, LEN);
	damages = 2;
	job_start(&j, fd, true, 0);
	result(!job_end(&j, 5000) && !damages && !memcmp(store, j.buf, LEN),
	       "a WRITE that comes damaged is sent again");
	result(lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_REPLAYS) == 2, "which is counted");
	damages = 100;
	job_start(&j, fd, true, 0);
	result(job_end(&j, 5000) == EIO && damages == 96, "three times, then it has failed");
	damages = 0;
	job_start(&j, fd, false, 0);
	result(!job_end(&j, 5000) && in_state(LIVE) &&
	       lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION) == 1,
	       "the connection goes on");
	unmake(fd, &s, 1, "a WRITE that comes damaged");
	free(j.buf);
}

/* The target takes nothing in: most of the request is not even sent. */
static void cut_while_sending(void)
{
	struct server s = { .store = store };
	struct job j = { .cpu = -1 };
	int fd, lane, peer, small = 4096;
	struct device_new d;
	unsigned int id;

	lane = tcp_pair(&peer);
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(lane, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	d = device_defaults(&lane, 1);
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	fd = open_disk(id, O_RDWR | O_DIRECT);
	memset(store, 0, LEN);
	job_start(&j, fd, true, 0);
	poll(NULL, 0, 200);
	close(peer);
	result(in_state(LOST) && !j.done, "cut while sending: it waits");
	result(!renew(&s, 0) && !job_end(&j, 5000) && !memcmp(store, j.buf, LEN),
	       "cut while sending: it is sent again, from its start");
	unmake(fd, &s, 1, "cut while sending");
	free(j.buf);
}

/* ---- handing over ---- */

static bool kept(struct server *s, struct disagg_wire_frame *f)
{
	return keep_read(s, f) || answer_well(s, f);
}

static void hand_over(void)
{
	struct server old = { .odd = kept, .store = calloc(1, SIZE) };
	struct server new = { .odd = kept, .store = store };
	struct job j = { .cpu = -1 };
	int fd, other, peer, err;
	struct answer a;
	bool asked;

	fd = make(&old, 1, 30000);
	old.keep = true;
	memset(store, 0x33, LEN);
	job_start(&j, fd, false, 0);
	for (int i = 0; i < 500 && !old.nr_kept; i++)
		poll(NULL, 0, 10);
	asked = old.nr_kept == 1;
	other = tcp_pair(&peer);
	result(lane_replace(&nl, "n", "d", 0, 2, other, &a) == ESTALE &&
	       strstr(a.text, "meanwhile"), "a generation that is not the lane's is refused");
	result(lane_replace(&nl, "n", "d", 0, 0, other, &a) == ESTALE, "nor one of before");
	result(lane_replace(&nl, "n", "d", 1, 1, other, &a) == EINVAL, "nor a lane too many");
	result(lane_replace(&nl, "n", "d", 0, 1, 0, &a) == ENOTSOCK ||
	       a.error == EBADF, "a file that is no socket is refused");
	result(!j.done && lane_in_state(0, DISAGG_LANE_STATE_LIVE),
	       "and the lane goes on with the one that it has");
	shutdown(peer, SHUT_RDWR);
	poll(&(struct pollfd){ .fd = other, .events = POLLIN }, 1, 5000);
	result(lane_replace(&nl, "n", "d", 0, 1, other, &a) == ENOTCONN,
	       "a connection that has ended is refused");
	close(other);
	close(peer);
	new.keep = true;
	err = renew(&new, 0);
	for (int i = 0; i < 500 && !new.nr_kept; i++)
		poll(NULL, 0, 10);
	result(!err && new.nr_kept == 1, "a live lane can be replaced, and its requests move");
	/* With other bytes. */
	release_kept(&old);
	poll(NULL, 0, 200);
	result(asked && !j.done, "what the old connection answers now is nobody's");
	result(release_kept(&new) && !job_end(&j, 5000) && j.buf[LEN - 1] == 0x33,
	       "the new one's answer counts");
	result(is_closed(old.fd), "the old connection is closed");
	result(in_state(LIVE), "the device lives");
	serve_end(&old);
	free(old.store);
	unmake(fd, &new, 1, "handing over");
	free(j.buf);
}

/* A lane that has a successor at once was never lost, whatever the timers say. */
static void hand_over_unkept(void)
{
	struct server old = { .store = store }, new = { .store = store };
	struct job j = { .cpu = -1 };
	int fd;

	misbehave = false;
	fd = make(&old, 1, 30000);
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, 0);
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_DEAD_AFTER, 0);
	result(!renew(&new, 0), "a lane is replaced that must not be lost");
	job_start(&j, fd, true, 0);
	result(!job_end(&j, 5000) && in_state(LIVE), "and the device lives");
	serve_end(&old);
	unmake(fd, &new, 1, "not lost");
	free(j.buf);
}

static void one_of_two(void)
{
	struct server s[2] = { { .store = store }, { .store = store } };
	struct job j[2] = { { .cpu = 0 }, { .cpu = 1 } };
	unsigned int waits = 0;
	bool ok;
	int fd;

	misbehave = false;
	fd = make(s, 2, 30000);
	serve_end(&s[1]);
	ok = in_state(LOST);
	for (int i = 0; i < 2; i++)
		job_start(&j[i], fd, true, i * LEN);
	/* Which processor has which lane is the block layer's business. */
	for (int i = 0; i < 100 && (!j[0].done && !j[1].done); i++)
		poll(NULL, 0, 20);
	poll(NULL, 0, 200);
	for (int i = 0; i < 2; i++)
		waits += !j[i].done;
	result(ok && waits == 1 && lane_in_state(0, DISAGG_LANE_STATE_LIVE),
	       "one lane of two is lost: the other goes on");
	result(!renew(&s[1], 1) && !job_end(&j[0], 5000) && !job_end(&j[1], 5000) &&
	       in_state(LIVE), "and so does that one with a new connection");
	unmake(fd, s, 2, "one of two");
	for (int i = 0; i < 2; i++)
		free(j[i].buf);
}

/* ---- timers ---- */

static void fail_fast(void)
{
	struct server s = { .store = store };
	struct job j = { .cpu = -1 };
	uint64_t start;
	int fd, err;

	misbehave = false;
	fd = make(&s, 1, 30000);
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, 2000);
	start = now_ms();
	serve_end(&s);
	/* A write that goes out on the way to nowhere would be in doubt. */
	in_state(LOST);
	job_start(&j, fd, true, 0);
	err = job_end(&j, 5000);
	result(err == ENOLINK && now_ms() - start >= 1990,
	       "fail-fast: what waits fails after its time, not before");
	start = now_ms();
	job_start(&j, fd, true, 0);
	result(job_end(&j, 5000) == ENOLINK && now_ms() - start < 1500,
	       "fail-fast: what comes later fails at once");
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, DISAGG_NEVER);
	job_start(&j, fd, true, 0);
	poll(NULL, 0, 300);
	result(!j.done, "fail-fast: never, and I/O waits again");
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, 0);
	result(job_end(&j, 5000) == ENOLINK, "fail-fast: 0, and it fails");
	result(in_state(LOST) && !renew(&s, 0), "a connection comes");
	job_start(&j, fd, true, 0);
	result(!job_end(&j, 5000) && in_state(LIVE), "and I/O goes on");
	unmake(fd, &s, 1, "fail-fast");
	free(j.buf);
}

/* Held back: neither done nor answered, as by a target that is stuck. */
static struct server *volatile holder;

static bool hold(struct server *s, struct disagg_wire_frame *f)
{
	if (!misbehave)
		return answer_well(s, f);
	holder = s;
	return true;
}

/* A device with this fail-fast whose target misbehaves from now on. */
static int make_impatient(struct server *servers, unsigned int nr_lanes, unsigned int io_timeout,
			  unsigned int fail_fast)
{
	int fd;

	misbehave = false;
	fd = make(servers, nr_lanes, io_timeout);
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, fail_fast);
	misbehave = true;
	return fd;
}

/*
 * A request was sent and has failed, since its lane was lost for too long. If it was a
 * write the target may do it at any time until it has welcomed that lane again.
 */
static void in_doubt(bool write)
{
	const char *what = write ? "a WRITE" : "a READ";
	struct server s[2] = { { .odd = hold, .store = store }, { .odd = hold, .store = store } };
	struct job j[2] = { { .cpu = 0 }, { .cpu = 1 } };
	unsigned int lane;
	int fd, err;

	holder = NULL;
	fd = make_impatient(s, 2, 30000, 300);
	job_start(&j[0], fd, write, 0);
	for (int i = 0; i < 200 && !holder; i++)
		poll(NULL, 0, 20);
	if (!holder)
		bail("no request");
	lane = holder - s;
	misbehave = false;
	serve_end(&s[lane]);
	result(job_end(&j[0], 5000) == ENOLINK, "%s that was sent fails with its lane", what);
	job_start(&j[1], fd, true, 0);
	err = job_end(&j[1], 5000);
	result(err == (write ? ENOLINK : 0), "%s: the other lane %s", what,
	       write ? "lets no later write past it" : "goes on");
	job_start(&j[1], fd, false, LEN);
	result(!job_end(&j[1], 5000), "%s: reads go on", what);
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, DISAGG_NEVER);
	job_start(&j[1], fd, true, 0);
	result(job_end(&j[1], 5000) == (write ? ENOLINK : 0), "%s: whatever the timer is now",
	       what);
	result(!renew(&s[lane], lane), "%s: the lane comes back", what);
	for (int i = 0; i < 2; i++) {
		job_start(&j[i], fd, true, i * LEN);
		result(!job_end(&j[i], 5000), "%s: and writes go on", what);
	}
	unmake(fd, s, 2, what);
	for (int i = 0; i < 2; i++)
		free(j[i].buf);
}

/* A connection comes each time, and nothing is ever answered: the time runs on. */
static void flapping(void)
{
	struct server s = { .odd = hold, .store = store };
	struct job j = { .cpu = -1 };
	uint64_t start;
	int fd, n = 0;

	fd = make_impatient(&s, 1, 30000, 1500);
	start = now_ms();
	job_start(&j, fd, true, 0);
	for (; n < 50 && !j.done; n++) {
		poll(NULL, 0, 100);
		serve_end(&s);
		if (!in_state(LOST) || renew(&s, 0))
			break;
	}
	note("%d connections in %u ms", n, (unsigned int)(now_ms() - start));
	result(n > 1 && job_end(&j, 0) == ENOLINK && now_ms() - start >= 1500,
	       "connections that answer nothing do not stop the clock");
	misbehave = false;
	job_start(&j, fd, true, 0);
	result(!job_end(&j, 5000), "one that answers does");
	unmake(fd, &s, 1, "connections without an answer");
	free(j.buf);
}

static bool hold_writes(struct server *s, struct disagg_wire_frame *f)
{
	return f->op == DISAGG_WIRE_OP_WRITE ? hold(s, f) : answer_well(s, f);
}

static volatile unsigned int pings;

static bool hold_writes_count_pings(struct server *s, struct disagg_wire_frame *f)
{
	pings += f->op == DISAGG_WIRE_OP_PING;
	return hold_writes(s, f);
}

/*
 * Of two requests that wait one is answered, or none and PINGs are, the other takes its
 * time: a later loss is a new one.
 */
static void progress(bool ping)
{
	const char *what = ping ? "PINGs" : "something";
	struct server s = { .odd = hold, .store = store };
	struct job j[2] = { { .cpu = -1 }, { .cpu = -1 } };
	unsigned int fail_fast = ping ? 5000 : 3000;
	uint64_t start;
	bool ok;
	int fd;

	fd = make_impatient(&s, 1, ping ? 2000 : 30000, fail_fast);
	job_start(&j[0], fd, true, 0);
	if (!ping)
		job_start(&j[1], fd, false, LEN);
	poll(NULL, 0, 100);
	serve_end(&s);
	start = now_ms();
	s.odd = hold_writes_count_pings;
	ok = in_state(LOST);
	pings = 0;
	ok = ok && !renew(&s, 0) && (ping || !job_end(&j[1], 5000));
	poll(NULL, 0, 100);
	while (now_ms() - start < fail_fast + 300)
		poll(NULL, 0, 20);
	ok = ok && !j[0].done && !pings == !ping;
	serve_end(&s);
	misbehave = false;
	result(in_state(LOST) && !renew(&s, 0) && !job_end(&j[0], 5000) && ok,
	       "a connection that answers %s restarts the clock", what);
	unmake(fd, &s, 1, what);
	free(j[0].buf);
	free(j[1].buf);
}

#define CROWD	8

static volatile unsigned int ops_held[CROWD], nr_held;

static bool hold_and_note(struct server *s, struct disagg_wire_frame *f)
{
	if (!misbehave)
		return answer_well(s, f);
	if (nr_held < CROWD) {
		ops_held[nr_held] = f->op;
		nr_held++;
	}
	return true;
}

static bool are_held(unsigned int n)
{
	for (int i = 0; i < 500 && nr_held < n; i++)
		poll(NULL, 0, 10);
	return nr_held == n;
}

/* So that a connection that answers anything answers the request that has waited longest. */
static void oldest_first(void)
{
	struct server s = { .odd = hold_and_note, .store = store };
	struct job j[CROWD] = { { .cpu = -1 } };
	bool ok;
	int fd;

	misbehave = false;
	fd = make(&s, 1, 30000);
	nr_held = 0;
	misbehave = true;
	job_start(&j[0], fd, true, 0);
	ok = are_held(1);
	for (int i = 1; i < CROWD; i++) {
		j[i].cpu = -1;
		job_start(&j[i], fd, false, i * LEN);
	}
	ok = ok && are_held(CROWD) && ops_held[0] == DISAGG_WIRE_OP_WRITE;
	serve_end(&s);
	nr_held = 0;
	ok = ok && in_state(LOST) && !renew(&s, 0) && are_held(CROWD);
	result(ok && ops_held[0] == DISAGG_WIRE_OP_WRITE, "the oldest request is sent again first");
	serve_end(&s);
	misbehave = false;
	ok = in_state(LOST) && !renew(&s, 0);
	for (int i = 0; i < CROWD; i++)
		ok = !job_end(&j[i], 5000) && ok;
	result(ok, "and all of them are done");
	unmake(fd, &s, 1, "the oldest request");
	for (int i = 0; i < CROWD; i++)
		free(j[i].buf);
}

/* Each connection does everything but for one request, and breaks: it may be that one's fault. */
static void poisoned(void)
{
	struct server s = { .odd = hold_writes, .store = store };
	struct job j[2] = { { .cpu = -1 }, { .cpu = -1 } };
	uint64_t start, took;
	bool ok = true;
	int fd, n = 0;

	fd = make_impatient(&s, 1, 30000, 1500);
	start = now_ms();
	job_start(&j[0], fd, true, 0);
	for (; ok && n < 50 && !j[0].done; n++) {
		job_start(&j[1], fd, false, LEN);
		ok = !job_end(&j[1], 5000);
		poll(NULL, 0, 200);
		serve_end(&s);
		ok = ok && in_state(LOST);
		poll(NULL, 0, 20);
		if (j[0].done)
			break;
		ok = ok && !renew(&s, 0);
	}
	took = now_ms() - start;
	note("%d connections in %u ms", n, (unsigned int)took);
	result(ok && job_end(&j[0], 0) == ENOLINK && took >= 1500,
	       "a request that no connection answers is given up, whatever else they answer");
	misbehave = false;
	ok = lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_STATE) == DISAGG_LANE_STATE_LIVE ||
	     !renew(&s, 0);
	job_start(&j[0], fd, true, 0);
	result(ok && !job_end(&j[0], 5000), "and others go on");
	unmake(fd, &s, 1, "a request that no connection answers");
	free(j[0].buf);
	free(j[1].buf);
}

/* What came while the lane was lost waits too, and a silent connection changes nothing. */
static void asked_while_lost(void)
{
	struct server s = { .odd = hold, .store = store };
	struct job j = { .cpu = -1 };
	uint64_t start, took;
	bool ok;
	int fd;

	misbehave = false;
	fd = make(&s, 1, 30000);
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, 4000);
	start = now_ms();
	serve_end(&s);
	ok = in_state(LOST);
	job_start(&j, fd, true, 0);
	while (now_ms() - start < 3000)
		poll(NULL, 0, 20);
	misbehave = true;
	ok = ok && !renew(&s, 0);
	poll(NULL, 0, 100);
	serve_end(&s);
	ok = ok && job_end(&j, 10000) == ENOLINK;
	took = now_ms() - start;
	note("failed after %u ms", (unsigned int)took);
	result(ok && took >= 3900 && took < 6500,
	       "nor for what was asked while the lane was lost");
	misbehave = false;
	ok = !renew(&s, 0);
	unmake(fd, &s, 1, "asked while lost");
	free(j.buf);
}

static void dead_after(void)
{
	struct server s = { .store = store };
	struct job j = { .cpu = -1 };
	struct answer a;
	uint64_t start;
	int fd, other, peer;

	misbehave = false;
	fd = make(&s, 1, 30000);
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_DEAD_AFTER, 700);
	start = now_ms();
	serve_end(&s);
	job_start(&j, fd, true, 0);
	result(job_end(&j, 5000) == EIO && now_ms() - start >= 690,
	       "dead-after: what waits fails after its time, not before");
	result(in_state(DEAD), "dead-after: the device is dead");
	other = tcp_pair(&peer);
	result(lane_replace(&nl, "n", "d", 0, 1, other, &a) == ENODEV,
	       "dead-after: it takes no new connection");
	close(other);
	close(peer);
	unmake(fd, NULL, 0, "dead-after");

	fd = make(&s, 1, 30000);
	serve_end(&s);
	job_start(&j, fd, true, 0);
	result(in_state(LOST), "dead-after: never");
	device_set(&nl, "n", "d", DISAGG_A_DEVICE_DEAD_AFTER, 0);
	result(job_end(&j, 5000) == EIO && in_state(DEAD), "dead-after: 0, and it is given up");
	unmake(fd, NULL, 0, "given up");
	free(j.buf);
}

static void delete_while_lost(void)
{
	struct server s = { .store = store };
	struct job j = { .cpu = -1 };
	uint64_t start;
	int fd;

	misbehave = false;
	fd = make(&s, 1, 600000);
	serve_end(&s);
	job_start(&j, fd, true, 0);
	wait_submitted(fd);
	result(in_state(LOST) && device_del(&nl, "n", "d", false) == EBUSY,
	       "a lost device in use is not deleted");
	start = now_ms();
	result(!device_del(&nl, "n", "d", true) && now_ms() - start <= 2000,
	       "by force it is, at once");
	result(job_end(&j, 2000) == EIO, "and who waits for it is told");
	close(fd);
	free(j.buf);

	/* Never opened for writing: udev opens what was, once it is closed. */
	make_closed(&s, 1, 600000);
	serve_end(&s);
	start = now_ms();
	result(in_state(LOST) && !device_del(&nl, "n", "d", false) && now_ms() - start <= 2000,
	       "a lost device that nobody has open needs no force");
}

int main(void)
{
	need_module();
	nl = dgnl_open();
	store = calloc(1, SIZE);
	if (node_new(&nl, "n"))
		bail("no node");
	for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++)
		one_cut(&cuts[i]);
	cut_while_sending();
	hand_over();
	hand_over_unkept();
	one_of_two();
	fail_fast();
	in_doubt(true);
	in_doubt(false);
	damaged_write();
	flapping();
	asked_while_lost();
	oldest_first();
	progress(false);
	progress(true);
	poisoned();
	dead_after();
	delete_while_lost();
	result(!node_del(&nl, "n", false) && module_free(), "nothing is left");
	return finish();
}
