// SPDX-License-Identifier: GPL-2.0
/*
 * libdisagg: a client, whose target says what the input has: handshakes, lists,
 * leases, lanes (wire.c, session.c, lease.c, lane.c, probe.c), over TCP on loopback.
 *
 * The input: what the client does; then what the target says, record by record. A
 * record's first byte says what is begun with (SAY_*, low bits) and how many bytes of
 * it are changed (high bits), and whether before or after it is sealed. The target
 * says it all at once, and hears nothing: the client's tags are known.
 */
#include <endian.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "lease.h"
#include "probe.h"

#define SAY_RAW		0	/* a length, and as many bytes */
#define SAY_GREETING	1
#define SAY_WELCOME	2
#define SAY_REPLY	3	/* op, length and payload follow */
#define SAY_NEXT	4	/* what follows goes to the next connection */
#define SAY(byte)	((byte) & 0x07)
#define LATE(byte)	((byte) & 0x08)
#define PATCHES(byte)	((byte) >> 4)

#define CRC		0x80	/* in the first byte of the input: with checksums */

#define CONNS		2
#define ENTRIES_MAX	600		/* of a list: more than a page can hold */
#define SAY_MAX		(192U << 10)
#define DEADLINE	dsg_deadline(20 * DSG_NSEC_PER_SEC)

struct said {
	size_t len;
	uint8_t bytes[SAY_MAX];
};

/* What the next connections are told; @fds are the target's ends of those that have been. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct said said[CONNS];
static int fds[CONNS + 2];
static unsigned int next;
static int listener;
static struct dsg_target target = { .name = "t", .host = "127.0.0.1" };

static void *serve_main(void *arg)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno == EINTR)
			continue;	/* libFuzzer's clock */
		pthread_mutex_lock(&lock);
		fuzz_assert(fd >= 0 && next < sizeof(fds) / sizeof(fds[0]));
		fds[next] = fd;
		if (next < CONNS)
			(void)!send(fd, said[next].bytes, said[next].len, MSG_NOSIGNAL);
		next++;
		shutdown(fd, SHUT_WR);
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

/* The client has closed its ends: let go, without a trace in the kernel's tables. */
static void hang_up(void)
{
	struct linger at_once = { .l_onoff = 1 };

	pthread_mutex_lock(&lock);
	while (next) {
		int fd = fds[--next];

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(fd);
	}
	pthread_mutex_unlock(&lock);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	pthread_t thread;

	(void)argc;
	(void)argv;
	fuzz_init();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fuzz_assert(listener >= 0 && !bind(listener, (struct sockaddr *)&addr, len) &&
		    !listen(listener, 16) &&
		    !getsockname(listener, (struct sockaddr *)&addr, &len));
	target.port = ntohs(addr.sin_port);
	fuzz_assert(!pthread_create(&thread, NULL, serve_main, NULL));
	return 0;
}

/* ---- what the target says ---- */

static void say(struct said *s, const void *data, size_t len)
{
	if (len > sizeof(s->bytes) - s->len)
		len = sizeof(s->bytes) - s->len;
	memcpy(s->bytes + s->len, data, len);
	s->len += len;
}

static void say_greeting(struct said *s, struct fuzz_in *in, uint8_t what)
{
	struct disagg_wire_greeting g = {
		.magic = htole32(DISAGG_WIRE_MAGIC_GREETING),
		.version_min = htole16(DISAGG_WIRE_VERSION),
		.version_max = htole16(DISAGG_WIRE_VERSION),
		.features = htole64(DISAGG_WIRE_F_ALL | DISAGG_WIRE_F_EPOCH),
		.nonce = { 9 },		/* the base point is a public key as any other */
		.max_payload = htole32(DISAGG_WIRE_MAX_PAYLOAD),
		.max_depth = htole32(DISAGG_WIRE_MAX_DEPTH),
	};

	take_patches(in, &g, sizeof(g), PATCHES(what));
	say(s, &g, sizeof(g));
}

static void say_welcome(struct said *s, struct fuzz_in *in, uint8_t what, bool crc)
{
	struct disagg_wire_welcome w = {
		.magic = htole32(DISAGG_WIRE_MAGIC_WELCOME),
		.version = htole16(DISAGG_WIRE_VERSION),
		.features = htole64(crc ? DISAGG_WIRE_F_CRC32C : 0),
		.capacity = htole64(1 << 20),
		.max_payload = htole32(DISAGG_WIRE_MAX_CONTROL),
		.depth = htole32(1),
		.block_size = htole32(4096),
	};

	take_patches(in, &w, sizeof(w), PATCHES(what));
	say(s, &w, sizeof(w));
}

