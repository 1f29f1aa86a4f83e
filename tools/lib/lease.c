// SPDX-License-Identifier: GPL-2.0
/* Leases on a target, by control requests. */
#include <endian.h>
#include <string.h>

#include "lease.h"

#define ZERO_RATE_MIN	(32u << 20)	/* bytes per second; a medium below is broken */

static bool uuid_is_set(const uint8_t *uuid)
{
	return !dsg_is_zero(uuid, DISAGG_WIRE_UUID_LEN);
}

static int bad_grant(const struct dsg_record_device *dev, struct dsg_fault *fault)
{
	return dsg_fault_set(fault, DSG_FAILED,
			     "target %s: granted something else than what was asked for %s",
			     dev->target.name, dev->name);
}

/* What every grant has to fulfil, and one of a lease that @dev has already. */
static bool grant_ok(const struct disagg_wire_grant *grant)
{
	uint32_t block = le32toh(grant->block_size);

	return uuid_is_set(grant->lease) && grant->generation && grant->max_lanes &&
	       dsg_is_zero(grant->reserved, sizeof(grant->reserved)) &&
	       !(le32toh(grant->attrs) & ~(DISAGG_WIRE_ATTR_READ_ONLY |
					   DISAGG_WIRE_ATTR_ROTATIONAL)) &&
	       block >= 512 && !(block & (block - 1)) &&
	       dsg_string_ok(grant->resource, sizeof(grant->resource)) &&
	       dsg_name_ok(grant->resource);
}

static bool same_lease(const struct dsg_record_device *dev, const struct disagg_wire_grant *grant,
		       uint64_t size)
{
	return grant_ok(grant) && !memcmp(grant->lease, dev->lease, sizeof(dev->lease)) &&
	       le64toh(grant->generation) == dev->generation && le64toh(grant->size) == size &&
	       !strcmp(grant->resource, dev->resource) &&
	       dsg_is_zero(grant->token, sizeof(grant->token));
}

/* Whether a RESERVE that was answered so has certainly left nothing behind. */
static bool nothing_held(uint16_t status)
{
	switch (status) {
	case DISAGG_WIRE_E_DENIED:
	case DISAGG_WIRE_E_NOT_FOUND:
	case DISAGG_WIRE_E_NO_SPACE:
	case DISAGG_WIRE_E_STALE:
	case DISAGG_WIRE_E_INVALID:
	case DISAGG_WIRE_E_NOT_SUPPORTED:
	case DISAGG_WIRE_E_READ_ONLY:
		return true;
	default:
		return false;
	}
}

int dsg_lease_reserve(struct dsg_session *session, const char *node,
		      struct dsg_record_device *dev, uint64_t deadline,
		      struct dsg_fault *fault)
{
	struct disagg_wire_reserve reserve = {
		.class = htole32(dev->class),
		.attrs = htole32(dev->read_only ? DISAGG_WIRE_ATTR_READ_ONLY : 0),
		.size = htole64(dev->size),
		.ttl_ns = htole64(DSG_RESERVE_TTL_NS),
		.lease_ns = htole64(dev->lease_ns),
	};
	struct disagg_wire_grant grant;
	struct dsg_error error = { 0 };

	memcpy(reserve.txid, dev->txid, sizeof(reserve.txid));
	if (dsg_string_set(reserve.id, sizeof(reserve.id), dev->resource) ||
	    dsg_string_set(reserve.node, sizeof(reserve.node), node) ||
	    dsg_string_set(reserve.device, sizeof(reserve.device), dev->name) ||
	    dsg_string_set(reserve.host, sizeof(reserve.host), dsg_hostname()))
		return dsg_fault_set(fault, DSG_USAGE, "a name is too long");
	if (dsg_control_reserve(session, &reserve, &grant, deadline, &error)) {
		if (nothing_held(error.status))
			dev->step = DSG_LEASE_RELEASED;
		dsg_fault_wire(fault, &error, dev->target.name);
		dev->refused = error.status == DISAGG_WIRE_E_NO_SPACE;
		if (dev->refused)
			dsg_fault_prefix(fault, "no room for %s (%s): ", dev->name,
					 dev->resource);
		return fault->code;
	}
	/* Take note of it before judging it: it has to be given back in any case. */
	memcpy(dev->lease, grant.lease, sizeof(dev->lease));
	memcpy(dev->token, grant.token, sizeof(dev->token));
	dev->generation = le64toh(grant.generation);
	dev->max_lanes = le32toh(grant.max_lanes);
	dev->step = DSG_LEASE_RESERVED;
	explicit_bzero(grant.token, sizeof(grant.token));
	if (!grant_ok(&grant) || le64toh(grant.size) != dev->size ||
	    (dev->resource[0] && strcmp(dev->resource, grant.resource)))
		return bad_grant(dev, fault);
	memcpy(dev->resource, grant.resource, sizeof(dev->resource));
	dev->epoch = session->epoch;
	return 0;
}

