// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes over TCP sockets on which user space has set up TLS 1.3: it has shaken
 * hands and given the kernel the keys, and the socket's sendmsg() and recvmsg()
 * encrypt and decrypt.
 *
 * Both may sleep for memory and for locks, so nothing is received in the socket's
 * callbacks: they queue rx_work. Neither waits for the peer.
 *
 * Traps:
 * - TLS takes the socket's lock by itself, in each call, so that lock can't guard
 *   the slots: rx_mutex does.
 * - A payload is given to TLS in a way that makes it copy (a kvec). It would hold on
 *   to pages otherwise until their record is sent, or the socket closed, which may
 *   be long after the request has ended. As it is, what was sent needs no page any
 *   more: neither an early reply nor an aborted socket can make a page be read, or
 *   let go, that has become somebody else's.
 * - TLS keeps what it couldn't send. Left alone it goes on when there is room, but by a
 *   work queue that may wait for memory, which may wait for what it is to send. So its
 *   sk_write_space is not called, and disagg_tls_push() does that work. Its
 *   sk_data_ready need not be called either: recvmsg() looks for new records.
 * - A record that was begun with MSG_MORE is sent by a later call. There always is
 *   one: MSG_MORE is only said while more is queued, or a payload is to follow, and
 *   what is queued is tried again until the lane is stopped.
 * - recvmsg() goes on while there is another record and nothing has come out of one. A
 *   target that sends empty ones fast enough keeps it going, and with it the socket's
 *   lock, rx_mutex and whoever wants these, for as long as it likes. So who submits does
 *   not wait for rx_mutex, and who ends a lane begins with disagg_tls_cut(), which needs
 *   no lock.
 */
#include <crypto/aead.h>
#include <linux/net.h>
#include <linux/sched/mm.h>
#include <linux/tcp.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>
#include <net/tls.h>

#include "link.h"

/* Bytes of payload, or calls, after which others have a turn. */
#define DISAGG_TLS_BUDGET	SZ_1M
#define DISAGG_TLS_CALLS	256
/* Pieces of a payload that are sent at once. */
#define DISAGG_TLS_VECS		16

#define DISAGG_TLS_RECORD_ALERT		21
#define DISAGG_TLS_RECORD_HANDSHAKE	22
#define DISAGG_TLS_RECORD_DATA		23
#define DISAGG_TLS_KEY_UPDATE		24

static bool disagg_tls_fits(const struct sock *sk)
{
	const struct tls_context *ctx = tls_get_ctx(sk);

	return ctx && ctx->tx_conf == TLS_SW && ctx->rx_conf == TLS_SW &&
	       ctx->prot_info.version == TLS_1_3_VERSION;
}

/**
 * disagg_tls_check - is this a socket for a lane with TLS?
 * @sk: a TCP socket with an upper layer protocol that isn't ours
 * @why: set to what is wrong with it, on failure
 *
 * A look without a lock: disagg_tcp_start() makes sure. Return: 0 or -EPROTONOSUPPORT.
 */
int disagg_tls_check(struct sock *sk, const char **why)
{
	const struct tls_context *ctx;

	if (strcmp(inet_csk(sk)->icsk_ulp_ops->name, "tls")) {
		*why = "lane: fd has an upper layer protocol other than TLS";
		return -EPROTONOSUPPORT;
	}
	if (IS_ENABLED(CONFIG_HIGHMEM)) {
		*why = "lane: fd has TLS, which is not supported with high memory";
		return -EPROTONOSUPPORT;
	}
	if (disagg_tls_fits(sk))
		return 0;
	ctx = tls_get_ctx(sk);
	if (!ctx || ctx->tx_conf == TLS_BASE || ctx->rx_conf == TLS_BASE)
		*why = "lane: fd has TLS without keys for both directions (TLS_TX and TLS_RX)";
	else if (ctx->tx_conf != TLS_SW || ctx->rx_conf != TLS_SW)
		*why = "lane: fd has TLS in the network card, which is not supported (ethtool -K)";
	else
		*why = "lane: fd has TLS of a version other than 1.3";
	return -EPROTONOSUPPORT;
}

/* As for the socket's own locks, see disagg_reclassify(). */
void disagg_tls_reclassify(struct sock *sk)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	struct tls_context *ctx = tls_get_ctx(sk);

	if (!mutex_is_locked(&ctx->tx_lock))
		disagg_reclassify(&ctx->tx_lock.dep_map);
#endif
}

