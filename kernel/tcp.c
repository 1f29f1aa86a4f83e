// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes over TCP sockets that user space has connected: what all of them have in
 * common, and the transport for those without TLS.
 *
 * Sending happens in the submitter's context, holding the socket's lock for a
 * whole batch and never waiting for room; what does not fit goes on from
 * sk_write_space by tx_work. Receiving happens where TCP has the data, in
 * sk_data_ready, straight from the skb into the request's pages.
 *
 * Traps:
 * - The owner of the socket's lock runs the receive path from its own
 *   release_sock(). So the receive path takes no lock of the sender.
 * - Pages are handed to TCP by reference: before a request is given back
 *   without a reply its socket must have been aborted (disagg_tcp_stop()), and
 *   a reply counts only once TCP at the other end has the whole request
 *   (disagg_tcp_has_request()).
 * - Memory may be short because of what is being sent: the socket may use the
 *   kernel's reserves (SOCK_MEMALLOC), and sending never reclaims.
 * - A processor that goes offline waits for the requests of its queue, with a lock
 *   held that changing a static key takes too. So no key is changed while there may
 *   be requests, but when the module comes and goes: see disagg_tcp_memalloc().
 * - Whoever else has the descriptor must not make something else of the socket: a
 *   listener, whose children inherit callbacks, or a TLS socket, which saves and
 *   restores them. disagg_tcp_ulp occupies the place that either needs. A socket that
 *   has TLS already can become neither.
 */
#include <linux/file.h>
#include <linux/indirect_call_wrapper.h>
#include <linux/inet.h>
#include <linux/net.h>
#include <linux/sched/mm.h>
#include <linux/tcp.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "link.h"

/* How often a sender comes back for others' requests before a worker does. */
#define DISAGG_TX_ROUNDS	4
/* Until it is tried again, in milliseconds, when memory was short or may have been. */
#define DISAGG_RETRY		20

static const struct tcp_ulp_ops disagg_tcp_ulp = {
	.name = "disagg",
};

/**
 * disagg_tcp_memalloc - let sockets use the kernel's memory reserves, or no longer
 * @on: when the module is loaded; false when it goes
 *
 * Changing the key patches the kernel's code: not for every device.
 */
void disagg_tcp_memalloc(bool on)
{
	if (on)
		static_branch_inc(&memalloc_socks_key);
	else
		static_branch_dec(&memalloc_socks_key);
}

#ifdef CONFIG_DEBUG_LOCK_ALLOC
/*
 * I/O of a file system may have to wait for this socket's locks, which is never so for the
 * sockets of programs: lockdep must know the two apart. Keys of this module would not do,
 * since the socket may live longer: a lock keeps its own, in a subclass that nobody else uses.
 */
void disagg_reclassify(struct lockdep_map *map)
{
	lockdep_init_map_type(map, map->name, map->key, MAX_LOCKDEP_SUBCLASSES - 1,
			      map->wait_type_inner, map->wait_type_outer, map->lock_type);
}
#endif

static void disagg_tcp_reclassify(struct sock *sk)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	/* Only the classes: the connection lives, and its locks may be taken meanwhile. */
	if (!sock_allow_reclassification(sk))
		return;
	disagg_reclassify(&sk->sk_lock.slock.dep_map);
	disagg_reclassify(&sk->sk_lock.dep_map);
#endif
}

/* The transport for a socket, whose upper layer protocol may be one that none is for. */
const struct disagg_transport *disagg_tcp_transport_of(const struct sock *sk)
{
	const struct tcp_ulp_ops *ulp = READ_ONCE(inet_csk(sk)->icsk_ulp_ops);

	return !ulp || ulp == &disagg_tcp_ulp ? &disagg_tcp_transport : &disagg_tls_transport;
}

/**
 * disagg_tcp_claim - take over a connected socket for a lane
 * @lane: the lane; its sock and peer are left to the caller
 * @fd: the socket, as the current process's file descriptor
 * @why: set to what is wrong with it, on failure
 *
 * Nothing is received before disagg_tcp_start(). Return: the socket, with a
 * reference, or an error.
 */
struct socket *disagg_tcp_claim(struct disagg_lane *lane, int fd, const char **why)
{
	struct socket *sock;
	struct sock *sk;
	int err;

