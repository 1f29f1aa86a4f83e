/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DISAGG_LINK_H
#define _DISAGG_LINK_H

#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <uapi/linux/disagg_netlink.h>
#include <uapi/linux/disagg_wire.h>

struct disagg_lane;
struct io_comp_batch;
struct netlink_ext_ack;
struct sock;
struct socket;

#define DISAGG_REASON_LEN	96
#define DISAGG_NR_OPERATIONS	5
/* One record of TLS. */
#define DISAGG_RX_BOUNCE	SZ_16K
/* When so many connections did not answer the oldest request, it does not matter what else. */
#define DISAGG_LOSSES_MAX	3

/**
 * struct disagg_io - one request on its way through a lane
 *
 * Lives in its front's request and belongs to the lane from disagg_lane_send()
 * until it is handed to disagg_link_ops.done, or, after disagg_link_ops.down,
 * back to the front.
 *
 * @node: entry of the lane's list of requests to send
 * @frame: the request as it goes over the wire; the lane fills in its
 *	generation and header_crc
 * @payload: WRITE: what to send; READ: where to put the reply's payload.
 *	frame.length bytes; not used otherwise
 * @sent: bytes of frame and payload that the socket has taken
 * @end_pos: bytes that TCP must have acknowledged for all of it to be there, once
 *	it is wholly sent; zero where the socket has copied it
 * @splice: the payload's pages may be handed to the socket by reference
 * @waited: it has waited for a lost lane to come back, and is counted in its owed
 * @damaged: how often the target has said that its payload came damaged
 * @losses: connections that broke when it was the oldest that they had not answered, up to
 *	DISAGG_LOSSES_MAX
 * @submitted: when the front took it on; nanoseconds, monotonic
 */
struct disagg_io {
	struct llist_node node;
	struct disagg_wire_frame frame;
	struct iov_iter payload;
	u32 sent;
	u64 end_pos;
	bool splice;
	bool waited;
	u8 damaged;
	u8 losses;
	u64 submitted;
};

/**
 * struct disagg_latency - how long requests of one operation took
 * @total: nanoseconds, of all of them
 * @longest: nanoseconds
 * @buckets: as the netlink specification has them
 */
struct disagg_latency {
	u64 replies;
	u64 total;
	u64 longest;
	u64 buckets[DISAGG_LATENCY_BUCKETS];
};

/**
 * struct disagg_slot - what a tag stands for on a lane
 * @io: the request that waits for a reply, or NULL
 * @generation: of the request that used this tag last
 */
struct disagg_slot {
	struct disagg_io *io;
	u32 generation;
};

enum disagg_rx_state {
	DISAGG_RX_FRAME,	/* reading a frame */
	DISAGG_RX_PAYLOAD,	/* reading the payload of rx_io */
	DISAGG_RX_SKIP,		/* dropping the payload of a stale reply */
	DISAGG_RX_STOPPED,	/* what comes is not read any more */
};

enum disagg_probing {
	DISAGG_PROBE_NONE,
	DISAGG_PROBE_WANTED,	/* probe_work is about to send a PING */
	DISAGG_PROBE_SENT,	/* it has, and looks for a sign of life later */
};

/**
 * struct disagg_transport - what differs between the sockets that lanes may have
 * @security: DISAGG_LANE_SECURITY_*
 * @data_ready: of the socket; called with the socket's lock held, as the next two may be
 * @write_space: of the socket
 * @state_change: of the socket
 * @occupy: the socket is about to be used; keep whoever else has it from making
 *	something else of it. Socket lock held. Return: 0, or -ENOTCONN when that has
 *	happened already
 * @leave: undo @occupy. Socket lock held
 * @lock: what @slots and the receive position are guarded by. tx_mutex may be held
 * @trylock: as @lock, for who submits: he must not wait for who receives, where that may
 *	take as long as the target likes, since the block layer's timers wait for him.
 *	Return: whether it is locked. NULL: @lock is never held for long
 * @unlock: let it go
 * @send: hand the socket some more of a request, from io->sent on; @more: others follow.
 *	Locked. Return: bytes taken, or -EAGAIN when tx_work will be queued once it is worth
 *	trying again, or another negative errno
 * @push: send on what @send has taken and the socket has kept above TCP, if anything;
 *	NULL: it keeps nothing. Locked
 * @cut: have whoever receives end it soon, though the target sends on, and nobody
 *	receive any more; takes no lock. NULL: it does not depend on the target
 */
