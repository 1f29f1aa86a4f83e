/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A lane of a target, on a thread of its own as in a worker, with the input as what
 * the client sends. The client reads all replies and checks that they are proper.
 * Sourced by one harness per medium.
 *
 * The input: block size, features and cuts; then raw bytes, or records of one byte
 * that says what is put right (FIX_*) and a frame. What follows a frame is made up:
 * as many bytes as it says, within reason.
 */
#include <endian.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "log.h"
#include "serve.h"
#include "wire.h"

#define LEASE_SIZE	(256U << 10)
#define FRAMES_MAX	64
#define PAYLOAD_MAX	(160U << 10)	/* bytes sent behind one frame */
#define STREAM_MAX	(1U << 20)

#define MODE_CRC	0x01
#define MODE_READ_ONLY	0x02
#define MODE_RAW	0x04
#define MODE_SMALL	0x08		/* blocks of 512 bytes */

#define FIX_MAGIC	0x01
#define FIX_RESERVED	0x02		/* and status */
#define FIX_OP		0x04
#define FIX_FLAGS	0x08
#define FIX_RANGE	0x10
#define FIX_PAYLOAD	0x20
#define FIX_CRC		0x40
#define SPOIL_PAYLOAD	0x80

static struct serve serve;
static struct worker_shared shared;
static uint8_t stream[STREAM_MAX + FRAMES_MAX * sizeof(struct disagg_wire_frame)];
static uint8_t replies[FRAMES_MAX * 4 * (PAYLOAD_MAX + sizeof(struct disagg_wire_frame))];
static unsigned long long frames_sent, frames_bad;

static void fix_frame(struct disagg_wire_frame *f, uint8_t fix, bool crc)
{
	uint32_t block = serve.setup.block_size;

	if (fix & FIX_MAGIC)
		f->magic = htole32(DISAGG_WIRE_MAGIC_REQUEST);
	if (fix & FIX_RESERVED) {
		f->status = 0;
		memset(f->reserved, 0, sizeof(f->reserved));
	}
	if (fix & FIX_OP)
		f->op = (uint8_t)(DISAGG_WIRE_OP_READ + f->op % DISAGG_WIRE_OP_PING);
	if (fix & FIX_FLAGS)
		f->flags = 0;
	if (fix & FIX_RANGE) {
		bool none = f->op == DISAGG_WIRE_OP_FLUSH || f->op == DISAGG_WIRE_OP_PING;
		uint64_t offset = le64toh(f->offset) % (LEASE_SIZE / block) * block;
		uint32_t length = (le32toh(f->length) % 8 + 1) * block;

		if (length > LEASE_SIZE - offset)
			length = block;
		f->offset = none ? 0 : htole64(offset);
		f->length = none ? 0 : htole32(length);
	}
	if (fix & FIX_PAYLOAD)
		f->payload = f->op == DISAGG_WIRE_OP_WRITE ? f->length : 0;
	if (!crc && fix & FIX_CRC) {
		f->payload_crc = 0;
		f->header_crc = 0;
	}
}

/* Make the bytes that the client sends. Return: how many; *@frames in them. */
static size_t build(struct fuzz_in *in, bool crc, unsigned int *frames)
{
	size_t len = 0;

	for (*frames = 0; in->left && *frames < FRAMES_MAX; ++*frames) {
		uint8_t fix = take_u8(in);
		struct disagg_wire_frame f;
		uint32_t payload;
		uint8_t *data;

		take(in, &f, sizeof(f));
		fix_frame(&f, fix, crc);
		payload = le32toh(f.payload) < PAYLOAD_MAX ? le32toh(f.payload) : PAYLOAD_MAX;
		if (len + sizeof(f) + payload > STREAM_MAX)
			break;
		data = stream + len + sizeof(f);
		memset(data, (uint8_t)le32toh(f.tag), payload);
		if (crc && fix & FIX_CRC) {
			uint32_t said = f.payload;

			dsg_frame_seal(&f, data, payload, true);
			if (fix & SPOIL_PAYLOAD || said != f.payload) {
				f.payload = said;
				f.payload_crc ^= fix & SPOIL_PAYLOAD ? htole32(1) : 0;
				f.header_crc = 0;
				f.header_crc = htole32(dsg_crc32c(&f, sizeof(f)));
			}
		}
		memcpy(stream + len, &f, sizeof(f));
		len += sizeof(f) + payload;
	}
	return len;
}

