// SPDX-License-Identifier: GPL-2.0
/*
 * Nobody who connects is trusted, and nobody can hold the parent up: every socket
 * is non-blocking, every wait has a deadline, and what a connection can make the
 * parent remember is bounded.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "session.h"
#include "wire.h"

#define IDLE_TIMEOUT_NS		(60 * DSG_NSEC_PER_SEC)
#define SEND_TIMEOUT_NS		(5 * DSG_NSEC_PER_SEC)
#define HELLO_MAX		64U	/* connections that have not said who they are */
#define SESSIONS_MAX		512U	/* connections in all */
#define WAITING_MAX		8U	/* of them, for one and the same lease */
#define CONTROL_ENTRY_MAX	sizeof(struct disagg_wire_lease_info)	/* the largest */

static struct session *sessions;
static unsigned int session_count, hello_count;
static const struct config *conf;

struct session *session_first(void)
{
	return sessions;
}

static void session_close(struct session *s)
{
	if (s->state == SESSION_HELLO)
		hello_count--;
	session_count--;
	loop_remove(&s->source);
	close(s->source.fd);
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	explicit_bzero(s->out, sizeof(s->out));
	explicit_bzero(s->keys.secret, sizeof(s->keys.secret));
	explicit_bzero(s->seal, sizeof(s->seal));
	loop_free_later(s);
}

static void set_state(struct session *s, enum session_state state, uint64_t timeout)
{
	if (s->state == SESSION_HELLO && state != SESSION_HELLO)
		hello_count--;
	s->state = state;
	s->since = dsg_now_ns();
	s->deadline = timeout ? dsg_deadline(timeout) : DSG_NO_DEADLINE;
}

/* While a lease works for it, only the end of the connection matters. */
static uint32_t wanted_events(const struct session *s)
{
	if (s->out_at < s->out_len)
		return EPOLLOUT;
	return s->state == SESSION_WAIT ? EPOLLRDHUP : EPOLLIN;
}

/* Send what is queued; false: the connection is gone. */
static bool flush(struct session *s)
{
	while (s->out_at < s->out_len) {
		ssize_t n = send(s->source.fd, s->out + s->out_at, s->out_len - s->out_at,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			session_close(s);
			return false;
		}
		s->out_at += (size_t)n;
	}
	if (s->out_at == s->out_len) {
		if (s->state == SESSION_DYING) {
			shutdown(s->source.fd, SHUT_WR);
			session_close(s);
			return false;
		}
		s->out_at = 0;
		s->out_len = 0;
		if (s->state == SESSION_REPLY)
			set_state(s, SESSION_REQUEST, IDLE_TIMEOUT_NS);
	}
	loop_change(&s->source, wanted_events(s));
	return true;
}

static void queue(struct session *s, const void *data, size_t len)
{
	memcpy(s->out + s->out_len, data, len);
	s->out_len += len;
}

__attribute__((format(printf, 3, 4)))
static void refuse(struct session *s, uint16_t status, const char *fmt, ...)
{
	struct disagg_wire_welcome w = {
		.magic = htole32(DISAGG_WIRE_MAGIC_WELCOME),
		.version = htole16(DISAGG_WIRE_VERSION),
		.status = htole16(status),
	};
	va_list args;

	va_start(args, fmt);
	vsnprintf(w.reason, sizeof(w.reason), fmt, args);
	va_end(args);
	log_warning("connection from %s refused: %s", s->peer, w.reason);
	queue(s, &w, sizeof(w));
	set_state(s, SESSION_DYING, SEND_TIMEOUT_NS);
	flush(s);
}

static void welcome_control(struct session *s, const struct disagg_wire_hello *hello)
{
	struct disagg_wire_welcome w = {
		.magic = htole32(DISAGG_WIRE_MAGIC_WELCOME),
		.version = htole16(DISAGG_WIRE_VERSION),
		.depth = htole32(1),
	};

	if (!dsg_is_zero(hello->lease, sizeof(hello->lease)) || hello->generation ||
	    hello->lane || hello->lanes) {
		refuse(s, DISAGG_WIRE_E_PROTO, "a control connection names no lease or lane");
		return;
	}
	s->max_payload = le32toh(hello->max_payload);
	if (s->max_payload > DISAGG_WIRE_MAX_CONTROL)
		s->max_payload = DISAGG_WIRE_MAX_CONTROL;
	if (s->max_payload < CONTROL_ENTRY_MAX) {
		refuse(s, DISAGG_WIRE_E_INVALID, "max_payload is below one entry of a list");
		return;
	}
	if (dsg_seal_agree(s->keys.secret, true, s->keys.nonce, hello->proof, s->seal)) {
		refuse(s, DISAGG_WIRE_E_PROTO, "a public key that leaves nothing secret");
		return;
	}
	explicit_bzero(s->keys.secret, sizeof(s->keys.secret));
	s->features = le64toh(hello->features) & DISAGG_WIRE_F_CRC32C;
	w.features = htole64(s->features);
	w.max_payload = htole32(s->max_payload);
	queue(s, &w, sizeof(w));
	set_state(s, SESSION_REPLY, SEND_TIMEOUT_NS);
	flush(s);
}

