// SPDX-License-Identifier: GPL-2.0
/*
 * A lane of class storage: one io_uring carries the socket's receive and send and
 * all reads and writes of the file, so that as many are in flight as the client
 * asks for, within a budget of buffer memory.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <liburing.h>

#include "log.h"
#include "storage.h"
#include "wire.h"

#define BUFFER_SIZE	(64U << 10)
#define SLOTS_MAX	128U		/* and one more, for a PING */
#define BUDGET		(16U << 20)	/* bytes of buffers in use per lane */
#define KEEP_MAX	(128U << 10)	/* larger buffers are freed after use */

enum slot_state {
	SLOT_FREE,
	SLOT_FILL,	/* a WRITE whose payload is coming in */
	SLOT_IO,
	SLOT_RANGE,	/* WRITE_ZEROES that could make no hole: its fallocate without one */
	SLOT_ZEROES,	/* nor that: zeroes are written */
	SLOT_SYNC,	/* WRITE_ZEROES with FUA: its fdatasync */
	SLOT_REPLY,
	SLOT_SENDING,
};

/**
 * struct slot - one request in flight
 * @data: buffer of @size bytes, aligned, or NULL
 * @charge: bytes that count against the budget
 * @done: bytes of it that have been received, read or written
 */
struct slot {
	enum slot_state state;
	struct request rq;
	uint8_t *data;
	size_t size;
	size_t charge;
	uint32_t done;
	struct slot *next;
	struct disagg_wire_frame reply;
};

/**
 * struct storage_lane - state of the loop
 * @fill: the slot whose payload is coming in
 * @drop: payload bytes still to be thrown away, of the refused request @dropped
 * @first: replies that wait to be sent, oldest first
 * @closing: take no more requests
 * @broken: and send no more replies
 */
struct storage_lane {
	struct lane *lane;
	struct io_uring ring;
	uint8_t *buffer;
	size_t head, tail;
	struct slot *fill;
	struct request dropped;
	size_t drop;
	size_t in_use;
	unsigned int slots, busy;
	struct slot *first, **last;
	bool receiving, sending, closing, broken;
	struct msghdr out;
	struct iovec vec[2 * (SLOTS_MAX + 1)];
	unsigned int vecs;
	struct slot slot[SLOTS_MAX + 1];
};

static char token_receive, token_send;

static struct slot *take_slot(struct storage_lane *s, const struct request *rq)
{
	uint32_t need = rq->status ? 0 : rq->op == DISAGG_WIRE_OP_READ ||
			rq->op == DISAGG_WIRE_OP_WRITE ? rq->length : 0;
	struct slot *slot = NULL;

	if (s->busy && s->in_use + need > BUDGET)
		return NULL;
	for (unsigned int i = 0; i < s->slots + (rq->op == DISAGG_WIRE_OP_PING) && !slot; i++)
		if (s->slot[i].state == SLOT_FREE)
			slot = &s->slot[i];
	if (!slot)
		return NULL;
	slot->rq = *rq;
	slot->done = 0;
	if (need > slot->size) {
		size_t size = (need + STORAGE_ALIGN - 1) / STORAGE_ALIGN * STORAGE_ALIGN;

		free(slot->data);
		slot->data = aligned_alloc(STORAGE_ALIGN, size);
		slot->size = slot->data ? size : 0;
		if (!slot->data)
			slot->rq.status = DISAGG_WIRE_E_INTERNAL;
	}
	slot->charge = need;
	s->in_use += need;
	s->busy++;
	return slot;
}

static void put_slot(struct storage_lane *s, struct slot *slot)
{
	s->in_use -= slot->charge;
	if (slot->size > KEEP_MAX) {
		free(slot->data);
		slot->data = NULL;
		slot->size = 0;
	}
	slot->state = SLOT_FREE;
	s->busy--;
}

static void reply_slot(struct storage_lane *s, struct slot *slot)
{
	bool data = slot->rq.op == DISAGG_WIRE_OP_READ && !slot->rq.status;

	lane_reply(s->lane, &slot->rq, slot->data, data ? slot->rq.length : 0,
		   &slot->reply);
	slot->state = SLOT_REPLY;
	slot->next = NULL;
	*s->last = slot;
	s->last = &slot->next;
}

