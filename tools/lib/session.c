// SPDX-License-Identifier: GPL-2.0
/* A client's connections: connect, handshake, control requests. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls.h"
#include "wire.h"

#define LIST_MAX	65536	/* entries; more is a target gone wrong */

__attribute__((format(printf, 4, 5)))
static int fail(struct dsg_error *error, int err, uint16_t status,
		const char *fmt, ...)
{
	va_list args;

	if (error) {
		error->err = err;
		error->status = status;
		va_start(args, fmt);
		vsnprintf(error->text, sizeof(error->text), fmt, args);
		va_end(args);
	}
	return -err;
}

int dsg_wait_fd(int fd, short events, uint64_t deadline)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = dsg_now_ns();
		int ms = -1, n;

		if (deadline != DSG_NO_DEADLINE) {
			uint64_t left;

			if (now >= deadline)
				return -ETIMEDOUT;
			left = (deadline - now + 999999) / 1000000;
			ms = left > 3600000 ? 3600000 : (int)left;
		}
		n = poll(&pfd, 1, ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

int dsg_send_all(int fd, const void *buf, size_t len, uint64_t deadline)
{
	const char *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			int err = dsg_wait_fd(fd, POLLOUT, deadline);

			if (err)
				return err;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

int dsg_recv_all(int fd, void *buf, size_t len, uint64_t deadline)
{
	char *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, MSG_DONTWAIT);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (!n) {
			return -ECONNRESET;
		} else if (errno == EAGAIN) {
			int err = dsg_wait_fd(fd, POLLIN, deadline);

			if (err)
				return err;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int connect_address(const struct addrinfo *ai, uint64_t deadline)
{
	socklen_t len = sizeof(int);
	int fd, err = 0, one = 1;

	fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		    ai->ai_protocol);
	if (fd < 0)
		return -errno;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen)) {
		if (errno != EINPROGRESS) {
			err = -errno;
			goto err_close;
		}
		err = dsg_wait_fd(fd, POLLOUT, deadline);
		if (err)
			goto err_close;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
			err = errno;
		err = -err;
		if (err)
			goto err_close;
	}
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK)) {
		err = -errno;
		goto err_close;
	}
	return fd;

err_close:
	close(fd);
	return err;
}

int dsg_connect(const char *host, uint16_t port, uint64_t deadline,
		struct dsg_error *error)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG,
	};
	struct addrinfo *list;
	char service[8];
	int fd = -EHOSTUNREACH, err;

	snprintf(service, sizeof(service), "%u", port);
	err = getaddrinfo(host, service, &hints, &list);
	if (err == EAI_NONAME || err == EAI_ADDRFAMILY) {
		/* AI_ADDRCONFIG hides loopback on a host that has nothing else. */
		hints.ai_flags &= ~AI_ADDRCONFIG;
		err = getaddrinfo(host, service, &hints, &list);
	}
	if (err)
		return fail(error, EHOSTUNREACH, 0, "cannot resolve %s: %s", host,
			    err == EAI_SYSTEM ? strerror(errno) : gai_strerror(err));
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		/* One that swallows packets leaves time for the others. */
		uint64_t now = dsg_now_ns(), until = deadline, left = 0;

		for (const struct addrinfo *other = ai; other; other = other->ai_next)
			left++;
		if (now < deadline)
			until = now + (deadline - now) / left;
		fd = connect_address(ai, until);
		if (fd >= 0)
			break;
	}
	freeaddrinfo(list);
	if (fd < 0)
		return fail(error, -fd, 0, "cannot connect to %s port %u: %s", host,
			    port, strerror(-fd));
	return fd;
}

static int session_send(struct dsg_session *session, const void *buf, size_t len,
			uint64_t deadline)
{
	return session->tls ? dsg_tls_send_all(session->tls, buf, len, deadline) :
			      dsg_send_all(session->fd, buf, len, deadline);
}