/*
 * The proof comes before anything that a stranger could learn from the answer, but
 * for whether the lease exists, which LEASES tells everybody of the tenant.
 */
static void welcome_lane(struct session *s, const struct disagg_wire_hello *hello)
{
	struct worker_order order = {
		.type = WORKER_LANE,
		.lane = le32toh(hello->lane),
		.max_payload = le32toh(hello->max_payload),
		.depth = le32toh(hello->depth),
		.features = le64toh(hello->features) & DISAGG_WIRE_F_ALL,
	};
	uint32_t lanes = le32toh(hello->lanes);
	uint8_t proof[DISAGG_WIRE_KEY_LEN];
	struct lease *l = NULL;
	uint16_t status;

	status = lease_find(hello->lease, s->tenant, &l);
	if (status) {
		refuse(s, status, status == DISAGG_WIRE_E_STALE ? "the lease has ended" :
				  status == DISAGG_WIRE_E_BUSY ?
				  "the lease is kept, but its resource is not offered at present" :
				  "no such lease");
	} else if (dsg_hello_proof(l->token, s->keys.nonce, hello, proof) ||
		   !dsg_equal(proof, hello->proof, sizeof(proof))) {
		refuse(s, DISAGG_WIRE_E_DENIED, "wrong proof");
	} else if (le64toh(hello->generation) != l->generation) {
		refuse(s, DISAGG_WIRE_E_STALE, "the lease's generation is %llu, not %llu",
		       (unsigned long long)l->generation,
		       (unsigned long long)le64toh(hello->generation));
	} else if (l->state != LEASE_COMMITTED) {
		refuse(s, DISAGG_WIRE_E_INVALID, "the lease is not committed");
	} else if (!lanes || lanes > conf->max_lanes || order.lane >= lanes) {
		refuse(s, DISAGG_WIRE_E_INVALID,
		       "lane %u of %u: the lease may have %u lanes", order.lane, lanes,
		       conf->max_lanes);
	} else if (order.max_payload < l->resource->conf->block_size) {
		refuse(s, DISAGG_WIRE_E_INVALID, "max_payload is below the block size");
	} else {
		status = lease_lane(l, &order, s->source.fd);
		if (status)
			refuse(s, status, "the worker cannot take the lane now");
		else
			session_close(s);	/* the worker has its own descriptor */
	}
}

static void take_hello(struct session *s)
{
	struct disagg_wire_hello hello;

	memcpy(&hello, s->in, sizeof(hello));
	s->in_have = 0;
	if (le32toh(hello.magic) != DISAGG_WIRE_MAGIC_HELLO) {
		refuse(s, DISAGG_WIRE_E_PROTO, "not a HELLO");
		return;
	}
	if (le16toh(hello.version) != DISAGG_WIRE_VERSION) {
		refuse(s, DISAGG_WIRE_E_VERSION, "version %u is not spoken here, %u is",
		       le16toh(hello.version), DISAGG_WIRE_VERSION);
		return;
	}
	if (!dsg_is_zero(hello.reserved, sizeof(hello.reserved)) ||
	    !dsg_string_ok(hello.host, sizeof(hello.host))) {
		refuse(s, DISAGG_WIRE_E_PROTO, "malformed HELLO");
		return;
	}
	if (le64toh(hello.features) & ~(DISAGG_WIRE_F_ALL | DISAGG_WIRE_F_EPOCH)) {
		refuse(s, DISAGG_WIRE_E_INVALID, "features that were not offered");
		return;
	}
	if (!hello.max_payload || le32toh(hello.max_payload) > DISAGG_WIRE_MAX_PAYLOAD ||
	    !hello.depth || le32toh(hello.depth) > DISAGG_WIRE_MAX_DEPTH) {
		refuse(s, DISAGG_WIRE_E_INVALID, "limits of zero or beyond the offer");
		return;
	}
	switch (le16toh(hello.mode)) {
	case DISAGG_WIRE_MODE_CONTROL:
		welcome_control(s, &hello);
		break;
	case DISAGG_WIRE_MODE_LANE:
		welcome_lane(s, &hello);
		break;
	default:
		refuse(s, DISAGG_WIRE_E_PROTO, "unknown mode %u", le16toh(hello.mode));
	}
}

