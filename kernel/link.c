// SPDX-License-Identifier: GPL-2.0
/*
 * A link: its lanes, what their frames mean, and how they come to an end.
 *
 * Whatever goes wrong on a lane ends in disagg_lane_fail(), which may be called
 * anywhere. The rest is done in order by the lane's down_work: the lane is
 * silenced and its socket aborted, so that no page of a request is in a send
 * queue any more, and only then are the requests that were not answered queued
 * again, for the next socket. The other lanes go on.
 *
 * The link itself ends by disagg_link_fail(), because it is not to be kept, or
 * has been lost for too long, or has no lease any more, or its device goes by
 * force. Then its down_work does the same with all lanes, and gives the requests
 * back to the front. Nothing in either waits for the peer.
 *
 * Lock order: swap_lock, then a lane's tx_mutex, then its rx_mutex, then its
 * socket's lock, then fail_lock.
 */
#include <linux/blkdev.h>
#include <linux/crc32c.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "disagg_trace.h"
#include "link.h"

/*
 * A request may take so many times io_timeout as long as the target shows that it
 * lives: it may have much to write to its storage. Not for ever, since it may have
 * forgotten it, which another connection mends.
 */
#define DISAGG_PATIENCE		10
/* So often a request is sent again because its payload is said to have come damaged. */
#define DISAGG_DAMAGED_MAX	3

struct workqueue_struct *disagg_wq;

static void disagg_lane_probe_work(struct work_struct *work);

static void disagg_link_down_work(struct work_struct *work)
{
	struct disagg_link *link = container_of(work, struct disagg_link, down_work);
	u32 i;

	link->ops->stop(link);
	mutex_lock(&link->swap_lock);
	for (i = 0; i < link->nr_lanes; i++)
		disagg_tcp_stop(&link->lanes[i], true);
	for (i = 0; i < link->nr_lanes; i++)
		disagg_lane_drop(&link->lanes[i]);
	mutex_unlock(&link->swap_lock);
	link->ops->down(link);
}

/* When is a lane that is lost to be looked at for a timer of @ms? */
static u64 disagg_lane_due(const struct disagg_lane *lane, u32 ms)
{
	return lane->lost_since + msecs_to_jiffies(ms);
}

/*
 * The target may yet do writes that it was sent and that are failed here: then no later
 * one may be done before them, on whichever lane. Once it has welcomed this lane again,
 * what the old connection brought has ended. swap_lock held.
 */
static void disagg_lane_set_doubt(struct disagg_lane *lane, bool in_doubt)
{
	struct disagg_link *link = lane->link;

	if (lane->in_doubt == in_doubt)
		return;
	lane->in_doubt = in_doubt;
	WRITE_ONCE(link->nr_in_doubt, link->nr_in_doubt + (in_doubt ? 1 : -1));
}

/* Do what is due; come again for what is not. swap_lock held. */
static void disagg_link_check_timers(struct disagg_link *link)
{
	u32 fail_fast = READ_ONCE(link->fail_fast), dead_after = READ_ONCE(link->dead_after);
	u64 now = get_jiffies_64(), next = now + MAX_JIFFY_OFFSET;
	u32 i;

	for (i = 0; i < link->nr_lanes; i++) {
		struct disagg_lane *lane = &link->lanes[i];
		u64 due;

		if (!lane->lost)
			continue;
		if (dead_after != DISAGG_NEVER) {
			due = disagg_lane_due(lane, dead_after);
			if (time_after_eq64(now, due)) {
				disagg_link_fail(link, "lane %u: %s; given up after %u ms", i,
						 lane->reason, dead_after);
				return;
			}
			next = min(next, due);
		}
		if (fail_fast == DISAGG_NEVER) {
			clear_bit(DISAGG_LANE_FAIL_FAST, &lane->flags);
			continue;
		}
		due = disagg_lane_due(lane, fail_fast);
		if (time_after_eq64(now, due)) {
			set_bit(DISAGG_LANE_FAIL_FAST, &lane->flags);
			disagg_lane_set_doubt(lane, lane->sent_writes);
			disagg_lane_end_parked(lane);
		} else {
			clear_bit(DISAGG_LANE_FAIL_FAST, &lane->flags);
			next = min(next, due);
		}
	}
	if (next != now + MAX_JIFFY_OFFSET)
		mod_delayed_work(disagg_wq, &link->timer_work, next - now);
}

