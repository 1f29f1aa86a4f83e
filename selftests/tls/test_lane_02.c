// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes with TLS that break: by records that are damaged, forged, or no data; by
 * replies that come too early; by silence. Each is lost with its reason, nothing of
 * it is taken for data, and what was not answered is done on the next connection.
 */
#include "ktls.h"

#define EARLY_LEN	(1 << 20)

static struct dgnl nl;
static char *store;
static volatile bool misbehave;

/* ---- what a target may send instead of data ---- */

static bool no_answer(struct server *s, struct disagg_wire_frame *f)
{
	return misbehave ? true : answer_well(s, f);
}

static bool record(struct server *s, struct disagg_wire_frame *f, uint8_t type, const void *data,
		   size_t len)
{
	return misbehave ? send_record(s->fd, type, data, len) : answer_well(s, f);
}

static bool close_notify(struct server *s, struct disagg_wire_frame *f)
{
	return record(s, f, RECORD_ALERT, "\1", 2);
}

static bool alert(struct server *s, struct disagg_wire_frame *f)
{
	return record(s, f, RECORD_ALERT, "\2\50", 2);	/* handshake_failure */
}

static bool key_update(struct server *s, struct disagg_wire_frame *f)
{
	return record(s, f, RECORD_HANDSHAKE, "\30\0\0\1", 5);
}

static bool long_handshake(struct server *s, struct disagg_wire_frame *f)
{
	return record(s, f, RECORD_HANDSHAKE, dg_zeros, 16384);
}

/* A reply is well under way: what it is for may have been written to already. */
static bool alert_in_payload(struct server *s, struct disagg_wire_frame *f)
{
	const char *payload;

	if (!misbehave)
		return answer_well(s, f);
	payload = make_reply(s, f);
	write_all(s->fd, f, sizeof(*f));
	write_all(s->fd, payload, f->payload / 2);
	return send_record(s->fd, RECORD_ALERT, "\1", 2);
}

static bool plain_end(struct server *s, struct disagg_wire_frame *f)
{
	if (!misbehave)
		return answer_well(s, f);
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

/* Not a byte of it is encrypted; it is the reply all the same. */
static bool unencrypted(struct server *s, struct disagg_wire_frame *f);

static const struct odd {
	const char *name, *reason;
	bool (*odd)(struct server *s, struct disagg_wire_frame *f);
} odds[] = {
	{ "close_notify", "closed its TLS session", close_notify },
	{ "an alert", "TLS alert 40", alert },
	{ "a key update", "new TLS keys", key_update },
	{ "a long handshake record", "record of type 22", long_handshake },
	{ "an alert in a payload", "closed its TLS session", alert_in_payload },
	{ "the end without a word", "closed the connection", plain_end },
	{ "a damaged record", "forged or damaged", NULL },
	{ "a record without encryption", "forged or damaged", unencrypted },
};

static struct relay relay;

static bool unencrypted(struct server *s, struct disagg_wire_frame *f)
{
	unsigned char header[5] = { RECORD_DATA, 3, 3 };
	const char *payload;

	if (!misbehave)
		return answer_well(s, f);
	payload = make_reply(s, f);
	f->payload = 16000;
	header[3] = (sizeof(*f) + f->payload) >> 8;
	header[4] = (sizeof(*f) + f->payload) & 255;
	return write_all(relay.fds[0], header, sizeof(header)) &&
	       write_all(relay.fds[0], f, sizeof(*f)) &&
	       write_all(relay.fds[0], payload ? payload : dg_zeros, f->payload);
}

static bool spoilt(struct server *s, struct disagg_wire_frame *f)
{
	relay.spoil = misbehave;
	return answer_well(s, f);
}

static void odd_record(const struct odd *o, const struct cipher *next)
{
	struct server s = { .odd = o->odd ? o->odd : spoilt, .store = store };
	struct device_new d;
	struct job j;
	int fd, lane;
	bool ok;

	misbehave = false;
	pattern(store + LEN, LEN, 0, 77);
	lane = relay_serve(&relay, &s, &ciphers[0], 0);
	d = device_defaults(&lane, 1);
	d.dead_after = DISAGG_NEVER;
	fd = make_device(&nl, &d);
	misbehave = true;
	job_start(&j, fd, false, LEN);
	ok = in_state(&nl, LOST) && has_reason(&nl, o->reason);
	result(ok && !j.done, "%s: the lane is lost, and the request waits", o->name);
	misbehave = false;
	serve_end(&s);
	relay_end(&relay);
	s.odd = NULL;
	ok = !renew(&nl, &s, next) && !job_end(&j, 5000) && in_state(&nl, LIVE);
	result(ok && !memcmp(j.buf, store + LEN, LEN), "%s: it is done on a connection %s TLS",
	       o->name, next ? "with" : "without");
	result(lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_SECURITY) ==
	       (next ? DISAGG_LANE_SECURITY_TLS : DISAGG_LANE_SECURITY_NONE),
	       "%s: which is said", o->name);
	close(fd);
	if (!goes_at_once(&nl))
		result(false, "%s: it can be deleted", o->name);
	serve_end(&s);
	free(j.buf);
}

