// SPDX-License-Identifier: GPL-2.0
/*
 * Malformed replies by the ten thousand, under I/O: FUZZ_REPLIES of them. Floods of
 * stale ones, which the module has to count and drop, end with one that it has to refuse,
 * or with a cut in the middle of something; everything comes in pieces cut anywhere. The
 * lane that it refuses is replaced, and so on. Three devices: one whose frames have CRCs,
 * and one whose lanes have TLS in the kernel, as from a target that has the keys.
 * In the end the module has dropped exactly the stale ones, no request has failed but by a
 * status that bits were flipped into, and every byte that is written can be read.
 * FUZZ_SEED makes the same choices again.
 */
#include "../tls/tls_pair.h"
#include "wire.h"

#define REPLIES		20000
#define SIZE		(16 << 20)
#define DEVICES		3
#define LANES		2
#define USERS		2		/* of each device */
#define DEPTH		16
#define MAX_PAYLOAD	65536
#define MAX_PENDING	DEPTH
#define FLOOD		100

enum way {
	NOISE, MAGIC, CRC, FLAGS, RESERVED, TAG, TOO_LONG, OTHER_OP, OTHER_LENGTH,
	ERROR_WITH_PAYLOAD, CANNOT_READ, PAYLOAD_CRC, FLIPPED, HALF_FRAME, HALF_PAYLOAD, WAYS
};

static const char *const way_names[WAYS] = {
	"noise", "magic", "header CRC", "flags", "reserved", "tag", "too long",
	"another operation", "another length", "error with payload", "can't read you",
	"payload CRC", "bits flipped", "half a frame", "half a payload",
};

struct lane {
	pthread_t thread;
	struct dgnl nl;
	const char *device;
	unsigned int index;
	bool crc, tls;
	char *store;
	uint64_t seed;
	int peer;
	uint32_t generation;
	struct disagg_wire_frame pending[MAX_PENDING];	/* requests that wait for us */
	unsigned int nr_pending;
	char *payload, *copy, *out;
	size_t out_len;
	uint64_t stale, flips, may_fail, ways[WAYS], answered;
	const char *failed;
};

struct user {
	pthread_t thread;
	int disk;
	uint64_t seed, done, errors;
};

static const struct kind {
	const char *name;
	bool crc, tls;
} kinds[DEVICES] = {
	{ .name = "plain" }, { .name = "crc", .crc = true }, { .name = "tls", .tls = true },
};

static struct lane lanes[DEVICES * LANES];
static struct user users[DEVICES * USERS];
static unsigned long wanted = REPLIES;
static _Atomic unsigned long sent;
static volatile bool calm, enough;

static uint32_t chance(uint64_t *state, uint32_t below)
{
	/* xorshift64* (Vigna 2014) */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)(*state * 0x2545f4914f6cdd1dULL >> 32) % below;
}

/* ---- what is sent ---- */

static void seal(struct lane *l, struct disagg_wire_frame *f, const void *payload)
{
	f->payload_crc = 0;
	f->header_crc = 0;
	if (!l->crc)
		return;
	if (payload)
		f->payload_crc = dsg_crc32c(payload, f->payload);
	f->header_crc = dsg_crc32c(f, sizeof(*f));
}

static void emit(struct lane *l, const void *data, size_t len)
{
	memcpy(l->out + l->out_len, data, len);
	l->out_len += len;
}

/* What is collected, in pieces. Return: whether all of it went. */
static bool push(struct lane *l)
{
	size_t at = 0, n;

	while (at < l->out_len) {
		n = 1 + chance(&l->seed, chance(&l->seed, 4) ? 16384 : 100);
		if (n > l->out_len - at)
			n = l->out_len - at;
		if (!write_all(l->peer, l->out + at, n))
			return false;
		at += n;
	}
	l->out_len = 0;
	return true;
}