static void disagg_link_timer_work(struct work_struct *work)
{
	struct disagg_link *link = container_of(to_delayed_work(work), struct disagg_link,
						timer_work);

	mutex_lock(&link->swap_lock);
	if (disagg_link_is_up(link))
		disagg_link_check_timers(link);
	mutex_unlock(&link->swap_lock);
}

/* Take a lane's socket away and keep its requests. swap_lock held. */
static void disagg_lane_lose(struct disagg_lane *lane)
{
	struct disagg_link *link = lane->link;
	bool stuck;

	disagg_tcp_stop(lane, true);
	disagg_tcp_release(lane);
	stuck = disagg_lane_park(lane);
	if (lane->lost)
		return;
	/*
	 * A lane that comes back again and again and answers nothing was never back, nor was
	 * it for a request that no connection answers, whatever else they do.
	 */
	if (!lane->owed || (lane->answered && !stuck))
		lane->lost_since = get_jiffies_64();
	spin_lock_bh(&link->fail_lock);
	lane->lost = true;
	spin_unlock_bh(&link->fail_lock);
	WRITE_ONCE(link->nr_lost, link->nr_lost + 1);
	trace_disagg_lane_state(lane, lane->generation, true);
}

static void disagg_lane_down_work(struct work_struct *work)
{
	struct disagg_lane *lane = container_of(work, struct disagg_lane, down_work);
	struct disagg_link *link = lane->link;

	mutex_lock(&link->swap_lock);
	/* It may have another socket by now, or the link's end may take care of it. */
	if (test_bit(DISAGG_LANE_BROKEN, &lane->flags) && lane->sock &&
	    disagg_link_is_up(link)) {
		disagg_lane_lose(lane);
		disagg_link_check_timers(link);
		link->ops->changed(link);
	}
	mutex_unlock(&link->swap_lock);
}

/**
 * disagg_link_alloc - make a link without sockets
 * @ops: its owner's calls
 * @owner: for these
 * @nr_lanes: lanes, at least one
 * @depth: requests in flight per lane
 * @max_payload: bytes that may follow a frame
 * @features: DISAGG_WIRE_F_* as negotiated
 *
 * Return: the link, to be freed by disagg_link_free(), or NULL.
 */
struct disagg_link *disagg_link_alloc(const struct disagg_link_ops *ops, void *owner,
				      u32 nr_lanes, u32 depth, u32 max_payload,
				      u64 features)
{
	struct disagg_link *link;
	u32 i;

	link = kvzalloc(struct_size(link, lanes, nr_lanes), GFP_KERNEL);
	if (!link)
		return NULL;
	link->ops = ops;
	link->owner = owner;
	link->nr_lanes = nr_lanes;
	link->depth = depth;
	link->max_payload = max_payload;
	link->features = features;
	link->fail_fast = DISAGG_NEVER;
	spin_lock_init(&link->fail_lock);
	mutex_init(&link->swap_lock);
	INIT_WORK(&link->down_work, disagg_link_down_work);
	INIT_DELAYED_WORK(&link->timer_work, disagg_link_timer_work);

	for (i = 0; i < nr_lanes; i++) {
		struct disagg_lane *lane = &link->lanes[i];

		lane->link = link;
		lane->index = i;
		init_llist_head(&lane->tx_new);
		mutex_init(&lane->tx_mutex);
		INIT_WORK(&lane->tx_work, disagg_tcp_tx_work);
		INIT_WORK(&lane->down_work, disagg_lane_down_work);
		INIT_WORK(&lane->rx_work, disagg_tls_rx_work);
		INIT_DELAYED_WORK(&lane->retry_work, disagg_lane_retry_work);
		mutex_init(&lane->rx_mutex);
		lane->transport = &disagg_tcp_transport;
		lane->rx_bounce = kvmalloc(DISAGG_RX_BOUNCE, GFP_KERNEL);
		INIT_DELAYED_WORK(&lane->probe_work, disagg_lane_probe_work);
		/* One more for the PING. */
		lane->slots = kvcalloc(depth + 1, sizeof(*lane->slots), GFP_KERNEL);
		lane->latency = kcalloc(DISAGG_NR_OPERATIONS, sizeof(*lane->latency),
					GFP_KERNEL);
		if (!lane->slots || !lane->latency || !lane->rx_bounce) {
			disagg_link_free(link);
			return NULL;
		}
	}
	return link;
}

/* A link-local address means nothing without the interface. */
static bool disagg_has_scope(const struct sockaddr_storage *addr)
{
	return addr->ss_family == AF_INET6 && ((struct sockaddr_in6 *)addr)->sin6_scope_id;
}

