/* SPDX-License-Identifier: GPL-2.0 */
/* Inside a worker process: one lease, its medium and its lanes. */
#ifndef DISAGGD_SERVE_H
#define DISAGGD_SERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/disagg_wire.h>

#include "worker.h"

#define SERVE_MAX_DISCARD	(256U << 20)	/* bytes of one DISCARD or WRITE_ZEROES */

struct lane;
struct serve;

/**
 * struct medium - what a class of resource can do
 * @features: DISAGG_WIRE_F_* that it honours
 * @open: make serve->setup ready to be served; DISAGG_WIRE_*
 * @resize: grow to @size bytes, zeroed; what lanes have never shrinks, but what was made
 *	beyond it for them and is not wanted is given back; called on a thread of its own,
 *	one at a time; DISAGG_WIRE_*
 * @run: serve a lane until its socket ends; called on the lane's own thread
 */
struct medium {
	uint64_t features;
	uint16_t (*open)(struct serve *serve);
	uint16_t (*resize)(struct serve *serve, uint64_t size);
	void (*run)(struct lane *lane);
};

extern const struct medium memory_medium;
extern const struct medium storage_medium;

/**
 * struct serve - the lease
 * @setup: from the parent
 * @size: bytes that lanes may touch; only grows
 * @map: memory: the mapping, setup.max_size bytes
 * @fd: memory: the memfd; storage: the file or device
 */
struct serve {
	struct worker_setup setup;
	const struct medium *medium;
	struct worker_shared *shared;
	_Atomic uint64_t size;
	uint8_t *map;
	int fd;
	struct lane *lanes[DISAGG_WIRE_MAX_LANES];
};

/**
 * struct lane - one connection
 * @crc: CRC32C is in force
 */
struct lane {
	struct serve *serve;
	int fd;
	uint32_t index;
	uint64_t features;
	uint32_t max_payload;
	uint32_t depth;
	bool crc;
	struct worker_counters *count;
	pthread_t thread;
};

/**
 * struct request - a frame that has been checked, in host byte order
 * @tag: as received, for the reply
 * @generation: as received, for the reply
 * @status: what the reply will say
 */
struct request {
	uint8_t op;
	uint8_t flags;
	uint16_t status;
	__le32 tag;
	__le32 generation;
	uint64_t offset;
	uint32_t length;
	uint32_t payload;
	uint32_t payload_crc;
};

enum verdict {
	REQUEST_OK,		/* carry it out */
	REQUEST_REFUSED,	/* consume its payload, reply rq->status */
	REQUEST_MALFORMED,	/* reply rq->status, then close */
	REQUEST_GARBAGE,	/* not a frame at all: close */
};

/* Find out within a minute that the peer of a TCP connection has vanished. */
void lane_tune(int fd);
/* Start a thread for the lane; takes @fd over also when it fails. -errno. */
int lane_start(struct serve *serve, const struct worker_order *order, int fd);
/*
 * Shut the lane's socket and wait until nothing of it is in flight; frees it.
 * SHUT_RD lets it answer what has arrived, SHUT_RDWR ends it at once.
 */
void lane_end(struct lane *lane, int how);

/* Check @frame against everything that the lane and the lease allow. */
enum verdict lane_check(const struct lane *lane, const struct disagg_wire_frame *frame,
			struct request *rq);
/* The reply to @rq with @len bytes of @payload, which must not change any more. */
void lane_reply(const struct lane *lane, const struct request *rq,
		const void *payload, uint32_t len, struct disagg_wire_frame *reply);
/* Traffic for the LEASES list. */
void lane_count(struct lane *lane, uint64_t read_bytes, uint64_t written_bytes);

/* The worker's main(); returns an exit status. */
int serve_main(void);

#endif
