// SPDX-License-Identifier: GPL-2.0
/*
 * A lane's way back: connect, GREETING, HELLO, WELCOME, and the socket goes to the
 * module. Nothing is waited for; nothing is allocated but by TLS, in memory that main.c has
 * taken for it.
 */
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <syslog.h>
#include <unistd.h>

#include "agent.h"
#include "lease.h"
#include "wire.h"

#define MS			1000000ULL
#define PAUSE_MIN_NS		(20 * MS)
/*
 * A target that comes back is to be met within a second: what is sent while it is away is
 * lost, and the kernel sends it again after one second, and three. So no try may last
 * from there to much later, but for targets that are known to be far.
 */
#define PAUSE_MAX_NS		(200 * MS)
#define CONNECT_NS		(500 * MS)
#define CONNECT_LONG_NS		(1500 * MS)	/* it may be far away, now and then */
#define LONG_EVERY		16		/* tries */
#define HANDSHAKE_NS		(1500 * MS)	/* of the first try; then twice as long, and so on */
#define HANDSHAKE_MAX_NS	(5000 * MS)
#define LIVED_NS		(1000 * MS)
#define SAY_EVERY		64		/* tries */
#define SAY_OTHER		8		/* of the first tries, one that fails otherwise */
/*
 * A target that does not accept this host's key is there, and has the work of a handshake with
 * each try: there may be a thousand lanes. So the key is read again, and after that, once more
 * in vain, somebody has to change something first.
 */
#define PAUSE_DENIED_NS		(2000 * MS)
#define TLS_MAX			16		/* handshakes at once, for which there is memory */
#define TLS_DEVICE_MAX		4		/* of one device, from its connect on: its target may be silent */

/* From half of @ns to one and a half: hosts that lost a target together come apart. */
static uint64_t jitter(uint64_t ns)
{
	uint16_t chance = 0;

	dsg_random(&chance, sizeof(chance));
	return ns / 2 + ns * chance / 65536;
}

static void pause_lane(struct lane *lane)
{
	uint64_t ns = PAUSE_MIN_NS << (lane->tries < 8 ? lane->tries : 8);

	lane->state = LANE_PAUSE;
	lane->deadline = dsg_deadline(jitter(ns > PAUSE_MAX_NS ? PAUSE_MAX_NS : ns));
	lane->tries++;
}

static unsigned int tls_count;

static void end_tls(struct lane *lane)
{
	if (lane->slot)
		lane->device->slots--;
	lane->slot = false;
	if (!lane->tls)
		return;
	dsg_tls_free(lane->tls);
	lane->tls = NULL;
	tls_count--;
}

/* Others are at it; this is no failed try. */
static void wait_for_slot(struct lane *lane)
{
	lane->state = LANE_PAUSE;
	lane->deadline = dsg_deadline(jitter(PAUSE_MIN_NS));
}

static void hang_up(struct lane *lane)
{
	end_tls(lane);
	if (lane->fd >= 0) {
		/* Closing doesn't take it out of the set while the module has it. */
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, lane->fd, NULL);
		close(lane->fd);
	}
	lane->fd = -1;
}

void lane_stop(struct lane *lane)
{
	hang_up(lane);
	lane->renewing = false;
	lane->state = LANE_IDLE;
}

static void failed(struct lane *lane, const char *why)
{
	const struct device *dev = lane->device;
	uint32_t reason = 0;

	for (const char *c = why; *c; c++)
		reason = reason * 31 + (unsigned char)*c;
	if (!(lane->tries % SAY_EVERY) || (lane->tries < SAY_OTHER && reason != lane->said))
		say(LOG_WARNING, "%s/%s lane %u: %s; trying on", dev->node, dev->name,
		    lane->index, why);
	lane->said = reason;
	hang_up(lane);
	pause_lane(lane);
}

void lane_interrupt(struct lane *lane)
{
	if (!lane->tls)
		return;
	hang_up(lane);
	pause_lane(lane);
}

static void give_up(struct lane *lane, const char *why)
{
	struct device *dev = lane->device;
	int err;

	/* What lives does not die of keys that are wrong. */
	if (lane->renewing && !lane->lost) {
		failed(lane, why);
		return;
	}
	err = module_give_up(dev);

	/* Otherwise it is not the device any more that was meant. */
	if (err && err != -ENOENT) {
		failed(lane, strerror(-err));
		return;
	}
	say(LOG_ERR, "%s/%s: %s: given up", dev->node, dev->name, why);
	dev->given_up = true;
	for (uint32_t i = 0; i < dev->nr_lanes; i++)
		lane_stop(&dev->lanes[i]);
}

