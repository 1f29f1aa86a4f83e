// SPDX-License-Identifier: GPL-2.0
/* What the lanes of every medium have in common: welcome, checks, replies. */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "serve.h"
#include "wire.h"

#define WELCOME_TIMEOUT_NS	(5 * DSG_NSEC_PER_SEC)
#define LINGER_NS		(DSG_NSEC_PER_SEC / 5)

void lane_tune(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 10 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 10 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 5 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 60000 },
		{ IPPROTO_TCP, DSG_TCP_RTO_MAX_MS, DSG_RTO_MAX_MS },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			   sizeof(int));
}

static int welcome(struct lane *lane)
{
	const struct worker_setup *setup = &lane->serve->setup;
	struct disagg_wire_welcome w = {
		.magic = htole32(DISAGG_WIRE_MAGIC_WELCOME),
		.version = htole16(DISAGG_WIRE_VERSION),
		.features = htole64(lane->features),
		.capacity = htole64(atomic_load(&lane->serve->size)),
		.max_payload = htole32(lane->max_payload),
		.depth = htole32(lane->depth),
		.block_size = htole32(setup->block_size),
		.attrs = htole32(setup->attrs),
	};

	if (lane->features & (DISAGG_WIRE_F_DISCARD | DISAGG_WIRE_F_WRITE_ZEROES))
		w.max_discard = htole32(SERVE_MAX_DISCARD);
	return dsg_send_all(lane->fd, &w, sizeof(w), dsg_deadline(WELCOME_TIMEOUT_NS));
}

/*
 * Closing a socket that has unread bytes resets the connection, and a reset can
 * overtake the last reply, which says why: read on for a moment, until the peer
 * has seen the end.
 */
static void hang_up(struct lane *lane)
{
	uint64_t deadline = dsg_deadline(LINGER_NS);
	char sink[4096];

	shutdown(lane->fd, SHUT_WR);
	while (!dsg_recv_all(lane->fd, sink, sizeof(sink), deadline))
		if (dsg_now_ns() > deadline)
			break;
}

static void *lane_thread(void *arg)
{
	struct lane *lane = arg;
	char name[16];

	snprintf(name, sizeof(name), "lane-%u", lane->index);
	prctl(PR_SET_NAME, name);
	if (!welcome(lane)) {
		atomic_store(&lane->count->connected, 1);
		lane->serve->medium->run(lane);
		atomic_store(&lane->count->connected, 0);
	}
	hang_up(lane);
	shutdown(lane->fd, SHUT_RDWR);	/* whoever still sends is told */
	return NULL;
}

int lane_start(struct serve *serve, const struct worker_order *order, int fd)
{
	struct lane *lane = calloc(1, sizeof(*lane));
	uint64_t features = serve->medium->features;
	int err;

	if (!lane) {
		close(fd);
		return -ENOMEM;
	}
	if (serve->setup.attrs & DISAGG_WIRE_ATTR_READ_ONLY)
		features &= DISAGG_WIRE_F_CRC32C;
	lane->serve = serve;
	lane->fd = fd;
	lane->index = order->lane;
	lane->features = order->features & features;
	lane->max_payload = order->max_payload;
	lane->depth = order->depth;
	lane->crc = lane->features & DISAGG_WIRE_F_CRC32C;
	lane->count = &serve->shared->lanes[lane->index];
	lane_tune(fd);
	err = pthread_create(&lane->thread, NULL, lane_thread, lane);
	if (err) {
		close(fd);
		free(lane);
		return -err;
	}
	serve->lanes[lane->index] = lane;
	return 0;
}

void lane_end(struct lane *lane, int how)
{
	shutdown(lane->fd, how);
	pthread_join(lane->thread, NULL);
	close(lane->fd);
	free(lane);
}

static bool writes(uint8_t op)
{
	return op == DISAGG_WIRE_OP_WRITE || op == DISAGG_WIRE_OP_DISCARD ||
	       op == DISAGG_WIRE_OP_WRITE_ZEROES;
}

static uint8_t flags_of(uint8_t op)
{
	if (op == DISAGG_WIRE_OP_WRITE)
		return DISAGG_WIRE_FLAG_FUA;
	if (op == DISAGG_WIRE_OP_WRITE_ZEROES)
		return DISAGG_WIRE_FLAG_FUA | DISAGG_WIRE_FLAG_NOUNMAP;
	return 0;
}