/* A lane without a socket gets one. */
static void disagg_lane_adopt(struct disagg_lane *lane, struct socket *sock)
{
	struct sockaddr_storage addr = {};

	kernel_getpeername(sock, (struct sockaddr *)&addr);
	spin_lock_bh(&lane->link->fail_lock);
	snprintf(lane->peer, sizeof(lane->peer),
		 disagg_has_scope(&addr) ? "%pISpsc" : "%pISpc", &addr);
	lane->restored_at = get_jiffies_64();
	lane->probing = DISAGG_PROBE_NONE;
	spin_unlock_bh(&lane->link->fail_lock);
	lane->sock = sock;
	WRITE_ONCE(lane->transport, disagg_tcp_transport_of(sock->sk));
	WRITE_ONCE(lane->generation, lane->generation + 1);
}

/**
 * disagg_link_set_lane - hand a socket to a lane
 * @link: a link that is not started
 * @index: number of the lane
 * @fd: file descriptor of the current process; the link takes its own reference
 * @why: set to what is wrong with it, on failure
 *
 * Return: 0, or -EINVAL, -EEXIST, -EBADF, -ENOTSOCK, -EPROTONOSUPPORT,
 * -ENOTCONN, -EBUSY.
 */
int disagg_link_set_lane(struct disagg_link *link, u32 index, int fd,
			 const char **why)
{
	struct socket *sock;

	if (index >= link->nr_lanes) {
		*why = "lane: index must be below the number of lanes";
		return -EINVAL;
	}
	if (link->lanes[index].sock) {
		*why = "lane: index is given twice";
		return -EEXIST;
	}
	sock = disagg_tcp_claim(&link->lanes[index], fd, why);
	if (IS_ERR(sock))
		return PTR_ERR(sock);
	disagg_lane_adopt(&link->lanes[index], sock);
	return 0;
}

/**
 * disagg_link_start - let the lanes receive
 * @link: a link all of whose lanes have sockets
 *
 * From here on disagg_link_ops may be called. Return: 0, or -ECONNRESET if a
 * lane was closed meanwhile, or the link has failed before.
 */
int disagg_link_start(struct disagg_link *link)
{
	u32 i;

	spin_lock_bh(&link->fail_lock);
	link->started = disagg_link_is_up(link);
	spin_unlock_bh(&link->fail_lock);
	if (!link->started)
		return -ECONNRESET;

	for (i = 0; i < link->nr_lanes; i++) {
		if (disagg_tcp_start(&link->lanes[i]))
			return -ECONNRESET;
	}
	return disagg_link_is_up(link) ? 0 : -ECONNRESET;
}

/**
 * disagg_link_keep - from now on, wait for lanes that break
 * @link: a link that is started
 *
 * Return: false if the link has failed before.
 */
bool disagg_link_keep(struct disagg_link *link)
{
	bool up;

	spin_lock_bh(&link->fail_lock);
	up = disagg_link_is_up(link);
	link->keep = up;
	spin_unlock_bh(&link->fail_lock);
	return up;
}

/**
 * disagg_link_set_timers - say how long lost lanes are waited for
 * @link: the link
 * @fail_fast: milliseconds after which requests of a lost lane fail, or DISAGG_NEVER
 * @dead_after: milliseconds after which a link with a lost lane fails, or DISAGG_NEVER
 *
 * Both count from the loss, also when it has been. Process context. Return: 0 or -EINTR.
 */
int disagg_link_set_timers(struct disagg_link *link, u32 fail_fast, u32 dead_after)
{
	/* A socket that a program has locked may keep a lane's end waiting, and that us. */
	if (mutex_lock_killable(&link->swap_lock))
		return -EINTR;
	WRITE_ONCE(link->fail_fast, fail_fast);
	WRITE_ONCE(link->dead_after, dead_after);
	if (disagg_link_is_up(link))
		disagg_link_check_timers(link);
	mutex_unlock(&link->swap_lock);
	return 0;
}

/**
 * disagg_link_replace_lane - hand another socket to a lane
 * @link: a link that is started
 * @index: number of the lane
 * @generation: of the lane, as the caller knows it
 * @fd: file descriptor of the current process, welcomed by the target as this lane
 * @why: set to what is wrong, on failure
 *
 * What was not answered is sent again. Process context, may sleep, waits for no
 * peer. Return: 0, -EINVAL, -EINTR, -ENODEV when the link has failed, -ESTALE when
 * the lane has had another socket meanwhile, -ECONNRESET when this one is broken too,
 * or what disagg_link_set_lane() returns for sockets that are of no use.
 */