static size_t make_resources(void *payload, unsigned int count)
{
	struct disagg_wire_resource r = {
		.class = htole32(DISAGG_WIRE_CLASS_MEMORY),
		.capacity = htole64(1 << 30),
		.available = htole64(1 << 20),
		.largest = htole64(1 << 20),
		.block_size = htole32(4096),
		.id = "dram", .model = "memfd",
	};

	for (unsigned int i = 0; i < count; i++)
		memcpy((char *)payload + i * sizeof(r), &r, sizeof(r));
	return count * sizeof(r);
}

static size_t make_leases(void *payload, unsigned int count)
{
	struct disagg_wire_lease_info l = {
		.lease = "lease", .generation = htole64(1), .size = htole64(1 << 20),
		.class = htole32(DISAGG_WIRE_CLASS_MEMORY),
		.state = htole32(DISAGG_WIRE_LEASE_COMMITTED),
		.resource = "dram", .node = "n", .device = "d", .host = "h",
	};

	for (unsigned int i = 0; i < count; i++)
		memcpy((char *)payload + i * sizeof(l), &l, sizeof(l));
	return count * sizeof(l);
}

static size_t make_grant(void *payload, unsigned int size, bool first)
{
	struct disagg_wire_grant g = {
		.lease = "lease", .generation = htole64(1), .size = htole64(size * 4096ULL),
		.block_size = htole32(4096), .max_lanes = htole32(8), .resource = "dram",
	};

	if (first)
		memcpy(g.token, "token", 5);
	memcpy(payload, &g, sizeof(g));
	return sizeof(g);
}

/* The reply to the client's @tag-th request. */
static void say_reply(struct said *s, struct fuzz_in *in, uint8_t what, bool crc, uint32_t tag)
{
	static uint8_t message[sizeof(struct disagg_wire_frame) + ENTRIES_MAX *
			       sizeof(struct disagg_wire_lease_info)];
	uint8_t *payload = message + sizeof(struct disagg_wire_frame);
	uint8_t op = take_u8(in);
	unsigned int count = take_u8(in);
	struct disagg_wire_frame f = {
		.magic = htole32(DISAGG_WIRE_MAGIC_REPLY),
		.op = op & 0x7f,
		.tag = htole32(tag),
		.generation = htole32(tag),
	};
	size_t len = 0;

	if (count == UINT8_MAX)
		count = ENTRIES_MAX;
	if (f.op == DISAGG_WIRE_OP_INVENTORY)
		len = make_resources(payload, count);
	else if (f.op == DISAGG_WIRE_OP_LEASES)
		len = make_leases(payload, count);
	else if (f.op != DISAGG_WIRE_OP_RELEASE)
		len = make_grant(payload, count, f.op == DISAGG_WIRE_OP_RESERVE);
	f.length = htole32(f.op <= DISAGG_WIRE_OP_INVENTORY || f.op == DISAGG_WIRE_OP_LEASES ?
			   count + (op >> 7) : 0);
	if (!LATE(what) && len)
		take_patches(in, payload, len, PATCHES(what));
	dsg_frame_seal(&f, payload, (uint32_t)len, crc);
	memcpy(message, &f, sizeof(f));
	if (LATE(what)) {
		take_patches(in, message, sizeof(f), PATCHES(what));
		if (crc && op & 0x80) {
			memcpy(&f, message, sizeof(f));
			f.header_crc = 0;
			f.header_crc = htole32(dsg_crc32c(&f, sizeof(f)));
			memcpy(message, &f, sizeof(f));
		}
	}
	say(s, message, sizeof(f) + len);
}

static void say_all(struct fuzz_in *in, bool crc)
{
	struct said *s = said;
	uint32_t tag = 1;
	uint8_t raw[256];
	size_t len;

	while (in->left) {
		uint8_t what = take_u8(in);

		switch (SAY(what)) {
		case SAY_RAW:
			len = take_u8(in);
			take(in, raw, len);
			say(s, raw, len);
			break;
		case SAY_GREETING:
			say_greeting(s, in, what);
			break;
		case SAY_WELCOME:
			say_welcome(s, in, what, crc);
			break;
		case SAY_REPLY:
			say_reply(s, in, what, crc, tag++);
			break;
		case SAY_NEXT:
			if (s < said + CONNS - 1)
				s++;
			tag = 1;
			break;
		}
	}
}