static int session_recv(struct dsg_session *session, void *buf, size_t len, uint64_t deadline)
{
	return session->tls ? dsg_tls_recv_all(session->tls, buf, len, deadline) :
			      dsg_recv_all(session->fd, buf, len, deadline);
}

static int io_fail(struct dsg_error *error, const struct dsg_session *session, int err,
		   const char *what)
{
	if (err == -EACCES && session->tls && dsg_tls_alert(session->tls))
		return fail(error, EACCES, 0, "TLS: the target does not accept this host (%s)",
			    dsg_tls_alert(session->tls));
	if (err == -ETIMEDOUT)
		return fail(error, ETIMEDOUT, 0, "the target did not %s in time%s", what,
			    session->tls || strcmp(what, "greet") ? "" : " (does it want TLS?)");
	if (err == -ECONNRESET)
		return fail(error, ECONNRESET, 0,
			    "the target closed the connection (expected it to %s)", what);
	return fail(error, -err, 0, "the target did not %s: %s", what, strerror(-err));
}

uint64_t dsg_greeting_epoch(const struct disagg_wire_greeting *greeting)
{
	return le64toh(greeting->features) & DISAGG_WIRE_F_EPOCH ? le64toh(greeting->epoch) : 0;
}

int dsg_hello_answer(const struct disagg_wire_greeting *greeting, const uint8_t *token,
		     struct disagg_wire_hello *hello, struct dsg_error *error)
{
	uint32_t offer_payload = le32toh(greeting->max_payload);
	uint32_t offer_depth = le32toh(greeting->max_depth);
	uint32_t payload = le32toh(hello->max_payload), depth = le32toh(hello->depth);
	int err;

	if (le32toh(greeting->magic) != DISAGG_WIRE_MAGIC_GREETING)
		return fail(error, EPROTO, 0, "this is no disagg target");
	if (le16toh(greeting->version_min) > DISAGG_WIRE_VERSION ||
	    le16toh(greeting->version_max) < DISAGG_WIRE_VERSION)
		return fail(error, EPROTONOSUPPORT, DISAGG_WIRE_E_VERSION,
			    "the target speaks protocol versions %u to %u, this host %u",
			    le16toh(greeting->version_min),
			    le16toh(greeting->version_max), DISAGG_WIRE_VERSION);
	if (!payload || payload > offer_payload)
		payload = offer_payload;
	if (payload > DISAGG_WIRE_MAX_PAYLOAD)
		payload = DISAGG_WIRE_MAX_PAYLOAD;
	if (!depth || depth > offer_depth)
		depth = offer_depth;
	if (depth > DISAGG_WIRE_MAX_DEPTH)
		depth = DISAGG_WIRE_MAX_DEPTH;
	hello->magic = htole32(DISAGG_WIRE_MAGIC_HELLO);
	hello->version = htole16(DISAGG_WIRE_VERSION);
	hello->features &= greeting->features;
	hello->max_payload = htole32(payload);
	hello->depth = htole32(depth);
	if (token) {
		err = dsg_hello_proof(token, greeting->nonce, hello, hello->proof);
		if (err)
			return fail(error, -err, 0, "cannot compute a proof");
	}
	return 0;
}

int dsg_welcome_check(const struct disagg_wire_welcome *welcome,
		      const struct disagg_wire_hello *hello, struct dsg_error *error)
{
	uint16_t status = le16toh(welcome->status);

	if (le32toh(welcome->magic) != DISAGG_WIRE_MAGIC_WELCOME ||
	    !dsg_is_zero(welcome->reserved, sizeof(welcome->reserved)) ||
	    !dsg_string_ok(welcome->reason, sizeof(welcome->reason)))
		return fail(error, EPROTO, 0, "the target's WELCOME is malformed");
	if (status)
		return fail(error, dsg_status_errno(status), status,
			    "the target refused: %s",
			    welcome->reason[0] ? welcome->reason : dsg_status_text(status));
	if (le16toh(welcome->version) != DISAGG_WIRE_VERSION ||
	    welcome->features & ~hello->features ||
	    le32toh(welcome->max_payload) > le32toh(hello->max_payload) ||
	    le32toh(welcome->depth) > le32toh(hello->depth))
		return fail(error, EPROTO, 0,
			    "the target's WELCOME claims what was not offered");
	return 0;
}

