// SPDX-License-Identifier: GPL-2.0
/* The operations of a control connection. */
#include <endian.h>
#include <string.h>

#include "access.h"
#include "session.h"
#include "wire.h"

/* A token leaves this process sealed, or not at all. */
static void reply_grant(struct session *s, const struct lease *l, bool with_token)
{
	struct disagg_wire_grant *grant = session_payload(s);

	lease_grant(l, with_token, grant);
	if (with_token && dsg_seal_grant(s->seal, grant)) {
		explicit_bzero(grant, sizeof(*grant));
		session_reply(s, DISAGG_WIRE_E_INTERNAL, 0, 0);
		return;
	}
	session_reply(s, DISAGG_WIRE_OK, sizeof(struct disagg_wire_grant), 0);
}

/* Where a list starts, from the frame: false, and a reply, if it can't. */
static bool list_start(struct session *s, uint32_t len, unsigned int total,
		       unsigned int *first)
{
	uint64_t offset = le64toh(s->frame.offset);

	if (len) {
		session_reply(s, DISAGG_WIRE_E_PROTO, 0, 0);
		return false;
	}
	*first = offset < total ? (unsigned int)offset : total;
	return true;
}

/* The resources that the session's tenant may lease, in order; NULL after the last. */
static const struct resource *next_resource(const struct session *s, unsigned int *i)
{
	while (*i < resources_count()) {
		const struct resource *r = resource_at((*i)++);

		if (access_resource(s->tenant, r->conf->id))
			return r;
	}
	return NULL;
}

static void inventory(struct session *s, uint32_t len)
{
	const size_t most = s->max_payload / sizeof(struct disagg_wire_resource);
	struct disagg_wire_resource *out = session_payload(s);
	unsigned int total = 0, skip, n = 0;
	const struct resource *r;

	for (unsigned int i = 0; next_resource(s, &i); total++)
		;
	if (!list_start(s, len, total, &skip))
		return;
	for (unsigned int i = 0; n < most && (r = next_resource(s, &i));) {
		uint64_t available, largest;
		uint32_t leases = 0;

		if (skip) {
			skip--;
			continue;
		}
		for (struct lease *l = lease_first(); l; l = lease_next(l))
			leases += l->resource == r;
		resource_room(r, &available, &largest);
		memset(&out[n], 0, sizeof(out[n]));
		out[n].class = htole32(r->conf->class);
		out[n].attrs = htole32(r->conf->read_only ? DISAGG_WIRE_ATTR_READ_ONLY : 0);
		out[n].capacity = htole64(r->capacity);
		out[n].available = htole64(available);
		out[n].largest = htole64(largest);
		out[n].leases = htole32(leases);
		out[n].block_size = htole32(r->conf->block_size);
		memcpy(out[n].id, r->conf->id, sizeof(out[n].id));
		memcpy(out[n].model, r->model, sizeof(out[n].model));
		n++;
	}
	session_reply(s, DISAGG_WIRE_OK, (uint32_t)(n * sizeof(*out)), total);
}

static void leases(struct session *s, uint32_t len)
{
	const size_t most = s->max_payload / sizeof(struct disagg_wire_lease_info);
	struct disagg_wire_lease_info *out = session_payload(s);
	unsigned int total = 0, skip, n = 0;

	for (struct lease *l = lease_first(); l; l = lease_next(l))
		total += lease_is_of(l, s->tenant);
	if (!list_start(s, len, total, &skip))
		return;
	for (struct lease *l = lease_first(); l && n < most; l = lease_next(l)) {
		if (!lease_is_of(l, s->tenant))
			continue;
		if (skip) {
			skip--;
			continue;
		}
		lease_info(l, &out[n++]);
	}
	session_reply(s, DISAGG_WIRE_OK, (uint32_t)(n * sizeof(*out)), total);
}