	sock = sockfd_lookup(fd, &err);
	if (!sock) {
		*why = err == -ENOTSOCK ? "lane: fd is no socket" :
					  "lane: fd is no open file descriptor";
		return ERR_PTR(err);
	}
	sk = sock->sk;

	err = -EPROTONOSUPPORT;
	if (!sk || sock->type != SOCK_STREAM || sk->sk_protocol != IPPROTO_TCP ||
	    (sk->sk_family != AF_INET && sk->sk_family != AF_INET6)) {
		*why = "lane: fd is no TCP socket";
		goto err_put;
	}
	if (disagg_tcp_transport_of(sk) == &disagg_tls_transport) {
		err = disagg_tls_check(sk, why);
		if (err)
			goto err_put;
	}
	if (READ_ONCE(sk->sk_state) != TCP_ESTABLISHED) {
		err = -ENOTCONN;
		*why = "lane: fd is not connected";
		goto err_put;
	}

	write_lock_bh(&sk->sk_callback_lock);
	err = sk->sk_user_data ? -EBUSY : 0;
	if (!err)
		sk->sk_user_data = lane;
	write_unlock_bh(&sk->sk_callback_lock);
	if (err) {
		*why = "lane: fd is in use, by another lane perhaps";
		goto err_put;
	}

	disagg_tcp_reclassify(sk);
	if (disagg_tcp_transport_of(sk) == &disagg_tls_transport)
		disagg_tls_reclassify(sk);
	return sock;

err_put:
	sockfd_put(sock);
	return ERR_PTR(err);
}

static int disagg_tcp_take_frame(struct disagg_lane *lane, struct sk_buff *skb,
				 unsigned int offset, size_t len)
{
	size_t n = min(len, sizeof(lane->rx_frame) - lane->rx_have);
	int err;

	err = skb_copy_bits(skb, offset, (u8 *)&lane->rx_frame + lane->rx_have, n);
	if (err)
		return err;
	lane->rx_have += n;
	if (lane->rx_have == sizeof(lane->rx_frame)) {
		err = disagg_lane_reply(lane);
		if (err)
			return err;
	}
	return n;
}

static int disagg_tcp_payload_crc(struct disagg_lane *lane, struct sk_buff *skb,
				  unsigned int offset, size_t len)
{
	u8 chunk[256];
	size_t n;
	int err;

	for (; len; offset += n, len -= n) {
		n = min(len, sizeof(chunk));
		err = skb_copy_bits(skb, offset, chunk, n);
		if (err)
			return err;
		disagg_lane_payload_crc(lane, chunk, n);
	}
	return 0;
}

static int disagg_tcp_take_payload(struct disagg_lane *lane, struct sk_buff *skb,
				   unsigned int offset, size_t len)
{
	size_t n = min_t(size_t, len, lane->rx_left);
	int err;

	/* Of what came: the pages may be a program's, and change under our eyes. */
	if (lane->link->features & DISAGG_WIRE_F_CRC32C) {
		err = disagg_tcp_payload_crc(lane, skb, offset, n);
		if (err)
			return err;
	}
	err = skb_copy_datagram_iter(skb, offset, &lane->rx_iter, n);
	if (err)
		return err;
	lane->rx_left -= n;
	if (!lane->rx_left) {
		err = disagg_lane_payload_done(lane);
		if (err)
			return err;
	}
	return n;
}

static int disagg_tcp_skip(struct disagg_lane *lane, size_t len)
{
	size_t n = min_t(size_t, len, lane->rx_left);

	lane->rx_left -= n;
	if (!lane->rx_left)
		lane->rx_state = DISAGG_RX_FRAME;
	return n;
}

static int disagg_tcp_recv(read_descriptor_t *desc, struct sk_buff *skb,
			   unsigned int offset, size_t len)
{
	struct disagg_lane *lane = desc->arg.data;
	size_t done = 0;

	while (done < len) {
		int n;

		switch (lane->rx_state) {
		case DISAGG_RX_FRAME:
			n = disagg_tcp_take_frame(lane, skb, offset + done, len - done);
			break;
		case DISAGG_RX_PAYLOAD:
			n = disagg_tcp_take_payload(lane, skb, offset + done, len - done);
			break;
		case DISAGG_RX_SKIP:
			n = disagg_tcp_skip(lane, len - done);
			break;
		default:
			n = -EPIPE;
		}
		if (n < 0) {
			lane->rx_state = DISAGG_RX_STOPPED;
			disagg_lane_fail(lane, "receiving failed: %d", n);
			return done ?: n;
		}
		done += n;
	}
	WRITE_ONCE(lane->rx_bytes, lane->rx_bytes + done);
	return done;
}