/* Agree on the seal of a control connection whose HELLO is complete but for that. */
static int agree_on_seal(const struct disagg_wire_greeting *greeting,
			 struct disagg_wire_hello *hello, uint8_t *seal, struct dsg_error *error)
{
	uint8_t secret[DISAGG_WIRE_KEY_LEN];
	int err;

	if (le16toh(hello->mode) != DISAGG_WIRE_MODE_CONTROL)
		return 0;
	err = dsg_seal_keys(secret, hello->proof);
	if (!err)
		err = dsg_seal_agree(secret, false, greeting->nonce, hello->proof, seal);
	explicit_bzero(secret, sizeof(secret));
	return err ? fail(error, -err, 0, "cannot agree on a key with the target") : 0;
}

static int greet_and_answer(struct disagg_wire_hello *hello, const uint8_t *token,
		     uint64_t deadline, struct dsg_session *session,
		     struct dsg_error *error)
{
	struct disagg_wire_greeting greeting;
	struct disagg_wire_welcome *welcome = &session->welcome;
	int err;

	err = session_recv(session, &greeting, sizeof(greeting), deadline);
	if (err)
		return io_fail(error, session, err, "greet");
	err = dsg_hello_answer(&greeting, token, hello, error);
	if (!err)
		err = agree_on_seal(&greeting, hello, session->seal, error);
	if (err)
		return err;
	err = session_send(session, hello, sizeof(*hello), deadline);
	if (err)
		return io_fail(error, session, err, "take the HELLO");
	err = session_recv(session, welcome, sizeof(*welcome), deadline);
	if (err)
		return io_fail(error, session, err, "answer the HELLO");
	err = dsg_welcome_check(welcome, hello, error);
	if (err)
		return err;
	session->features = le64toh(welcome->features);
	session->max_payload = le32toh(welcome->max_payload);
	session->next_tag = 1;
	session->epoch = dsg_greeting_epoch(&greeting);
	memcpy(session->nonce, greeting.nonce, sizeof(session->nonce));
	return 0;
}

static int handshake(int fd, struct dsg_tls *tls, struct disagg_wire_hello *hello,
		     const uint8_t *token, uint64_t deadline, struct dsg_session *session,
		     struct dsg_error *error)
{
	int err;

	session->fd = fd;
	session->tls = tls;
	session->creds = NULL;
	err = greet_and_answer(hello, token, deadline, session, error);
	if (err) {
		session->fd = -1;
		session->tls = NULL;
		explicit_bzero(session->seal, sizeof(session->seal));
	}
	return err;
}

int dsg_handshake_control(int fd, struct dsg_tls *tls, const char *host, uint64_t features,
			  uint64_t deadline, struct dsg_session *session,
			  struct dsg_error *error)
{
	struct disagg_wire_hello hello = {
		.mode = htole16(DISAGG_WIRE_MODE_CONTROL),
		.features = htole64(features),
	};

	if (host && dsg_string_set(hello.host, sizeof(hello.host), host))
		return fail(error, ENAMETOOLONG, 0, "host name too long: %s", host);
	return handshake(fd, tls, &hello, NULL, deadline, session, error);
}

int dsg_lane_hello(const struct dsg_lane *lane, struct disagg_wire_hello *hello,
		   struct dsg_error *error)
{
	*hello = (struct disagg_wire_hello) {
		.mode = htole16(DISAGG_WIRE_MODE_LANE),
		.features = htole64(lane->features),
		.generation = htole64(lane->generation),
		.lane = htole32(lane->lane),
		.lanes = htole32(lane->lanes),
		.max_payload = htole32(lane->max_payload),
		.depth = htole32(lane->depth),
	};
	memcpy(hello->lease, lane->lease, sizeof(hello->lease));
	if (lane->host && dsg_string_set(hello->host, sizeof(hello->host), lane->host))
		return fail(error, ENAMETOOLONG, 0, "host name too long: %s", lane->host);
	return 0;
}