static void reserve(struct session *s, const void *payload, uint32_t len)
{
	struct disagg_wire_reserve req;
	struct lease *l;
	uint16_t status;

	if (len != sizeof(req)) {
		session_reply(s, DISAGG_WIRE_E_PROTO, 0, 0);
		return;
	}
	memcpy(&req, payload, sizeof(req));
	if (dsg_seal_reserve(s->seal, le32toh(s->frame.tag), &req)) {
		session_reply(s, DISAGG_WIRE_E_INTERNAL, 0, 0);
		return;
	}
	if (!dsg_is_zero(req.reserved, sizeof(req.reserved)) ||
	    dsg_is_zero(req.txid, sizeof(req.txid)) ||
	    le32toh(req.attrs) & ~DISAGG_WIRE_ATTR_READ_ONLY ||
	    !dsg_string_ok(req.id, sizeof(req.id)) ||
	    !dsg_string_ok(req.node, sizeof(req.node)) ||
	    !dsg_string_ok(req.device, sizeof(req.device)) ||
	    !dsg_string_ok(req.host, sizeof(req.host))) {
		session_reply(s, DISAGG_WIRE_E_INVALID, 0, 0);
		return;
	}
	status = lease_reserve(&req, s->tenant, &l);
	if (status)
		session_reply(s, status, 0, 0);
	else
		reply_grant(s, l, true);
}

static uint16_t check_ref(struct session *s, const struct disagg_wire_lease_ref *ref,
			  struct lease **l)
{
	uint8_t proof[DISAGG_WIRE_KEY_LEN], op = s->frame.op;
	uint16_t status = lease_find(ref->lease, s->tenant, l);

	if (status)
		return status;
	if (dsg_lease_ref_proof((*l)->token, s->keys.nonce, op, ref, proof) ||
	    !dsg_equal(proof, ref->proof, sizeof(proof)))
		return DISAGG_WIRE_E_DENIED;
	if (le64toh(ref->generation) != (*l)->generation)
		return DISAGG_WIRE_E_STALE;
	if (!dsg_is_zero(ref->reserved, sizeof(ref->reserved)) ||
	    (ref->size && op != DISAGG_WIRE_OP_RESIZE) ||
	    (ref->lease_ns && op != DISAGG_WIRE_OP_RENEW))
		return DISAGG_WIRE_E_INVALID;
	return DISAGG_WIRE_OK;
}

static void act(struct session *s, const void *payload, uint32_t len)
{
	struct disagg_wire_lease_ref ref;
	struct lease *l = NULL;
	uint8_t op = s->frame.op;
	uint16_t status;

	if (len != sizeof(ref)) {
		session_reply(s, DISAGG_WIRE_E_PROTO, 0, 0);
		return;
	}
	memcpy(&ref, payload, sizeof(ref));
	status = check_ref(s, &ref, &l);
	if (!status) {
		switch (op) {
		case DISAGG_WIRE_OP_COMMIT:
			status = lease_commit(l);
			break;
		case DISAGG_WIRE_OP_RELEASE:
			status = lease_release(l);
			break;
		case DISAGG_WIRE_OP_RENEW:
			status = lease_renew(l, le64toh(ref.lease_ns));
			break;
		default:
			status = lease_resize(l, s->tenant, le64toh(ref.size));
			break;
		}
	}
	if (status == LEASE_LATER) {
		session_wait(s, l);
	} else if (status || op == DISAGG_WIRE_OP_RELEASE) {
		session_reply(s, status, 0, 0);
	} else {
		reply_grant(s, l, false);
	}
}

void lease_done(struct lease *lease, uint8_t op, uint16_t status)
{
	struct session *after;

	for (struct session *s = session_first(); s; s = after) {
		after = s->next;
		if (s->state != SESSION_WAIT || s->lease != lease || s->frame.op != op)
			continue;
		if (status || op == DISAGG_WIRE_OP_RELEASE)
			session_reply(s, status, 0, 0);
		else
			reply_grant(s, lease, false);
	}
}

void control_request(struct session *s, const void *payload, uint32_t len)
{
	bool list = s->frame.op == DISAGG_WIRE_OP_INVENTORY ||
		    s->frame.op == DISAGG_WIRE_OP_LEASES;

	if (s->frame.flags || s->frame.length || (s->frame.offset && !list)) {
		session_reply(s, DISAGG_WIRE_E_PROTO, 0, 0);
		return;
	}
	switch (s->frame.op) {
	case DISAGG_WIRE_OP_INVENTORY:
		inventory(s, len);
		break;
	case DISAGG_WIRE_OP_LEASES:
		leases(s, len);
		break;
	case DISAGG_WIRE_OP_RESERVE:
		reserve(s, payload, len);
		break;
	case DISAGG_WIRE_OP_COMMIT:
	case DISAGG_WIRE_OP_RELEASE:
	case DISAGG_WIRE_OP_RENEW:
	case DISAGG_WIRE_OP_RESIZE:
		act(s, payload, len);
		break;
	default:
		session_reply(s, DISAGG_WIRE_E_NOT_SUPPORTED, 0, 0);
	}
}
