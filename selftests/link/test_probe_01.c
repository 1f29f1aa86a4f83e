// SPDX-License-Identifier: GPL-2.0
/*
 * A request that is late has its lane probed by a PING: a target that answers it is
 * slow, and is waited for, though not for ever; one that does not has lost the lane.
 * And wrong answers to a PING, which are no worse than any others.
 */
#include "../control/dgnl.h"

#define SIZE		(16 << 20)
#define LEN		4096
#define DEPTH		4
/* The target's thread has a quarter of it, at the least, to answer a PING. */
#define TIMEOUT_MS	1000
/* The block layer looks for late requests about once a second; and the guest is slow. */
#define SLACK_MS	3500
#define PATIENCE	10
#define LIVE		DISAGG_LANE_STATE_LIVE
#define LOST		DISAGG_LANE_STATE_LOST

static struct dgnl nl;
static char *store;

/* ---- the target ---- */

static volatile unsigned int pings;
static bool (*answer_ping)(struct server *s, struct disagg_wire_frame *f);

static bool answer(struct server *s, struct disagg_wire_frame *f)
{
	if (f->op == DISAGG_WIRE_OP_PING) {
		pings++;
		return answer_ping(s, f);
	}
	return keep_read(s, f) || answer_well(s, f);
}

/* ---- ways to answer a PING ---- */

static bool no_answer(struct server *s, struct disagg_wire_frame *f)
{
	(void)s;
	(void)f;
	return true;
}

static bool ping_twice(struct server *s, struct disagg_wire_frame *f)
{
	struct disagg_wire_frame again = *f;

	return answer_well(s, f) && answer_well(s, &again);
}

static bool ping_refused(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->status = DISAGG_WIRE_E_NOT_SUPPORTED;
	return write_all(s->fd, f, sizeof(*f));
}

static bool ping_old(struct server *s, struct disagg_wire_frame *f)
{
	f->generation--;
	return answer_well(s, f);
}

static bool ping_next_tag(struct server *s, struct disagg_wire_frame *f)
{
	f->tag++;
	return answer_well(s, f);
}

static bool ping_other_op(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->op = DISAGG_WIRE_OP_FLUSH;
	return write_all(s->fd, f, sizeof(*f));
}

static bool ping_payload(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->payload = LEN;
	return write_all(s->fd, f, sizeof(*f)) && write_all(s->fd, dg_zeros, LEN);
}

static bool ping_proto(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->status = DISAGG_WIRE_E_PROTO;
	return write_all(s->fd, f, sizeof(*f));
}

/* As if the PING had been the READ that waits. */
static bool ping_as_read(struct server *s, struct disagg_wire_frame *f)
{
	make_reply(s, f);
	f->tag = s->kept[0].tag;
	f->generation = s->kept[0].generation;
	return write_all(s->fd, f, sizeof(*f));
}

/* ---- those who use it ---- */

struct job {
	pthread_t thread;
	int fd;
	bool write;
	char *buf;
	ssize_t n;
	volatile bool done;
};

static void *job_main(void *data)
{
	struct job *j = data;

	j->n = j->write ? pwrite(j->fd, j->buf, LEN, 0) : pread(j->fd, j->buf, LEN, 0);
	j->done = true;
	return NULL;
}

static void job_start(struct job *j, int fd, bool write)
{
	j->fd = fd;
	j->write = write;
	j->done = false;
	if (!j->buf && posix_memalign((void **)&j->buf, 4096, LEN))
		bail("no memory");
	memset(j->buf, 0, LEN);
	if (pthread_create(&j->thread, NULL, job_main, j))
		bail("no thread");
}

static bool job_end(struct job *j, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (!j->done && now_ms() < end)
		poll(NULL, 0, 5);
	if (!j->done)
		return false;
	pthread_join(j->thread, NULL);
	return j->n == LEN && (j->write || !memcmp(j->buf, store, LEN));
}

static int make_on(int lane, uint32_t io_timeout)
{
	struct device_new d = device_defaults(&lane, 1);
	unsigned int id;
	char path[40];
	int fd;

	d.size = SIZE;
	d.depth = DEPTH;
	d.io_timeout = io_timeout;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	settle_udev();
	snprintf(path, sizeof(path), "/dev/disagg%u", id);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		bail(path);
	return fd;
}