static struct io_uring_sqe *get_sqe(struct storage_lane *s, void *token)
{
	/* The ring has an entry for every slot and both directions. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

	if (!sqe) {
		io_uring_submit(&s->ring);
		sqe = io_uring_get_sqe(&s->ring);
	}
	io_uring_sqe_set_data(sqe, token);
	return sqe;
}

static void start_io(struct storage_lane *s, struct slot *slot)
{
	const struct serve *serve = s->lane->serve;
	const struct request *rq = &slot->rq;
	uint64_t at = serve->setup.offset + rq->offset + slot->done;
	struct io_uring_sqe *sqe;
	int mode;

	if (rq->status || rq->op == DISAGG_WIRE_OP_PING) {
		reply_slot(s, slot);
		return;
	}
	sqe = get_sqe(s, slot);
	slot->state = SLOT_IO;
	switch (rq->op) {
	case DISAGG_WIRE_OP_READ:
		io_uring_prep_read(sqe, serve->fd, slot->data + slot->done,
				   rq->length - slot->done, at);
		break;
	case DISAGG_WIRE_OP_WRITE:
		io_uring_prep_write(sqe, serve->fd, slot->data + slot->done,
				    rq->length - slot->done, at);
		if (rq->flags & DISAGG_WIRE_FLAG_FUA)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case DISAGG_WIRE_OP_FLUSH:
		io_uring_prep_fsync(sqe, serve->fd, IORING_FSYNC_DATASYNC);
		break;
	case DISAGG_WIRE_OP_DISCARD:
	case DISAGG_WIRE_OP_WRITE_ZEROES:
		mode = rq->flags & DISAGG_WIRE_FLAG_NOUNMAP ? FALLOC_FL_ZERO_RANGE :
							      FALLOC_FL_PUNCH_HOLE;
		io_uring_prep_fallocate(sqe, serve->fd, mode | FALLOC_FL_KEEP_SIZE,
					(off_t)at, (off_t)rq->length);
		break;
	}
	io_uring_sqe_set_data(sqe, slot);
}

static void start_range(struct storage_lane *s, struct slot *slot)
{
	const struct serve *serve = s->lane->serve;
	struct io_uring_sqe *sqe = get_sqe(s, slot);

	io_uring_prep_fallocate(sqe, serve->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				(off_t)(serve->setup.offset + slot->rq.offset),
				(off_t)slot->rq.length);
	io_uring_sqe_set_data(sqe, slot);
	slot->state = SLOT_RANGE;
}

static void start_zeroes(struct storage_lane *s, struct slot *slot)
{
	const struct serve *serve = s->lane->serve;
	uint32_t left = slot->rq.length - slot->done;
	struct io_uring_sqe *sqe = get_sqe(s, slot);

	io_uring_prep_write(sqe, serve->fd, storage_zeroes,
			    left < STORAGE_ZEROES ? left : STORAGE_ZEROES,
			    serve->setup.offset + slot->rq.offset + slot->done);
	io_uring_sqe_set_data(sqe, slot);
	slot->state = SLOT_ZEROES;
}

/*
 * A step of a DISCARD or WRITE_ZEROES is back. Return: whether it was the last one, with
 * what came of all in *@res. None of them is waited for: a PING is answered meanwhile.
 */
static bool finish_zero(struct storage_lane *s, struct slot *slot, int *res)
{
	const struct request *rq = &slot->rq;
	bool again = *res == -EINTR || *res == -EAGAIN;

	if (slot->state == SLOT_ZEROES) {
		if (*res > 0)
			slot->done += (uint32_t)*res;
		else if (!again)
			*res = *res ? *res : -EIO;	/* the file has become shorter */
		if (*res < 0 && !again)
			return true;
		if (slot->done == rq->length) {
			*res = 0;
			return true;
		}
		start_zeroes(s, slot);
		return false;
	}
	if (!again && *res != -EOPNOTSUPP && *res != -EINVAL && *res != -ENODEV)
		return true;
	/* A discard is a hint. Zeroes are a promise, kept the slow way. */
	if (rq->op == DISAGG_WIRE_OP_DISCARD) {
		*res = 0;
		return true;
	}
	if (slot->state == SLOT_IO && !(rq->flags & DISAGG_WIRE_FLAG_NOUNMAP))
		start_range(s, slot);
	else
		start_zeroes(s, slot);
	return false;
}

/* FUA of what was zeroed. */
static void start_sync(struct storage_lane *s, struct slot *slot)
{
	struct io_uring_sqe *sqe = get_sqe(s, slot);

	io_uring_prep_fsync(sqe, s->lane->serve->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data(sqe, slot);
	slot->state = SLOT_SYNC;
}

static void finish_io(struct storage_lane *s, struct slot *slot, int res)
{
	struct request *rq = &slot->rq;
	bool again = res == -EINTR || res == -EAGAIN;

	if (slot->state == SLOT_SYNC) {
		if (again) {
			start_sync(s, slot);
			return;
		}
	} else if (again && (rq->op == DISAGG_WIRE_OP_READ || rq->op == DISAGG_WIRE_OP_WRITE ||
			     rq->op == DISAGG_WIRE_OP_FLUSH)) {
		start_io(s, slot);
		return;
	} else if (rq->op == DISAGG_WIRE_OP_READ || rq->op == DISAGG_WIRE_OP_WRITE) {
		if (res > 0) {
			slot->done += (uint32_t)res;
			if (slot->done < rq->length) {
				start_io(s, slot);
				return;
			}
		} else if (!res) {
			res = -EIO;	/* the file has become shorter */
		}
		if (res > 0 && rq->op == DISAGG_WIRE_OP_READ)
			lane_count(s->lane, rq->length, 0);
		else if (res > 0)
			lane_count(s->lane, 0, rq->length);
	} else if (rq->op != DISAGG_WIRE_OP_FLUSH) {
		if (!finish_zero(s, slot, &res))
			return;
		if (!res && rq->flags & DISAGG_WIRE_FLAG_FUA) {
			start_sync(s, slot);
			return;
		}
	}
	if (res < 0) {
		log_warning("lane %u: %s at %llu: %s", s->lane->index, dsg_op_text(rq->op),
			    (unsigned long long)rq->offset, strerror(-res));
		rq->status = res == -ENOSPC ? DISAGG_WIRE_E_NO_SPACE : DISAGG_WIRE_E_IO;
	}
	reply_slot(s, slot);
}

/* All of a WRITE's payload is here. */
static void finish_fill(struct storage_lane *s)
{
	struct slot *slot = s->fill;

	s->fill = NULL;
	if (s->lane->crc &&
	    dsg_crc32c(slot->data, slot->rq.length) != slot->rq.payload_crc)
		slot->rq.status = DISAGG_WIRE_E_CRC;
	slot->done = 0;
	start_io(s, slot);
}

/* Take one frame from the buffer; false: no slot or budget is free now. */
static bool do_frame(struct storage_lane *s)
{
	struct disagg_wire_frame frame;
	enum verdict verdict;
	struct request rq;
	struct slot *slot;

	memcpy(&frame, s->buffer + s->head, sizeof(frame));
	verdict = lane_check(s->lane, &frame, &rq);
	if (verdict == REQUEST_GARBAGE) {
		log_warning("lane %u: bytes that are no frame: closed", s->lane->index);
		s->closing = true;
		return true;
	}
	slot = take_slot(s, &rq);
	if (!slot)
		return false;
	s->head += sizeof(frame);
	if (verdict == REQUEST_MALFORMED) {
		log_warning("lane %u: malformed frame (op 0x%02x): closed",
			    s->lane->index, rq.op);
		s->closing = true;
		reply_slot(s, slot);
	} else if (rq.op == DISAGG_WIRE_OP_WRITE && rq.payload) {
		if (slot->rq.status) {
			s->drop = rq.payload;
			reply_slot(s, slot);
		} else {
			slot->state = SLOT_FILL;
			s->fill = slot;
		}
	} else {
		start_io(s, slot);
	}
	return true;
}

/* Returns whether it needs more bytes to go on. */
static bool do_buffer(struct storage_lane *s)
{
	while (!s->closing) {
		size_t have = s->tail - s->head, n;

		if (s->drop) {
			n = have < s->drop ? have : s->drop;
			s->head += n;
			s->drop -= n;
			if (s->drop)
				break;
		} else if (s->fill) {
			size_t left = s->fill->rq.length - s->fill->done;

			n = have < left ? have : left;
			memcpy(s->fill->data + s->fill->done, s->buffer + s->head, n);
			s->head += n;
			s->fill->done += (uint32_t)n;
			if (n < left)
				break;
			finish_fill(s);
		} else if (have < sizeof(struct disagg_wire_frame)) {
			break;
		} else if (!do_frame(s)) {
			return false;
		}
	}
	memmove(s->buffer, s->buffer + s->head, s->tail - s->head);
	s->tail -= s->head;
	s->head = 0;
	return true;
}

static void start_receive(struct storage_lane *s)
{
	struct io_uring_sqe *sqe = get_sqe(s, &token_receive);

	if (s->fill)
		io_uring_prep_recv(sqe, s->lane->fd, s->fill->data + s->fill->done,
				   s->fill->rq.length - s->fill->done, 0);
	else
		io_uring_prep_recv(sqe, s->lane->fd, s->buffer + s->tail,
				   BUFFER_SIZE - s->tail, 0);
	io_uring_sqe_set_data(sqe, &token_receive);
	s->receiving = true;
}

static void finish_receive(struct storage_lane *s, int res)
{
	s->receiving = false;
	if (res == -EINTR || res == -EAGAIN)
		return;
	if (res <= 0) {
		s->closing = true;
		return;
	}
	if (s->fill) {
		s->fill->done += (uint32_t)res;
		if (s->fill->done == s->fill->rq.length)
			finish_fill(s);
	} else {
		s->tail += (size_t)res;
	}
}

static void post_send(struct storage_lane *s)
{
	struct io_uring_sqe *sqe = get_sqe(s, &token_send);

	io_uring_prep_sendmsg(sqe, s->lane->fd, &s->out, MSG_NOSIGNAL | MSG_WAITALL);
	io_uring_sqe_set_data(sqe, &token_send);
	s->sending = true;
}

static void start_send(struct storage_lane *s)
{
	s->vecs = 0;
	while (s->first) {
		struct slot *slot = s->first;
		uint32_t len = le32toh(slot->reply.payload);

		s->first = slot->next;
		slot->state = SLOT_SENDING;
		s->vec[s->vecs++] = (struct iovec){ &slot->reply, sizeof(slot->reply) };
		if (len)
			s->vec[s->vecs++] = (struct iovec){ slot->data, len };
	}
	s->last = &s->first;
	s->out = (struct msghdr){ .msg_iov = s->vec, .msg_iovlen = s->vecs };
	post_send(s);
}

static void finish_send(struct storage_lane *s, int res)
{
	s->sending = false;
	if (res == -EINTR || res == -EAGAIN)
		res = 0;
	if (res >= 0) {
		size_t n = (size_t)res;

		while (s->out.msg_iovlen && n >= s->out.msg_iov->iov_len) {
			n -= s->out.msg_iov->iov_len;
			s->out.msg_iov++;
			s->out.msg_iovlen--;
		}
		if (s->out.msg_iovlen) {
			s->out.msg_iov->iov_base = (uint8_t *)s->out.msg_iov->iov_base + n;
			s->out.msg_iov->iov_len -= n;
			post_send(s);
			return;
		}
	} else {
		s->broken = true;
		s->closing = true;
		shutdown(s->lane->fd, SHUT_RDWR);
	}
	for (unsigned int i = 0; i <= s->slots; i++)
		if (s->slot[i].state == SLOT_SENDING)
			put_slot(s, &s->slot[i]);
}

static void reap(struct storage_lane *s)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&s->ring, &cqe)) {
		void *token = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&s->ring, cqe);
		if (token == &token_receive)
			finish_receive(s, res);
		else if (token == &token_send)
			finish_send(s, res);
		else
			finish_io(s, token, res);
	}
}

