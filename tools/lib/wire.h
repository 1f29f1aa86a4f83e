/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libdisagg: the wire protocol in userspace. The formats are in
 * <linux/disagg_wire.h>, the rules in Documentation/protocol.rst.
 *
 * Conventions: functions that can fail return 0 (or a value >= 0) or -errno.
 * Deadlines are absolute nanoseconds of CLOCK_MONOTONIC; DSG_NO_DEADLINE waits
 * for ever. Nothing here keeps a pointer that it was given.
 */
#ifndef DISAGG_LIB_WIRE_H
#define DISAGG_LIB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/disagg_wire.h>

#define DSG_NO_DEADLINE		UINT64_MAX
#define DSG_NSEC_PER_SEC	1000000000ULL
#define DSG_UUID_STRLEN		37	/* 36 characters and the NUL */

/*
 * What was sent into a network that swallows it is sent again after a while, and after
 * twice as long, and so on. With this option (Linux 6.15) never after more than
 * DSG_RTO_MAX_MS, so that a lane goes on that soon when the network is back.
 */
#define DSG_TCP_RTO_MAX_MS	44
#define DSG_RTO_MAX_MS		1000	/* less than a second the kernel does not take */

/**
 * struct dsg_error - why a call failed, for people and for exit codes
 * @err: positive errno
 * @status: DISAGG_WIRE_E_* if the target said so, else DISAGG_WIRE_OK
 * @text: one line without a newline, always terminated
 *
 * Owned by the caller. Every function that takes one accepts NULL, and writes
 * to it only when it fails.
 */
struct dsg_error {
	int err;
	uint16_t status;
	char text[256];
};

struct dsg_creds;
struct dsg_tls;

/**
 * struct dsg_session - a connection after its handshake
 * @fd: connected stream socket; the caller's, dsg_session_close() closes it
 * @tls: what encrypts it; NULL: nothing, or the kernel. Freed with it, and so is
 * @creds: what that needs; NULL: not the session's
 * @features: DISAGG_WIRE_F_* in force
 * @max_payload: bytes that may follow a frame of a lane
 * @next_tag: tag of the next control request
 * @epoch: the target's, or zero
 * @nonce: the target's nonce, for proofs
 * @seal: of a control connection: the key of what it has sealed
 * @welcome: the target's answer, as received (little-endian fields)
 */
struct dsg_session {
	int fd;
	struct dsg_tls *tls;
	struct dsg_creds *creds;
	uint64_t features;
	uint32_t max_payload;
	uint32_t next_tag;
	uint64_t epoch;
	uint8_t nonce[DISAGG_WIRE_KEY_LEN];
	uint8_t seal[DISAGG_WIRE_KEY_LEN];
	struct disagg_wire_welcome welcome;
};

/**
 * struct dsg_lane - what a lane says in its HELLO; all in host byte order
 * @lease: lease id, DISAGG_WIRE_UUID_LEN bytes
 * @token: the lease's secret, DISAGG_WIRE_KEY_LEN bytes
 * @generation: the lease's generation
 * @lane: number of this lane, below @lanes
 * @lanes: lanes of the link
 * @features: DISAGG_WIRE_F_* wanted; what the target doesn't offer is left out
 * @max_payload: own limit in bytes, zero: the target's
 * @depth: requests in flight, zero: the target's
 * @host: name of this host, for people; NULL: none
 */
struct dsg_lane {
	const uint8_t *lease;
	const uint8_t *token;
	uint64_t generation;
	uint32_t lane;
	uint32_t lanes;
	uint64_t features;
	uint32_t max_payload;
	uint32_t depth;
	const char *host;
};

/* Time, chance, comparison */

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t dsg_now_ns(void);
/* The deadline that is @ns nanoseconds from now; saturates. */
uint64_t dsg_deadline(uint64_t ns);
/* Fill @buf with @len bytes of the kernel's randomness. */
int dsg_random(void *buf, size_t len);
/* Compare in a time that depends on @len only. */
bool dsg_equal(const void *a, const void *b, size_t len);
/* Whether all @len bytes are zero. */
bool dsg_is_zero(const void *p, size_t len);

/* Names */

/*
 * Whether the field @s of @size bytes is a string: terminated, padded with NULs,
 * printable ASCII. The empty string is one.
 */
bool dsg_string_ok(const char *s, size_t size);
/*
 * Whether @s (terminated) is a name: 1 to DISAGG_WIRE_NAME_LEN - 1 characters of
 * [A-Za-z0-9._-], the first a letter or digit.
 */