/* ---- what the client does ---- */

static void probe(enum dsg_probe_what what)
{
	struct dsg_fault fault = { 0 };
	struct dsg_probe *p;

	fuzz_assert(!dsg_probe_targets(&target, 1, what, 20 * DSG_NSEC_PER_SEC, &p, &fault));
	fuzz_assert(!p->fault.code || (!p->count && !p->resources && !p->leases));
	for (size_t i = 0; i < p->count && p->resources; i++)
		fuzz_assert(dsg_string_ok(p->resources[i].id, DISAGG_WIRE_NAME_LEN) &&
			    dsg_string_ok(p->resources[i].model, DISAGG_WIRE_NAME_LEN) &&
			    p->resources[i].block_size);
	for (size_t i = 0; i < p->count && p->leases; i++)
		fuzz_assert(dsg_string_ok(p->leases[i].resource, DISAGG_WIRE_NAME_LEN) &&
			    dsg_string_ok(p->leases[i].node, DISAGG_WIRE_NAME_LEN) &&
			    dsg_string_ok(p->leases[i].device, DISAGG_WIRE_NAME_LEN) &&
			    dsg_string_ok(p->leases[i].host, DISAGG_WIRE_NAME_LEN));
	dsg_probes_free(p, 1);
}

/* The whole life of a lease over one connection. */
static void live(struct dsg_record_device *dev)
{
	struct dsg_fault fault = { 0 };
	struct disagg_wire_frame frame;
	struct dsg_session session;

	if (dsg_target_open(&target, DEADLINE, &session, &fault))
		return;
	fuzz_assert(session.max_payload <= DISAGG_WIRE_MAX_PAYLOAD);
	if (!dsg_lease_reserve(&session, "n", dev, DEADLINE, &fault)) {
		fuzz_assert(dsg_name_ok(dev->resource) && dev->max_lanes && dev->generation);
		if (!dsg_lease_commit(&session, dev, &frame, DEADLINE, &fault) &&
		    !dsg_lease_committed(&session, dev, &frame, DEADLINE, &fault))
			dsg_lease_resize(&session, dev, 2 * dev->size, DEADLINE, &fault);
	}
	dsg_lease_release(&session, "n", dev, DEADLINE, &fault);
	dsg_session_close(&session);
}

static void open_lanes(struct dsg_record_device *dev, uint8_t what)
{
	struct dsg_fault fault = { 0 };
	struct dsg_lanes lanes;

	dev->crc = what & CRC;
	dev->read_only = what & 0x10;
	if (dsg_lanes_open(dev, DISAGG_WIRE_F_ALL, DEADLINE, &lanes, &fault)) {
		fuzz_assert(fault.code && fault.reason[0] && !lanes.count);
		return;
	}
	fuzz_assert(lanes.count == CONNS && lanes.capacity >= dev->size);
	fuzz_assert(lanes.block_size && lanes.block_size <= dev->block_size);
	fuzz_assert(lanes.depth && lanes.depth <= DISAGG_WIRE_MAX_DEPTH);
	fuzz_assert(lanes.max_payload && lanes.max_payload <= DISAGG_WIRE_MAX_PAYLOAD);
	fuzz_assert(!(lanes.features & ~DISAGG_WIRE_F_ALL));
	dsg_lanes_close(&lanes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dsg_record_device dev = {
		.name = "d", .class = DISAGG_WIRE_CLASS_MEMORY, .size = 8 * 4096,
		.block_size = 4096, .target = target, .resource = "dram", .lanes = CONNS,
		.txid = "t", .lease = "l", .io_timeout_ms = 1000,
	};
	struct fuzz_in in = { data, size };
	uint8_t what = take_u8(&in);

	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < CONNS; i++)
		said[i].len = 0;
	say_all(&in, what & CRC);
	pthread_mutex_unlock(&lock);
	switch (what % 4) {
	case 0:
		probe(DSG_PROBE_INVENTORY);
		break;
	case 1:
		probe(DSG_PROBE_LEASES);
		break;
	case 2:
		live(&dev);
		break;
	case 3:
		open_lanes(&dev, what);
		break;
	}
	hang_up();
	return 0;
}