static void disagg_tcp_read(struct disagg_lane *lane)
{
	read_descriptor_t desc = { .arg.data = lane, .count = 1 };

	tcp_read_sock(lane->sock->sk, &desc, disagg_tcp_recv);
}

/* Called with the socket's lock held, by TCP or by disagg_tcp_start(). */
static void disagg_tcp_data_ready(struct sock *sk)
{
	struct disagg_lane *lane;

	read_lock_bh(&sk->sk_callback_lock);
	lane = sk->sk_user_data;
	if (lane && lane->rx_state != DISAGG_RX_STOPPED)
		disagg_lane_receive(lane, disagg_tcp_read);
	read_unlock_bh(&sk->sk_callback_lock);
}

static void disagg_tcp_write_space(struct sock *sk)
{
	struct disagg_lane *lane;

	read_lock_bh(&sk->sk_callback_lock);
	lane = sk->sk_user_data;
	if (lane && sk_stream_is_writeable(sk)) {
		clear_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
		queue_work(disagg_wq, &lane->tx_work);
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

/* If the connection has ended so has the lane; @err, positive, may say why. */
void disagg_tcp_check_state(struct disagg_lane *lane, int err)
{
	struct sock *sk = lane->sock->sk;

	if (READ_ONCE(sk->sk_state) == TCP_ESTABLISHED ||
	    test_bit(DISAGG_LINK_CLOSING, &lane->link->flags))
		return;
	if (err == ETIMEDOUT)
		disagg_lane_fail(lane, "the target does not answer TCP");
	else if (err)
		disagg_lane_fail(lane, "the connection broke: error %d", err);
	else
		disagg_lane_fail(lane, "the target closed the connection");
}

static void disagg_tcp_state_change(struct sock *sk)
{
	struct disagg_lane *lane;

	read_lock_bh(&sk->sk_callback_lock);
	lane = sk->sk_user_data;
	if (lane)
		disagg_tcp_check_state(lane, READ_ONCE(sk->sk_err));
	read_unlock_bh(&sk->sk_callback_lock);
}

static int disagg_tcp_occupy(struct sock *sk)
{
	if (inet_csk(sk)->icsk_ulp_ops)
		return -ENOTCONN;
	inet_csk(sk)->icsk_ulp_ops = &disagg_tcp_ulp;
	return 0;
}

static void disagg_tcp_leave(struct sock *sk)
{
	inet_csk(sk)->icsk_ulp_ops = NULL;
}

static void disagg_tcp_lock(struct disagg_lane *lane)
{
	lock_sock(lane->sock->sk);
}

static void disagg_tcp_unlock(struct disagg_lane *lane)
{
	release_sock(lane->sock->sk);
}

/**
 * disagg_tcp_start - begin to receive
 * @lane: a lane that has claimed a socket
 *
 * Return: 0, or -ENOTCONN if the connection has ended, or the lane was stopped
 * meanwhile.
 */
int disagg_tcp_start(struct disagg_lane *lane)
{
	const struct disagg_transport *transport = lane->transport;
	struct sock *sk = lane->sock->sk;
	int err = 0;

	tcp_sock_set_nodelay(sk);

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_user_data != lane || transport->occupy(sk)) {
		write_unlock_bh(&sk->sk_callback_lock);
		release_sock(sk);
		return -ENOTCONN;
	}
	lane->saved_data_ready = sk->sk_data_ready;
	lane->saved_write_space = sk->sk_write_space;
	lane->saved_state_change = sk->sk_state_change;
	sk->sk_data_ready = transport->data_ready;
	sk->sk_write_space = transport->write_space;
	sk->sk_state_change = transport->state_change;
	write_unlock_bh(&sk->sk_callback_lock);

	/* No way from an allocation back into a block device. */
	sk->sk_allocation = GFP_NOIO;
	disagg_compat_no_task_frag(sk);
	/* As sk_set_memalloc(), whose static key the module holds for all of them. */
	sock_set_flag(sk, SOCK_MEMALLOC);
	sk->sk_allocation |= __GFP_MEMALLOC;

	/* What came before the callbacks were there. */
	transport->data_ready(sk);
	if (sk->sk_state != TCP_ESTABLISHED) {
		disagg_tcp_check_state(lane, READ_ONCE(sk->sk_err));
		err = -ENOTCONN;
	}
	release_sock(sk);
	return err;
}

/* Before a lane's locks are waited for: have nobody hold them for as long as the target likes. */
static void disagg_tcp_cut(struct disagg_lane *lane)
{
	struct sock *sk = lane->sock->sk;
	bool started;

	if (!lane->transport->cut)
		return;
	read_lock_bh(&sk->sk_callback_lock);
	started = sk->sk_user_data == lane && lane->saved_data_ready;
	read_unlock_bh(&sk->sk_callback_lock);
	if (started)
		lane->transport->cut(lane);
}

/**
 * disagg_tcp_stop - silence a lane
 * @lane: the lane; nobody calls disagg_lane_send() any more
 * @abort: drop what is queued in the socket, and every page it refers to;
 *	otherwise an orderly shutdown
 *
 * On return nothing touches the lane's requests, which stay where they are.
 * Waits for nobody outside this host. May be called again.
 */
void disagg_tcp_stop(struct disagg_lane *lane, bool abort)
{
	bool started = false;
	struct sock *sk;

	if (!lane->sock)
		return;
	sk = lane->sock->sk;
	disagg_tcp_cut(lane);

	mutex_lock(&lane->tx_mutex);
	lane->stopped = true;
	WRITE_ONCE(lane->tx_blocked, true);
	mutex_unlock(&lane->tx_mutex);

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_user_data == lane) {
		sk->sk_user_data = NULL;
		started = lane->saved_data_ready;
		if (started) {
			sk->sk_data_ready = lane->saved_data_ready;
			sk->sk_write_space = lane->saved_write_space;
			sk->sk_state_change = lane->saved_state_change;
			lane->saved_data_ready = NULL;
		}
	}
	write_unlock_bh(&sk->sk_callback_lock);
	if (started) {
		/*
		 * SOCK_MEMALLOC stays: what has come into the backlog while it was set, and
		 * release_sock() hands on, must still find it (a BUG() in __sk_backlog_rcv()).
		 */
		sk->sk_allocation &= ~__GFP_MEMALLOC;
		sk_mem_reclaim(sk);
		lane->transport->leave(sk);
	}
	release_sock(sk);

	lane->transport->lock(lane);
	lane->rx_state = DISAGG_RX_STOPPED;
	lane->transport->unlock(lane);

	/* What is queued by whom comes after him. */
	cancel_delayed_work_sync(&lane->retry_work);
	cancel_work_sync(&lane->rx_work);
	cancel_work_sync(&lane->tx_work);

	if (abort)
		tcp_abort(sk, ECONNABORTED);
	else
		kernel_sock_shutdown(lane->sock, SHUT_RDWR);
}

