/* SPDX-License-Identifier: GPL-2.0 */
/* A device's lease on its target: take it, keep it, give it back; open its lanes. */
#ifndef DISAGG_LIB_LEASE_H
#define DISAGG_LIB_LEASE_H

#include "record.h"

#define DSG_RESERVE_TTL_NS	(30 * DSG_NSEC_PER_SEC)

/*
 * RESERVE what @dev describes for node @node; fills in lease, generation, token,
 * max_lanes, and resource if it was empty. Repeating it is harmless: the txid is
 * the device's. A refusal after which the target certainly holds nothing sets step
 * to RELEASED.
 */
int dsg_lease_reserve(struct dsg_session *session, const char *node,
		      struct dsg_record_device *dev, uint64_t deadline,
		      struct dsg_fault *fault);
/* Nanoseconds in which a target that isn't broken zeroes @size bytes. */
uint64_t dsg_zeroing_ns(uint64_t size);
/*
 * COMMIT a reserved lease: ask, and wait for the answer, which comes when all of it
 * is zeroed. @frame is handed from one to the other.
 */
int dsg_lease_commit(struct dsg_session *session, const struct dsg_record_device *dev,
		     struct disagg_wire_frame *frame, uint64_t deadline,
		     struct dsg_fault *fault);
int dsg_lease_committed(struct dsg_session *session, struct dsg_record_device *dev,
			struct disagg_wire_frame *frame, uint64_t deadline,
			struct dsg_fault *fault);
/* RESIZE a lease to @size bytes, and @dev with it. */
int dsg_lease_resize(struct dsg_session *session, struct dsg_record_device *dev,
		     uint64_t size, uint64_t deadline, struct dsg_fault *fault);
/*
 * RENEW a lease for the time that was asked for. It fails, with *@status the target's
 * answer (zero: there was none): E_STALE is the only one that says that it has ended.
 */
int dsg_lease_renew(struct dsg_session *session, const struct dsg_record_device *dev,
		    uint64_t deadline, unsigned int *status, struct dsg_fault *fault);
/*
 * Make sure that the target holds nothing for @dev, whatever step it is at; a
 * lease that has ended already counts as released. Sets step to RELEASED.
 */
int dsg_lease_release(struct dsg_session *session, const char *node,
		      struct dsg_record_device *dev, uint64_t deadline,
		      struct dsg_fault *fault);

/**
 * struct dsg_lanes - the connected and welcomed lanes of a lease
 * @fds: @count sockets, the caller's: dsg_lanes_close()
 * @capacity: what the target says the lease holds, bytes
 * @features: DISAGG_WIRE_F_* in force
 * @attrs: DISAGG_WIRE_ATTR_*
 * @max_payload: bytes that may follow a frame
 * @max_discard: longest DISCARD or WRITE_ZEROES, bytes
 * @depth: requests in flight per lane
 * @block_size: smallest unit of offset and length, bytes
 * @epoch: the target's
 */
struct dsg_lanes {
	int fds[DISAGG_WIRE_MAX_LANES];
	uint32_t count;
	uint64_t capacity;
	uint64_t features;
	uint32_t attrs;
	uint32_t max_payload;
	uint32_t max_discard;
	uint32_t depth;
	uint32_t block_size;
	uint64_t epoch;
};

/*
 * Set a lane's socket up so that a dead peer is noticed within the I/O timeout: by
 * unacknowledged data (user timeout) or, on an idle lane, by keepalive probes; and so that
 * it goes on soon after one that came back, where the kernel can. 0 or -errno.
 */
int dsg_lane_tune(int fd, uint32_t io_timeout_ms);
/*
 * Connect the dev->lanes lanes of a committed lease, with those of @features that
 * the target offers too. All of them must be welcomed in the same terms. On
 * failure none is open.
 */
int dsg_lanes_open(const struct dsg_record_device *dev, uint64_t features, uint64_t deadline,
		   struct dsg_lanes *lanes, struct dsg_fault *fault);
void dsg_lanes_close(struct dsg_lanes *lanes);

#endif /* DISAGG_LIB_LEASE_H */