static void await(struct lane *lane, enum lane_state state, uint32_t events, uint64_t ns)
{
	struct epoll_event ev = { .events = events, .data.ptr = lane };

	lane->state = state;
	lane->have = 0;
	lane->deadline = dsg_deadline(ns);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, lane->fd, &ev) &&
	    (errno != ENOENT || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, lane->fd, &ev)))
		failed(lane, strerror(errno));
}

static uint64_t connect_ns(const struct lane *lane)
{
	const struct device *dev = lane->device;

	uint64_t ns = lane->tries % LONG_EVERY == LONG_EVERY - 1 ? CONNECT_LONG_NS : CONNECT_NS;

	return 4 * dev->rtt > ns ? 4 * dev->rtt : ns;
}

/* For each of its steps. A target that is slow gets its time. */
static uint64_t handshake_ns(const struct lane *lane)
{
	uint64_t ns = HANDSHAKE_NS << (lane->tries < 3 ? lane->tries : 3);

	ns += 4 * lane->device->rtt;
	return ns < HANDSHAKE_MAX_NS ? ns : HANDSHAKE_MAX_NS;
}

static void start(struct lane *lane)
{
	struct device *dev = lane->device;
	int one = 1;

	if (dev->creds && (tls_count >= TLS_MAX || dev->slots >= TLS_DEVICE_MAX)) {
		wait_for_slot(lane);
		return;
	}
	if (dev->creds) {
		lane->slot = true;
		dev->slots++;
	}
	lane->fd = socket(dev->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			  IPPROTO_TCP);
	if (lane->fd < 0) {
		failed(lane, strerror(errno));
		return;
	}
	setsockopt(lane->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(lane->fd, (const struct sockaddr *)&dev->address, dev->address_len) &&
	    errno != EINPROGRESS) {
		failed(lane, strerror(errno));
		return;
	}
	await(lane, LANE_CONNECT, EPOLLOUT, connect_ns(lane));
}

void lane_lost(struct lane *lane, const char *why)
{
	const struct device *dev = lane->device;
	bool lived;

	lane->lost_at = dsg_now_ns();
	lived = lane->lost_at - lane->restored_at >= LIVED_NS;
	if (lived || !(lane->tries % SAY_EVERY))
		say(LOG_WARNING, "%s/%s lane %u: lost: %s", dev->node, dev->name, lane->index, why);
	/* One that breaks as soon as it is there was no success. */
	if (!lived) {
		pause_lane(lane);
		return;
	}
	lane->tries = 0;
	start(lane);
}

void lane_renew(struct lane *lane)
{
	lane->renewing = true;
	lane->lost_at = dsg_now_ns();
	lane->tries = 0;
	start(lane);
}

void lane_due(struct lane *lane)
{
	switch (lane->state) {
	case LANE_IDLE:
		break;
	case LANE_PAUSE:
		start(lane);
		break;
	case LANE_CONNECT:
		failed(lane, "the target does not answer");
		break;
	default:
		failed(lane, lane->state == LANE_GREETING && !lane->device->creds ?
			     "the target does not greet; does it want TLS?" :
			     "the target did not go on with the handshake");
	}
}

/* Keys that are not accepted may have been replaced. */
static void denied(struct lane *lane, const char *why)
{
	struct device *dev = lane->device;

	failed(lane, why);
	if (dsg_now_ns() - dev->keys_read_at >= PAUSE_DENIED_NS)
		device_read_keys(dev);
	else
		lane->deadline = dsg_deadline(jitter(PAUSE_DENIED_NS));
}

static void shake_hands(struct lane *lane)
{
	struct epoll_event ev = { .data.ptr = lane };
	struct dsg_error error = { .err = 0 };
	int err = dsg_tls_handshake(lane->tls, &error);

	if (err == -EAGAIN) {
		ev.events = (uint32_t)dsg_tls_events(lane->tls);
		if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, lane->fd, &ev))
			failed(lane, strerror(errno));
		return;
	}
	if (!err)
		err = dsg_tls_to_kernel(lane->tls, &error);
	end_tls(lane);
	if (err == -EACCES)
		denied(lane, error.text);
	else if (err)
		failed(lane, error.text);
	else
		await(lane, LANE_GREETING, EPOLLIN, handshake_ns(lane));
}

static void start_tls(struct lane *lane)
{
	struct device *dev = lane->device;
	struct dsg_error error;

	if (tls_count >= TLS_MAX) {
		hang_up(lane);
		wait_for_slot(lane);
		return;
	}
	if (dsg_tls_new(dev->creds, lane->fd, dev->target.host, &lane->tls, &error)) {
		failed(lane, error.text);
		return;
	}
	tls_count++;
	await(lane, LANE_TLS, EPOLLOUT, handshake_ns(lane));
}