/* One that the module has to drop: no request has this tag and generation. */
static void emit_stale(struct lane *l)
{
	struct disagg_wire_frame f = {
		.magic = DISAGG_WIRE_MAGIC_REPLY,
		.op = chance(&l->seed, 256),
		.status = chance(&l->seed, 3) ? 0 : chance(&l->seed, 65536),
		.tag = chance(&l->seed, DEPTH),
		.generation = chance(&l->seed, UINT32_MAX),
		.offset = (uint64_t)chance(&l->seed, UINT32_MAX) << chance(&l->seed, 32),
		.length = chance(&l->seed, UINT32_MAX),
	};
	unsigned int i;

	if (!chance(&l->seed, 4))
		f.payload = chance(&l->seed, chance(&l->seed, 8) ? 256 : 4096);
	if (l->nr_pending && chance(&l->seed, 2)) {
		i = chance(&l->seed, l->nr_pending);
		f.tag = l->pending[i].tag;
		f.op = l->pending[i].op;
		f.generation = l->pending[i].generation - 1 - chance(&l->seed, 3);
	}
	for (i = 0; i < l->nr_pending; i++)
		if (f.tag == l->pending[i].tag && f.generation == l->pending[i].generation)
			f.generation ^= 1 + chance(&l->seed, 255);
	seal(l, &f, NULL);
	emit(l, &f, sizeof(f));
	emit(l, l->payload, f.payload);
	l->stale++;
	sent++;
}

/* The right answer to a request, which is not pending any more. Return: its payload. */
static const char *take_answer(struct lane *l, unsigned int i, struct disagg_wire_frame *f)
{
	const char *payload = NULL;

	*f = l->pending[i];
	l->pending[i] = l->pending[--l->nr_pending];
	f->magic = DISAGG_WIRE_MAGIC_REPLY;
	f->flags = 0;
	f->payload = 0;
	if (f->op == DISAGG_WIRE_OP_READ) {
		/* The other lane may be writing there. */
		payload = memcpy(l->copy, l->store + f->offset, f->length);
		f->payload = f->length;
	}
	seal(l, f, payload);
	return payload;
}

static bool answer_all(struct lane *l)
{
	struct disagg_wire_frame f;
	const char *payload;

	while (l->nr_pending) {
		payload = take_answer(l, chance(&l->seed, l->nr_pending), &f);
		emit(l, &f, sizeof(f));
		if (payload)
			emit(l, payload, f.payload);
		l->answered++;
		if (l->out_len > 4 * MAX_PAYLOAD && !push(l))
			return false;
		/* Once more: nobody waits for it now. */
		if (!payload && !calm && !chance(&l->seed, 4)) {
			emit(l, &f, sizeof(f));
			l->stale++;
			sent++;
		}
	}
	return push(l);
}

/* How a reply to a request that waits is spoilt. */
static void spoil(struct lane *l, enum way way, struct disagg_wire_frame *f)
{
	switch (way) {
	case FLAGS:
		f->flags = 1 + chance(&l->seed, 255);
		break;
	case RESERVED:
		f->reserved[chance(&l->seed, 8)] = 1 + chance(&l->seed, 255);
		break;
	case TAG:
		f->tag = DEPTH + chance(&l->seed, UINT32_MAX - DEPTH);
		break;
	case TOO_LONG:
		f->payload = MAX_PAYLOAD + 1 + chance(&l->seed, UINT32_MAX - MAX_PAYLOAD - 1);
		break;
	case OTHER_OP:
		f->op += 1 + chance(&l->seed, 255);
		break;
	case OTHER_LENGTH:
		f->payload = (f->payload + 1 + chance(&l->seed, MAX_PAYLOAD)) % (MAX_PAYLOAD + 1);
		break;
	case ERROR_WITH_PAYLOAD:
		f->status = DISAGG_WIRE_E_IO;
		f->payload = 1 + chance(&l->seed, MAX_PAYLOAD);
		break;
	default:	/* CANNOT_READ */
		f->status = DISAGG_WIRE_E_PROTO;
		f->payload = 0;
	}
}

