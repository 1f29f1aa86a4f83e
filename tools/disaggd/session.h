/* SPDX-License-Identifier: GPL-2.0 */
/* The parent's connections: those that have not said HELLO, and control ones. */
#ifndef DISAGGD_SESSION_H
#define DISAGGD_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/disagg_wire.h>

#include "config.h"
#include "lease.h"
#include "loop.h"

enum session_state {
	SESSION_HELLO,		/* GREETING sent, HELLO awaited */
	SESSION_REQUEST,	/* control: a request is awaited */
	SESSION_WAIT,		/* control: a lease is at work on the request */
	SESSION_REPLY,		/* control: the reply is going out */
	SESSION_DYING,		/* what is queued goes out, then it closes */
};

#define HELLO_TIMEOUT_NS	(5 * DSG_NSEC_PER_SEC)

/**
 * struct session_keys - what a GREETING has begun to agree on
 * @nonce: its nonce: the public half of
 * @secret: which nobody else knows
 */
struct session_keys {
	uint8_t nonce[DISAGG_WIRE_KEY_LEN];
	uint8_t secret[DISAGG_WIRE_KEY_LEN];
};

/**
 * struct session - one connection
 * @tenant: whose it is
 * @peer: the address, for the log
 * @since: monotonic ns; when its state began
 * @deadline: monotonic ns; what is awaited must have come by then
 * @keys: of its GREETING; the secret one until there is a
 * @seal: control: the key of what is sealed
 * @in: bytes received of what is awaited, @in_have of them
 * @out: bytes to send, [@out_at, @out_len)
 * @frame: the request that is being answered
 * @lease: SESSION_WAIT: which lease is at work
 */
struct session {
	struct session *next;
	struct session **link;
	struct source source;
	enum session_state state;
	const struct tenant_config *tenant;
	char peer[64];
	uint64_t since;
	uint64_t deadline;
	uint64_t features;
	uint32_t max_payload;
	struct session_keys keys;
	uint8_t seal[DISAGG_WIRE_KEY_LEN];
	struct disagg_wire_frame frame;
	struct lease *lease;
	size_t in_have;
	size_t out_at, out_len;
	uint8_t in[sizeof(struct disagg_wire_frame) + 256];
	uint8_t out[sizeof(struct disagg_wire_frame) + DISAGG_WIRE_MAX_CONTROL];
};

/* Take the socket @fd of @peer, of @tenant, over: greet, and go on from there. */
void session_start(int fd, const struct config *config, const struct tenant_config *tenant,
		   const char *peer);
/* A GREETING that somebody else says, and its keys. 0 or -errno. */
int session_greet(struct disagg_wire_greeting *greeting, struct session_keys *keys);
/* Take over the socket @fd of who has been greeted with @keys, and has said @hello. */
void session_resume(int fd, const struct config *config, const struct tenant_config *tenant,
		    const char *peer, const struct session_keys *keys,
		    const struct disagg_wire_hello *hello);
/*
 * Answer s->frame with @status and @len bytes that lie in s->out behind the room
 * for the frame. @total is the length field of lists.
 */
void session_reply(struct session *s, uint16_t status, uint32_t len, uint32_t total);
/* The answer comes with lease_done(). */
void session_wait(struct session *s, struct lease *lease);
static inline void *session_payload(struct session *s)
{
	return s->out + sizeof(struct disagg_wire_frame);
}

struct session *session_first(void);
/* What GREETING says of the host's epoch; never zero. */
uint64_t session_epoch(void);

/* Close what is overdue; when to look again. */
uint64_t sessions_check(uint64_t now);
void sessions_close(void);

/* control.c: carry out s->frame with its payload; replies or waits. */
void control_request(struct session *s, const void *payload, uint32_t len);

#endif