/* Give the socket back: silenced, or, when the lane never started, as it came. */
void disagg_tcp_release(struct disagg_lane *lane)
{
	struct sock *sk;

	if (!lane->sock)
		return;
	sk = lane->sock->sk;
	write_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_user_data == lane)
		sk->sk_user_data = NULL;
	write_unlock_bh(&sk->sk_callback_lock);
	sockfd_put(lane->sock);
	lane->sock = NULL;
}

/* Have it tried again in a while to send, and with TLS to receive. Any context. */
void disagg_lane_retry(struct disagg_lane *lane)
{
	queue_delayed_work(disagg_wq, &lane->retry_work, msecs_to_jiffies(DISAGG_RETRY));
}

void disagg_lane_retry_work(struct work_struct *work)
{
	struct disagg_lane *lane = container_of(to_delayed_work(work), struct disagg_lane,
						retry_work);

	queue_work(disagg_wq, &lane->tx_work);
	if (lane->transport == &disagg_tls_transport)
		queue_work(disagg_wq, &lane->rx_work);
}

/* Bytes that go out for a request: the frame and, for a WRITE, its payload. */
static u32 disagg_io_wire_len(const struct disagg_io *io)
{
	return sizeof(io->frame) + le32_to_cpu(io->frame.payload);
}