int disagg_link_replace_lane(struct disagg_link *link, u32 index, u32 generation, int fd,
			     const char **why)
{
	struct disagg_lane *lane;
	struct socket *sock;
	int err = 0;

	if (index >= link->nr_lanes) {
		*why = "lane: index must be below the number of lanes";
		return -EINVAL;
	}
	lane = &link->lanes[index];
	if (mutex_lock_killable(&link->swap_lock))
		return -EINTR;
	if (!disagg_link_is_up(link)) {
		*why = "lane: the device is dead";
		err = -ENODEV;
	} else if (lane->generation != generation) {
		*why = "lane: it has had another connection meanwhile";
		err = -ESTALE;
	}
	if (err)
		goto out;
	sock = disagg_tcp_claim(lane, fd, why);
	if (IS_ERR(sock)) {
		err = PTR_ERR(sock);
		goto out;
	}
	if (lane->sock)
		disagg_lane_lose(lane);
	disagg_lane_adopt(lane, sock);
	/* Whoever breaks it from here on breaks this socket. */
	clear_bit(DISAGG_LANE_CUT, &lane->flags);
	clear_bit(DISAGG_LANE_BROKEN, &lane->flags);
	if (disagg_tcp_start(lane)) {
		/* Unless it has failed already: down_work takes it away, and tells. */
		disagg_lane_fail(lane, "its connection broke while it was handed over");
		*why = "lane: it was closed or broke while it was handed over";
		err = -ECONNRESET;
		goto out;
	}
	spin_lock_bh(&link->fail_lock);
	lane->lost = false;
	spin_unlock_bh(&link->fail_lock);
	WRITE_ONCE(link->nr_lost, link->nr_lost - 1);
	trace_disagg_lane_state(lane, lane->generation, false);
	clear_bit(DISAGG_LANE_FAIL_FAST, &lane->flags);
	lane->sent_writes = false;
	disagg_lane_set_doubt(lane, false);
	disagg_lane_resume(lane);
	link->ops->changed(link);
out:
	mutex_unlock(&link->swap_lock);
	return err;
}

/* fail_lock held. */
static void disagg_link_set_failed(struct disagg_link *link)
{
	smp_wmb();	/* who sees that it failed may read why */
	set_bit(DISAGG_LINK_FAILED, &link->flags);
	/* Before the start and after the end there is nobody to tell. */
	if (link->started)
		queue_work(disagg_wq, &link->down_work);
}

/**
 * disagg_link_fail - the link can't go on
 * @link: the link
 * @fmt: why, for people; only the first reason is kept
 *
 * Any context but a hard interrupt. Returns at once; disagg_link_flush() waits.
 */
void disagg_link_fail(struct disagg_link *link, const char *fmt, ...)
{
	va_list args;

	spin_lock_bh(&link->fail_lock);
	if (disagg_link_is_up(link)) {
		va_start(args, fmt);
		vscnprintf(link->reason, sizeof(link->reason), fmt, args);
		va_end(args);
		disagg_link_set_failed(link);
	}
	spin_unlock_bh(&link->fail_lock);
}

/* fail_lock held. Return: whether @lane is now broken and its reason is to be set. */
static bool disagg_lane_breaks(struct disagg_lane *lane)
{
	smp_rmb();	/* who sees what a cut has broken sees that it was one */
	return disagg_link_is_up(lane->link) && !test_bit(DISAGG_LANE_CUT, &lane->flags) &&
	       !test_and_set_bit(DISAGG_LANE_BROKEN, &lane->flags);
}

/* fail_lock held; the lane's reason is set. */
static void disagg_lane_set_broken(struct disagg_lane *lane)
{
	struct disagg_link *link = lane->link;

	if (link->keep && READ_ONCE(link->dead_after)) {
		queue_work(disagg_wq, &lane->down_work);
		return;
	}
	scnprintf(link->reason, sizeof(link->reason), "lane %u: %s", lane->index,
		  lane->reason);
	disagg_link_set_failed(link);
}

/**
 * disagg_lane_fail - a lane can't go on with the socket that it has
 * @lane: the lane
 * @fmt: why, for people; only the first reason is kept
 *
 * The end of the link, unless it is to be kept. Any context but a hard interrupt.
 */
