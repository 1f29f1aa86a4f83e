// SPDX-License-Identifier: GPL-2.0
/*
 * disaggd's parent: sessions, control requests, leases (session.c, control.c, lease.c,
 * resource.c, journal.c, worker.c), with a journal and workers of its own, in memory.
 * The workers are this program again, as they are disaggd's again.
 *
 * The input is a list of steps of up to three connections at a time. A step's first
 * byte says what it is (STEP_*, low bits) and how many bytes of the message are then
 * changed (high bits: place and value of each follow), and whether before or after it
 * is sealed.
 */
#include <endian.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "config.h"
#include "fuzz.h"
#include "journal.h"
#include "log.h"
#include "loop.h"
#include "serve.h"
#include "session.h"
#include "wire.h"

#define STEP_RAW	0	/* a length, and as many bytes */
#define STEP_CONTROL	1	/* HELLO of a control connection */
#define STEP_LANE	2	/* HELLO of a lane of the lease that is always there */
#define STEP_FRAME	3	/* a frame; its op and payload follow */
#define STEP_SWITCH	4	/* to another connection */
#define STEP_CLOSE	5
#define STEP_LATER	6	/* time passes */
#define STEP_HALF	7	/* the client says nothing more */
#define STEP(byte)	((byte) & 0x07)
#define LATE(byte)	((byte) & 0x08)	/* change it after it is sealed */
#define PATCHES(byte)	((byte) >> 4)

#define CONNS		3
#define TAG		7	/* of every frame */
#define STEPS_MAX	48
#define LEASE_SIZE	65536
#define LEASE_GROWN	(512U << 10)	/* it has to make way for a new one then */

struct conn {
	int fd;			/* the client's end, -1: closed */
	bool control;		/* it has said so */
	size_t have;
	uint8_t nonce[DISAGG_WIRE_KEY_LEN];
	uint8_t seal[DISAGG_WIRE_KEY_LEN];
	uint8_t in[sizeof(struct disagg_wire_frame) + DISAGG_WIRE_MAX_CONTROL + 256];
};

static struct config *config;
static struct conn conns[CONNS];
static const uint8_t kept_txid[DISAGG_WIRE_UUID_LEN] = "always there";
static unsigned long inputs;
static bool may_commit;

static const char yaml[] =
	"state-dir: %s\n"
	"restart-grace: 0s\n"
	"max-lanes: 8\n"
	"quota: { max-leases: 32, max-leases-per-host: 16, max-lease-size: 1MiB }\n"
	"resources:\n"
	"  - { id: dram, class: memory, size: 4MiB }\n"
	"  - { id: small, class: memory, size: 64KiB, block-size: 512 }\n"
	"  - { id: disk, class: storage, path: %s/disk, size: 2MiB, direct: no }\n"
	"  - { id: image, class: storage, path: %s/image, direct: no, read-only: yes }\n";

static void turn(void)
{
	fuzz_assert(!loop_turn(0));
}

static bool somebody_waits(void)
{
	for (struct session *s = session_first(); s; s = s->next)
		if (s->state == SESSION_WAIT)
			return true;
	return false;
}

static struct lease *kept_lease(void)
{
	for (struct lease *l = lease_first(); l; l = lease_next(l))
		if (!memcmp(l->txid, kept_txid, sizeof(kept_txid)))
			return l;
	return NULL;
}

/* Until nothing is left to do that has been asked for. */
static void settle(bool (*busy)(void))
{
	uint64_t until = dsg_deadline(20 * DSG_NSEC_PER_SEC);

	turn();
	turn();
	while (busy()) {
		fuzz_assert(dsg_now_ns() < until);
		loop_turn(dsg_deadline(10000000));
		/* Whoever renews it for a moment only does not end it. */
		if (kept_lease())
			kept_lease()->expires = 0;
		leases_check(dsg_now_ns());
	}
	turn();
}

static bool kept_starts(void)
{
	return kept_lease() && kept_lease()->state == LEASE_STARTING;
}

/* Its client may have hung up: what it began goes on. */
static bool kept_grows(void)
{
	return kept_lease() && (kept_lease()->held != kept_lease()->size ||
				kept_lease()->publishing);
}

/* A committed lease with a worker, for whoever has its token. */
static struct lease *keep_lease(void)
{
	struct disagg_wire_reserve req = {
		.class = htole32(DISAGG_WIRE_CLASS_MEMORY),
		.size = htole64(LEASE_SIZE),
		.id = "dram", .node = "n", .device = "d", .host = "h",
	};
	static unsigned int made;
	struct lease *l = kept_lease();