/* What was sent twice tells nothing of how far the target is. */
static void measure(struct lane *lane)
{
	struct tcp_info info = { .tcpi_total_retrans = 1 };
	socklen_t len = sizeof(info);

	if (!getsockopt(lane->fd, IPPROTO_TCP, TCP_INFO, &info, &len) &&
	    !info.tcpi_total_retrans)
		lane->device->rtt = info.tcpi_rtt * 1000ULL;
}

static void connected(struct lane *lane)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(lane->fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (!err)
		err = -dsg_lane_tune(lane->fd, lane->device->io_timeout);
	if (err) {
		failed(lane, strerror(err));
		return;
	}
	measure(lane);
	if (lane->device->creds)
		start_tls(lane);
	else
		await(lane, LANE_GREETING, EPOLLIN, handshake_ns(lane));
}

static void greeted(struct lane *lane)
{
	struct device *dev = lane->device;
	struct dsg_lane terms = {
		.lease = dev->lease,
		.token = dev->token,
		.generation = dev->generation,
		.lane = lane->index,
		.lanes = dev->nr_lanes,
		.features = dev->features,
		.max_payload = dev->max_payload,
		.depth = dev->depth,
		.host = dsg_hostname(),
	};
	struct dsg_error error;

	/* WELCOME will come over it. */
	lane->epoch = dsg_greeting_epoch(&lane->greeting);
	if (dsg_lane_hello(&terms, &lane->hello, &error) ||
	    dsg_hello_answer(&lane->greeting, dev->token, &lane->hello, &error)) {
		failed(lane, error.text);
		return;
	}
	/* A fresh socket takes it whole, or it is none to hand over. */
	if (send(lane->fd, &lane->hello, sizeof(lane->hello), MSG_NOSIGNAL) !=
	    sizeof(lane->hello)) {
		failed(lane, "the connection broke");
		return;
	}
	await(lane, LANE_WELCOME, EPOLLIN, handshake_ns(lane));
}

/* The module's requests were made for these terms. */
static bool same_terms(const struct lane *lane)
{
	const struct disagg_wire_welcome *w = &lane->welcome;
	const struct device *dev = lane->device;

	return le64toh(w->features) == dev->features &&
	       le32toh(w->max_payload) == dev->max_payload &&
	       le32toh(w->depth) == dev->depth && le64toh(w->capacity) >= dev->size &&
	       le32toh(w->block_size) <= dev->block_size;
}

static void welcomed(struct lane *lane)
{
	struct device *dev = lane->device;
	struct dsg_error error;
	int err;

	if (dsg_welcome_check(&lane->welcome, &lane->hello, &error)) {
		if (error.status == DISAGG_WIRE_E_STALE ||
		    error.status == DISAGG_WIRE_E_NOT_FOUND ||
		    error.status == DISAGG_WIRE_E_DENIED)
			give_up(lane, error.text);
		else
			failed(lane, error.text);
		return;
	}
	/*
	 * A cache that is gone must not be flushed as if it were there: whoever relies
	 * on what he wrote has to be told.
	 */
	if (dev->features & DISAGG_WIRE_F_FLUSH && dev->epoch && lane->epoch != dev->epoch) {
		give_up(lane, "the target's host was started again, and what was not flushed may be lost");
		return;
	}
	if (!same_terms(lane)) {
		failed(lane, "the target welcomes it in other terms than before");
		return;
	}
	err = module_hand_over(lane, lane->fd);
	if (err) {
		failed(lane, strerror(-err));
		return;
	}
	lane->restored_at = dsg_now_ns();
	say(LOG_NOTICE, "%s/%s lane %u: %s after %llu ms", dev->node, dev->name, lane->index,
	    lane->renewing ? "renewed" : "restored", (unsigned long long)((lane->restored_at - lane->lost_at) / MS));
	lane->lost = false;
	lane->generation++;
	lane_stop(lane);
}

void lane_ready(struct lane *lane)
{
	size_t want = lane->state == LANE_GREETING ? sizeof(lane->greeting) :
						     sizeof(lane->welcome);
	ssize_t n;

	if (lane->state == LANE_CONNECT) {
		connected(lane);
		return;
	}
	if (lane->state == LANE_TLS) {
		shake_hands(lane);
		return;
	}
	if (lane->state != LANE_GREETING && lane->state != LANE_WELCOME)
		return;
	n = recv(lane->fd, (char *)&lane->welcome + lane->have, want - lane->have, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 && errno == EIO && lane->device->creds) {
		denied(lane, "TLS: the target does not accept this host; its log says why");
		return;
	}
	if (n <= 0) {
		failed(lane, n ? strerror(errno) : "the target closed the connection");
		return;
	}
	lane->have += (size_t)n;
	if (lane->have < want)
		return;
	if (lane->state == LANE_GREETING)
		greeted(lane);
	else
		welcomed(lane);
}