void disagg_lane_fail(struct disagg_lane *lane, const char *fmt, ...)
{
	struct disagg_link *link = lane->link;
	va_list args;

	spin_lock_bh(&link->fail_lock);
	if (disagg_lane_breaks(lane)) {
		va_start(args, fmt);
		vscnprintf(lane->reason, sizeof(lane->reason), fmt, args);
		va_end(args);
		disagg_lane_set_broken(lane);
	}
	spin_unlock_bh(&link->fail_lock);
}

/* fail_lock held. A request has waited for @age jiffies, DISAGG_PATIENCE times what it may. */
static void disagg_lane_forgotten(struct disagg_lane *lane, u64 age)
{
	if (!disagg_lane_breaks(lane))
		return;
	scnprintf(lane->reason, sizeof(lane->reason),
		  "a request was not done within %u ms, though the target answers",
		  jiffies_to_msecs(age));
	disagg_lane_set_broken(lane);
}

/* fail_lock held. */
static void disagg_lane_silent(struct disagg_lane *lane)
{
	lane->probing = DISAGG_PROBE_NONE;
	if (!disagg_lane_breaks(lane))
		return;
	scnprintf(lane->reason, sizeof(lane->reason), "no answer within %u ms, nor to a PING",
		  jiffies_to_msecs(get_jiffies_64() - lane->probe_since));
	disagg_lane_set_broken(lane);
}

/**
 * disagg_lane_timeout - half of a request's time is over without an answer
 * @lane: the lane that it is on
 * @io: the request
 * @timeout: all of its time, jiffies
 *
 * The lane is probed. One that waits for a socket, or went out again on another one
 * since, has its time anew. Any context but a hard interrupt.
 */
void disagg_lane_timeout(struct disagg_lane *lane, const struct disagg_io *io,
			 unsigned long timeout)
{
	struct disagg_link *link = lane->link;
	u64 age = nsecs_to_jiffies64(ktime_get_ns() - READ_ONCE(io->submitted));
	u64 now = get_jiffies_64();

	spin_lock_bh(&link->fail_lock);
	age = min(age, now - lane->restored_at);
	if (!link->started || lane->lost ||
	    !time_after_eq64(now, lane->restored_at + timeout / 2))
		goto out;
	if (age >= (u64)timeout * DISAGG_PATIENCE) {
		disagg_lane_forgotten(lane, age);
	} else if (!lane->probing) {
		lane->probing = DISAGG_PROBE_WANTED;
		lane->probe_since = now - age;
		/* The rest, of which the block layer's coarse timer may have left little. */
		lane->probe_wait = age < timeout ? max(timeout - (unsigned long)age, timeout / 4) :
						   timeout / 2;
		lane->probe_rx = READ_ONCE(lane->rx_bytes);
		mod_delayed_work(disagg_wq, &lane->probe_work, 0);
	}
out:
	spin_unlock_bh(&link->fail_lock);
}

/*
 * Go on with a probe: send a PING, or see what has come of it. A socket that takes
 * nothing in takes no PING either, which is as good as no answer to one. fail_lock
 * held. Return: whether a PING is to be sent.
 */
static bool disagg_lane_go_on_probing(struct disagg_lane *lane)
{
	u64 now = get_jiffies_64();

	if (!lane->probing)
		return false;
	if (lane->lost || !lane->link->started || READ_ONCE(lane->rx_bytes) != lane->probe_rx) {
		lane->probing = DISAGG_PROBE_NONE;
		return false;
	}
	if (lane->probing == DISAGG_PROBE_WANTED) {
		lane->probing = DISAGG_PROBE_SENT;
		lane->probe_by = now + lane->probe_wait;
		mod_delayed_work(disagg_wq, &lane->probe_work, lane->probe_wait);
		return true;
	}
	if (time_after_eq64(now, lane->probe_by))
		disagg_lane_silent(lane);
	return false;
}

static void disagg_lane_probe_work(struct work_struct *work)
{
	struct disagg_lane *lane = container_of(to_delayed_work(work), struct disagg_lane,
						probe_work);
	bool ping;

	spin_lock_bh(&lane->link->fail_lock);
	ping = disagg_lane_go_on_probing(lane);
	spin_unlock_bh(&lane->link->fail_lock);
	/* One of before, sent again on this socket, does as well. */
	if (!ping || test_and_set_bit(DISAGG_LANE_PINGED, &lane->flags))
		return;
	lane->probe.frame = (struct disagg_wire_frame) {
		.magic = cpu_to_le32(DISAGG_WIRE_MAGIC_REQUEST),
		.op = DISAGG_WIRE_OP_PING,
		.tag = cpu_to_le32(lane->link->depth),
	};
	disagg_lane_send(lane, &lane->probe, true);
}