/* Its place as upper layer protocol is taken; a second setup is refused or changes keys only. */
static int disagg_tls_occupy(struct sock *sk)
{
	const char *why;

	if (disagg_tcp_transport_of(sk) != &disagg_tls_transport || disagg_tls_check(sk, &why))
		return -ENOTCONN;
	return 0;
}

static void disagg_tls_leave(struct sock *sk)
{
}

static void disagg_tls_lock(struct disagg_lane *lane)
{
	mutex_lock(&lane->rx_mutex);
}

static bool disagg_tls_trylock(struct disagg_lane *lane)
{
	return mutex_trylock(&lane->rx_mutex);
}

static void disagg_tls_unlock(struct disagg_lane *lane)
{
	mutex_unlock(&lane->rx_mutex);
}

/* Data have come, or the connection has changed; what came before that is read first. */
static void disagg_tls_look(struct sock *sk)
{
	struct disagg_lane *lane;

	read_lock_bh(&sk->sk_callback_lock);
	lane = sk->sk_user_data;
	if (lane)
		queue_work(disagg_wq, &lane->rx_work);
	read_unlock_bh(&sk->sk_callback_lock);
}

static void disagg_tls_write_space(struct sock *sk)
{
	struct disagg_lane *lane;

	read_lock_bh(&sk->sk_callback_lock);
	lane = sk->sk_user_data;
	if (lane) {
		/* TCP's own. */
		tls_get_ctx(sk)->sk_write_space(sk);
		if (sk_stream_is_writeable(sk))
			queue_work(disagg_wq, &lane->tx_work);
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

/* Point @vec at some of a payload, in the kernel's own mapping. Return: pieces. */
static unsigned int disagg_tls_map(struct iov_iter *payload, struct kvec *vec, size_t *len)
{
	unsigned int n = 0;

	*len = 0;
	while (n < DISAGG_TLS_VECS && iov_iter_count(payload)) {
		struct bio_vec bv = {
			.bv_page = payload->bvec->bv_page,
			.bv_offset = payload->bvec->bv_offset + payload->iov_offset,
			.bv_len = min_t(size_t, payload->bvec->bv_len - payload->iov_offset,
					iov_iter_count(payload)),
		};

		vec[n].iov_base = page_address(bv.bv_page) + bv.bv_offset;
		vec[n++].iov_len = bv.bv_len;
		*len += bv.bv_len;
		iov_iter_advance(payload, bv.bv_len);
	}
	return n;
}

static int disagg_tls_send(struct disagg_lane *lane, struct disagg_io *io, bool more)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	struct iov_iter payload = io->payload;
	struct kvec vec[DISAGG_TLS_VECS];
	struct socket *sock = lane->sock;
	unsigned int nr = 1;
	size_t len;
	int n;

	if (io->sent < sizeof(io->frame)) {
		vec[0].iov_base = (u8 *)&io->frame + io->sent;
		vec[0].iov_len = sizeof(io->frame) - io->sent;
		len = vec[0].iov_len;
		more |= !!io->frame.payload;
	} else {
		iov_iter_advance(&payload, io->sent - sizeof(io->frame));
		nr = disagg_tls_map(&payload, vec, &len);
		more |= !!iov_iter_count(&payload);
	}
	if (more)
		msg.msg_flags |= MSG_MORE;
	iov_iter_kvec(&msg.msg_iter, ITER_SOURCE, vec, nr, len);
	io->end_pos = 0;
	n = READ_ONCE(sock->ops)->sendmsg(sock, &msg, len);

	switch (n) {
	case -EAGAIN:
		/* Full, and there will be room; or no memory, of which nobody tells. */
		if (sk_stream_is_writeable(sock->sk))
			disagg_lane_retry(lane);
		return -EAGAIN;
	case -ENOMEM:
		disagg_lane_retry(lane);
		return -EAGAIN;
	case -EINTR:
	case -ERESTARTSYS:
		/* The submitter is to die, and TLS was busy sending. */
		queue_work(disagg_wq, &lane->tx_work);
		return -EAGAIN;
	default:
		return n;
	}
}

/* Records that are encrypted and not wholly sent. A look without TLS's lock. */
static bool disagg_tls_has_records(const struct disagg_lane *lane)
{
	return !list_empty_careful(&tls_sw_ctx_tx(tls_get_ctx(lane->sock->sk))->tx_list);
}

/* Send these: by what TLS would have another work queue do, here and now. */
static void disagg_tls_push(struct disagg_lane *lane)
{
	struct sock *sk = lane->sock->sk;
	struct tls_sw_context_tx *ctx = tls_sw_ctx_tx(tls_get_ctx(sk));
	struct work_struct *work = &ctx->tx_work.work.work;

	if (!disagg_tls_has_records(lane))
		return;
	set_bit(BIT_TX_SCHEDULED, &ctx->tx_bitmask);
	work->func(work);
	/* As in disagg_tls_send(). */
	if (disagg_tls_has_records(lane) && sk_stream_is_writeable(sk))
		disagg_lane_retry(lane);
}

/* Say what a record means that is not data; nothing of it is done. */
static int disagg_tls_refuse(struct disagg_lane *lane, u8 type, const u8 *data, size_t len)
{
	if (type == DISAGG_TLS_RECORD_ALERT && len == 2 && !data[1])
		disagg_lane_fail(lane, "the target closed its TLS session");
	else if (type == DISAGG_TLS_RECORD_ALERT && len == 2)
		disagg_lane_fail(lane, "the target sent TLS alert %u", data[1]);
	else if (type == DISAGG_TLS_RECORD_HANDSHAKE && len && data[0] == DISAGG_TLS_KEY_UPDATE)
		disagg_lane_fail(lane, "the target wants new TLS keys, which is not supported");
	else
		disagg_lane_fail(lane, "the target sent a TLS record of type %u", type);
	return -EPROTO;
}

static u8 disagg_tls_record_type(const struct cmsghdr *cmsg)
{
	/* None is given with nothing, as at the end of the connection. */
	if (cmsg->cmsg_len < CMSG_LEN(1) || cmsg->cmsg_level != SOL_TLS ||
	    cmsg->cmsg_type != TLS_GET_RECORD_TYPE)
		return DISAGG_TLS_RECORD_DATA;
	return *(u8 *)CMSG_DATA(cmsg);
}

/* Receive into @iter. Return: bytes, 0 at the end of the connection, or negative errno. */
static int disagg_tls_recv(struct disagg_lane *lane, const struct iov_iter *iter, size_t len)
{
	struct {
		struct cmsghdr cmsg;
		u8 data[CMSG_SPACE(1) - sizeof(struct cmsghdr)];
	} control = {};
	struct msghdr msg = {
		.msg_iter = *iter,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct socket *sock = lane->sock;
	u8 type, data[2] = {};
	int n;

	n = READ_ONCE(sock->ops)->recvmsg(sock, &msg, len, MSG_DONTWAIT);
	if (n < 0)
		return n;
	type = disagg_tls_record_type(&control.cmsg);
	if (type == DISAGG_TLS_RECORD_DATA)
		return n;
	/* The iterator's memory holds the record, instead of what was waited for. */
	msg.msg_iter = *iter;
	msg.msg_iter.data_source = ITER_SOURCE;
	if (copy_from_iter(data, min_t(size_t, n, sizeof(data)), &msg.msg_iter) < sizeof(data))
		n = min(n, 1);
	return disagg_tls_refuse(lane, type, data, n);
}

static int disagg_tls_recv_into(struct disagg_lane *lane, void *buf, size_t len)
{
	struct kvec vec = { .iov_base = buf, .iov_len = len };
	struct iov_iter iter;

	iov_iter_kvec(&iter, ITER_DEST, &vec, 1, len);
	return disagg_tls_recv(lane, &iter, len);
}

static int disagg_tls_take_frame(struct disagg_lane *lane)
{
	int n, err;

	n = disagg_tls_recv_into(lane, (u8 *)&lane->rx_frame + lane->rx_have,
				 sizeof(lane->rx_frame) - lane->rx_have);
	if (n <= 0)
		return n;
	lane->rx_have += n;
	if (lane->rx_have == sizeof(lane->rx_frame)) {
		err = disagg_lane_reply(lane);
		if (err)
			return err;
	}
	return n;
}

/* Where it belongs; with a CRC by way of rx_bounce, since programs may change their pages. */
static int disagg_tls_take_payload(struct disagg_lane *lane)
{
	int n, err;

	if (lane->link->features & DISAGG_WIRE_F_CRC32C) {
		n = disagg_tls_recv_into(lane, lane->rx_bounce,
					 min_t(size_t, lane->rx_left, DISAGG_RX_BOUNCE));
		if (n <= 0)
			return n;
		disagg_lane_payload_crc(lane, lane->rx_bounce, n);
		if (copy_to_iter(lane->rx_bounce, n, &lane->rx_iter) != n)
			return -EFAULT;
	} else {
		n = disagg_tls_recv(lane, &lane->rx_iter, lane->rx_left);
		if (n <= 0)
			return n;
		iov_iter_advance(&lane->rx_iter, n);
	}
	lane->rx_left -= n;
	if (!lane->rx_left) {
		err = disagg_lane_payload_done(lane);
		if (err)
			return err;
	}
	return n;
}

static int disagg_tls_skip(struct disagg_lane *lane)
{
	int n;

	n = disagg_tls_recv_into(lane, lane->rx_bounce,
				 min_t(size_t, lane->rx_left, DISAGG_RX_BOUNCE));
	if (n <= 0)
		return n;
	lane->rx_left -= n;
	if (!lane->rx_left)
		lane->rx_state = DISAGG_RX_FRAME;
	return n;
}

static int disagg_tls_recv_some(struct disagg_lane *lane)
{
	switch (lane->rx_state) {
	case DISAGG_RX_FRAME:
		return disagg_tls_take_frame(lane);
	case DISAGG_RX_PAYLOAD:
		return disagg_tls_take_payload(lane);
	case DISAGG_RX_SKIP:
		return disagg_tls_skip(lane);
	default:
		return -EPIPE;
	}
}

/*
 * Take the key away, so that no other record is decrypted, and who is in recvmsg() leaves
 * it. A flag of the cipher that it looks at each time: the only thing on recvmsg()'s way
 * that can be changed without the socket's lock.
 */
static void disagg_tls_cut(struct disagg_lane *lane)
{
	struct tls_context *ctx = tls_get_ctx(lane->sock->sk);

	set_bit(DISAGG_LANE_CUT, &lane->flags);
	smp_mb__after_atomic();	/* pairs with disagg_lane_breaks() */
	crypto_aead_set_flags(tls_sw_ctx_rx(ctx)->aead_recv, CRYPTO_TFM_NEED_KEY);
}

/* Nothing more can be read; the first reason that was given counts. */
static void disagg_tls_break(struct disagg_lane *lane, int err)
{
	lane->rx_state = DISAGG_RX_STOPPED;
	if (test_bit(DISAGG_LINK_CLOSING, &lane->link->flags))
		return;
	if (err == -EBADMSG)
		disagg_lane_fail(lane, "a TLS record was forged or damaged");
	else if (err == -ENOMEM)
		disagg_lane_fail(lane, "there was no memory to decrypt a TLS record");
	/* recvmsg() has taken the error off the socket. */
	disagg_tcp_check_state(lane, -err);
	if (err)
		disagg_lane_fail(lane, "receiving failed: error %d", -err);
	else
		disagg_lane_fail(lane, "the target closed the connection");
}

/* rx_mutex held. */
static void disagg_tls_read_all(struct disagg_lane *lane)
{
	unsigned int calls = DISAGG_TLS_CALLS;
	size_t done = 0;
	int n;

	while (calls-- && done < DISAGG_TLS_BUDGET) {
		n = disagg_tls_recv_some(lane);
		if (n == -EAGAIN) {
			/* Part of a record; or a whole one, and no memory to look at it. */
			if (!skb_queue_empty_lockless(&lane->sock->sk->sk_receive_queue))
				disagg_lane_retry(lane);
			return;
		}
		if (n <= 0) {
			disagg_tls_break(lane, n);
			return;
		}
		done += n;
		WRITE_ONCE(lane->rx_bytes, lane->rx_bytes + n);
	}
	queue_work(disagg_wq, &lane->rx_work);
}

static void disagg_tls_read(struct disagg_lane *lane)
{
	mutex_lock(&lane->rx_mutex);
	if (lane->rx_state != DISAGG_RX_STOPPED)
		disagg_tls_read_all(lane);
	mutex_unlock(&lane->rx_mutex);
}

void disagg_tls_rx_work(struct work_struct *work)
{
	struct disagg_lane *lane = container_of(work, struct disagg_lane, rx_work);
	unsigned int noreclaim = memalloc_noreclaim_save();

	/* Requests are completed after rx_mutex: who waits for them may want it next. */
	disagg_lane_receive(lane, disagg_tls_read);
	memalloc_noreclaim_restore(noreclaim);
}

const struct disagg_transport disagg_tls_transport = {
	.security = DISAGG_LANE_SECURITY_TLS,
	.data_ready = disagg_tls_look,
	.write_space = disagg_tls_write_space,
	.state_change = disagg_tls_look,
	.occupy = disagg_tls_occupy,
	.leave = disagg_tls_leave,
	.lock = disagg_tls_lock,
	.trylock = disagg_tls_trylock,
	.unlock = disagg_tls_unlock,
	.send = disagg_tls_send,
	.push = disagg_tls_push,
	.cut = disagg_tls_cut,
};