static int disagg_tcp_send(struct disagg_lane *lane, struct disagg_io *io, bool more)
{
	const struct tcp_sock *tp = tcp_sk(lane->sock->sk);
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	struct socket *sock = lane->sock;
	size_t len;
	int n;

	if (io->sent < sizeof(io->frame)) {
		struct kvec vec = {
			.iov_base = (u8 *)&io->frame + io->sent,
			.iov_len = sizeof(io->frame) - io->sent,
		};

		len = vec.iov_len;
		iov_iter_kvec(&msg.msg_iter, ITER_SOURCE, &vec, 1, len);
		if (more || io->frame.payload)
			msg.msg_flags |= MSG_MORE;
	} else {
		u32 done = io->sent - sizeof(io->frame);

		msg.msg_iter = io->payload;
		iov_iter_advance(&msg.msg_iter, done);
		len = le32_to_cpu(io->frame.payload) - done;
		if (io->splice)
			msg.msg_flags |= DISAGG_MSG_SPLICE_PAGES;
		if (more)
			msg.msg_flags |= MSG_MORE;
	}
	n = sock->ops->sendmsg_locked(sock->sk, &msg, len);
	io->end_pos = tp->bytes_acked + (u32)(tp->write_seq - tp->snd_una);
	/* Full, and there will be room; or no memory, of which nobody tells. */
	if (n == -ENOMEM || (n == -EAGAIN && sk_stream_is_writeable(sock->sk))) {
		disagg_lane_retry(lane);
		return -EAGAIN;
	}
	return n;
}

const struct disagg_transport disagg_tcp_transport = {
	.security = DISAGG_LANE_SECURITY_NONE,
	.data_ready = disagg_tcp_data_ready,
	.write_space = disagg_tcp_write_space,
	.state_change = disagg_tcp_state_change,
	.occupy = disagg_tcp_occupy,
	.leave = disagg_tcp_leave,
	.lock = disagg_tcp_lock,
	.unlock = disagg_tcp_unlock,
	.send = disagg_tcp_send,
};

/**
 * disagg_tcp_has_request - has the target's TCP acknowledged a request?
 * @lane: the lane
 * @io: a request that is wholly sent
 *
 * A reply's segment acknowledges what it answers, so that an honest target's
 * reply is never early; while pages are unacknowledged they may be sent again.
 * With TLS nothing but copies of the request is ever sent. Called with the lane's
 * slots locked.
 */
bool disagg_tcp_has_request(const struct disagg_lane *lane, const struct disagg_io *io)
{
	return tcp_sk(lane->sock->sk)->bytes_acked >= io->end_pos;
}

static struct disagg_io *disagg_lane_next(struct disagg_lane *lane)
{
	if (!lane->tx_list)
		lane->tx_list = llist_reverse_order(llist_del_all(&lane->tx_new));
	return lane->tx_list ? llist_entry(lane->tx_list, struct disagg_io, node) : NULL;
}

/* Slots locked. Return: 0 when @io is wholly sent, or negative errno. */
static int disagg_lane_transmit_one(struct disagg_lane *lane, struct disagg_io *io)
{
	bool more = io->node.next || !llist_empty(&lane->tx_new);
	u32 len = disagg_io_wire_len(io);

	if (!io->sent)
		disagg_lane_begin(lane, io);
	while (io->sent < len) {
		int n = INDIRECT_CALL_1(lane->transport->send, disagg_tcp_send, lane, io, more);

		if (n <= 0)
			return n ?: -EPIPE;
		io->sent += n;
		WRITE_ONCE(lane->tx_bytes, lane->tx_bytes + n);
	}
	return 0;
}

/* End what waits on a lane that is stopped, in vain. tx_mutex held. */
static void disagg_lane_end_queued(struct disagg_lane *lane)
{
	struct disagg_io *io;

	while ((io = disagg_lane_next(lane))) {
		lane->tx_list = io->node.next;
		lane->owed -= io->waited;
		if (disagg_io_is_probe(lane, io))
			clear_bit_unlock(DISAGG_LANE_PINGED, &lane->flags);
		else
			lane->link->ops->done(io, -ENOLINK, NULL);
	}
}