bool dsg_name_ok(const char *s);
/* Copy @src into the field @dst of @size bytes, padded; -ENAMETOOLONG. */
int dsg_string_set(char *dst, size_t size, const char *src);
/* Write @uuid as 8-4-4-4-12 lower-case hex digits. Returns @buf. */
char *dsg_uuid_format(const uint8_t uuid[DISAGG_WIRE_UUID_LEN],
		      char buf[DSG_UUID_STRLEN]);
/* Read 8-4-4-4-12 hex digits; -EINVAL. */
int dsg_uuid_parse(const char *s, uint8_t uuid[DISAGG_WIRE_UUID_LEN]);
/* A random (version 4) UUID. */
int dsg_uuid_random(uint8_t uuid[DISAGG_WIRE_UUID_LEN]);

/* Status codes */

/* A short phrase for DISAGG_WIRE_*; never NULL. */
const char *dsg_status_text(unsigned int status);
/* The positive errno that comes nearest to DISAGG_WIRE_*; 0 for OK. */
int dsg_status_errno(unsigned int status);
/* A short word for DISAGG_WIRE_OP_*; never NULL. */
const char *dsg_op_text(unsigned int op);
/* "memory", "storage", "gpu"; "unknown" for the rest. */
const char *dsg_class_text(unsigned int class);

/* Checksums and proofs */

/*
 * CRC32C (Castagnoli, reflected, RFC 3720 B.4; the same value as the kernel's
 * ~crc32c(~0, data, len)) of @len bytes.
 */
uint32_t dsg_crc32c(const void *data, size_t len);
/*
 * The same in pieces: start with ~0U, feed each piece, invert the last result.
 */
uint32_t dsg_crc32c_update(uint32_t state, const void *data, size_t len);

/* HMAC-SHA256 of @len bytes of @data; -EIO: there is none. So it is with the two below. */
int dsg_hmac(const uint8_t key[DISAGG_WIRE_KEY_LEN], const void *data, size_t len,
	     uint8_t mac[DISAGG_WIRE_KEY_LEN]);
/* The proof of a HELLO: @hello is complete but for its proof. */
int dsg_hello_proof(const uint8_t token[DISAGG_WIRE_KEY_LEN],
		    const uint8_t nonce[DISAGG_WIRE_KEY_LEN],
		    const struct disagg_wire_hello *hello,
		    uint8_t proof[DISAGG_WIRE_KEY_LEN]);
/* The proof of an act on a lease: @ref is complete but for its proof. */
int dsg_lease_ref_proof(const uint8_t token[DISAGG_WIRE_KEY_LEN],
			const uint8_t nonce[DISAGG_WIRE_KEY_LEN], uint32_t op,
			const struct disagg_wire_lease_ref *ref,
			uint8_t proof[DISAGG_WIRE_KEY_LEN]);

/* What is sealed: see Documentation/protocol.rst */

/* A fresh X25519 key pair. The caller wipes @secret. */
int dsg_seal_keys(uint8_t secret[DISAGG_WIRE_KEY_LEN], uint8_t public[DISAGG_WIRE_KEY_LEN]);
/*
 * The seal of a connection, on the @target's side or on the client's: of one's own
 * @secret and both public keys, the target's @nonce and the @client's. -EPROTO: the
 * other side's leaves nothing secret.
 */
int dsg_seal_agree(const uint8_t secret[DISAGG_WIRE_KEY_LEN], bool target,
		   const uint8_t nonce[DISAGG_WIRE_KEY_LEN],
		   const uint8_t client[DISAGG_WIRE_KEY_LEN],
		   uint8_t seal[DISAGG_WIRE_KEY_LEN]);
/* Seal the token of @grant, or take the seal off: it is the same. */
int dsg_seal_grant(const uint8_t seal[DISAGG_WIRE_KEY_LEN], struct disagg_wire_grant *grant);
/* The same for the txid of a RESERVE whose frame has @tag. */
int dsg_seal_reserve(const uint8_t seal[DISAGG_WIRE_KEY_LEN], uint32_t tag,
		     struct disagg_wire_reserve *reserve);

/* Frames */

/*
 * Complete @frame, whose other fields are set, for sending with @len bytes of
 * @payload (may be NULL if @len is 0): sets payload and, with @crc, both CRCs.
 */
void dsg_frame_seal(struct disagg_wire_frame *frame, const void *payload,
		    uint32_t len, bool crc);
/*
 * Check what every received frame must fulfil whatever its op: magic, reserved
 * bytes, header CRC (with @crc) or CRC fields of zero (without), status and
 * flags of the direction. Returns DISAGG_WIRE_OK or DISAGG_WIRE_E_PROTO.
 */
uint16_t dsg_frame_check(const struct disagg_wire_frame *frame, uint32_t magic,
			 bool crc);
/* Whether @len bytes of @payload are the ones that @frame was sealed with. */
bool dsg_payload_ok(const struct disagg_wire_frame *frame, const void *payload,
		    uint32_t len);