struct disagg_transport {
	u32 security;
	void (*data_ready)(struct sock *sk);
	void (*write_space)(struct sock *sk);
	void (*state_change)(struct sock *sk);
	int (*occupy)(struct sock *sk);
	void (*leave)(struct sock *sk);
	void (*lock)(struct disagg_lane *lane);
	bool (*trylock)(struct disagg_lane *lane);
	void (*unlock)(struct disagg_lane *lane);
	int (*send)(struct disagg_lane *lane, struct disagg_io *io, bool more);
	void (*push)(struct disagg_lane *lane);
	void (*cut)(struct disagg_lane *lane);
};

/**
 * struct disagg_lane - one connection of a link
 *
 * Requests are queued without a lock on @tx_new, moved to @tx_list and sent
 * under @tx_mutex. Everything from @slots on is guarded by what the transport
 * locks, the socket's own lock or @rx_mutex, which sender and receiver both hold:
 * so a reply can't be looked at before its request is wholly sent.
 *
 * A lane whose connection breaks loses its socket and keeps its requests, those
 * that were sent too, until it is given another one (disagg_link_replace_lane()).
 *
 * @generation: how many sockets it has had; guarded by the link's swap_lock
 * @lost: it has no socket; changes under swap_lock and the link's fail_lock
 * @lost_since: jiffies; while @lost, guarded by swap_lock. Since when requests wait for
 *	this lane, if it was lost again before it had answered anything, or them several times
 * @owed: requests that waited for it and are not answered; guarded as the slots are,
 *	as is @answered
 * @answered: some request or PING was, since it got the socket that it has
 * @sent_writes: requests that change data went out on a socket that it has lost, and the
 *	target has not welcomed it since; guarded by swap_lock, as is @in_doubt
 * @in_doubt: such requests were failed; counted in the link's nr_in_doubt
 * @restored_at: jiffies; when it got the socket it has; guarded by the link's fail_lock
 * @transport: of the socket that it has, or had last; changes under swap_lock, while
 *	nothing is sent or received
 * @rx_work: receives, where that cannot be done in the socket's callback
 * @retry_work: queues @tx_work and @rx_work after a while
 * @rx_bounce: DISAGG_RX_BOUNCE bytes, for what must not be received where it belongs. Every
 *	lane has them: when one gets a socket that needs them memory may be short
 * @probing: whether a sign of life is waited for; guarded by the link's fail_lock, as are
 *	the other probe_s. The target's silence ends at any byte of it
 * @probe_wait: jiffies that there are for a sign of life after the PING
 * @probe_since: jiffies; when the request was submitted
 * @probe_by: jiffies; when the lane is lost without a sign of life
 * @probe_rx: rx_bytes when that was begun
 * @probe: the PING; its tag is the one behind those of requests, and nobody else's
 * @peer: guarded by the link's fail_lock, as is @reason
 * @reason: why it broke last
 */
struct disagg_lane {
	struct disagg_link *link;
	struct socket *sock;
	const struct disagg_transport *transport;
	u32 index;
	u32 generation;
	unsigned long flags;
	bool stopped;			/* sends nothing; guarded by tx_mutex */
	bool lost;
	bool sent_writes;
	bool in_doubt;
	u32 owed;
	bool answered;
	u64 lost_since;
	u64 restored_at;
	enum disagg_probing probing;
	unsigned long probe_wait;
	u64 probe_since;
	u64 probe_by;
	u64 probe_rx;
	struct disagg_io probe;
	struct delayed_work probe_work;
	struct work_struct down_work;
	char peer[64];
	char reason[DISAGG_REASON_LEN];