/* Word that the lease has ended, and in the same segment the end: the word counts. */
static bool stale_then_end(struct server *s, struct disagg_wire_frame *f)
{
	int on = 1;

	if (!misbehave)
		return answer_well(s, f);
	setsockopt(s->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
	make_reply(s, f);
	f->status = DISAGG_WIRE_E_STALE;
	f->payload = 0;
	write_all(s->fd, f, sizeof(*f));
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

static void last_word(void)
{
	struct server s = { .odd = stale_then_end, .store = store };
	struct device_new d;
	struct job j;
	int fd, lane;

	misbehave = false;
	lane = tls_serve(&s, &ciphers[0]);
	d = device_defaults(&lane, 1);
	d.dead_after = DISAGG_NEVER;
	fd = make_device(&nl, &d);
	misbehave = true;
	job_start(&j, fd, false, LEN);
	result(job_end(&j, 5000) == EIO && in_state(&nl, DEAD) && has_reason(&nl, "lease"),
	       "the last word of a target is heard");
	close(fd);
	result(goes_at_once(&nl), "the last word: it can be deleted");
	serve_end(&s);
	free(j.buf);
}

/* ---- early replies ---- */

/* Says OK to a WRITE of which it has seen the frame, and reads no more. */
static void *early_main(void *data)
{
	struct disagg_wire_frame frame;
	struct server *s = data;

	s->payload = malloc(DISAGG_WIRE_MAX_PAYLOAD);
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
	free(s->payload);
	return NULL;
}

static void early_reply(void)
{
	struct server s = { .store = store };
	int lane, fd, small = 32768;	/* with less, whole records would hardly fit */
	struct device_new d;
	struct job j;

	lane = tls_pair(&s.fd, &ciphers[0]);
	setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(lane, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	if (pthread_create(&s.thread, NULL, early_main, &s))
		bail("no thread");
	d = device_defaults(&lane, 1);
	fd = make_device(&nl, &d);
	job_start(&j, fd, true, EARLY_LEN);
	result(job_end(&j, 10000) == EIO && in_state(&nl, DEAD) &&
	       has_reason(&nl, "before it had the request"),
	       "an OK to a WRITE that is still on the way is no success");
	close(fd);
	result(goes_at_once(&nl), "an early target: it can be deleted");
	serve_end(&s);
	free(j.buf);
}

/* ---- a target that reads late, or not at all ---- */

static bool late(struct server *s, struct disagg_wire_frame *f)
{
	if (misbehave)
		poll(NULL, 0, 20);
	return answer_well(s, f);
}

/* Records that went out in part are finished, and requests are neither lost nor mixed up. */
static void slow_reader(void)
{
	struct server s = { .odd = late, .store = store };
	char *buf = aligned(4 << 20), *back = aligned(4 << 20);
	int fd, lane, small = 32768;
	struct device_new d;
	bool ok = true;

	pattern(buf, 4 << 20, 0, 4);
	misbehave = false;
	lane = tls_serve(&s, &ciphers[1]);
	setsockopt(lane, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	d = device_defaults(&lane, 1);
	d.io_timeout = 10000;
	d.max_payload = 256 << 10;
	fd = make_device(&nl, &d);
	misbehave = true;
	/* Alone, so that nothing but TLS itself sends the rest of the last record. */
	for (int i = 0; ok && i < 40; i++)
		ok = pwrite(fd, buf, d.max_payload - i * 4096, 0) == d.max_payload - i * 4096;
	result(ok, "one request after the other, to its last byte");
	result(pwrite(fd, buf, 4 << 20, 0) == 4 << 20 && !memcmp(store, buf, 4 << 20),
	       "4 MiB to a target that reads late");
	result(pread(fd, back, 4 << 20, 0) == 4 << 20 && !memcmp(back, buf, 4 << 20),
	       "and back");
	result(in_state(&nl, LIVE) && lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION) == 1,
	       "the device lives");
	close(fd);
	result(goes_at_once(&nl), "a late target: it can be deleted");
	serve_end(&s);
	free(buf);
	free(back);
}

static void silence(void)
{
	struct server s = { .odd = no_answer, .store = store };
	int fd, lane, peer, small = 4096;
	struct device_new d;
	struct job j;

	misbehave = false;
	lane = tls_serve(&s, &ciphers[0]);
	d = device_defaults(&lane, 1);
	d.io_timeout = 600000;
	fd = make_device(&nl, &d);
	misbehave = true;
	job_start(&j, fd, true, LEN);
	wait_submitted(fd);
	result(!j.done && goes_at_once(&nl), "a silent target: its device goes at once");
	result(job_end(&j, 2000) == EIO && is_closed(s.fd), "who waited is told");
	close(fd);
	serve_end(&s);
	free(j.buf);

	/* Not even its TCP takes anything: part of a record is stuck in TLS. */
	lane = tls_pair(&peer, &ciphers[0]);
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(lane, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	d = device_defaults(&lane, 1);
	d.io_timeout = 600000;
	stop_udev();
	{
		unsigned int id;

		if (device_new(&nl, &d, &id))
			bail("no device");
		close(lane);
		fd = open_disk(id, O_RDWR | O_DIRECT);
	}
	job_start(&j, fd, true, EARLY_LEN);
	wait_submitted(fd);
	poll(NULL, 0, 500);
	result(!j.done && goes_at_once(&nl), "a target that takes nothing: its device goes at once");
	result(job_end(&j, 2000) == EIO, "who waited is told, too");
	start_udev();
	close(fd);
	close(peer);
	free(j.buf);
}

/* ---- lanes that change under I/O ---- */

#define WRITERS	4
#define AREA	(1 << 20)

static volatile bool enough;

struct writer {
	pthread_t thread;
	int fd, n;
	unsigned int rounds;
	bool wrong;
};

static void *writer_main(void *data)
{
	struct writer *w = data;
	char *buf = aligned(AREA), *back = aligned(AREA);
	off_t offset = (off_t)w->n * AREA;

	for (uint64_t round = 1; !enough && !w->wrong; round++, w->rounds++) {
		size_t len = (4096 << (round % 9)) & ~4095;

		pattern(buf, len, offset, round << 8 | w->n);
		if (pwrite(w->fd, buf, len, offset) != (ssize_t)len ||
		    pread(w->fd, back, len, offset) != (ssize_t)len || memcmp(buf, back, len)) {
			note("writer %d, round %llu: %s", w->n, (unsigned long long)round,
			     strerror(errno));
			w->wrong = true;
		}
	}
	free(buf);
	free(back);
	return NULL;
}

static void change_under_load(void)
{
	static const struct cipher *const next[] = {
		&ciphers[0], NULL, &ciphers[1], &ciphers[2], &ciphers[0], NULL, NULL,
	};
	struct server s = { .store = store };
	struct writer w[WRITERS] = {};
	unsigned int changes = 0, rounds = 0;
	struct device_new d;
	bool ok = true;
	int fd, lane;

	enough = false;
	misbehave = false;
	lane = tls_serve(&s, &ciphers[1]);
	d = device_defaults(&lane, 1);
	d.dead_after = DISAGG_NEVER;
	fd = make_device(&nl, &d);
	for (int i = 0; i < WRITERS; i++) {
		w[i].fd = fd;
		w[i].n = i;
		if (pthread_create(&w[i].thread, NULL, writer_main, &w[i]))
			bail("no thread");
	}
	for (uint64_t end = now_ms() + 8000; ok && now_ms() < end; changes++) {
		poll(NULL, 0, 30 + changes % 7 * 10);
		/* As a target does it: nothing of the old one happens after the new one. */
		serve_end(&s);
		ok = !renew(&nl, &s, next[changes % (sizeof(next) / sizeof(*next))]);
	}
	enough = true;
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(w[i].thread, NULL);
		ok &= !w[i].wrong && w[i].rounds > 3;
		rounds += w[i].rounds;
	}
	note("%u connections, %u requests checked, %u sent again", changes, 2 * rounds,
	     (unsigned int)lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_REPLAYS));
	result(ok && changes > 20 && in_state(&nl, LIVE) &&
	       lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_REPLAYS) > 10,
	       "connections with and without TLS replace each other under I/O");
	close(fd);
	result(goes_at_once(&nl), "after all that it can be deleted");
	serve_end(&s);
}

int main(void)
{
	need_module();
	if (system("modprobe tls"))
		bail("no TLS in this kernel");
	nl = dgnl_open();
	store = calloc(1, SIZE);
	if (node_new(&nl, "n"))
		bail("no node");
	for (size_t i = 0; i < sizeof(odds) / sizeof(*odds); i++)
		odd_record(&odds[i], i & 1 ? NULL : &ciphers[i / 2 % NR_CIPHERS]);
	last_word();
	early_reply();
	slow_reader();
	silence();
	change_under_load();
	result(!node_del(&nl, "n", false) && module_free(), "nothing is left");
	return finish();
}