static int make(struct server *s)
{
	int fd;

	answer_ping = answer_well;
	fd = make_on(serve(s), TIMEOUT_MS);
	pings = 0;
	return fd;
}

static void unmake(int fd, struct server *s, const char *name)
{
	uint64_t start = now_ms();

	close(fd);
	result(!device_del(&nl, "n", "d", true) && now_ms() - start <= 2000,
	       "%s: it can be deleted", name);
	if (s)
		serve_end(s);
}

/* Return: after how many milliseconds lane 0 was in @state, or -1 if not within @ms. */
static int lane_becomes(unsigned int state, unsigned int ms)
{
	uint64_t start = now_ms();

	while (now_ms() - start < ms) {
		if (lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_STATE) == state)
			return now_ms() - start;
		poll(NULL, 0, 10);
	}
	return -1;
}

/*
 * A PING comes, and the lane is not lost for want of an answer, which it would be half the
 * timeout later. The next PING has no answer if this one's was of another generation.
 */
static bool pinged_and_lives(void)
{
	for (int i = 0; i < TIMEOUT_MS + SLACK_MS && !pings; i += 10)
		poll(NULL, 0, 10);
	return pings && lane_becomes(LOST, TIMEOUT_MS * 3 / 4) < 0;
}

static bool lane_reason(const char *what)
{
	struct answer a;
	const void *start;
	const char *reason;
	size_t len;

	if (device_get(&nl, "n", "d", &a) || !find_lane(&a, 0, &start, &len))
		return false;
	reason = get_str(start, len, DISAGG_A_LANE_REASON);
	if (!strstr(reason, what))
		note("reason '%s', not '%s'", reason, what);
	return strstr(reason, what);
}

static uint64_t num(int type)
{
	return lane_num(&nl, "n", "d", 0, type);
}

static bool renew(struct server *s)
{
	struct answer a;
	int fd = serve(s);

	lane_replace(&nl, "n", "d", 0, num(DISAGG_A_LANE_GENERATION), fd, &a);
	close(fd);
	return !a.error;
}

/* ---- slow, forgetful, silent ---- */

/* As many requests as the lane may have, and all are late: the PING has a tag of its own. */
static void slow(void)
{
	struct server s = { .odd = answer, .store = store };
	struct job jobs[DEPTH] = { 0 };
	uint64_t start;
	bool ok = true;
	int fd = make(&s);

	s.keep = true;
	start = now_ms();
	for (int i = 0; i < DEPTH; i++)
		job_start(&jobs[i], fd, false);
	ok = lane_becomes(LOST, 5 * TIMEOUT_MS) < 0 && pinged_and_lives();
	for (int i = 0; i < DEPTH; i++)
		ok &= !jobs[i].done;
	note("%u READs waited for %u ms; %u PINGs", s.nr_kept, (unsigned int)(now_ms() - start),
	     pings);
	result(ok && s.nr_kept == DEPTH, "slow: requests wait for five times the I/O timeout");
	result(pings >= 1 && pings <= 14, "slow: meanwhile the target is asked if it lives");
	ok = release_kept(&s);
	for (int i = 0; i < DEPTH; i++)
		ok &= job_end(&jobs[i], 5000);
	result(ok, "slow: and have their answers in the end");
	result(num(DISAGG_A_LANE_GENERATION) == 1 && !num(DISAGG_A_LANE_REPLAYS) &&
	       !num(DISAGG_A_LANE_STALE), "slow: on the same connection, and once");
	result(num(DISAGG_A_LANE_REQUESTS) == num(DISAGG_A_LANE_REPLIES),
	       "slow: PINGs are counted as nobody's requests");
	unmake(fd, &s, "slow");
	for (int i = 0; i < DEPTH; i++)
		free(jobs[i].buf);
}