	struct llist_head tx_new;
	struct mutex tx_mutex;		/* one sender at a time */
	struct llist_node *tx_list;	/* oldest first */
	bool tx_blocked;		/* the socket's buffer is full, or there is none */
	struct work_struct tx_work;

	void (*saved_data_ready)(struct sock *sk);
	void (*saved_write_space)(struct sock *sk);
	void (*saved_state_change)(struct sock *sk);

	struct work_struct rx_work;
	struct delayed_work retry_work;
	struct mutex rx_mutex;		/* guards what follows, for some transports */
	struct disagg_slot *slots;
	enum disagg_rx_state rx_state;
	u32 rx_have;			/* bytes of rx_frame that are here */
	u32 rx_left;			/* bytes of payload still to come */
	struct disagg_wire_frame rx_frame;
	struct disagg_io *rx_io;
	struct iov_iter rx_iter;
	void *rx_bounce;
	u32 rx_crc;			/* of the payload that came so far, not inverted */
	struct io_comp_batch *rx_batch;	/* of who receives */

	u64 requests;
	u64 replays;			/* of them, queued again */
	u64 replies;
	u64 stale;
	u64 tx_bytes;
	u64 rx_bytes;
	struct disagg_latency *latency;	/* by enum disagg_operation; written as the slots are */
};

/**
 * struct disagg_link_ops - what a link calls in the device that owns it
 * @done: a request has ended with @error (0 or negative errno). Called in
 *	softirq or process context with the lane's slots locked or tx_mutex held;
 *	must not sleep, nor send.
 * @stop: stop handing requests to the link; on return no disagg_lane_send()
 *	runs. Process context, may sleep.
 * @down: the lanes are silent and nothing touches the link's requests any
 *	more: end them. Process context, may sleep.
 * @changed: a lane was lost or has come back. Process context, may sleep.
 */
struct disagg_link_ops {
	void (*done)(struct disagg_io *io, int error,
		     struct io_comp_batch *batch);
	void (*stop)(struct disagg_link *link);
	void (*down)(struct disagg_link *link);
	void (*changed)(struct disagg_link *link);
};

enum disagg_lane_flags {
	DISAGG_LANE_BROKEN,	/* its socket is of no use; down_work is queued or has run */
	DISAGG_LANE_FAIL_FAST,	/* lost for so long that its requests fail */
	DISAGG_LANE_PINGED,	/* its PING is queued, or sent and not answered */
	DISAGG_LANE_CUT,	/* its socket is being taken away and receives no more */
};

enum disagg_link_flags {
	DISAGG_LINK_FAILED,	/* no more requests; down_work is queued, once started */
	DISAGG_LINK_CLOSING,	/* the peer may close, it's all over */
};

/**
 * struct disagg_link - the session between one device and its target
 * @id: of the device, for traces
 * @owner: for @ops
 * @max_payload: bytes that may follow a frame
 * @depth: requests in flight per lane; tags are below it
 * @fail_lock: makes failing one with starting and closing
 * @started: a failure has to be dealt with by down_work; between start and close
 * @keep: a lane that breaks is waited for, up to @dead_after
 * @reason: why it failed; stable once DISAGG_LINK_FAILED is seen and
 *	down_work has run
 * @swap_lock: one lane loses or gets its socket at a time. Outside of every
 *	tx_mutex
 * @fail_fast: milliseconds after which a lost lane's requests fail, or DISAGG_NEVER
 * @dead_after: milliseconds after which a link with a lost lane fails, or
 *	DISAGG_NEVER; zero: at once
 * @nr_lost: lanes that have no socket; guarded by @swap_lock
 * @nr_in_doubt: lanes whose writes were failed and may yet be done by the target: as
 *	long as there is one no other may be let pass; guarded by @swap_lock
 * @timer_work: does what @fail_fast and @dead_after say
 */
