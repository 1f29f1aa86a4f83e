// SPDX-License-Identifier: GPL-2.0
/*
 * Targets that send records of TLS faster than they can be decrypted, with nothing in
 * them, or next to nothing. The kernel's recvmsg() goes on for as long as there is
 * another one, holding the socket; deletion by force, rmmod, another connection and the
 * timers must not wait until the target has enough of it.
 *
 * LDLIBS: -lgnutls
 */
#include "ktls.h"

#include "../tlsd/records.h"

#define LONG		(1 << 20)	/* one request of the largest kind */
#define RECORDS		(1 << 20)
#define TIMEOUT_MS	1000
/* The block layer looks for late requests about once a second; and the guest is slow. */
#define SLACK_MS	2500

static struct dgnl nl;

/* ---- records of a sender that has the key ---- */

static gnutls_aead_cipher_hd_t key;

/* The one with @number in a connection, as tls_key() has set up for the target. */
static void seal(char *record, uint64_t number, const void *text, size_t len)
{
	unsigned char iv[RECORD_IV];

	memset(iv, 0x21, sizeof(iv));
	if (record_seal(key, iv, number, text, len, record))
		bail("a record is not encrypted");
}

static void make_key(void)
{
	unsigned char bytes[16];
	gnutls_datum_t datum = { bytes, sizeof(bytes) };

	memset(bytes, 0x21, sizeof(bytes));
	if (gnutls_aead_cipher_init(&key, GNUTLS_CIPHER_AES_128_GCM, &datum))
		bail("no cipher");
}

/* ---- floods ---- */

struct flood {
	const char *name;
	size_t text;		/* bytes in each record */
	char *records;		/* all but the first of a connection */
};

static struct flood floods[] = {
	{ "empty records", 0, NULL },
	{ "records of one byte", 1, NULL },
};

#define NR_FLOODS	(sizeof(floods) / sizeof(*floods))

static void make_flood(struct flood *f)
{
	f->records = malloc(RECORDS * RECORD_LEN(f->text));
	for (uint64_t i = 0; i < RECORDS; i++)
		seal(f->records + i * RECORD_LEN(f->text), i + 1, dg_zeros, f->text);
}

struct target {
	const struct flood *flood;
	pthread_t thread;
	int fd;
	bool reads;		/* answers a READ, with the flood as its payload */
	volatile size_t sent;
	volatile bool done;
};

/* What a target of this kind sends first. */
static bool first_record(struct target *t)
{
	struct disagg_wire_frame frame;
	char record[RECORD_LEN(sizeof(frame))];
	size_t len = t->reads ? sizeof(frame) : 0;

	if (t->reads) {
		if (!read_all(t->fd, &frame, sizeof(frame)))
			return false;
		frame.magic = DISAGG_WIRE_MAGIC_REPLY;
		frame.flags = 0;
		frame.payload = frame.length;
	}
	seal(record, 0, &frame, len);
	return write_all(t->fd, record, RECORD_LEN(len));
}

static void *target_main(void *data)
{
	struct target *t = data;
	size_t all = RECORDS * RECORD_LEN(t->flood->text);

	if (first_record(t)) {
		while (t->sent < all) {
			ssize_t n = send(t->fd, t->flood->records + t->sent,
					 all - t->sent < 65536 ? all - t->sent : 65536,
					 MSG_NOSIGNAL);

			if (n <= 0)
				break;
			t->sent += n;
		}
	}
	t->done = true;
	return NULL;
}

/* Return: a socket for the module at whose other end @t is. */
static int target_start(struct target *t)
{
	int fd = tcp_pair(&t->fd);

	errno = tls_install(fd, &ciphers[0], 1);
	/* It reads what the kernel decrypts, and encrypts by itself. */
	if (!errno)
		errno = tls_ulp(t->fd);
	if (!errno)
		errno = tls_key(t->fd, &ciphers[0], TLS_RX, 1, TLS_1_3_VERSION);
	if (errno)
		bail("no TLS in the kernel");
	t->sent = 0;
	t->done = false;
	if (pthread_create(&t->thread, NULL, target_main, t))
		bail("no thread");
	return fd;
}

/* Wait until there is more than can be decrypted. */
static bool flooded(const struct target *t)
{
	for (int i = 0; i < 500 && t->sent < 1 << 20; i++)
		poll(NULL, 0, 10);
	poll(NULL, 0, 500);
	note("%s: %zu KiB sent", t->flood->name, t->sent >> 10);
	return t->sent >= 1 << 20 && !t->done;
}

static void target_end(struct target *t)
{
	shutdown(t->fd, SHUT_RDWR);
	pthread_join(t->thread, NULL);
	close(t->fd);
}