void session_reply(struct session *s, uint16_t status, uint32_t len, uint32_t total)
{
	struct disagg_wire_frame reply = {
		.magic = htole32(DISAGG_WIRE_MAGIC_REPLY),
		.op = s->frame.op,
		.status = htole16(status),
		.tag = s->frame.tag,
		.generation = s->frame.generation,
		.offset = s->frame.offset,
		.length = htole32(total),
	};

	dsg_frame_seal(&reply, session_payload(s), len,
		       s->features & DISAGG_WIRE_F_CRC32C);
	memcpy(s->out, &reply, sizeof(reply));
	s->out_at = 0;
	s->out_len = sizeof(reply) + len;
	s->lease = NULL;
	set_state(s, status == DISAGG_WIRE_E_PROTO ? SESSION_DYING : SESSION_REPLY,
		  SEND_TIMEOUT_NS);
	flush(s);
}

void session_wait(struct session *s, struct lease *lease)
{
	unsigned int waiting = 0;

	for (const struct session *other = sessions; other; other = other->next)
		waiting += other->state == SESSION_WAIT && other->lease == lease;
	if (waiting >= WAITING_MAX) {
		session_reply(s, DISAGG_WIRE_E_BUSY, 0, 0);
		return;
	}
	s->lease = lease;
	set_state(s, SESSION_WAIT, 0);	/* the lease's own waits are bounded */
	loop_change(&s->source, wanted_events(s));
}

/* How many bytes make what is awaited complete; 0: it can't be. */
static size_t need(struct session *s)
{
	struct disagg_wire_frame frame;
	uint32_t payload;

	if (s->state == SESSION_HELLO)
		return sizeof(struct disagg_wire_hello);
	if (s->in_have < sizeof(frame))
		return sizeof(frame);
	memcpy(&frame, s->in, sizeof(frame));
	payload = le32toh(frame.payload);
	return payload > sizeof(s->in) - sizeof(frame) ? 0 : sizeof(frame) + payload;
}

static void take_request(struct session *s)
{
	const uint8_t *payload = s->in + sizeof(s->frame);
	uint32_t len = (uint32_t)(s->in_have - sizeof(s->frame));
	bool crc = s->features & DISAGG_WIRE_F_CRC32C;

	memcpy(&s->frame, s->in, sizeof(s->frame));
	s->in_have = 0;
	if (dsg_frame_check(&s->frame, DISAGG_WIRE_MAGIC_REQUEST, crc)) {
		log_warning("control connection: bytes that are no frame: closed");
		session_close(s);
	} else if (crc && !dsg_payload_ok(&s->frame, payload, len)) {
		session_reply(s, DISAGG_WIRE_E_CRC, 0, 0);
	} else {
		control_request(s, payload, len);
	}
}

/*
 * One thing at a time: bytes of the next request stay in the socket until the
 * answer to this one is out, so nothing needs to be queued.
 */
static void receive(struct session *s)
{
	size_t want = need(s);
	ssize_t n;

	n = recv(s->source.fd, s->in + s->in_have, want - s->in_have, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		session_close(s);
		return;
	}
	s->in_have += (size_t)n;
	want = need(s);
	if (!want) {
		memcpy(&s->frame, s->in, sizeof(s->frame));
		s->in_have = 0;
		if (dsg_frame_check(&s->frame, DISAGG_WIRE_MAGIC_REQUEST,
				    s->features & DISAGG_WIRE_F_CRC32C))
			session_close(s);
		else
			session_reply(s, DISAGG_WIRE_E_PROTO, 0, 0);
		return;
	}
	if (s->in_have < want)
		return;
	if (s->state == SESSION_HELLO)
		take_hello(s);
	else
		take_request(s);
}

static void on_session(struct source *source, uint32_t events)
{
	struct session *s = (struct session *)((char *)source -
					       offsetof(struct session, source));

	if (s->out_at < s->out_len) {
		if (events & EPOLLERR)
			session_close(s);
		else
			flush(s);
		return;
	}
	if (s->state == SESSION_WAIT)
		session_close(s);	/* hung up; what it began goes on */
	else
		receive(s);
}