static void forgotten(void)
{
	struct server s = { .odd = answer, .store = store };
	struct job j = { 0 };
	int ms, fd = make(&s);

	s.keep = true;
	job_start(&j, fd, false);
	ms = lane_becomes(LOST, PATIENCE * TIMEOUT_MS + 2 * SLACK_MS);
	note("lost after %d ms, %u PINGs", ms, pings);
	result(ms >= PATIENCE * TIMEOUT_MS - TIMEOUT_MS && !j.done,
	       "forgotten: a target that lives is waited for ten times as long, no longer");
	result(lane_reason("though the target answers"), "forgotten: the lane says so");
	s.keep = false;
	serve_end(&s);
	result(renew(&s) && job_end(&j, 5000), "forgotten: another connection mends it");
	unmake(fd, &s, "forgotten");
	free(j.buf);
}

static void silent(void)
{
	struct server s = { .odd = answer, .store = store };
	struct job j = { 0 };
	int ms, fd = make(&s);

	s.keep = true;
	answer_ping = no_answer;
	job_start(&j, fd, false);
	ms = lane_becomes(LOST, TIMEOUT_MS + SLACK_MS);
	note("lost after %d ms, %u PINGs", ms, pings);
	result(ms >= TIMEOUT_MS - 50 && !j.done,
	       "silent: the lane is lost when the I/O timeout is over");
	ms = lane_reason("nor to a PING");
	s.keep = false;
	serve_end(&s);
	result(ms && pings == 1, "silent: after one PING");
	answer_ping = answer_well;
	result(renew(&s) && job_end(&j, 5000), "silent: another connection mends it");
	/* The next probe is a new one. */
	pings = 0;
	s.keep = true;
	job_start(&j, fd, false);
	result(pinged_and_lives(), "silent: which is probed in turn");
	result(release_kept(&s) && job_end(&j, 5000), "silent: and answers");
	unmake(fd, &s, "silent");
	free(j.buf);
}

/* What is asked from then on is waited for as long as is said then. */
static void shortened(void)
{
	struct server s = { .odd = answer, .store = store };
	struct job j = { 0 };
	int ms, fd;

	answer_ping = no_answer;
	fd = make_on(serve(&s), 600000);
	s.keep = true;
	if (device_set(&nl, "n", "d", DISAGG_A_DEVICE_IO_TIMEOUT, TIMEOUT_MS))
		note("the timeout is not set");
	job_start(&j, fd, false);
	ms = lane_becomes(LOST, TIMEOUT_MS + SLACK_MS);
	note("lost after %d ms", ms);
	result(ms >= TIMEOUT_MS - 50, "shortened: the I/O timeout is that of the moment");
	s.keep = false;
	serve_end(&s);
	answer_ping = answer_well;
	/* And longer again. */
	if (device_set(&nl, "n", "d", DISAGG_A_DEVICE_IO_TIMEOUT, 600000))
		note("the timeout is not set");
	result(renew(&s) && job_end(&j, 5000), "shortened: another connection mends it");
	answer_ping = no_answer;
	s.keep = true;
	job_start(&j, fd, false);
	result(lane_becomes(LOST, 2 * TIMEOUT_MS + SLACK_MS) < 0 && !j.done,
	       "shortened: and it can be longer again");
	result(release_kept(&s) && job_end(&j, 5000), "shortened: for who answers late");
	unmake(fd, &s, "shortened");
	free(j.buf);
}