int dsg_handshake_lane(int fd, const struct dsg_lane *lane, uint64_t deadline,
		       struct dsg_session *session, struct dsg_error *error)
{
	struct disagg_wire_hello hello;
	int err = dsg_lane_hello(lane, &hello, error);

	return err ? err : handshake(fd, NULL, &hello, lane->token, deadline, session, error);
}

void dsg_session_close(struct dsg_session *session)
{
	if (session->fd < 0)
		return;
	dsg_tls_free(session->tls);
	dsg_creds_free(session->creds);
	session->tls = NULL;
	session->creds = NULL;
	explicit_bzero(session->seal, sizeof(session->seal));
	close(session->fd);
	session->fd = -1;
}

static int send_request(struct dsg_session *session, struct disagg_wire_frame *frame,
			const void *req, uint32_t req_len, uint64_t deadline,
			struct dsg_error *error)
{
	uint32_t tag = session->next_tag++;
	int err;

	frame->magic = htole32(DISAGG_WIRE_MAGIC_REQUEST);
	frame->tag = htole32(tag);
	frame->generation = htole32(tag);
	dsg_frame_seal(frame, req, req_len, session->features & DISAGG_WIRE_F_CRC32C);
	err = session_send(session, frame, sizeof(*frame), deadline);
	if (!err && req_len)
		err = session_send(session, req, req_len, deadline);
	return err ? io_fail(error, session, err, "take the request") : 0;
}

/* @frame: the request; becomes the reply, of which lists use offset and length. */
static int receive_reply(struct dsg_session *session, struct disagg_wire_frame *frame,
			 void *reply, uint32_t reply_max, uint32_t *reply_len,
			 uint64_t deadline, struct dsg_error *error)
{
	bool crc = session->features & DISAGG_WIRE_F_CRC32C;
	uint32_t tag = le32toh(frame->tag), len;
	uint8_t op = frame->op;
	uint16_t status;
	int err;

	err = session_recv(session, frame, sizeof(*frame), deadline);
	if (err)
		return io_fail(error, session, err, "answer the request");

	len = le32toh(frame->payload);
	status = le16toh(frame->status);
	if (dsg_frame_check(frame, DISAGG_WIRE_MAGIC_REPLY, crc) ||
	    frame->op != op || le32toh(frame->tag) != tag ||
	    le32toh(frame->generation) != tag || (status && len))
		return fail(error, EPROTO, 0, "the target's reply to %s is malformed",
			    dsg_op_text(op));
	if (status)
		return fail(error, dsg_status_errno(status), status,
			    "the target refused to %s: %s", dsg_op_text(op),
			    dsg_status_text(status));
	if (len > reply_max || (!reply_len && len != reply_max))
		return fail(error, EPROTO, 0,
			    "the target's reply to %s has an unexpected length of %u bytes",
			    dsg_op_text(op), len);
	if (len) {
		err = session_recv(session, reply, len, deadline);
		if (err)
			return io_fail(error, session, err, "send all of its reply");
		if (crc && !dsg_payload_ok(frame, reply, len))
			return fail(error, EBADMSG, DISAGG_WIRE_E_CRC,
				    "the target's reply to %s was damaged on its way",
				    dsg_op_text(op));
	}
	if (reply_len)
		*reply_len = len;
	return 0;
}

static int call(struct dsg_session *session, struct disagg_wire_frame *frame,
		const void *req, uint32_t req_len, void *reply, uint32_t reply_max,
		uint32_t *reply_len, uint64_t deadline, struct dsg_error *error)
{
	int err = send_request(session, frame, req, req_len, deadline, error);

	return err ? err : receive_reply(session, frame, reply, reply_max, reply_len, deadline,
					 error);
}