/* The last one of this connection. */
static void emit_last(struct lane *l, enum way way)
{
	struct disagg_wire_frame f, noise;
	const char *payload;
	unsigned int i;

	payload = take_answer(l, chance(&l->seed, l->nr_pending), &f);
	switch (way) {
	case NOISE:
		for (i = 0; i < sizeof(noise); i++)
			((uint8_t *)&noise)[i] = chance(&l->seed, 256);
		noise.magic ^= noise.magic == DISAGG_WIRE_MAGIC_REPLY;
		emit(l, &noise, sizeof(noise));
		return;
	case MAGIC:
		f.magic ^= 1u << chance(&l->seed, 32);
		break;
	case CRC:
		f.header_crc ^= 1u << chance(&l->seed, 32);
		break;
	case PAYLOAD_CRC:
		if (payload && l->crc) {
			f.payload_crc ^= 1u << chance(&l->seed, 32);
			f.header_crc = 0;
			f.header_crc = dsg_crc32c(&f, sizeof(f));
		} else {
			f.payload_crc = 1;	/* where none is agreed on, or nothing follows */
			f.header_crc ^= l->crc;
		}
		break;
	case HALF_FRAME:
		emit(l, &f, 1 + chance(&l->seed, sizeof(f) - 1));
		return;
	case HALF_PAYLOAD:
		emit(l, &f, sizeof(f));
		if (payload)
			emit(l, payload, chance(&l->seed, f.payload));
		return;
	case FLIPPED:
		/* It may still be good, or stale. Then comes one that is neither. */
		for (i = 1 + chance(&l->seed, 3); i; i--)
			((uint8_t *)&f)[chance(&l->seed, sizeof(f) - 8)] ^=
				1 << chance(&l->seed, 8);
		if (f.status == DISAGG_WIRE_E_STALE)
			f.status = DISAGG_WIRE_E_PROTO;	/* that one ends the device */
		l->may_fail += f.status != DISAGG_WIRE_OK;
		f.payload_crc = 0;
		f.header_crc = 0;
		if (l->crc)
			f.header_crc = dsg_crc32c(&f, sizeof(f));
		emit(l, &f, sizeof(f));
		/* As payload of what went before or as a frame: no reply begins with it. */
		memset(l->out + l->out_len, 0xff, 2 * MAX_PAYLOAD);
		l->out_len += 2 * MAX_PAYLOAD;
		l->flips++;
		sent++;
		return;
	default:
		spoil(l, way, &f);
		f.payload_crc = 0;
		f.header_crc = 0;
		if (l->crc)
			f.header_crc = dsg_crc32c(&f, sizeof(f));
	}
	emit(l, &f, sizeof(f));
	if (payload && f.payload <= MAX_PAYLOAD)
		emit(l, l->payload, f.payload);
}

/* ---- a connection ---- */

/* Take what requests there are; wait for the first one if @wait. Return: no end yet. */
static bool take_requests(struct lane *l, bool wait)
{
	struct pollfd p = { .fd = l->peer, .events = POLLIN };
	struct disagg_wire_frame f;

	while (l->nr_pending < MAX_PENDING && poll(&p, 1, wait ? 20 : 0) == 1) {
		if (!read_all(l->peer, &f, sizeof(f)))
			return false;
		if (f.offset + f.length > SIZE)
			return false;
		if (f.op == DISAGG_WIRE_OP_WRITE &&
		    !read_all(l->peer, l->store + f.offset, f.length))
			return false;
		l->pending[l->nr_pending++] = f;
		wait = false;
	}
	return true;
}

/* Send it the last one, and see that the module lets go. */
static void end_badly(struct lane *l)
{
	enum way way = chance(&l->seed, WAYS);

	emit_last(l, way);
	l->ways[way]++;
	sent++;
	push(l);	/* it may have let go already */
	/* A reset, which takes what TLS has not decrypted yet, would have stale ones uncounted. */
	if (way == HALF_FRAME || way == HALF_PAYLOAD)
		shutdown(l->peer, l->tls || chance(&l->seed, 2) ? SHUT_WR : SHUT_RDWR);
	if (!is_closed(l->peer))
		l->failed = way_names[way];
}

/* Return: a socket for the module, whose other end @l is. */
static int lane_connect(struct lane *l)
{
	return l->tls ? tls_pair(&l->peer, &ciphers[0]) : tcp_pair(&l->peer);
}

static void converse(struct lane *l)
{
	l->nr_pending = 0;
	l->out_len = 0;
	for (;;) {
		if (!take_requests(l, true)) {
			if (!enough)
				l->failed = "the module has let go by itself";
			return;
		}
		if (calm) {
			if (!answer_all(l) && !enough)
				l->failed = "the module has let go of a good lane";
		} else {
			for (unsigned int n = chance(&l->seed, FLOOD); n; n--) {
				emit_stale(l);
				if (l->out_len > 4 * MAX_PAYLOAD && !push(l))
					break;
			}
			if (!push(l)) {
				l->failed = "the module has let go at a stale reply";
			} else if (l->nr_pending && !chance(&l->seed, 3)) {
				end_badly(l);
				return;
			} else if (!answer_all(l)) {
				l->failed = "the module has let go at an answer";
			}
		}
		if (l->failed)
			return;
	}
}