/* The socket takes nothing in, no PING either. */
static void full(void)
{
	struct server s = { .odd = answer, .store = store };
	struct device_new d;
	int lane, peer, fd, ms, small = 4096;
	struct job j = { 0 };
	unsigned int id;
	char path[40], *big;

	answer_ping = answer_well;
	lane = tcp_pair(&peer);
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(lane, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	d = device_defaults(&lane, 1);
	d.io_timeout = TIMEOUT_MS;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	snprintf(path, sizeof(path), "/dev/disagg%u", id);
	for (int i = 0; i < 200 && access(path, R_OK); i++)
		poll(NULL, 0, 20);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		bail(path);
	/* Requests enough to fill it. */
	big = dg_zeros;
	pid_t pid = fork();

	if (!pid) {
		char *buf;

		if (posix_memalign((void **)&buf, 4096, 1 << 20))
			_exit(1);
		memcpy(buf, big, 1 << 20);
		_exit(pwrite(fd, buf, 1 << 20, 0) != 1 << 20);
	}
	ms = lane_becomes(LOST, TIMEOUT_MS + SLACK_MS);
	note("lost after %d ms", ms);
	result(ms >= TIMEOUT_MS - 50 && lane_reason("nor to a PING"),
	       "full: a socket that takes no PING is as good as one that brings no answer");
	result(renew(&s), "full: another connection is taken");
	int status = -1;

	for (int i = 0; i < 500 && waitpid(pid, &status, WNOHANG) != pid; i++)
		poll(NULL, 0, 10);
	result(!status, "full: on which it is written");
	job_start(&j, fd, false);
	result(job_end(&j, 5000), "full: and read");
	close(peer);
	unmake(fd, &s, "full");
	free(j.buf);
}

/* ---- wrong answers ---- */

static const struct wrong {
	const char *name;
	bool (*answer)(struct server *s, struct disagg_wire_frame *f);
	unsigned int stale;	/* at least; and the lane lives */
	const char *reason;	/* or why it is lost */
} wrongs[] = {
	{ "twice", ping_twice, 1, NULL },
	{ "refused", ping_refused, 0, NULL },
	{ "of another generation", ping_old, 1, NULL },
	{ "with a tag beyond", ping_next_tag, 0, "a tag out of range" },
	{ "as another operation", ping_other_op, 0, "another operation" },
	{ "with a payload", ping_payload, 0, "a payload of a wrong length" },
	{ "as unreadable", ping_proto, 0, "can't read us" },
	{ "with a READ's tag", ping_as_read, 0, "another operation" },
};

static void wrong_answer(const struct wrong *w)
{
	struct server s = { .odd = answer, .store = store };
	struct job j = { 0 };
	int ms, fd = make(&s);

	s.keep = true;
	answer_ping = w->answer;
	job_start(&j, fd, false);
	if (w->reason) {
		ms = lane_becomes(LOST, TIMEOUT_MS + SLACK_MS);
		result(ms >= TIMEOUT_MS / 2 - 50 && lane_reason(w->reason), "a PING answered %s: %s",
		       w->name, w->reason);
		s.keep = false;
		answer_ping = answer_well;
		serve_end(&s);
		result(renew(&s) && job_end(&j, 5000), "a PING answered %s: what waits goes on",
		       w->name);
	} else {
		result(pinged_and_lives(), "a PING answered %s: a sign of life", w->name);
		result(release_kept(&s) && job_end(&j, 5000) &&
		       num(DISAGG_A_LANE_STALE) >= w->stale &&
		       num(DISAGG_A_LANE_GENERATION) == 1, "a PING answered %s: what waits goes on",
		       w->name);
	}
	unmake(fd, &s, w->name);
	free(j.buf);
}

/* Nobody has sent a PING, and here comes the answer. */
static void unasked(void)
{
	struct server s = { .odd = answer, .store = store };
	struct disagg_wire_frame f = {
		.magic = DISAGG_WIRE_MAGIC_REPLY, .op = DISAGG_WIRE_OP_PING, .tag = DEPTH,
	};
	struct job j = { 0 };
	uint64_t stale;
	bool ok = true;
	int fd = make(&s);

	stale = num(DISAGG_A_LANE_STALE);
	for (int i = 0; i < 100; i++) {
		f.generation = i;
		ok &= write_all(s.fd, &f, sizeof(f));
	}
	job_start(&j, fd, false);
	result(ok && job_end(&j, 5000) && num(DISAGG_A_LANE_STALE) == stale + 100,
	       "answers to PINGs that were not sent are counted and dropped");
	result(num(DISAGG_A_LANE_STATE) == LIVE && num(DISAGG_A_LANE_GENERATION) == 1,
	       "and the lane lives");
	unmake(fd, &s, "unasked");
	free(j.buf);
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
	slow();
	forgotten();
	silent();
	shortened();
	full();
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(*wrongs); i++)
		wrong_answer(&wrongs[i]);
	unasked();
	result(!node_del(&nl, "n", false) && module_free(), "nothing is left");
	return finish();
}