/* Send all of the stream in pieces, and take the replies. Return: their length. */
static size_t talk(int fd, size_t len, size_t piece)
{
	size_t sent = 0, have = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;
		int ready;

		if (sent < len)
			p.events |= POLLOUT;
		ready = poll(&p, 1, 20000);
		if (ready < 0 && errno == EINTR)
			continue;		/* libFuzzer's clock */
		fuzz_assert(ready == 1);	/* else it hangs */
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			fuzz_assert(have < sizeof(replies));
			n = recv(fd, replies + have, sizeof(replies) - have, MSG_DONTWAIT);
			if (!n || (n < 0 && errno != EAGAIN))
				break;
			have += n > 0 ? (size_t)n : 0;
		}
		if (sent < len && p.revents & POLLOUT) {
			/* Very small ones for the first bytes only, or it takes for ever. */
			size_t most = piece < 64 && sent > 4096 ? len : piece;

			most = most < len - sent ? most : len - sent;
			n = send(fd, stream + sent, most, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
			if (n < 0 && errno != EAGAIN)
				len = sent;
			if (sent == len)
				shutdown(fd, SHUT_WR);
		}
	}
	shutdown(fd, SHUT_WR);
	return have;
}

/* Is what the lane has said a WELCOME and well-formed replies? */
static void check_replies(size_t have, bool crc, uint32_t max_payload, unsigned int frames)
{
	unsigned int answered = 0, bad = 0;
	size_t at = sizeof(struct disagg_wire_welcome);
	struct disagg_wire_welcome w;
	uint16_t status = 0;

	fuzz_assert(have >= at);
	memcpy(&w, replies, sizeof(w));
	fuzz_assert(le32toh(w.magic) == DISAGG_WIRE_MAGIC_WELCOME && !w.status);
	while (at < have) {
		struct disagg_wire_frame f;
		uint32_t len;

		fuzz_assert(have - at >= sizeof(f));
		memcpy(&f, replies + at, sizeof(f));
		at += sizeof(f);
		fuzz_assert(!dsg_frame_check(&f, DISAGG_WIRE_MAGIC_REPLY, crc));
		status = le16toh(f.status);
		len = le32toh(f.payload);
		fuzz_assert(len == (f.op == DISAGG_WIRE_OP_READ && !status ?
				    le32toh(f.length) : 0));
		fuzz_assert(len <= max_payload && len <= have - at);
		fuzz_assert(!crc || dsg_payload_ok(&f, replies + at, len));
		fuzz_assert(status || le32toh(f.length) <= LEASE_SIZE);
		fuzz_assert(status || le64toh(f.offset) <= LEASE_SIZE - le32toh(f.length));
		at += len;
		answered++;
		bad += status != 0;
	}
	/* The one after the last answered was garbage, or cut short. */
	if (answered < frames && status != DISAGG_WIRE_E_PROTO)
		bad++;
	frames_sent += frames;
	frames_bad += bad;
}

static void lane_input(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = { STREAM_MAX, 1, 7, 47, 49, 4096, 16384, STREAM_MAX };
	struct fuzz_in in = { data, size };
	uint8_t mode = take_u8(&in), depth = take_u8(&in), payload = take_u8(&in);
	struct worker_order order = {
		.type = WORKER_LANE,
		.depth = 1 + depth % 128,
		.max_payload = 4096U << payload % 6,
		.features = DISAGG_WIRE_F_ALL & ~(mode & MODE_CRC ? 0 : DISAGG_WIRE_F_CRC32C),
	};
	size_t piece = pieces[take_u8(&in) % (sizeof(pieces) / sizeof(pieces[0]))];
	bool crc = mode & MODE_CRC;
	unsigned int frames;
	size_t len, have;
	int pair[2];

	serve.setup.attrs = mode & MODE_READ_ONLY ? DISAGG_WIRE_ATTR_READ_ONLY : 0;
	serve.setup.block_size = mode & MODE_SMALL ? 512 : 4096;
	if (mode & MODE_RAW) {
		len = in.left < STREAM_MAX ? in.left : STREAM_MAX;
		if (len)
			memcpy(stream, in.p, len);
		frames = len > 0;
	} else {
		len = build(&in, crc, &frames);
	}
	fuzz_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	fuzz_assert(!lane_start(&serve, &order, pair[1]));
	if (!len)
		shutdown(pair[0], SHUT_WR);
	have = talk(pair[0], len, piece);
	close(pair[0]);
	lane_end(serve.lanes[0], SHUT_RDWR);
	serve.lanes[0] = NULL;
	check_replies(have, crc, order.max_payload, frames);
}

/*
 * With FUZZ_FRAMES=N, no fuzzing but N malformed frames, counted: as many as can be on
 * each connection, so few of them such that it ends there. FUZZ_SEED repeats a run.
 */

static uint64_t chance_state;

static uint32_t chance(uint32_t below)
{
	/* xorshift64* (Vigna 2014) */
	chance_state ^= chance_state >> 12;
	chance_state ^= chance_state << 25;
	chance_state ^= chance_state >> 27;
	return (uint32_t)(chance_state * 0x2545f4914f6cdd1dULL >> 32) % below;
}