/* Sockets; @fd may be blocking or not */

/* Wait for poll()'s @events; 0, -ETIMEDOUT or -errno. */
int dsg_wait_fd(int fd, short events, uint64_t deadline);
/* Send or receive exactly @len bytes; -ETIMEDOUT, -ECONNRESET at its end. */
int dsg_send_all(int fd, const void *buf, size_t len, uint64_t deadline);
int dsg_recv_all(int fd, void *buf, size_t len, uint64_t deadline);

/*
 * Connect to @host (name or address, without brackets) and @port, trying each
 * address in turn. Returns a blocking socket with TCP_NODELAY, closed on exec,
 * that the caller owns, or -errno.
 */
int dsg_connect(const char *host, uint16_t port, uint64_t deadline,
		struct dsg_error *error);

/*
 * The steps of a lane's handshake, for who does not wait for any of them: @hello as
 * @lane has it; completed by what @greeting offers, with the proof of @token; and
 * whether @welcome is a proper answer to it; and the target's epoch, zero if it tells
 * none. None of them allocates memory.
 */
int dsg_lane_hello(const struct dsg_lane *lane, struct disagg_wire_hello *hello,
		   struct dsg_error *error);
uint64_t dsg_greeting_epoch(const struct disagg_wire_greeting *greeting);
int dsg_hello_answer(const struct disagg_wire_greeting *greeting, const uint8_t *token,
		     struct disagg_wire_hello *hello, struct dsg_error *error);
int dsg_welcome_check(const struct disagg_wire_welcome *welcome,
		      const struct disagg_wire_hello *hello, struct dsg_error *error);

/*
 * Read the GREETING of @fd, by @tls unless that is NULL, and answer it. @features as in
 * struct dsg_lane. On success @session holds both; on failure they are still the
 * caller's.
 * After a lane's handshake no byte that the target sent later has been read, so
 * @fd can be handed to the kernel.
 */
int dsg_handshake_control(int fd, struct dsg_tls *tls, const char *host, uint64_t features,
			  uint64_t deadline, struct dsg_session *session,
			  struct dsg_error *error);
int dsg_handshake_lane(int fd, const struct dsg_lane *lane, uint64_t deadline,
		       struct dsg_session *session, struct dsg_error *error);
/* Close the session's socket; harmless when it is closed already. */
void dsg_session_close(struct dsg_session *session);

/*
 * One request and its reply. @req has @req_len bytes; the reply's payload goes to
 * @reply, at most @reply_max bytes, and its length to @reply_len (may be NULL,
 * then it must be @reply_max exactly). When the target answers with a status
 * other than OK, error->status holds it and the session can go on.
 */
int dsg_control_call(struct dsg_session *session, uint8_t op,
		     const void *req, uint32_t req_len,
		     void *reply, uint32_t reply_max, uint32_t *reply_len,
		     uint64_t deadline, struct dsg_error *error);
/*
 * RESERVE. The seal of @grant is off: the caller wipes its token.
 */
int dsg_control_reserve(struct dsg_session *session, const struct disagg_wire_reserve *reserve,
			struct disagg_wire_grant *grant, uint64_t deadline,
			struct dsg_error *error);
/*
 * The same for an act on a lease: seals @ref with @token first. @grant is filled
 * for RENEW and RESIZE; NULL for RELEASE.
 */
int dsg_control_lease(struct dsg_session *session, uint8_t op,
		      const uint8_t token[DISAGG_WIRE_KEY_LEN],
		      struct disagg_wire_lease_ref *ref,
		      struct disagg_wire_grant *grant, uint64_t deadline,
		      struct dsg_error *error);
/*
 * COMMIT in two halves, since a target may have to zero first: ask, leaving in
 * @frame what the answer must match, and wait for the answer.
 */
int dsg_control_commit(struct dsg_session *session, const uint8_t token[DISAGG_WIRE_KEY_LEN],
		       struct disagg_wire_lease_ref *ref, struct disagg_wire_frame *frame,
		       uint64_t deadline, struct dsg_error *error);
int dsg_control_committed(struct dsg_session *session, struct disagg_wire_frame *frame,
			  struct disagg_wire_grant *grant, uint64_t deadline,
			  struct dsg_error *error);
/*
 * INVENTORY or LEASES to its end, over as many requests as it takes. *@entries is
 * allocated (free() it), of *@count structs of @entry_size bytes.
 */
int dsg_control_list(struct dsg_session *session, uint8_t op, size_t entry_size,
		     void **entries, size_t *count, uint64_t deadline,
		     struct dsg_error *error);

#endif /* DISAGG_LIB_WIRE_H */
