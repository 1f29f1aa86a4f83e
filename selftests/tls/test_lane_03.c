// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes with TLS whose target is slow or silent: they are probed by a PING as any others
 * are (link/test_probe_01 has all of that). And what TLS could not send at once goes on by
 * the module's own work queue, which needs no memory to do so.
 */
#include "ktls.h"

#include <sys/mount.h>

#define DEPTH		4
/* The target's thread has a quarter of it, at the least, to answer a PING. */
#define TIMEOUT_MS	1000
/* The block layer looks for late requests about once a second; and the guest is slow. */
#define SLACK_MS	3500
#define BIG		(1 << 20)

static struct dgnl nl;
static char *store;

/* ---- the target ---- */

static volatile bool mute;	/* PINGs have no answer */
static volatile unsigned int pings;

static bool answer(struct server *s, struct disagg_wire_frame *f)
{
	if (f->op == DISAGG_WIRE_OP_PING) {
		pings++;
		return mute ? true : answer_well(s, f);
	}
	return keep_read(s, f) || answer_well(s, f);
}

static int make(struct server *s, const struct cipher *c)
{
	struct device_new d;
	int lane, fd;

	mute = false;
	lane = tls_serve(s, c);
	d = device_defaults(&lane, 1);
	d.depth = DEPTH;
	d.io_timeout = TIMEOUT_MS;
	d.dead_after = DISAGG_NEVER;
	fd = make_device(&nl, &d);
	pings = 0;
	return fd;
}

static void unmake(int fd, struct server *s, const char *name)
{
	close(fd);
	result(goes_at_once(&nl), "%s: it can be deleted", name);
	serve_end(s);
}

static uint64_t num(int type)
{
	return lane_num(&nl, "n", "d", 0, type);
}

/* As many requests as the lane may have, and all are late. */
static void slow(const struct cipher *c)
{
	struct server s = { .odd = answer, .store = store };
	struct job jobs[DEPTH];
	int fd = make(&s, c);
	bool ok = true;

	s.keep = true;
	for (int i = 0; i < DEPTH; i++)
		job_start(&jobs[i], fd, false, LEN);
	for (uint64_t end = now_ms() + 4 * TIMEOUT_MS; now_ms() < end; poll(NULL, 0, 20))
		ok &= device_state(&nl, "n", "d") == LIVE;
	for (int i = 0; i < SLACK_MS && !pings; i += 10)
		poll(NULL, 0, 10);
	for (int i = 0; i < DEPTH; i++)
		ok &= !jobs[i].done;
	note("%u READs wait; %u PINGs", s.nr_kept, pings);
	result(ok && s.nr_kept == DEPTH && pings >= 1 && pings <= 14,
	       "%s, slow: requests wait, and the target is asked if it lives", c->name);
	ok = release_kept(&s);
	for (int i = 0; i < DEPTH; i++) {
		ok &= !job_end(&jobs[i], 5000) && !memcmp(jobs[i].buf, store + LEN, LEN);
		free(jobs[i].buf);
	}
	result(ok && num(DISAGG_A_LANE_GENERATION) == 1 && !num(DISAGG_A_LANE_REPLAYS) &&
	       !num(DISAGG_A_LANE_STALE) &&
	       num(DISAGG_A_LANE_REQUESTS) == num(DISAGG_A_LANE_REPLIES),
	       "%s, slow: they are answered, once, on the same connection", c->name);
	unmake(fd, &s, "slow");
}

static void silent(const struct cipher *c)
{
	struct server s = { .odd = answer, .store = store };
	int fd = make(&s, c), ms;
	uint64_t start;
	struct job j;
	bool ok;

	s.keep = true;
	mute = true;
	start = now_ms();
	job_start(&j, fd, false, LEN);
	ok = in_state(&nl, LOST);
	ms = now_ms() - start;
	note("lost after %d ms", ms);
	ok = ok && has_reason(&nl, "nor to a PING") && !j.done;
	s.keep = false;
	serve_end(&s);
	result(ok && pings == 1, "%s, silent: after one PING the lane is lost", c->name);
	result(ms >= TIMEOUT_MS - 50 && ms <= TIMEOUT_MS + SLACK_MS,
	       "%s, silent: in time", c->name);
	mute = false;
	result(!renew(&nl, &s, c) && !job_end(&j, 5000) && !memcmp(j.buf, store + LEN, LEN),
	       "%s, silent: another connection mends it", c->name);
	unmake(fd, &s, "silent");
	free(j.buf);
}

