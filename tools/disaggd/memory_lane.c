// SPDX-License-Identifier: GPL-2.0
/*
 * A lane of class memory. Everything that one receive brings is carried out, then
 * one send takes all replies, with the data of reads straight from the mapping.
 * The next receive waits for the send: a peer that doesn't read its replies stops
 * its own lane and makes nothing grow.
 *
 * There is nothing here to overlap with the socket, so plain blocking calls do. An
 * io_uring with the receive linked behind the send saves one of the two system calls
 * but tries the receive twice and arms a poll in between: measured, it took up to a
 * third more processor time for requests of 4 KiB, and no less for 128 KiB.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "wire.h"

#define BUFFER_SIZE	(256U << 10)
#define REPLIES_MAX	256U		/* two iovecs each must stay below IOV_MAX */
#define DIRECT_MIN	(16U << 10)	/* payloads from here on skip the buffer */

/**
 * struct memory_lane - state of the loop
 * @buffer: received bytes, those of [head, tail) not yet looked at
 * @fill: the WRITE whose payload is coming in
 * @fill_to: where its next byte goes; NULL drops it
 * @fill_left: bytes of it still to come; 0: no payload is coming
 * @big: writes are large: receive the next header alone, so that its payload can
 *	go where it belongs without a copy
 * @intake: with CRCs, where a WRITE's payload waits until its sum is known to be
 *	right: what is wrong never lands, and another lane's write to the same
 *	blocks can't make it look wrong
 * @bounce: with CRCs, copies of what reads return: another lane may write to the
 *	mapping between the sum and the send
 */
struct memory_lane {
	struct lane *lane;
	uint8_t *buffer;
	size_t head, tail;
	struct request fill;
	uint8_t *fill_to;
	size_t fill_left;
	bool big;
	bool closing;

	unsigned int replies;
	unsigned int vecs;
	uint8_t *intake;
	uint8_t *bounce;
	size_t bounce_size, bounce_used;
	uint64_t read_bytes, written_bytes;
	struct disagg_wire_frame reply[REPLIES_MAX];
	struct iovec vec[2 * REPLIES_MAX];
};

static void queue_reply(struct memory_lane *m, const struct request *rq,
			const void *data, uint32_t len)
{
	struct disagg_wire_frame *reply = &m->reply[m->replies++];

	lane_reply(m->lane, rq, data, len, reply);
	/* Replies without data follow each other in memory: one vector for the run. */
	if (m->vecs && (uint8_t *)m->vec[m->vecs - 1].iov_base +
	    m->vec[m->vecs - 1].iov_len == (uint8_t *)reply)
		m->vec[m->vecs - 1].iov_len += sizeof(*reply);
	else
		m->vec[m->vecs++] = (struct iovec){ reply, sizeof(*reply) };
	if (len)
		m->vec[m->vecs++] = (struct iovec){ (void *)(uintptr_t)data, len };
}

static void finish_write(struct memory_lane *m)
{
	struct request *rq = &m->fill;

	if (!rq->status && m->lane->crc) {
		if (dsg_crc32c(m->intake, rq->length) != rq->payload_crc)
			rq->status = DISAGG_WIRE_E_CRC;
		else
			memcpy(m->lane->serve->map + rq->offset, m->intake, rq->length);
	}
	if (!rq->status)
		m->written_bytes += rq->length;
	queue_reply(m, rq, NULL, 0);
}

/* false: there is no room for this reply before the others are sent. */
static bool do_read(struct memory_lane *m, struct request *rq)
{
	const uint8_t *data = m->lane->serve->map + rq->offset;

	if (m->lane->crc) {
		if (rq->length > m->bounce_size - m->bounce_used)
			return false;
		memcpy(m->bounce + m->bounce_used, data, rq->length);
		data = m->bounce + m->bounce_used;
		m->bounce_used += rq->length;
	}
	m->read_bytes += rq->length;
	queue_reply(m, rq, data, rq->length);
	return true;
}

/* Carry out one request whose frame is at the head of the buffer. */
static bool do_frame(struct memory_lane *m)
{
	struct disagg_wire_frame frame;
	struct request rq;

	memcpy(&frame, m->buffer + m->head, sizeof(frame));
	switch (lane_check(m->lane, &frame, &rq)) {
	case REQUEST_GARBAGE:
		log_warning("lane %u: bytes that are no frame: closed", m->lane->index);
		m->closing = true;
		return true;
	case REQUEST_MALFORMED:
		log_warning("lane %u: malformed frame (op 0x%02x): closed",
			    m->lane->index, rq.op);
		queue_reply(m, &rq, NULL, 0);
		m->closing = true;
		return true;
	case REQUEST_OK:
	case REQUEST_REFUSED:
		break;
	}

	if (rq.op == DISAGG_WIRE_OP_WRITE) {
		m->big = rq.payload >= DIRECT_MIN;
		m->fill = rq;
		m->fill_left = rq.payload;
		m->fill_to = rq.status ? NULL : m->intake ? m->intake :
			     m->lane->serve->map + rq.offset;
		if (!rq.payload)
			queue_reply(m, &rq, NULL, 0);
	} else {
		m->big = false;
		if (rq.status || rq.op == DISAGG_WIRE_OP_PING) {
			queue_reply(m, &rq, NULL, 0);
		} else if (rq.op == DISAGG_WIRE_OP_READ) {
			if (!do_read(m, &rq))
				return false;
		} else {
			rq.status = memory_zero(m->lane->serve, rq.offset, rq.length,
						rq.flags & DISAGG_WIRE_FLAG_NOUNMAP);
			queue_reply(m, &rq, NULL, 0);
		}
	}
	m->head += sizeof(frame);
	return true;
}