/* Wait until a link that has failed is down. Needs no help of the peer. */
void disagg_link_flush(struct disagg_link *link)
{
	flush_work(&link->down_work);
}

/* End a link that has no requests. Process context. */
void disagg_link_close(struct disagg_link *link)
{
	u32 i;

	spin_lock_bh(&link->fail_lock);
	link->started = false;
	link->keep = false;
	spin_unlock_bh(&link->fail_lock);
	set_bit(DISAGG_LINK_CLOSING, &link->flags);
	for (i = 0; i < link->nr_lanes; i++) {
		cancel_work_sync(&link->lanes[i].down_work);
		cancel_delayed_work_sync(&link->lanes[i].probe_work);
	}
	cancel_delayed_work_sync(&link->timer_work);
	for (i = 0; i < link->nr_lanes; i++)
		disagg_tcp_stop(&link->lanes[i], false);
	/* A lane without a socket may have been kicked by who has found it busy. */
	for (i = 0; i < link->nr_lanes; i++)
		cancel_work_sync(&link->lanes[i].tx_work);
	cancel_work_sync(&link->down_work);
}

/* Free a link that was closed, or never started. */
void disagg_link_free(struct disagg_link *link)
{
	u32 i;

	if (!link)
		return;
	for (i = 0; i < link->nr_lanes; i++) {
		disagg_tcp_release(&link->lanes[i]);
		kvfree(link->lanes[i].slots);
		kfree(link->lanes[i].latency);
		kvfree(link->lanes[i].rx_bounce);
	}
	kvfree(link);
}

/* Requests that wait for a reply; a snapshot. */
u32 disagg_link_inflight(const struct disagg_link *link)
{
	u64 n = 0;
	u32 i;

	if (!disagg_link_is_up(link))
		return 0;
	for (i = 0; i < link->nr_lanes; i++) {
		const struct disagg_lane *lane = &link->lanes[i];
		u64 ended = READ_ONCE(lane->replies) + READ_ONCE(lane->replays);

		smp_rmb();	/* a reply comes after its request */
		n += READ_ONCE(lane->requests) - ended;
	}
	return n;
}

/* CRC32C of a frame as if its header_crc, which comes last, were zero. */
static u32 disagg_frame_crc(const struct disagg_wire_frame *frame)
{
	static const __le32 zero;
	u32 crc;

	crc = crc32c(~0, frame, offsetof(struct disagg_wire_frame, header_crc));
	return ~crc32c(crc, &zero, sizeof(zero));
}

/* CRC32C of a payload, by a copy of its iterator; @iter is left alone. */
static u32 disagg_payload_crc(const struct iov_iter *payload, size_t len)
{
	struct iov_iter iter = *payload;
	u32 crc = ~0;
	u8 chunk[256];

	iter.data_source = ITER_SOURCE;
	while (len) {
		size_t n = min(len, sizeof(chunk));

		if (copy_from_iter(chunk, n, &iter) != n)
			break;
		crc = crc32c(crc, chunk, n);
		len -= n;
	}
	return ~crc;
}

static bool disagg_io_has_payload(const struct disagg_io *io)
{
	return io->frame.op == DISAGG_WIRE_OP_WRITE;
}

/**
 * disagg_lane_begin - a request is about to be sent
 * @lane: the lane
 * @io: the request; its frame is completed
 *
 * From here on a reply may end the request, once it is wholly sent. Called with
 * the lane's slots locked.
 */
void disagg_lane_begin(struct disagg_lane *lane, struct disagg_io *io)
{
	struct disagg_slot *slot = &lane->slots[le32_to_cpu(io->frame.tag)];

	/* Begun before, and not a byte of it was taken. */
	if (slot->io == io)
		return;
	slot->io = io;
	io->frame.generation = cpu_to_le32(++slot->generation);
	trace_disagg_send(lane, io);
	if (lane->link->features & DISAGG_WIRE_F_CRC32C) {
		if (disagg_io_has_payload(io))
			io->frame.payload_crc =
				cpu_to_le32(disagg_payload_crc(&io->payload,
							       le32_to_cpu(io->frame.length)));
		io->frame.header_crc = cpu_to_le32(disagg_frame_crc(&io->frame));
	}
	if (!disagg_io_is_probe(lane, io))
		WRITE_ONCE(lane->requests, lane->requests + 1);
}