/* The socket takes nothing in, no PING either; part of a record is stuck in TLS. */
static void full(const struct cipher *c)
{
	struct server s = { .odd = answer, .store = store };
	int fd, lane, peer, small = 4096;
	struct device_new d;
	unsigned int id;
	struct job j;

	mute = false;
	lane = tls_pair(&peer, c);
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(lane, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	d = device_defaults(&lane, 1);
	d.io_timeout = TIMEOUT_MS;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	fd = open_disk(id, O_RDWR | O_DIRECT);
	job_start(&j, fd, true, BIG);
	result(in_state(&nl, LOST) && has_reason(&nl, "nor to a PING"),
	       "%s, full: the lane is lost", c->name);
	result(!renew(&nl, &s, c) && !job_end(&j, 10000) && !memcmp(j.buf, store + LEN, BIG),
	       "%s, full: another connection mends it", c->name);
	close(peer);
	unmake(fd, &s, "full");
	free(j.buf);
}

/* ---- who sends what TLS has kept ---- */

#define TRACING	"/sys/kernel/tracing/"

static void trace_set(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		bail(file);
	close(fd);
}

/* How often work was queued since the trace was begun. */
static void trace_count(unsigned int *ours, unsigned int *theirs)
{
	FILE *f = fopen(TRACING "trace", "re");
	char line[512];

	if (!f)
		bail("no trace");
	*ours = 0;
	*theirs = 0;
	while (fgets(line, sizeof(line), f)) {
		*ours += !!strstr(line, "function=disagg_tcp_tx_work");
		*theirs += !!strstr(line, "function=tx_work_handler");
	}
	fclose(f);
}

static bool late(struct server *s, struct disagg_wire_frame *f)
{
	poll(NULL, 0, 5);
	return answer_well(s, f);
}

static void leftovers(const struct cipher *c)
{
	static const char event[] = TRACING "events/workqueue/workqueue_queue_work/enable";
	struct server s = { .odd = late, .store = store };
	unsigned int ours, theirs;
	int fd, lane, small = 4096;	/* less than a record, so that all are left over */
	char *buf = aligned(BIG);
	struct device_new d;
	bool ok = true;

	if (access(event, F_OK) && mount("tracefs", TRACING, "tracefs", 0, NULL))
		bail("no tracefs");
	/* One segment would take a whole record, as long as it may be on loopback. */
	if (system("ip link set lo mtu 1500 gso_max_segs 1"))
		bail("ip");
	lane = tls_serve(&s, c);
	setsockopt(lane, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	d = device_defaults(&lane, 1);
	d.io_timeout = 10000;
	fd = make_device(&nl, &d);
	trace_set(TRACING "buffer_size_kb", "4096");
	trace_set(TRACING "trace", "\n");
	trace_set(event, "1");
	for (int i = 0; ok && i < 20; i++) {
		ssize_t len = (1 + i) * 4096;

		pattern(buf, len, 0, i);
		ok = pwrite(fd, buf, len, 0) == len && !memcmp(store, buf, len);
	}
	trace_set(event, "0");
	trace_count(&ours, &theirs);
	note("%u times by the module's queue, %u by another", ours, theirs);
	result(ok && ours > 20, "%s: what does not fit goes on when there is room", c->name);
	result(!theirs, "%s: by the queue that may use the kernel's reserves", c->name);
	unmake(fd, &s, "leftovers");
	if (system("ip link set lo mtu 65536 gso_max_segs 65535"))
		note("lo is not as it was");
	free(buf);
}

int main(void)
{
	need_module();
	if (system("modprobe tls"))
		bail("no TLS in this kernel");
	nl = dgnl_open();
	store = malloc(SIZE);
	pattern(store, SIZE, 0, 3);
	if (node_new(&nl, "n"))
		bail("no node");
	leftovers(&ciphers[0]);
	leftovers(&ciphers[2]);
	slow(&ciphers[0]);
	slow(&ciphers[2]);
	silent(&ciphers[1]);
	/* Nobody else asks for anything. */
	stop_udev();
	full(&ciphers[0]);
	result(!node_del(&nl, "n", true) && module_free(), "nothing is left");
	return finish();
}