	if (l)
		return l;
	memcpy(req.txid, kept_txid, sizeof(req.txid));
	/* The journal never forgets a txid; the harness calls it by the first one. */
	memcpy(req.txid + 12, &made, sizeof(made));
	made++;
	fuzz_assert(!lease_reserve(&req, &config->tenants[0], &l));
	memcpy(l->txid, kept_txid, sizeof(l->txid));
	fuzz_assert(lease_commit(l) == LEASE_LATER);
	settle(kept_starts);
	l = kept_lease();
	fuzz_assert(l && l->state == LEASE_COMMITTED);
	return l;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *dir = fuzz_folder();
	char text[1024], path[256];
	int lock;

	if (*argc > 1 && !strcmp((*argv)[1], "--worker"))
		_exit(serve_main());
	fuzz_init();
	signal(SIGPIPE, SIG_IGN);
	snprintf(path, sizeof(path), "%s/image", dir);
	fuzz_file(path, conns, 8192);
	snprintf(text, sizeof(text), yaml, dir, dir, dir);
	snprintf(path, sizeof(path), "%s/disaggd.yaml", dir);
	fuzz_file(path, text, strlen(text));
	config = config_load(path);
	snprintf(path, sizeof(path), "%s/lock", dir);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	worker_set_lock(lock);
	worker_set_folder(open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC));
	fuzz_assert(config && lock >= 0 && !loop_open() && !journal_open(dir) &&
		    !resources_open(config) && !leases_open(config));
	for (int i = 0; i < CONNS; i++)
		conns[i].fd = -1;
	return 0;
}

/* ---- the client's end ---- */

static void conn_close(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	*c = (struct conn) { .fd = -1 };
}

/* What a control connection says must be what the protocol has it say. */
static void check_reply(struct conn *c)
{
	size_t at = sizeof(struct disagg_wire_greeting) + sizeof(struct disagg_wire_welcome);
	struct disagg_wire_welcome w;
	struct disagg_wire_frame f;

	if (!c->control || c->have < at)
		return;
	memcpy(&w, c->in + sizeof(struct disagg_wire_greeting), sizeof(w));
	fuzz_assert(le32toh(w.magic) == DISAGG_WIRE_MAGIC_WELCOME &&
		    dsg_string_ok(w.reason, sizeof(w.reason)));
	if (w.status)
		return;
	while (c->have - at >= sizeof(f)) {
		memcpy(&f, c->in + at, sizeof(f));
		fuzz_assert(!dsg_frame_check(&f, DISAGG_WIRE_MAGIC_REPLY,
					     le64toh(w.features) & DISAGG_WIRE_F_CRC32C));
		fuzz_assert(le32toh(f.payload) <= le32toh(w.max_payload) &&
			    !(f.status && f.payload));
		if (c->have - at - sizeof(f) < le32toh(f.payload))
			break;
		/* Room for the next: it is dropped. */
		c->have -= sizeof(f) + le32toh(f.payload);
		memmove(c->in + at, c->in + at + sizeof(f) + le32toh(f.payload), c->have - at);
	}
}

static void conn_read(struct conn *c)
{
	ssize_t n = 1;

	while (c->fd >= 0 && n > 0) {
		n = recv(c->fd, c->in + c->have, sizeof(c->in) - c->have, MSG_DONTWAIT);
		if (n > 0)
			c->have += (size_t)n;
		check_reply(c);
		if (!c->control && c->have == sizeof(c->in))
			break;
		turn();
	}
}

static void conn_open(struct conn *c)
{
	int pair[2];

	if (c->fd >= 0)
		return;
	fuzz_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	*c = (struct conn) { .fd = pair[0] };
	session_start(pair[1], config, &config->tenants[0], "test");
	conn_read(c);
	fuzz_assert(c->have == sizeof(struct disagg_wire_greeting));
	memcpy(c->nonce, c->in + offsetof(struct disagg_wire_greeting, nonce),
	       sizeof(c->nonce));
}