/* Lock the slots. Return: whether that could be done, without @wait. */
static bool disagg_lane_lock(struct disagg_lane *lane, bool wait)
{
	if (!wait && lane->transport->trylock)
		return lane->transport->trylock(lane);
	INDIRECT_CALL_1(lane->transport->lock, disagg_tcp_lock, lane);
	return true;
}

/*
 * Send all that is queued, or as much as the socket takes. tx_mutex held. Return: whether
 * it was tried; only without @wait for who receives it may not have been.
 */
static bool disagg_lane_transmit(struct disagg_lane *lane, bool wait)
{
	unsigned int noreclaim;
	struct disagg_io *io;
	int err = 0;

	if (lane->stopped) {
		if (test_bit(DISAGG_LANE_FAIL_FAST, &lane->flags))
			disagg_lane_end_queued(lane);
		else
			WRITE_ONCE(lane->tx_blocked, true);
		return true;
	}
	if (!disagg_lane_lock(lane, wait))
		return false;
	noreclaim = memalloc_noreclaim_save();
	WRITE_ONCE(lane->tx_blocked, false);
	while ((io = disagg_lane_next(lane))) {
		err = disagg_lane_transmit_one(lane, io);
		if (err)
			break;
		/* Once unlocked @io is the receive path's. */
		lane->tx_list = io->node.next;
	}
	if (lane->transport->push)
		lane->transport->push(lane);
	if (err == -EAGAIN)
		WRITE_ONCE(lane->tx_blocked, true);
	else if (err)
		disagg_lane_fail(lane, "sending failed: error %d", -err);
	memalloc_noreclaim_restore(noreclaim);
	INDIRECT_CALL_1(lane->transport->unlock, disagg_tcp_unlock, lane);
	return true;
}

/**
 * disagg_lane_kick - send what is queued
 * @lane: the lane
 *
 * Process context, may sleep for the lane's locks and for memory, never for
 * room in the socket, nor for one who receives while the target sends.
 */
void disagg_lane_kick(struct disagg_lane *lane)
{
	int rounds = DISAGG_TX_ROUNDS;
	bool tried;

	do {
		/* Who holds it looks at tx_new again after letting it go. */
		if (!mutex_trylock(&lane->tx_mutex))
			return;
		tried = disagg_lane_transmit(lane, false);
		mutex_unlock(&lane->tx_mutex);
		if (!tried)
			break;
		smp_mb();	/* pairs with llist_add() of one who found it held */
		if (llist_empty(&lane->tx_new) || READ_ONCE(lane->tx_blocked))
			return;
	} while (--rounds);
	queue_work(disagg_wq, &lane->tx_work);
}

/**
 * disagg_lane_send - queue a request, and send unless more are coming
 * @lane: the lane
 * @io: the request, its frame filled in up to the generation
 * @last: no other follows at once
 *
 * Process context, may sleep.
 */
void disagg_lane_send(struct disagg_lane *lane, struct disagg_io *io, bool last)
{
	io->sent = 0;
	io->waited = false;
	io->damaged = 0;
	io->losses = 0;
	llist_add(&io->node, &lane->tx_new);
	if (last)
		disagg_lane_kick(lane);
}

/* Does a request change what is read later? */
static bool disagg_io_writes(const struct disagg_io *io)
{
	switch (io->frame.op) {
	case DISAGG_WIRE_OP_WRITE:
	case DISAGG_WIRE_OP_DISCARD:
	case DISAGG_WIRE_OP_WRITE_ZEROES:
		return true;
	default:
		return false;
	}
}

/* Before all that are younger. tx_mutex held. */
static void disagg_lane_requeue(struct disagg_lane *lane, struct disagg_io *io)
{
	struct llist_node **at = &lane->tx_list;

	while (*at && llist_entry(*at, struct disagg_io, node)->submitted < io->submitted)
		at = &(*at)->next;
	io->node.next = *at;
	*at = &io->node;
}