static int make(struct target *t, uint32_t io_timeout)
{
	int lane = target_start(t);
	struct device_new d = device_defaults(&lane, 1);
	unsigned int id;

	d.io_timeout = io_timeout;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	return open_disk(id, O_RDWR | O_DIRECT);
}

/* ---- what must not wait ---- */

static void deleted(const struct flood *f, bool reads)
{
	const char *when = reads ? "for a READ" : "for nothing";
	struct target t = { .flood = f, .reads = reads };
	int fd = make(&t, 600000);
	struct job j = {};
	bool was;

	if (reads)
		job_start(&j, fd, false, LONG);
	was = flooded(&t);
	result(goes_at_once(&nl) && was, "%s, %s: deleted by force within 2 s", f->name, when);
	if (reads)
		result(job_end(&j, 2000) == EIO, "%s, %s: who waited is told", f->name, when);
	result(is_closed(t.fd), "%s, %s: and so is the target", f->name, when);
	close(fd);
	target_end(&t);
	free(j.buf);
}

/* What deletion that is not by force does with a target that never stops. */
static void deleted_gently(const struct flood *f)
{
	struct target t = { .flood = f };
	int fd = make(&t, 600000), err;
	uint64_t start;
	bool was;

	close(fd);
	was = flooded(&t);
	start = now_ms();
	err = device_del(&nl, "n", "d", false);
	note("%u ms, errno %d", (unsigned int)(now_ms() - start), err);
	result(!err && now_ms() - start <= 2000 && was, "%s: deleted without force", f->name);
	target_end(&t);
}

/* The agent has another connection, before the module has seen that it needs one. */
static void replaced(const struct flood *f)
{
	struct server s = {};
	struct target t = { .flood = f };
	int fd = make(&t, 600000), lane;
	char *buf = aligned(4096);
	struct answer a;
	uint64_t start;
	bool was;

	/* What the module itself does to the old one is no failure, which would be the end. */
	if (device_set(&nl, "n", "d", DISAGG_A_DEVICE_DEAD_AFTER, 0))
		note("the timer is not set");
	was = flooded(&t);
	lane = tls_serve(&s, &ciphers[1]);
	start = now_ms();
	lane_replace(&nl, "n", "d", 0, 1, lane, &a);
	note("%u ms, errno %d", (unsigned int)(now_ms() - start), a.error);
	close(lane);
	result(!a.error && now_ms() - start <= 2000 && was, "%s: the lane is given another one",
	       f->name);
	result(pread(fd, buf, 4096, 0) == 4096 && in_state(&nl, LIVE) &&
	       lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION) == 2,
	       "%s: on which it lives", f->name);
	result(goes_at_once(&nl), "%s: and can be deleted", f->name);
	close(fd);
	target_end(&t);
	serve_end(&s);
	free(buf);
}

/* The PING waits for the one who receives: its time must end all the same. */
static void lost(const struct flood *f)
{
	struct target t = { .flood = f };
	int fd = make(&t, TIMEOUT_MS), ms;
	uint64_t start;
	struct job j;
	bool was;

	was = flooded(&t);
	start = now_ms();
	job_start(&j, fd, false, LEN);
	result(in_state(&nl, LOST) && has_reason(&nl, "nor to a PING"),
	       "%s: the lane is lost", f->name);
	ms = now_ms() - start;
	note("after %d ms", ms);
	result(was && ms >= TIMEOUT_MS && ms <= 2 * TIMEOUT_MS + SLACK_MS, "%s: in time", f->name);
	result(goes_at_once(&nl) && job_end(&j, 2000) == EIO, "%s: and can be deleted", f->name);
	close(fd);
	target_end(&t);
	free(j.buf);
}

/* The module goes, which nobody has open. */
static void unloaded(const struct flood *f)
{
	struct target t = { .flood = f };
	int fd = make(&t, 600000), ms;
	bool was;

	close(fd);
	was = flooded(&t);
	ms = unload_module(&nl);
	result(ms >= 0 && ms <= 2000 && was, "%s: rmmod within 2 s", f->name);
	target_end(&t);
}

int main(void)
{
	need_module();
	if (system("modprobe tls"))
		bail("no TLS in this kernel");
	nl = dgnl_open();
	if (node_new(&nl, "n"))
		bail("no node");
	make_key();
	for (size_t i = 0; i < NR_FLOODS; i++)
		make_flood(&floods[i]);
	/* Nobody else asks for anything. */
	stop_udev();
	deleted(&floods[0], false);
	deleted(&floods[0], true);
	deleted(&floods[1], true);
	lost(&floods[0]);
	deleted_gently(&floods[0]);
	replaced(&floods[0]);
	result(count(&nl, DISAGG_CMD_DEVICE_GET) == 0, "no device is left");
	unloaded(&floods[0]);
	return finish();
}