static uint64_t odd_number(void)
{
	static const uint64_t odd[] = {
		0, 1, 511, 512, 4095, 4096, 4097, 65536, LEASE_SIZE - 4096, LEASE_SIZE - 1,
		LEASE_SIZE, LEASE_SIZE + 4096, 2 * LEASE_SIZE, 1U << 31, 0xfffff000U,
		1ULL << 32, 1ULL << 63, UINT64_MAX - 4095, UINT64_MAX,
	};

	return chance(8) ? odd[chance(sizeof(odd) / sizeof(odd[0]))] : chance(UINT32_MAX);
}

/* One record of the input, that of a frame that is wrong in one way or another. */
static void odd_record(uint8_t *record)
{
	static const uint8_t ops[] = {
		DISAGG_WIRE_OP_READ, DISAGG_WIRE_OP_WRITE, DISAGG_WIRE_OP_DISCARD,
		DISAGG_WIRE_OP_WRITE_ZEROES,
	};
	struct disagg_wire_frame f = {
		.op = ops[chance(4)] - DISAGG_WIRE_OP_READ,	/* FIX_OP adds it */
		.flags = (uint8_t)chance(256),
		.tag = htole32(chance(UINT32_MAX)),
		.offset = htole64(odd_number()),
		.length = htole32((uint32_t)odd_number()),
	};
	uint8_t fix = 0xff & ~FIX_RANGE & ~SPOIL_PAYLOAD;

	/* What it says must be sent, and be no longer than the smallest max_payload. */
	if (f.op == DISAGG_WIRE_OP_WRITE - DISAGG_WIRE_OP_READ && chance(32))
		f.length = htole32(le32toh(f.length) % 4096 + (chance(4) == 0));
	switch (chance(100)) {
	case 0:		/* the connection ends after any of these */
		f.payload = htole32((uint32_t)odd_number());
		fix &= ~FIX_PAYLOAD;
		break;
	case 1:
		fix &= ~FIX_FLAGS;
		break;
	case 2:
		f.reserved[chance(8)] = 1;
		f.status = htole16(1);
		fix &= ~FIX_RESERVED;
		break;
	case 3:
		fix &= ~(chance(2) ? FIX_MAGIC : FIX_CRC);
		f.header_crc = htole32(chance(UINT32_MAX));
		break;
	case 4:
		f.op = (chance(2) ? DISAGG_WIRE_OP_FLUSH : DISAGG_WIRE_OP_PING) -
		       DISAGG_WIRE_OP_READ;
		break;
	case 5 ... 14:
		f.op = (uint8_t)chance(256);
		fix &= ~FIX_OP;
		break;
	case 15 ... 24:
		fix |= FIX_RANGE | SPOIL_PAYLOAD;
		f.op = DISAGG_WIRE_OP_WRITE - DISAGG_WIRE_OP_READ;
		break;
	}
	record[0] = fix;
	memcpy(record + 1, &f, sizeof(f));
}

static void many_frames(const char *count)
{
	uint8_t input[4 + FRAMES_MAX * (1 + sizeof(struct disagg_wire_frame))];
	unsigned long long goal = strtoull(count, NULL, 0);
	const char *seed = getenv("FUZZ_SEED");
	int log = open("/dev/null", O_WRONLY | O_CLOEXEC);

	chance_state = seed ? strtoull(seed, NULL, 0) : dsg_now_ns();
	dprintf(fuzz_stderr, "FUZZ_SEED=%llu\n", (unsigned long long)chance_state);
	chance_state |= 1;
	dup2(log, STDERR_FILENO);
	while (frames_bad < goal) {
		input[0] = (uint8_t)chance(256) & ~MODE_RAW;
		input[1] = (uint8_t)chance(256);
		input[2] = (uint8_t)chance(256);
		input[3] = (uint8_t)(chance(16) ? 0 : chance(256));
		for (unsigned int i = 0; i < FRAMES_MAX; i++)
			odd_record(input + 4 + i * (1 + sizeof(struct disagg_wire_frame)));
		LLVMFuzzerTestOneInput(input, sizeof(input));
	}
	dprintf(fuzz_stderr, "%llu frames sent, %llu of them malformed and refused\n",
		frames_sent, frames_bad);
	exit(0);
}

static void lane_init(const struct medium *medium)
{
	fuzz_init();
	serve.medium = medium;
	serve.shared = &shared;
	serve.setup.size = LEASE_SIZE;
	serve.setup.max_size = 2 * LEASE_SIZE;
	serve.setup.block_size = 4096;
	fuzz_assert(!medium->open(&serve));
	atomic_store(&serve.size, LEASE_SIZE);
	if (getenv("FUZZ_FRAMES"))
		many_frames(getenv("FUZZ_FRAMES"));
}