/* A WRITE whose payload will not come any more has no reply. */
static void give_up(struct storage_lane *s)
{
	if (s->fill && !s->receiving) {
		put_slot(s, s->fill);
		s->fill = NULL;
	}
	while (s->broken && s->first) {
		struct slot *slot = s->first;

		s->first = slot->next;
		if (!s->first)
			s->last = &s->first;
		put_slot(s, slot);
	}
}

static int open_ring(struct storage_lane *s)
{
	static const unsigned int tries[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	int err = -EINVAL;

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]) && err; i++)
		err = io_uring_queue_init(2 * SLOTS_MAX, &s->ring, tries[i]);
	return err;
}

void storage_lane_run(struct lane *lane)
{
	struct storage_lane *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return;
	s->lane = lane;
	s->last = &s->first;
	s->slots = lane->depth < SLOTS_MAX ? lane->depth : SLOTS_MAX;
	s->buffer = malloc(BUFFER_SIZE);
	err = s->buffer ? open_ring(s) : -ENOMEM;
	if (err) {
		log_error("lane %u: cannot set up io_uring: %s", lane->index,
			  strerror(-err));
		goto out;
	}
	for (;;) {
		bool more = do_buffer(s);

		if (s->first && !s->sending && !s->broken)
			start_send(s);
		if (s->closing)
			give_up(s);
		else if (more && !s->receiving)
			start_receive(s);
		if (s->closing && !s->busy && !s->receiving && !s->sending)
			break;
		if (s->closing && s->receiving && !s->busy)
			shutdown(lane->fd, SHUT_RD);
		err = io_uring_submit_and_wait(&s->ring, 1);
		/* Short of memory, or of room for completions: those that are there go first. */
		if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY)
			abort();	/* buffers are in flight: nothing is safe */
		reap(s);
	}
	io_uring_queue_exit(&s->ring);
	for (unsigned int i = 0; i <= SLOTS_MAX; i++)
		free(s->slot[i].data);
out:
	free(s->buffer);
	free(s);
}
