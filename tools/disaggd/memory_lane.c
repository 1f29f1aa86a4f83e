// SPDX-License-Identifier: GPL-2.0
/*
 * A lane of class memory. Everything that one receive brings is carried out, then
 * one send takes all replies, with the data of reads straight from the mapping,
 * and the next receive is queued behind it in the same system call. The receive
 * waits for the send: a peer that doesn't read its replies stops its own lane and
 * makes nothing grow.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <liburing.h>

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
 * @bounce: with CRCs, copies of what reads return: another lane may write to the
 *	mapping between the sum and the send
 */
struct memory_lane {
	struct lane *lane;
	struct io_uring ring;
	bool has_ring;

	uint8_t *buffer;
	size_t head, tail;
	struct request fill;
	uint8_t *fill_to;
	size_t fill_left;
	bool big;
	bool closing;

	unsigned int replies;
	unsigned int vecs;
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

	if (!rq->status) {
		if (m->lane->crc &&
		    dsg_crc32c(m->lane->serve->map + rq->offset, rq->length) !=
		    rq->payload_crc)
			rq->status = DISAGG_WIRE_E_CRC;
		m->written_bytes += rq->length;
	}
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
		m->fill_to = rq.status ? NULL : m->lane->serve->map + rq.offset;
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

static int send_plain(struct memory_lane *m, struct iovec *vec, unsigned int vecs)
{
	while (vecs) {
		struct msghdr msg = { .msg_iov = vec, .msg_iovlen = vecs };
		ssize_t n = sendmsg(m->lane->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			vec = advance(vec, &vecs, (size_t)n);
	}
	return 0;
}

static ssize_t receive_plain(struct memory_lane *m, struct msghdr *msg)
{
	ssize_t n;

	do {
		n = recvmsg(m->lane->fd, msg, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

enum { TOKEN_SEND = 1, TOKEN_RECEIVE = 2 };

/* Send and, behind it, receive: one system call. */
static ssize_t turn_ring(struct memory_lane *m, struct msghdr *in)
{
	struct msghdr out = { .msg_iov = m->vec, .msg_iovlen = m->vecs };
	struct io_uring_sqe *sqe;
	ssize_t result = 0;
	size_t expect = 0;

	if (m->vecs) {
		for (unsigned int i = 0; i < m->vecs; i++)
			expect += m->vec[i].iov_len;
		sqe = io_uring_get_sqe(&m->ring);
		io_uring_prep_sendmsg(sqe, m->lane->fd, &out,
				      MSG_NOSIGNAL | MSG_WAITALL);
		io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
		io_uring_sqe_set_data64(sqe, TOKEN_SEND);
	}
	sqe = io_uring_get_sqe(&m->ring);
	io_uring_prep_recvmsg(sqe, m->lane->fd, in, 0);
	io_uring_sqe_set_data64(sqe, TOKEN_RECEIVE);

	/*
	 * A send that fails or falls short posts its own completion and cancels the
	 * receive; a send that goes well posts none. So the receive's comes last.
	 */
	for (;;) {
		struct io_uring_cqe *cqe;
		int err = io_uring_submit_and_wait(&m->ring, 1);

		if (err < 0 && err != -EINTR)
			return err;
		while (!io_uring_peek_cqe(&m->ring, &cqe)) {
			uint64_t token = io_uring_cqe_get_data64(cqe);
			int res = cqe->res;

			io_uring_cqe_seen(&m->ring, cqe);
			if (token == TOKEN_SEND) {
				if (res < 0) {
					result = res;
				} else if ((size_t)res < expect) {
					unsigned int vecs = m->vecs;
					struct iovec *vec = advance(m->vec, &vecs,
								    (size_t)res);

					result = send_plain(m, vec, vecs);
				}
				continue;
			}
			if (result < 0)
				return result;
			if (res == -ECANCELED || res == -EINTR)
				return receive_plain(m, in);
			return res;
		}
	}
}

/* Send what is queued; with @more, receive too. 0 or less ends the lane. */
static ssize_t turn(struct memory_lane *m, bool more)
{
	struct iovec vec[2];
	struct msghdr in = { .msg_iov = vec };
	ssize_t n = 1;

	if (!more || !m->has_ring) {
		n = send_plain(m, m->vec, m->vecs);
		if (n < 0)
			return n;
		n = 1;
	}
	if (more) {
		in.msg_iovlen = receive_vecs(m, vec);
		n = m->has_ring ? turn_ring(m, &in) : receive_plain(m, &in);
	}
	m->replies = 0;
	m->vecs = 0;
	m->bounce_used = 0;
	if (n > 0 && more)
		received(m, (size_t)n);
	return n;
}

static bool open_ring(struct io_uring *ring)
{
	static const unsigned int tries[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};

	if (getenv("DISAGGD_NO_IO_URING"))
		return false;
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
		if (!io_uring_queue_init(8, ring, tries[i]))
			return true;
	return false;
}

void memory_lane_run(struct lane *lane)
{
	struct memory_lane *m = calloc(1, sizeof(*m));
	ssize_t n;

	if (!m)
		return;
	m->lane = lane;
	m->buffer = malloc(BUFFER_SIZE);
	m->bounce_size = lane->crc ? lane->max_payload + BUFFER_SIZE : 0;
	m->bounce = m->bounce_size ? malloc(m->bounce_size) : NULL;
	if (!m->buffer || (m->bounce_size && !m->bounce)) {
		log_error("lane %u: out of memory", lane->index);
		goto out;
	}
	m->has_ring = open_ring(&m->ring);

	for (;;) {
		bool more = do_buffer(m);

		lane_count(lane, m->read_bytes, m->written_bytes);
		m->read_bytes = 0;
		m->written_bytes = 0;
		n = turn(m, more && !m->closing);
		if (n <= 0 || m->closing)
			break;
	}
	if (n < 0 && n != -ECONNRESET && n != -EPIPE)
		log_warning("lane %u: %s", lane->index, strerror((int)-n));
	if (m->has_ring)
		io_uring_queue_exit(&m->ring);
out:
	free(m->bounce);
	free(m->buffer);
	free(m);
}