int dsg_control_call(struct dsg_session *session, uint8_t op,
		     const void *req, uint32_t req_len,
		     void *reply, uint32_t reply_max, uint32_t *reply_len,
		     uint64_t deadline, struct dsg_error *error)
{
	struct disagg_wire_frame frame = { .op = op };

	return call(session, &frame, req, req_len, reply, reply_max, reply_len,
		    deadline, error);
}

int dsg_control_reserve(struct dsg_session *session, const struct disagg_wire_reserve *reserve,
			struct disagg_wire_grant *grant, uint64_t deadline,
			struct dsg_error *error)
{
	struct disagg_wire_reserve sealed = *reserve;
	int err;

	if (dsg_seal_reserve(session->seal, session->next_tag, &sealed))
		return fail(error, EIO, 0, "cannot seal a request");
	err = dsg_control_call(session, DISAGG_WIRE_OP_RESERVE, &sealed, sizeof(sealed),
			       grant, sizeof(*grant), NULL, deadline, error);
	if (!err && dsg_seal_grant(session->seal, grant))
		err = fail(error, EIO, 0, "cannot take the seal off a token");
	return err;
}

int dsg_control_lease(struct dsg_session *session, uint8_t op,
		      const uint8_t token[DISAGG_WIRE_KEY_LEN],
		      struct disagg_wire_lease_ref *ref,
		      struct disagg_wire_grant *grant, uint64_t deadline,
		      struct dsg_error *error)
{
	if (dsg_lease_ref_proof(token, session->nonce, op, ref, ref->proof))
		return fail(error, EIO, 0, "cannot compute a proof");
	return dsg_control_call(session, op, ref, sizeof(*ref), grant,
				grant ? sizeof(*grant) : 0, NULL, deadline, error);
}

int dsg_control_commit(struct dsg_session *session, const uint8_t token[DISAGG_WIRE_KEY_LEN],
		       struct disagg_wire_lease_ref *ref, struct disagg_wire_frame *frame,
		       uint64_t deadline, struct dsg_error *error)
{
	*frame = (struct disagg_wire_frame) { .op = DISAGG_WIRE_OP_COMMIT };
	if (dsg_lease_ref_proof(token, session->nonce, frame->op, ref, ref->proof))
		return fail(error, EIO, 0, "cannot compute a proof");
	return send_request(session, frame, ref, sizeof(*ref), deadline, error);
}

int dsg_control_committed(struct dsg_session *session, struct disagg_wire_frame *frame,
			  struct disagg_wire_grant *grant, uint64_t deadline,
			  struct dsg_error *error)
{
	return receive_reply(session, frame, grant, sizeof(*grant), NULL, deadline, error);
}

int dsg_control_list(struct dsg_session *session, uint8_t op, size_t entry_size,
		     void **entries, size_t *count, uint64_t deadline,
		     struct dsg_error *error)
{
	char *all = NULL, *page, *more;
	size_t have = 0;
	int err = 0;

	page = malloc(DISAGG_WIRE_MAX_CONTROL);
	if (!page)
		return fail(error, ENOMEM, 0, "out of memory");
	for (;;) {
		struct disagg_wire_frame frame = { .op = op, .offset = htole64(have) };
		uint32_t len, total;

		err = call(session, &frame, NULL, 0, page, DISAGG_WIRE_MAX_CONTROL,
			   &len, deadline, error);
		if (err)
			break;
		total = le32toh(frame.length);
		if (len % entry_size || (!len && have < total) || total > LIST_MAX) {
			err = fail(error, EPROTO, 0,
				   "the target's list (%s) is malformed", dsg_op_text(op));
			break;
		}
		more = realloc(all, have * entry_size + len + 1);
		if (!more) {
			err = fail(error, ENOMEM, 0, "out of memory");
			break;
		}
		all = more;
		memcpy(all + have * entry_size, page, len);
		have += len / entry_size;
		if (have >= total)
			break;
	}
	free(page);
	if (err) {
		free(all);
		return err;
	}
	*entries = all;
	*count = have;
	return 0;
}