static void *lane_main(void *data)
{
	struct lane *l = data;
	struct answer a;
	int fd, err;

	while (!l->failed) {
		converse(l);
		if (enough || l->failed)
			break;
		close(l->peer);
		fd = lane_connect(l);
		/* The other lane may be just at it. */
		for (int i = 0; i < 5000; i++) {
			err = lane_replace(&l->nl, "n", l->device, l->index, l->generation, fd, &a);
			if (err != EBUSY)
				break;
			poll(NULL, 0, 1);
		}
		l->generation++;
		close(fd);
		if (err) {
			note("%s lane %u: %s: %s", l->device, l->index, strerror(err), a.text);
			l->failed = "a new connection was refused";
		}
	}
	if (l->failed) {
		note("%s lane %u: %s", l->device, l->index, l->failed);
		/* Nobody should wait for it. */
		device_set(&l->nl, "n", l->device, DISAGG_A_DEVICE_DEAD_AFTER, 0);
		sent = wanted;
		close(l->peer);
		l->peer = -1;
	}
	return NULL;
}

/* ---- who uses the devices ---- */

static void *user_main(void *data)
{
	struct user *u = data;
	size_t len;
	ssize_t n;
	char *buf;

	if (posix_memalign((void **)&buf, 4096, MAX_PAYLOAD))
		bail("no memory");
	memset(buf, 5, MAX_PAYLOAD);
	while (!calm) {
		len = 4096 << chance(&u->seed, 5);
		off_t at = (off_t)chance(&u->seed, (SIZE - len) / 4096) * 4096;

		if (chance(&u->seed, 2))
			n = pread(u->disk, buf, len, at);
		else
			n = pwrite(u->disk, buf, len, at);
		if (n == (ssize_t)len)
			u->done++;
		else
			u->errors++;
	}
	free(buf);
	return NULL;
}

/* All of the device, now that it is served well. */
static bool whole(int disk, unsigned int device)
{
	uint32_t *buf;
	bool ok = true;

	if (posix_memalign((void **)&buf, 4096, MAX_PAYLOAD))
		bail("no memory");
	for (off_t at = 0; at < SIZE && ok; at += MAX_PAYLOAD) {
		for (unsigned int i = 0; i < MAX_PAYLOAD / 4; i++)
			buf[i] = at + i * 7 + device;
		ok = pwrite(disk, buf, MAX_PAYLOAD, at) == MAX_PAYLOAD;
	}
	for (off_t at = 0; at < SIZE && ok; at += MAX_PAYLOAD) {
		ok = pread(disk, buf, MAX_PAYLOAD, at) == MAX_PAYLOAD;
		for (unsigned int i = 0; i < MAX_PAYLOAD / 4 && ok; i++)
			ok = buf[i] == (uint32_t)(at + i * 7 + device);
	}
	free(buf);
	return ok;
}

/* n/@kind->name, of whose lanes @l are the other ends. Return: its disk, opened. */
static int make_device(struct dgnl *nl, struct lane *l, const struct kind *kind)
{
	struct device_new d;
	unsigned int id;
	char *store = calloc(1, SIZE);
	int fds[LANES];

	for (unsigned int i = 0; i < LANES; i++) {
		l[i].nl = dgnl_open();
		l[i].device = kind->name;
		l[i].index = i;
		l[i].crc = kind->crc;
		l[i].tls = kind->tls;
		l[i].store = store;
		l[i].generation = 1;
		l[i].payload = calloc(1, MAX_PAYLOAD);
		l[i].copy = malloc(MAX_PAYLOAD);
		l[i].out = malloc(16 * MAX_PAYLOAD);
		fds[i] = lane_connect(&l[i]);
	}
	d = device_defaults(fds, LANES);
	d.name = kind->name;
	d.size = SIZE;
	d.features = kind->crc ? DISAGG_WIRE_F_CRC32C : 0;
	d.depth = DEPTH;
	d.max_payload = MAX_PAYLOAD;
	d.io_timeout = 600000;
	d.dead_after = DISAGG_NEVER;
	if (device_new(nl, &d, &id))
		bail("no device");
	for (unsigned int i = 0; i < LANES; i++)
		close(fds[i]);
	return open_disk(id, O_RDWR | O_DIRECT);
}

static unsigned long number_of(const char *variable, unsigned long fallback)
{
	const char *value = getenv(variable);

	return value && *value ? strtoul(value, NULL, 0) : fallback;
}