/* Time for the daemon between the pieces: they arrive as cut as they were sent. */
static void conn_send(struct conn *c, const void *data, size_t len, bool cut)
{
	size_t first = cut ? len / 2 : len;

	if (send(c->fd, data, first, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)first && cut) {
		turn();
		send(c->fd, (const char *)data + first, len - first,
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	turn();
	conn_read(c);
}

/* ---- steps ---- */

/*
 * The client's public key is X25519's base point, so that what both sides share is the
 * target's: nobody's secret, and known without one.
 */
static void agree_on_seal(struct conn *c, const struct disagg_wire_hello *hello)
{
	uint8_t both[2 * DISAGG_WIRE_KEY_LEN];

	memcpy(both, c->nonce, sizeof(c->nonce));
	memcpy(both + sizeof(c->nonce), hello->proof, sizeof(hello->proof));
	fuzz_assert(!dsg_hmac(c->nonce, both, sizeof(both), c->seal));
}

static void say_hello(struct conn *c, struct fuzz_in *in, uint8_t step)
{
	struct disagg_wire_hello hello = {
		.magic = htole32(DISAGG_WIRE_MAGIC_HELLO),
		.version = htole16(DISAGG_WIRE_VERSION),
		.mode = htole16(DISAGG_WIRE_MODE_CONTROL),
		.max_payload = htole32(DISAGG_WIRE_MAX_CONTROL),
		.depth = htole32(16),
		.host = "fuzzer",
	};
	uint8_t bits = take_u8(in);

	if (bits & 1)
		hello.features = htole64(DISAGG_WIRE_F_CRC32C);
	if (STEP(step) == STEP_LANE) {
		struct lease *l = keep_lease();

		hello.mode = htole16(DISAGG_WIRE_MODE_LANE);
		memcpy(hello.lease, l->id, sizeof(hello.lease));
		hello.generation = htole64(l->generation);
		hello.lane = htole32(bits >> 1 & 7);
		hello.lanes = htole32(8);
		if (!LATE(step))
			take_patches(in, &hello, sizeof(hello), PATCHES(step));
		dsg_hello_proof(l->token, c->nonce, &hello, hello.proof);
		if (LATE(step))
			take_patches(in, &hello, sizeof(hello), PATCHES(step));
	} else {
		hello.proof[0] = 9;
		take_patches(in, &hello, sizeof(hello), PATCHES(step));
		agree_on_seal(c, &hello);
	}
	if (c->have == sizeof(struct disagg_wire_greeting))
		c->control = le16toh(hello.mode) == DISAGG_WIRE_MODE_CONTROL;
	conn_send(c, &hello, sizeof(hello), bits & 0x80);
}

static size_t make_reserve(struct fuzz_in *in, uint8_t *payload)
{
	static const char *const ids[] = { "dram", "small", "disk", "image", "", "none" };
	struct disagg_wire_reserve req = { .node = "n", .device = "d", .host = "h" };
	uint8_t bits = take_u8(in);
	const char *id = ids[(bits & 7) % 6];

	req.class = htole32(!strcmp(id, "disk") || !strcmp(id, "image") ?
			    DISAGG_WIRE_CLASS_STORAGE : DISAGG_WIRE_CLASS_MEMORY);
	req.attrs = htole32(!strcmp(id, "image") ? DISAGG_WIRE_ATTR_READ_ONLY : 0);
	req.size = htole64((1 + (bits >> 3)) * 4096U);
	/* Another input's are another lease's; within one, they may come again. */
	memcpy(req.txid, &inputs, sizeof(inputs));
	req.txid[15] = 1 + take_u8(in) % 16;
	snprintf(req.id, sizeof(req.id), "%s", id);
	memcpy(payload, &req, sizeof(req));
	return sizeof(req);
}

static size_t make_ref(struct conn *c, struct fuzz_in *in, uint8_t op, uint8_t step,
		       uint8_t *payload)
{
	struct disagg_wire_lease_ref ref = { 0 };
	uint8_t which = take_u8(in);
	struct lease *l = lease_first();

	for (unsigned int i = which % 8; l && i; i--)
		l = lease_next(l);
	if (!l)
		l = keep_lease();
	memcpy(ref.lease, l->id, sizeof(ref.lease));
	ref.generation = htole64(l->generation);
	if (op == DISAGG_WIRE_OP_RESIZE)
		ref.size = htole64(l->size + (which >> 3) * 4096U);
	if (op == DISAGG_WIRE_OP_RENEW)
		ref.lease_ns = htole64(3600 * DSG_NSEC_PER_SEC);
	if (!LATE(step))
		take_patches(in, &ref, sizeof(ref), PATCHES(step));
	/* Processes are dear: not every input may start one, or end the one there is. */
	if ((op != DISAGG_WIRE_OP_COMMIT || may_commit || l->state == LEASE_COMMITTED) &&
	    (op != DISAGG_WIRE_OP_RELEASE || l != kept_lease()))
		dsg_lease_ref_proof(l->token, c->nonce, op, &ref, ref.proof);
	if (op == DISAGG_WIRE_OP_COMMIT && l->state != LEASE_COMMITTED)
		may_commit = false;
	memcpy(payload, &ref, sizeof(ref));
	return sizeof(ref);
}

static void say_frame(struct conn *c, struct fuzz_in *in, uint8_t step)
{
	uint8_t message[sizeof(struct disagg_wire_frame) + 512] = { 0 };
	uint8_t *payload = message + sizeof(struct disagg_wire_frame);
	struct disagg_wire_frame f = { .magic = htole32(DISAGG_WIRE_MAGIC_REQUEST) };
	uint8_t op = take_u8(in), bits;
	size_t len = 0;

	f.op = op & 0x7f;
	f.tag = htole32(TAG);
	f.generation = htole32(TAG);
	switch (f.op) {
	case DISAGG_WIRE_OP_RESERVE:
		len = make_reserve(in, payload);
		if (!LATE(step))
			take_patches(in, payload, len, PATCHES(step));
		fuzz_assert(!dsg_seal_reserve(c->seal, TAG, (void *)payload));
		break;
	case DISAGG_WIRE_OP_COMMIT:
	case DISAGG_WIRE_OP_RELEASE:
	case DISAGG_WIRE_OP_RENEW:
	case DISAGG_WIRE_OP_RESIZE:
		len = make_ref(c, in, f.op, step, payload);
		break;
	case DISAGG_WIRE_OP_INVENTORY:
	case DISAGG_WIRE_OP_LEASES:
		f.offset = htole64(op & 0x80 ? take_u8(in) : 0);
		break;
	default:
		len = take_u8(in);
		take(in, payload, len);
	}
	bits = take_u8(in);
	dsg_frame_seal(&f, payload, (uint32_t)len, bits & 1);
	memcpy(message, &f, sizeof(f));
	if (LATE(step))
		take_patches(in, message, sizeof(f) + len, PATCHES(step));
	if (LATE(step) && bits & 1 && bits & 2) {
		/* Wrong, with a right sum. */
		memset(message + offsetof(struct disagg_wire_frame, header_crc), 0, 4);
		memcpy(&f, message, sizeof(f));
		f.header_crc = htole32(dsg_crc32c(&f, sizeof(f)));
		memcpy(message, &f, sizeof(f));
	}
	conn_send(c, message, sizeof(f) + len, bits & 0x80);
}

static struct conn *do_step(struct conn *c, struct fuzz_in *in)
{
	uint8_t step = take_u8(in), raw[256];
	size_t len;

	conn_open(c);
	switch (STEP(step)) {
	case STEP_RAW:
		len = take_u8(in);
		take(in, raw, len);
		conn_send(c, raw, len, step & 0x80);
		break;
	case STEP_CONTROL:
	case STEP_LANE:
		say_hello(c, in, step);
		break;
	case STEP_FRAME:
		say_frame(c, in, step);
		break;
	case STEP_SWITCH:
		return &conns[(step >> 3) % CONNS];
	case STEP_CLOSE:
		conn_close(c);
		turn();
		break;
	case STEP_LATER:
		settle(somebody_waits);
		sessions_check(dsg_now_ns() + (step >> 3) * 3 * DSG_NSEC_PER_SEC);
		break;
	case STEP_HALF:
		shutdown(c->fd, SHUT_WR);
		turn();
		break;
	}
	return c;
}

/* ---- before and after ---- */

static bool others_left(void)
{
	for (struct lease *l = lease_first(); l; l = lease_next(l))
		if (l != kept_lease())
			return true;
	return false;
}

static void release_all(bool (*wanted)(const struct lease *l))
{
	struct lease *after;

	for (struct lease *l = lease_first(); l; l = after) {
		after = lease_next(l);
		if (l->state != LEASE_ENDING && wanted(l))
			lease_release(l);
	}
}

static bool is_other(const struct lease *l)
{
	return l != kept_lease();
}

static bool is_any(const struct lease *l)
{
	return l;
}

static bool any_left(void)
{
	return lease_first();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct conn *c = &conns[0];
	uint64_t available, largest;
	struct lease *kept;

	may_commit = !(inputs++ % 64);
	kept = keep_lease();
	for (unsigned int i = 0; in.left && i < STEPS_MAX; i++) {
		c = do_step(c, &in);
		for (unsigned int k = 0; k < CONNS; k++)
			conn_read(&conns[k]);
	}
	settle(somebody_waits);
	for (unsigned int i = 0; i < CONNS; i++)
		conn_close(&conns[i]);
	turn();
	sessions_close();
	fuzz_assert(!session_first());
	settle(kept_grows);

	/* No input of these ends what another holds: its proof is needed for that. */
	fuzz_assert(kept_lease() == kept && kept->state == LEASE_COMMITTED && kept->worker);
	fuzz_assert(kept->size == kept->held && kept->size >= LEASE_SIZE);
	fuzz_assert(!lease_renew(kept, 0));
	release_all(is_other);
	settle(others_left);
	if (kept->size > LEASE_GROWN) {
		release_all(is_any);
		settle(any_left);
		for (unsigned int i = 0; i < resources_count(); i++) {
			resource_room(resource_at(i), &available, &largest);
			fuzz_assert(available == resource_at(i)->capacity);
		}
	}
	turn();
	return 0;
}