/* The one that has been silent for longest makes room for the new one, if any can. */
static bool drop_oldest(bool hello_only)
{
	struct session *oldest = NULL;

	for (struct session *s = sessions; s; s = s->next) {
		if (hello_only ? s->state != SESSION_HELLO : s->state == SESSION_WAIT)
			continue;
		if (!oldest || s->since < oldest->since)
			oldest = s;
	}
	if (oldest)
		session_close(oldest);
	return oldest;
}

/* A worker that dies costs nothing that the kernel had; a kernel that dies does. */
uint64_t session_epoch(void)
{
	static uint64_t value;
	char boot[DSG_UUID_STRLEN] = "";
	uint8_t id[DISAGG_WIRE_UUID_LEN];
	int fd;

	if (value)
		return value;
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	/* Without it, every start of the daemon counts as one of the host. */
	if (fd < 0 || read(fd, boot, sizeof(boot) - 1) != sizeof(boot) - 1 ||
	    dsg_uuid_parse(boot, id))
		dsg_random(id, sizeof(id));
	if (fd >= 0)
		close(fd);
	memcpy(&value, id, sizeof(value));
	if (!value)
		value = 1;
	return value;
}

int session_greet(struct disagg_wire_greeting *greeting, struct session_keys *keys)
{
	int err;

	*greeting = (struct disagg_wire_greeting) {
		.magic = htole32(DISAGG_WIRE_MAGIC_GREETING),
		.version_min = htole16(DISAGG_WIRE_VERSION),
		.version_max = htole16(DISAGG_WIRE_VERSION),
		.features = htole64(DISAGG_WIRE_F_ALL | DISAGG_WIRE_F_EPOCH),
		.max_payload = htole32(DISAGG_WIRE_MAX_PAYLOAD),
		.max_depth = htole32(DISAGG_WIRE_MAX_DEPTH),
		.epoch = htole64(session_epoch()),
	};
	err = dsg_seal_keys(keys->secret, keys->nonce);
	memcpy(greeting->nonce, keys->nonce, sizeof(greeting->nonce));
	return err;
}

/* One that waits for HELLO; NULL: there is no room, and @fd is closed. */
static struct session *session_new(int fd, const struct config *config,
				   const struct tenant_config *tenant, const char *peer)
{
	struct session *s = NULL;

	conf = config;
	if (session_count >= SESSIONS_MAX && !drop_oldest(false))
		goto err_close;
	s = calloc(1, sizeof(*s));
	if (!s)
		goto err_close;
	s->tenant = tenant;
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	s->source.ready = on_session;
	if (loop_add(&s->source, fd, EPOLLIN))
		goto err_close;
	s->next = sessions;
	s->link = &sessions;
	if (sessions)
		sessions->link = &s->next;
	sessions = s;
	session_count++;
	hello_count++;
	s->state = SESSION_HELLO;
	s->since = dsg_now_ns();
	s->deadline = dsg_deadline(HELLO_TIMEOUT_NS);
	return s;

err_close:
	free(s);
	close(fd);
	return NULL;
}

void session_start(int fd, const struct config *config, const struct tenant_config *tenant,
		   const char *peer)
{
	struct disagg_wire_greeting greeting;
	struct session *s;

	if (hello_count >= HELLO_MAX)
		drop_oldest(true);
	s = session_new(fd, config, tenant, peer);
	if (!s)
		return;
	if (session_greet(&greeting, &s->keys)) {
		session_close(s);
		return;
	}
	queue(s, &greeting, sizeof(greeting));
	flush(s);
}

void session_resume(int fd, const struct config *config, const struct tenant_config *tenant,
		    const char *peer, const struct session_keys *keys,
		    const struct disagg_wire_hello *hello)
{
	struct session *s = session_new(fd, config, tenant, peer);

	if (!s)
		return;
	s->keys = *keys;
	memcpy(s->in, hello, sizeof(*hello));
	take_hello(s);
}

uint64_t sessions_check(uint64_t now)
{
	uint64_t next = DSG_NO_DEADLINE;
	struct session *after;

	for (struct session *s = sessions; s; s = after) {
		after = s->next;
		if (s->deadline <= now) {
			if (s->state == SESSION_HELLO)
				log_warning("a connection said no HELLO in time: closed");
			session_close(s);
		} else if (s->deadline < next) {
			next = s->deadline;
		}
	}
	return next;
}

void sessions_close(void)
{
	while (sessions)
		session_close(sessions);
}
