// SPDX-License-Identifier: GPL-2.0
/* Lanes: connected, tuned and welcomed sockets, ready for the module. */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lease.h"

#define KEEPALIVE_COUNT	3

int dsg_lane_tune(int fd, uint32_t io_timeout_ms)
{
	int on = 1, count = KEEPALIVE_COUNT, again = DSG_RTO_MAX_MS;
	int idle = (int)(io_timeout_ms / 2000), every = idle / KEEPALIVE_COUNT;
	unsigned int user = io_timeout_ms;

	if (idle < 1)
		idle = 1;
	if (idle > 60)
		idle = 60;
	if (every < 1)
		every = 1;
	if (every > 20)
		every = 20;
	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user, sizeof(user)))
		return -errno;
	/* Kernels of before 6.15 can't. */
	setsockopt(fd, IPPROTO_TCP, DSG_TCP_RTO_MAX_MS, &again, sizeof(again));
	return 0;
}

/* Take over what lane 0 was welcomed with, or compare: false if it differs. */
static bool same_terms(struct dsg_lanes *lanes, const struct dsg_session *session)
{
	const struct disagg_wire_welcome *w = &session->welcome;

	if (!lanes->count) {
		lanes->capacity = le64toh(w->capacity);
		lanes->features = session->features;
		lanes->attrs = le32toh(w->attrs);
		lanes->max_payload = session->max_payload;
		lanes->max_discard = le32toh(w->max_discard);
		lanes->depth = le32toh(w->depth);
		lanes->block_size = le32toh(w->block_size);
		lanes->epoch = session->epoch;
		return true;
	}
	return lanes->capacity == le64toh(w->capacity) &&
	       lanes->features == session->features && lanes->attrs == le32toh(w->attrs) &&
	       lanes->max_payload == session->max_payload &&
	       lanes->max_discard == le32toh(w->max_discard) &&
	       lanes->depth == le32toh(w->depth) && lanes->block_size == le32toh(w->block_size);
}

static int open_lane(const struct dsg_record_device *dev, uint64_t features, uint64_t deadline,
		     struct dsg_lanes *lanes, struct dsg_fault *fault)
{
	struct dsg_lane lane = {
		.lease = dev->lease,
		.token = dev->token,
		.generation = dev->generation,
		.lane = lanes->count,
		.lanes = dev->lanes,
		.features = dev->crc ? features : features & ~DISAGG_WIRE_F_CRC32C,
		.depth = dev->depth,
		.host = dsg_hostname(),
	};
	struct dsg_error error = { 0 };
	struct dsg_session session;
	struct dsg_creds *creds;
	struct dsg_tls *tls;
	int fd, err;

	if (dsg_target_connect(&dev->target, deadline, &fd, &creds, &tls, fault))
		return fault->code;
	/* The module knows sockets: what they carry is the kernel's to encrypt. */
	err = tls ? dsg_tls_to_kernel(tls, &error) : 0;
	dsg_tls_free(tls);
	dsg_creds_free(creds);
	if (err) {
		dsg_fault_wire(fault, &error, dev->target.name);
		if (err == -EOPNOTSUPP)
			dsg_fault_hint(fault, "modprobe tls; if there is no such module, this host can only use targets without TLS");
		goto err_close;
	}
	err = dsg_lane_tune(fd, dev->io_timeout_ms);
	if (err) {
		dsg_fault_errno(fault, -err, "setting up a lane's socket");
		goto err_close;
	}
	if (dsg_handshake_lane(fd, &lane, deadline, &session, &error)) {
		dsg_fault_wire(fault, &error, dev->target.name);
		goto err_close;
	}
	if (!same_terms(lanes, &session)) {
		dsg_fault_set(fault, DSG_FAILED,
			      "target %s: welcomed lane %u of %s in other terms than lane 0",
			      dev->target.name, lanes->count, dev->name);
		goto err_close;
	}
	lanes->fds[lanes->count++] = fd;
	return 0;

err_close:
	close(fd);
	return fault->code;
}

static int check_terms(const struct dsg_record_device *dev, const struct dsg_lanes *lanes,
		       struct dsg_fault *fault)
{
	uint32_t block = lanes->block_size;

	if (!block || block & (block - 1) || lanes->capacity < dev->size ||
	    !lanes->depth || !lanes->max_payload)
		return dsg_fault_set(fault, DSG_FAILED, "target %s: its WELCOME for %s makes no sense",
				     dev->target.name, dev->name);
	if (block > dev->block_size) {
		dsg_fault_set(fault, DSG_USAGE,
			      "target %s: the smallest block of %s is %u bytes, %u were asked for",
			      dev->target.name, dev->resource, block, dev->block_size);
		return dsg_fault_hint(fault, "use --block-size %u or more", block);
	}
	if (lanes->attrs & DISAGG_WIRE_ATTR_READ_ONLY && !dev->read_only) {
		dsg_fault_set(fault, DSG_DENIED, "target %s: grants %s for reading only",
			      dev->target.name, dev->name);
		return dsg_fault_hint(fault, "ask for it with --read-only");
	}
	if (dev->crc && !(lanes->features & DISAGG_WIRE_F_CRC32C)) {
		dsg_fault_set(fault, DSG_FAILED, "target %s: does not do checksums",
			      dev->target.name);
		return dsg_fault_hint(fault, "leave out --crc");
	}
	return 0;
}

int dsg_lanes_open(const struct dsg_record_device *dev, uint64_t features, uint64_t deadline,
		   struct dsg_lanes *lanes, struct dsg_fault *fault)
{
	int err = 0;

	memset(lanes, 0, sizeof(*lanes));
	while (!err && lanes->count < dev->lanes)
		err = open_lane(dev, features, deadline, lanes, fault);
	if (!err)
		err = check_terms(dev, lanes, fault);
	if (err)
		dsg_lanes_close(lanes);
	return err;
}

void dsg_lanes_close(struct dsg_lanes *lanes)
{
	while (lanes->count)
		close(lanes->fds[--lanes->count]);
}