static void fill_ref(struct disagg_wire_lease_ref *ref, const struct dsg_record_device *dev)
{
	memset(ref, 0, sizeof(*ref));
	memcpy(ref->lease, dev->lease, sizeof(ref->lease));
	ref->generation = htole64(dev->generation);
}

uint64_t dsg_zeroing_ns(uint64_t size)
{
	return size / ZERO_RATE_MIN * DSG_NSEC_PER_SEC;
}

int dsg_lease_commit(struct dsg_session *session, const struct dsg_record_device *dev,
		     struct disagg_wire_frame *frame, uint64_t deadline,
		     struct dsg_fault *fault)
{
	struct disagg_wire_lease_ref ref;
	struct dsg_error error = { 0 };

	fill_ref(&ref, dev);
	if (dsg_control_commit(session, dev->token, &ref, frame, deadline, &error))
		return dsg_fault_wire(fault, &error, dev->target.name);
	return 0;
}

int dsg_lease_committed(struct dsg_session *session, struct dsg_record_device *dev,
			struct disagg_wire_frame *frame, uint64_t deadline,
			struct dsg_fault *fault)
{
	struct disagg_wire_grant grant;
	struct dsg_error error = { 0 };

	if (dsg_control_committed(session, frame, &grant, deadline, &error)) {
		dev->refused = error.status == DISAGG_WIRE_E_NO_SPACE;
		return dsg_fault_wire(fault, &error, dev->target.name);
	}
	dev->step = DSG_LEASE_COMMITTED;
	return same_lease(dev, &grant, dev->size) ? 0 : bad_grant(dev, fault);
}

int dsg_lease_resize(struct dsg_session *session, struct dsg_record_device *dev,
		     uint64_t size, uint64_t deadline, struct dsg_fault *fault)
{
	struct disagg_wire_lease_ref ref;
	struct disagg_wire_grant grant;
	struct dsg_error error = { 0 };

	fill_ref(&ref, dev);
	ref.size = htole64(size);
	if (dsg_control_lease(session, DISAGG_WIRE_OP_RESIZE, dev->token, &ref, &grant,
			      deadline, &error))
		return dsg_fault_wire(fault, &error, dev->target.name);
	if (!same_lease(dev, &grant, size))
		return bad_grant(dev, fault);
	dev->size = size;
	return 0;
}

int dsg_lease_renew(struct dsg_session *session, const struct dsg_record_device *dev,
		    uint64_t deadline, unsigned int *status, struct dsg_fault *fault)
{
	struct disagg_wire_lease_ref ref;
	struct disagg_wire_grant grant;
	struct dsg_error error = { 0 };
	int err;

	fill_ref(&ref, dev);
	ref.lease_ns = htole64(dev->lease_ns);
	err = dsg_control_lease(session, DISAGG_WIRE_OP_RENEW, dev->token, &ref, &grant,
				deadline, &error);
	*status = error.status;
	if (err)
		return dsg_fault_wire(fault, &error, dev->target.name);
	return same_lease(dev, &grant, le64toh(grant.size)) ? 0 : bad_grant(dev, fault);
}

int dsg_lease_release(struct dsg_session *session, const char *node,
		      struct dsg_record_device *dev, uint64_t deadline,
		      struct dsg_fault *fault)
{
	struct disagg_wire_lease_ref ref;
	struct dsg_error error = { 0 };

	if (dev->step == DSG_LEASE_RELEASED)
		return 0;
	if (dev->step == DSG_LEASE_ASKED) {
		/*
		 * Whether the RESERVE arrived isn't known, and without its grant
		 * there is no token to release it with. The same txid again brings
		 * the same grant.
		 */
		dsg_lease_reserve(session, node, dev, deadline, fault);
		if (dev->step == DSG_LEASE_RELEASED)
			return 0;
		if (dev->step == DSG_LEASE_ASKED)
			return fault->code;
	}
	fill_ref(&ref, dev);
	if (dsg_control_lease(session, DISAGG_WIRE_OP_RELEASE, dev->token, &ref, NULL, deadline,
			      &error) &&
	    error.status != DISAGG_WIRE_E_NOT_FOUND && error.status != DISAGG_WIRE_E_STALE)
		return dsg_fault_wire(fault, &error, dev->target.name);
	dev->step = DSG_LEASE_RELEASED;
	return 0;
}