struct disagg_link {
	u32 id;
	const struct disagg_link_ops *ops;
	void *owner;
	unsigned long flags;
	u64 features;
	u32 max_payload;
	u32 depth;
	spinlock_t fail_lock;		/* guards started, and failing */
	bool started;
	bool keep;			/* guarded by fail_lock */
	struct work_struct down_work;
	char reason[DISAGG_REASON_LEN];
	struct mutex swap_lock;		/* one lane's change at a time */
	u32 fail_fast;
	u32 dead_after;
	u32 nr_lost;
	u32 nr_in_doubt;
	struct delayed_work timer_work;
	u32 nr_lanes;
	struct disagg_lane lanes[] __counted_by(nr_lanes);
};

static inline bool disagg_io_is_probe(const struct disagg_lane *lane,
				      const struct disagg_io *io)
{
	return io == &lane->probe;
}

static inline bool disagg_link_is_up(const struct disagg_link *link)
{
	return likely(!test_bit(DISAGG_LINK_FAILED, &link->flags));
}

/* link.c: life of a link */
struct disagg_link *disagg_link_alloc(const struct disagg_link_ops *ops, void *owner,
				      u32 nr_lanes, u32 depth, u32 max_payload,
				      u64 features);
int disagg_link_set_lane(struct disagg_link *link, u32 index, int fd,
			 const char **why);
int disagg_link_start(struct disagg_link *link);
bool disagg_link_keep(struct disagg_link *link);
int disagg_link_set_timers(struct disagg_link *link, u32 fail_fast, u32 dead_after);
int disagg_link_replace_lane(struct disagg_link *link, u32 index, u32 generation, int fd,
			     const char **why);
__printf(2, 3)
void disagg_link_fail(struct disagg_link *link, const char *fmt, ...);
__printf(2, 3)
void disagg_lane_fail(struct disagg_lane *lane, const char *fmt, ...);
void disagg_lane_timeout(struct disagg_lane *lane, const struct disagg_io *io,
			 unsigned long timeout);
void disagg_link_flush(struct disagg_link *link);
void disagg_link_close(struct disagg_link *link);
void disagg_link_free(struct disagg_link *link);
u32 disagg_link_inflight(const struct disagg_link *link);

int disagg_link_init(void);
void disagg_link_exit(void);

/* link.c: frames, as both directions of a transport need them */
void disagg_lane_begin(struct disagg_lane *lane, struct disagg_io *io);
int disagg_lane_reply(struct disagg_lane *lane);
int disagg_lane_payload_done(struct disagg_lane *lane);
void disagg_lane_payload_crc(struct disagg_lane *lane, const void *data, size_t len);
void disagg_lane_receive(struct disagg_lane *lane,
			 void (*read)(struct disagg_lane *lane));

/* tcp.c */
struct socket *disagg_tcp_claim(struct disagg_lane *lane, int fd, const char **why);
void disagg_tcp_memalloc(bool on);
int disagg_tcp_start(struct disagg_lane *lane);
void disagg_tcp_stop(struct disagg_lane *lane, bool abort);
void disagg_tcp_release(struct disagg_lane *lane);
const struct disagg_transport *disagg_tcp_transport_of(const struct sock *sk);
void disagg_tcp_check_state(struct disagg_lane *lane, int err);
bool disagg_tcp_has_request(const struct disagg_lane *lane, const struct disagg_io *io);
void disagg_lane_send(struct disagg_lane *lane, struct disagg_io *io, bool last);
void disagg_lane_kick(struct disagg_lane *lane);
bool disagg_lane_park(struct disagg_lane *lane);
void disagg_lane_resume(struct disagg_lane *lane);
void disagg_lane_end_parked(struct disagg_lane *lane);
void disagg_lane_drop(struct disagg_lane *lane);
void disagg_tcp_tx_work(struct work_struct *work);
void disagg_lane_retry(struct disagg_lane *lane);
void disagg_lane_retry_work(struct work_struct *work);

extern const struct disagg_transport disagg_tcp_transport;
void disagg_reclassify(struct lockdep_map *map);

/* tls.c */
int disagg_tls_check(struct sock *sk, const char **why);
void disagg_tls_reclassify(struct sock *sk);
void disagg_tls_rx_work(struct work_struct *work);

extern const struct disagg_transport disagg_tls_transport;

extern struct workqueue_struct *disagg_wq;

#endif /* _DISAGG_LINK_H */