/* Account for @n bytes of the payload that have arrived where they belong. */
static void filled(struct memory_lane *m, size_t n)
{
	m->fill_left -= n;
	if (m->fill_to)
		m->fill_to += n;
	if (!m->fill_left)
		finish_write(m);
}

/*
 * Carry out what is in the buffer. Returns whether it needs more bytes to go on;
 * if not, the replies must go out first.
 */
static bool do_buffer(struct memory_lane *m)
{
	unsigned int most = m->lane->depth < REPLIES_MAX ? m->lane->depth : REPLIES_MAX;

	while (!m->closing) {
		size_t have = m->tail - m->head;

		if (m->replies >= most)
			return false;
		if (m->fill_left) {
			size_t n = have < m->fill_left ? have : m->fill_left;

			if (!n)
				break;
			if (m->fill_to)
				memcpy(m->fill_to, m->buffer + m->head, n);
			m->head += n;
			filled(m, n);
			continue;
		}
		if (have < sizeof(struct disagg_wire_frame))
			break;
		if (!do_frame(m))
			return false;
	}
	memmove(m->buffer, m->buffer + m->head, m->tail - m->head);
	m->tail -= m->head;
	m->head = 0;
	return true;
}

/* Where the next bytes go: the rest of a payload in place, then the buffer. */
static unsigned int receive_vecs(struct memory_lane *m, struct iovec vec[2])
{
	size_t room = BUFFER_SIZE - m->tail;
	unsigned int n = 0;

	if (m->fill_left && m->fill_to)
		vec[n++] = (struct iovec){ m->fill_to, m->fill_left };
	if (m->big && (!m->fill_left || m->fill_to))
		room = sizeof(struct disagg_wire_frame) - m->tail;
	vec[n++] = (struct iovec){ m->buffer + m->tail, room };
	return n;
}

static void received(struct memory_lane *m, size_t n)
{
	if (m->fill_left && m->fill_to) {
		size_t direct = n < m->fill_left ? n : m->fill_left;

		filled(m, direct);
		n -= direct;
	}
	m->tail += n;
}

/* Drop @n sent bytes from the front of the vectors. */
static struct iovec *advance(struct iovec *vec, unsigned int *vecs, size_t n)
{
	while (*vecs && n >= vec->iov_len) {
		n -= vec->iov_len;
		vec++;
		(*vecs)--;
	}
	if (n) {
		vec->iov_base = (uint8_t *)vec->iov_base + n;
		vec->iov_len -= n;
	}
	return vec;
}

/* Send all replies; 0 or -errno. */
static int send_replies(struct memory_lane *m)
{
	struct iovec *vec = m->vec;
	unsigned int vecs = m->vecs;

	while (vecs) {
		struct msghdr msg = { .msg_iov = vec, .msg_iovlen = vecs };
		ssize_t n = sendmsg(m->lane->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			vec = advance(vec, &vecs, (size_t)n);
	}
	m->replies = 0;
	m->vecs = 0;
	m->bounce_used = 0;
	return 0;
}

/* 1, 0 at the end of the stream, or -errno. */
static int receive(struct memory_lane *m)
{
	struct iovec vec[2];
	struct msghdr msg = { .msg_iov = vec };
	ssize_t n;

	msg.msg_iovlen = receive_vecs(m, vec);
	do {
		n = recvmsg(m->lane->fd, &msg, 0);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : 0;
	received(m, (size_t)n);
	return 1;
}

void memory_lane_run(struct lane *lane)
{
	struct memory_lane *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return;
	m->lane = lane;
	m->buffer = malloc(BUFFER_SIZE);
	m->bounce_size = lane->crc ? lane->max_payload + BUFFER_SIZE : 0;
	m->bounce = m->bounce_size ? malloc(m->bounce_size) : NULL;
	m->intake = lane->crc ? malloc(lane->max_payload) : NULL;
	if (!m->buffer || (lane->crc && (!m->bounce || !m->intake))) {
		log_error("lane %u: out of memory", lane->index);
		goto out;
	}
	/* Pages of it now: later, somebody may wait for an answer to have any to spare. */
	for (size_t i = 0; i < BUFFER_SIZE; i += 4096)
		((volatile uint8_t *)m->buffer)[i] = 0;
	for (;;) {
		bool more = do_buffer(m);

		lane_count(lane, m->read_bytes, m->written_bytes);
		m->read_bytes = 0;
		m->written_bytes = 0;
		err = send_replies(m);
		if (err || m->closing)
			break;
		if (!more)
			continue;
		err = receive(m);
		if (err <= 0)
			break;
	}
	if (err < 0 && err != -ECONNRESET && err != -EPIPE)
		log_warning("lane %u: %s", lane->index, strerror(-err));
out:
	free(m->intake);
	free(m->bounce);
	free(m->buffer);
	free(m);
}