int main(void)
{
	uint64_t seed, start, stale = 0, flips = 0, dropped = 0, ways[WAYS] = {}, refused = 0;
	uint64_t answered = 0, done = 0, errors = 0, may_fail = 0;
	int disks[DEVICES];
	const char *failed = NULL;
	struct dgnl nl;

	need_module();
	nl = dgnl_open();
	wanted = number_of("FUZZ_REPLIES", REPLIES);
	seed = number_of("FUZZ_SEED", (unsigned long)time(NULL) * 1000 + now_ms() % 1000);
	note("FUZZ_SEED=%llu", (unsigned long long)seed);
	if (system("modprobe tls"))
		bail("no TLS in this kernel");
	if (node_new(&nl, "n"))
		bail("no node");
	for (unsigned int d = 0; d < DEVICES; d++)
		disks[d] = make_device(&nl, &lanes[d * LANES], &kinds[d]);
	start = now_ms();
	for (unsigned int i = 0; i < DEVICES * LANES; i++) {
		lanes[i].seed = (seed + i * 7919) | 1;
		if (pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]))
			bail("no thread");
	}
	for (unsigned int i = 0; i < DEVICES * USERS; i++) {
		users[i].disk = disks[i / USERS];
		users[i].seed = (seed + i * 104729 + 13) | 1;
		if (pthread_create(&users[i].thread, NULL, user_main, &users[i]))
			bail("no thread");
	}
	for (unsigned long said = 0; sent < wanted; poll(NULL, 0, 50))
		if (sent / 100000 > said) {
			said = sent / 100000;
			note("%lu after %lu s", sent, (unsigned long)(now_ms() - start) / 1000);
		}
	calm = true;
	for (unsigned int i = 0; i < DEVICES * USERS; i++) {
		pthread_join(users[i].thread, NULL);
		done += users[i].done;
		errors += users[i].errors;
	}
	for (unsigned int i = 0; i < DEVICES * LANES; i++)
		failed = lanes[i].failed ? lanes[i].failed : failed;
	for (unsigned int d = 0; d < DEVICES; d++)
		result(!failed && whole(disks[d], d), "%s: every byte can be read again",
		       kinds[d].name);
	for (unsigned int i = 0; i < DEVICES * LANES; i++) {
		struct lane *l = &lanes[i];

		dropped += lane_num(&nl, "n", l->device, l->index, DISAGG_A_LANE_STALE);
		stale += l->stale;
		flips += l->flips;
		may_fail += l->may_fail;
		answered += l->answered;
		for (unsigned int w = 0; w < WAYS; w++) {
			ways[w] += l->ways[w];
			refused += l->ways[w];
		}
	}
	note("%llu s; %llu good answers; %llu requests went well, %llu failed",
	     (unsigned long long)(now_ms() - start) / 1000, (unsigned long long)answered,
	     (unsigned long long)done, (unsigned long long)errors);
	for (unsigned int w = 0; w < WAYS; w++)
		note("%s: %llu", way_names[w], (unsigned long long)ways[w]);
	result(!failed && stale + refused + flips >= wanted,
	       "%llu malformed replies: %llu stale, %llu connections refused",
	       (unsigned long long)(stale + refused + flips), (unsigned long long)stale,
	       (unsigned long long)refused);
	if (dropped < stale || dropped > stale + flips)
		note("%llu dropped, %llu were stale, and %llu may be",
		     (unsigned long long)dropped, (unsigned long long)stale,
		     (unsigned long long)flips);
	result(dropped >= stale && dropped <= stale + flips, "the stale ones were dropped, no other");
	result(done > refused / 4, "requests go on meanwhile");
	/* A request may be of all users of a device, whose blocks are neighbours. */
	result(errors <= USERS * may_fail, "none fails but by an answer with flipped bits");
	for (unsigned int d = 0; d < DEVICES; d++)
		close(disks[d]);
	settle_udev();
	enough = true;
	for (unsigned int d = 0; d < DEVICES; d++)
		result(!device_del(&nl, "n", kinds[d].name, failed), "%s: it can be deleted",
		       kinds[d].name);
	for (unsigned int i = 0; i < DEVICES * LANES; i++) {
		pthread_join(lanes[i].thread, NULL);
		close(lanes[i].peer);
	}
	result(!node_del(&nl, "n", false) && module_free(), "nothing is left");
	return finish();
}