static uint64_t feature_of(const struct request *rq)
{
	uint64_t need = rq->flags & DISAGG_WIRE_FLAG_FUA ? DISAGG_WIRE_F_FUA : 0;

	if (rq->op == DISAGG_WIRE_OP_DISCARD)
		need |= DISAGG_WIRE_F_DISCARD;
	else if (rq->op == DISAGG_WIRE_OP_WRITE_ZEROES)
		need |= DISAGG_WIRE_F_WRITE_ZEROES;
	else if (rq->op == DISAGG_WIRE_OP_FLUSH)
		need |= DISAGG_WIRE_F_FLUSH;
	return need;
}

/* Offset and length: inside the lease, on block borders, not too long. */
static bool range_ok(const struct lane *lane, const struct request *rq)
{
	uint64_t size = atomic_load_explicit(&lane->serve->size, memory_order_relaxed);
	uint64_t mask = lane->serve->setup.block_size - 1;
	uint32_t longest = rq->op == DISAGG_WIRE_OP_READ ||
			   rq->op == DISAGG_WIRE_OP_WRITE ? lane->max_payload :
							    SERVE_MAX_DISCARD;

	return rq->length && rq->length <= longest && !((rq->offset | rq->length) & mask) &&
	       rq->offset < size && rq->length <= size - rq->offset;
}

enum verdict lane_check(const struct lane *lane, const struct disagg_wire_frame *frame,
			struct request *rq)
{
	if (dsg_frame_check(frame, DISAGG_WIRE_MAGIC_REQUEST, lane->crc))
		return REQUEST_GARBAGE;
	rq->op = frame->op;
	rq->flags = frame->flags;
	rq->tag = frame->tag;
	rq->generation = frame->generation;
	rq->offset = le64toh(frame->offset);
	rq->length = le32toh(frame->length);
	rq->payload = le32toh(frame->payload);
	rq->payload_crc = le32toh(frame->payload_crc);

	rq->status = DISAGG_WIRE_E_PROTO;
	if (rq->payload != (rq->op == DISAGG_WIRE_OP_WRITE ? rq->length : 0) ||
	    rq->payload > lane->max_payload || (!rq->payload && rq->payload_crc) ||
	    rq->flags & ~flags_of(rq->op))
		return REQUEST_MALFORMED;
	switch (rq->op) {
	case DISAGG_WIRE_OP_READ:
	case DISAGG_WIRE_OP_WRITE:
	case DISAGG_WIRE_OP_DISCARD:
	case DISAGG_WIRE_OP_WRITE_ZEROES:
		break;
	case DISAGG_WIRE_OP_FLUSH:
	case DISAGG_WIRE_OP_PING:
		if (rq->offset || rq->length)
			return REQUEST_MALFORMED;
		break;
	default:
		rq->status = DISAGG_WIRE_E_NOT_SUPPORTED;
		return REQUEST_REFUSED;
	}

	if (writes(rq->op) && lane->serve->setup.attrs & DISAGG_WIRE_ATTR_READ_ONLY)
		rq->status = DISAGG_WIRE_E_READ_ONLY;
	else if (feature_of(rq) & ~lane->features)
		rq->status = DISAGG_WIRE_E_NOT_SUPPORTED;
	else if (rq->op != DISAGG_WIRE_OP_FLUSH && rq->op != DISAGG_WIRE_OP_PING &&
		 !range_ok(lane, rq))
		rq->status = DISAGG_WIRE_E_INVALID;
	else
		rq->status = DISAGG_WIRE_OK;
	return rq->status ? REQUEST_REFUSED : REQUEST_OK;
}

void lane_reply(const struct lane *lane, const struct request *rq,
		const void *payload, uint32_t len, struct disagg_wire_frame *reply)
{
	*reply = (struct disagg_wire_frame){
		.magic = htole32(DISAGG_WIRE_MAGIC_REPLY),
		.op = rq->op,
		.status = htole16(rq->status),
		.tag = rq->tag,
		.generation = rq->generation,
		.offset = htole64(rq->offset),
		.length = htole32(rq->length),
	};
	dsg_frame_seal(reply, payload, len, lane->crc);
}

void lane_count(struct lane *lane, uint64_t read_bytes, uint64_t written_bytes)
{
	struct worker_counters *c = lane->count;

	/* One writer per counter: no locked instruction is needed. */
	atomic_store_explicit(&c->read_bytes, atomic_load_explicit(
		&c->read_bytes, memory_order_relaxed) + read_bytes, memory_order_relaxed);
	atomic_store_explicit(&c->written_bytes, atomic_load_explicit(
		&c->written_bytes, memory_order_relaxed) + written_bytes,
		memory_order_relaxed);
}