static int disagg_status_to_errno(u16 status)
{
	switch (status) {
	case DISAGG_WIRE_OK:
		return 0;
	case DISAGG_WIRE_E_NO_SPACE:
		return -ENOSPC;
	case DISAGG_WIRE_E_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

/* The operations of the wire, less PING, are those of the statistics, but from 1. */
static void disagg_lane_account(struct disagg_lane *lane, const struct disagg_io *io)
{
	struct disagg_latency *latency = &lane->latency[io->frame.op - DISAGG_WIRE_OP_READ];
	u64 ns = ktime_get_ns() - io->submitted;
	u32 bucket = min(fls64(div_u64(ns, NSEC_PER_USEC)), DISAGG_LATENCY_BUCKETS - 1);

	BUILD_BUG_ON(DISAGG_WIRE_OP_WRITE_ZEROES - DISAGG_WIRE_OP_READ -
		     DISAGG_OPERATION_WRITE_ZEROES);
	BUILD_BUG_ON(DISAGG_NR_OPERATIONS - DISAGG_OPERATION_WRITE_ZEROES - 1);

	WRITE_ONCE(latency->replies, latency->replies + 1);
	WRITE_ONCE(latency->total, latency->total + ns);
	if (ns > latency->longest)
		WRITE_ONCE(latency->longest, ns);
	WRITE_ONCE(latency->buckets[bucket], latency->buckets[bucket] + 1);
}

static void disagg_lane_end(struct disagg_lane *lane, struct disagg_io *io,
			    int error)
{
	lane->rx_state = DISAGG_RX_FRAME;
	lane->rx_have = 0;
	lane->rx_io = NULL;
	lane->owed -= io->waited;
	lane->answered = true;
	/* Whatever the target says to a PING, it lives. Once unlocked @io is probe_work's. */
	if (disagg_io_is_probe(lane, io)) {
		clear_bit_unlock(DISAGG_LANE_PINGED, &lane->flags);
		return;
	}
	WRITE_ONCE(lane->replies, lane->replies + 1);
	disagg_lane_account(lane, io);
	lane->link->ops->done(io, error, lane->rx_batch);
}

/*
 * Its payload came damaged: send it again, without its pages this time. It was changed on
 * its way, or by who has it written, who may do so again. Called with the lane's slots locked.
 */
static void disagg_lane_repeat(struct disagg_lane *lane, struct disagg_io *io)
{
	lane->rx_state = DISAGG_RX_FRAME;
	lane->rx_have = 0;
	io->damaged++;
	io->sent = 0;
	io->splice = false;
	WRITE_ONCE(lane->replays, lane->replays + 1);
	llist_add(&io->node, &lane->tx_new);
	queue_work(disagg_wq, &lane->tx_work);
}

static int disagg_lane_refuse(struct disagg_lane *lane, const char *what)
{
	lane->rx_state = DISAGG_RX_STOPPED;
	disagg_lane_fail(lane, "the target sent %s", what);
	return -EPROTO;
}

/**
 * disagg_lane_reply - look at the frame in rx_frame
 * @lane: the lane
 *
 * Ends its request, or sets the lane up to receive the payload. No field is
 * used before it is checked. Called with the lane's slots locked.
 *
 * Return: 0, or -EPROTO after which nothing more may be read.
 */
int disagg_lane_reply(struct disagg_lane *lane)
{
	const struct disagg_wire_frame *frame = &lane->rx_frame;
	u32 tag = le32_to_cpu(frame->tag);
	u32 payload = le32_to_cpu(frame->payload);
	u16 status = le16_to_cpu(frame->status);
	struct disagg_link *link = lane->link;
	struct disagg_slot *slot;
	struct disagg_io *io;
	u32 expected;

	if (frame->magic != cpu_to_le32(DISAGG_WIRE_MAGIC_REPLY))
		return disagg_lane_refuse(lane, "something that is no reply");
	if (link->features & DISAGG_WIRE_F_CRC32C) {
		if (le32_to_cpu(frame->header_crc) != disagg_frame_crc(frame))
			return disagg_lane_refuse(lane, "a frame with a wrong CRC");
	} else if (frame->header_crc || frame->payload_crc) {
		return disagg_lane_refuse(lane, "a CRC that was not agreed on");
	}
	if (frame->flags || memchr_inv(frame->reserved, 0, sizeof(frame->reserved)))
		return disagg_lane_refuse(lane, "a frame with reserved bits set");
	if (tag > link->depth)
		return disagg_lane_refuse(lane, "a tag out of range");
	if (payload > link->max_payload)
		return disagg_lane_refuse(lane, "a payload that is too long");

	trace_disagg_receive(lane, frame);
	slot = &lane->slots[tag];
	io = slot->io;
	if (!io || le32_to_cpu(frame->generation) != slot->generation) {
		WRITE_ONCE(lane->stale, lane->stale + 1);
		lane->rx_state = payload ? DISAGG_RX_SKIP : DISAGG_RX_FRAME;
		lane->rx_have = 0;
		lane->rx_left = payload;
		return 0;
	}

	if (frame->op != io->frame.op)
		return disagg_lane_refuse(lane, "a reply to another operation");
	if (io->sent != sizeof(io->frame) + le32_to_cpu(io->frame.payload) ||
	    !disagg_tcp_has_request(lane, io))
		return disagg_lane_refuse(lane, "a reply before it had the request");
	expected = frame->op == DISAGG_WIRE_OP_READ && status == DISAGG_WIRE_OK ?
		   le32_to_cpu(io->frame.length) : 0;
	if (payload != expected)
		return disagg_lane_refuse(lane, "a payload of a wrong length");
	if (status == DISAGG_WIRE_E_PROTO)
		return disagg_lane_refuse(lane, "word that it can't read us");
	if (status == DISAGG_WIRE_E_STALE) {
		lane->rx_state = DISAGG_RX_STOPPED;
		disagg_link_fail(link, "lane %u: the target sent word that the lease has ended",
				 lane->index);
		return -EPROTO;
	}

	slot->io = NULL;
	if (status == DISAGG_WIRE_E_CRC && (link->features & DISAGG_WIRE_F_CRC32C) &&
	    io->frame.payload && io->damaged < DISAGG_DAMAGED_MAX) {
		disagg_lane_repeat(lane, io);
		return 0;
	}
	if (payload) {
		lane->rx_state = DISAGG_RX_PAYLOAD;
		lane->rx_left = payload;
		lane->rx_io = io;
		lane->rx_iter = io->payload;
		lane->rx_crc = ~0;
		return 0;
	}
	disagg_lane_end(lane, io, disagg_status_to_errno(status));
	return 0;
}

/* Some more of the payload has come. Called with the lane's slots locked. */
void disagg_lane_payload_crc(struct disagg_lane *lane, const void *data, size_t len)
{
	lane->rx_crc = crc32c(lane->rx_crc, data, len);
}

/**
 * disagg_lane_payload_done - the payload of rx_io is all there
 * @lane: the lane
 *
 * Called with the lane's slots locked. Return: 0, or -EPROTO after which nothing
 * more may be read; the request is then ended by the link's end.
 */
int disagg_lane_payload_done(struct disagg_lane *lane)
{
	struct disagg_io *io = lane->rx_io;

	if ((lane->link->features & DISAGG_WIRE_F_CRC32C) &&
	    ~lane->rx_crc != le32_to_cpu(lane->rx_frame.payload_crc))
		return disagg_lane_refuse(lane, "a payload with a wrong CRC");
	disagg_lane_end(lane, io, 0);
	return 0;
}

/**
 * disagg_lane_receive - read what a lane's socket holds
 * @lane: the lane
 * @read: the transport's reader; it calls disagg_lane_reply() and the like
 *
 * Requests that end meanwhile are completed together, when it returns. By one at a time;
 * if he has not locked the lane's slots, @read does so.
 */
void disagg_lane_receive(struct disagg_lane *lane,
			 void (*read)(struct disagg_lane *lane))
{
	DEFINE_IO_COMP_BATCH(batch);

	lane->rx_batch = &batch;
	read(lane);
	lane->rx_batch = NULL;
	if (batch.complete)
		batch.complete(&batch);
}

int disagg_link_init(void)
{
	disagg_wq = alloc_workqueue("disagg", WQ_MEM_RECLAIM | WQ_HIGHPRI | WQ_UNBOUND, 0);
	if (!disagg_wq)
		return -ENOMEM;
	disagg_tcp_memalloc(true);
	return 0;
}

void disagg_link_exit(void)
{
	disagg_tcp_memalloc(false);
	destroy_workqueue(disagg_wq);
}