/**
 * disagg_lane_park - queue again what was sent and not answered
 * @lane: a lane that is silenced; the link's swap_lock is held
 *
 * What the target did of it, if anything, has ended before it welcomes this lane
 * again, so that a request that is sent twice has the effect of one.
 *
 * The oldest goes first, but for a PING, so that it has an answer if a connection answers
 * any request, and then the next.
 *
 * Return: whether DISAGG_LOSSES_MAX connections have not answered the oldest.
 */
bool disagg_lane_park(struct disagg_lane *lane)
{
	struct disagg_io *first, *io, *oldest = NULL;
	bool stuck = false;
	u32 tag, n = 0;

	mutex_lock(&lane->tx_mutex);
	first = disagg_lane_next(lane);
	/* It was being sent, and is still in the list. */
	if (first && lane->slots[le32_to_cpu(first->frame.tag)].io == first)
		lane->tx_list = first->node.next;
	for (tag = 0; tag <= lane->link->depth; tag++) {
		io = lane->slots[tag].io;
		/* Its payload was on its way in. */
		if (lane->rx_io && le32_to_cpu(lane->rx_io->frame.tag) == tag)
			io = lane->rx_io;
		if (!io)
			continue;
		lane->slots[tag].io = NULL;
		io->sent = 0;
		lane->sent_writes |= disagg_io_writes(io);
		if (!disagg_io_is_probe(lane, io)) {
			n++;
			if (!oldest || io->submitted < oldest->submitted)
				oldest = io;
		}
		disagg_lane_requeue(lane, io);
	}
	if (oldest) {
		oldest->losses = min(oldest->losses + 1, DISAGG_LOSSES_MAX);
		stuck = oldest->losses == DISAGG_LOSSES_MAX;
	}
	lane->rx_io = NULL;
	lane->rx_have = 0;
	lane->rx_state = DISAGG_RX_FRAME;
	WRITE_ONCE(lane->replays, lane->replays + n);
	mutex_unlock(&lane->tx_mutex);
	return stuck;
}

/* All that is queued has waited for the lane. tx_mutex held, nothing is sent. */
static void disagg_lane_count_waiting(struct disagg_lane *lane)
{
	struct llist_node **end = &lane->tx_list;
	struct disagg_io *io;

	while (*end)
		end = &(*end)->next;
	*end = llist_reverse_order(llist_del_all(&lane->tx_new));
	llist_for_each_entry(io, lane->tx_list, node) {
		if (io->waited || disagg_io_is_probe(lane, io))
			continue;
		lane->owed++;
		io->waited = true;
	}
	lane->answered = false;
}

/* A lane has a new socket, which is started: send on. */
void disagg_lane_resume(struct disagg_lane *lane)
{
	mutex_lock(&lane->tx_mutex);
	disagg_lane_count_waiting(lane);
	lane->stopped = false;
	WRITE_ONCE(lane->tx_blocked, false);
	mutex_unlock(&lane->tx_mutex);
	queue_work(disagg_wq, &lane->tx_work);
}

/* A lane is lost, and DISAGG_LANE_FAIL_FAST is set: end what waits on it. */
void disagg_lane_end_parked(struct disagg_lane *lane)
{
	mutex_lock(&lane->tx_mutex);
	/* Who finds the mutex held leaves the rest to its holder, unless that is blocked. */
	WRITE_ONCE(lane->tx_blocked, false);
	mutex_unlock(&lane->tx_mutex);
	disagg_lane_kick(lane);
}

/* Forget what is queued: the link has failed, and its owner ends the requests. */
void disagg_lane_drop(struct disagg_lane *lane)
{
	mutex_lock(&lane->tx_mutex);
	lane->tx_list = NULL;
	llist_del_all(&lane->tx_new);
	mutex_unlock(&lane->tx_mutex);
}

void disagg_tcp_tx_work(struct work_struct *work)
{
	struct disagg_lane *lane = container_of(work, struct disagg_lane, tx_work);

	mutex_lock(&lane->tx_mutex);
	disagg_lane_transmit(lane, true);
	mutex_unlock(&lane->tx_mutex);
	smp_mb();	/* as in disagg_lane_kick() */
	if (!llist_empty(&lane->tx_new) && !READ_ONCE(lane->tx_blocked))
		queue_work(disagg_wq, work);
}
