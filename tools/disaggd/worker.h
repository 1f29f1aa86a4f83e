/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One process per lease. This header is what the two sides share, and the parent's
 * handle on a worker; serve.h is the other side.
 */
#ifndef DISAGGD_WORKER_H
#define DISAGGD_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/disagg_wire.h>

#include "loop.h"

/* File descriptors that a worker starts with, besides 0 to 2. */
#define WORKER_FD_ORDERS	3	/* SOCK_SEQPACKET to the parent */
#define WORKER_FD_SHARED	4	/* memfd with struct worker_shared */
#define WORKER_FD_LOCK		5	/* keeps a new parent out until it is gone */
#define WORKER_FD_MEDIUM	6	/* storage: the parent's own, so that it is the same */

/* The first message to a worker: what it serves. */
struct worker_setup {
	uint8_t lease[DISAGG_WIRE_UUID_LEN];
	uint64_t generation;
	uint64_t size;
	uint64_t max_size;	/* the most that RESIZE can ask for */
	uint64_t offset;	/* storage: start of the extent */
	uint64_t hugepage;	/* memory: bytes, 0 for none */
	uint64_t keep_ns;	/* memory: how long it outlives the parent; 0: not */
	uint32_t class;
	uint32_t attrs;
	uint32_t block_size;
	bool prealloc;
	bool zero;		/* storage: zero the extent before serving it */
	bool shared;		/* storage: nobody writes to it, many may read */
	char resource[DISAGG_WIRE_NAME_LEN];
	char path[1024];	/* storage: the medium's; keep_ns: the state folder */
};

/* Where a worker that outlives its parent waits for the next, below the state folder. */
#define WORKER_SOCKET		"worker-%llu"	/* generation */

enum worker_order_type {
	WORKER_LANE = 1,	/* with the lane's socket */
	WORKER_RESIZE,		/* make room, with zeroes; lanes don't see it yet. No more
				 * than they have: give back what was made beyond */
	WORKER_PUBLISH,		/* it is in the journal: lanes may use it */
	WORKER_STOP,		/* exit; answer what has arrived, unless abrupt */
	WORKER_KEEP,		/* outlive the parent for @size ns; 0: not */
};

struct worker_order {
	uint32_t type;
	uint32_t lane;
	uint32_t max_payload;
	uint32_t depth;
	uint64_t features;
	uint64_t size;
	bool abrupt;
};

enum worker_report_type {
	WORKER_READY = 1,
	WORKER_RESIZED,
	WORKER_PUBLISHED,
};

struct worker_report {
	uint32_t type;
	uint32_t status;	/* DISAGG_WIRE_* */
	uint64_t size;
};

/*
 * The first message to a new parent, with the memfd of struct worker_shared. The two
 * may be of different releases: whoever changes an order, a report or what is shared
 * changes the version too, and memory does not outlive that upgrade.
 */
#define WORKER_VERSION	1
struct worker_hello {
	uint64_t version;
	uint8_t lease[DISAGG_WIRE_UUID_LEN];
	uint64_t generation;
	uint64_t size;		/* that the lanes may use */
};

/* Written by one lane each, so on a cache line each. */
struct worker_counters {
	_Alignas(64) _Atomic uint64_t read_bytes;
	_Atomic uint64_t written_bytes;
	_Atomic uint32_t connected;
};

struct worker_shared {
	struct worker_counters lanes[DISAGG_WIRE_MAX_LANES];
};

struct lease;

/**
 * struct worker - the parent's handle; belongs to its lease
 * @lease: whose; NULL before worker_adopt()
 * @pid: process
 * @exit: its pidfd
 * @reports: the socket
 * @shared: the counters, mapped
 * @adopted: an earlier daemon has started it
 * @kept: it outlives this process, unless it is told to stop
 * @kill_at: SIGKILL it then, 0: let it live
 */
struct worker {
	struct lease *lease;
	pid_t pid;
	struct source exit;
	struct source reports;
	struct worker_shared *shared;
	bool adopted;
	bool kept;
	uint64_t kill_at;
};

/* Start a worker for @lease; NULL and errno on failure. */
struct worker *worker_start(struct lease *lease, const struct worker_setup *setup);
/*
 * The worker that an earlier daemon left for the lease @generation, NULL if it is gone.
 * 0 or -errno: it may be there. Before anything else, worker_hear() it.
 */
int worker_find(uint64_t generation, struct worker **worker);
/*
 * Is it @id's, and how much may its lanes use? If it does not answer as it should until
 * @deadline (ns, monotonic) it is killed, and *@worker is NULL. 0 or -errno: this process
 * lacks something.
 */
int worker_hear(struct worker **worker, uint64_t generation,
		const uint8_t id[DISAGG_WIRE_UUID_LEN], uint64_t deadline, uint64_t *size);
/* From now on it works for @lease; 0 or -errno. */
int worker_adopt(struct worker *worker, struct lease *lease);
/* Leave it to the next daemon. */
void worker_abandon(struct worker *worker);
/* Kill those that an earlier daemon left and nobody has adopted. */
void worker_sweep(bool (*wanted)(uint64_t generation));
/* Wait, within bounds, for all that were killed. */
void worker_bury(void);
/* Pass on the lane @fd, which stays the caller's; 0 or -errno. */
int worker_lane(struct worker *worker, const struct worker_order *order, int fd);
int worker_resize(struct worker *worker, uint64_t size);
int worker_publish(struct worker *worker, uint64_t size);
/* How long it outlives this daemon, 0: not at all; one that was adopted. */
void worker_keep(struct worker *worker, uint64_t keep_ns);
/* Ask it to exit within @grace_ns, then SIGKILL; 0: at once. */
void worker_stop(struct worker *worker, bool abrupt, uint64_t grace_ns);
/* SIGKILL what has outlived its grace. */
void worker_check(struct worker *worker, uint64_t now);
/* Sums over the lanes. */
void worker_counts(const struct worker *worker, uint64_t *read_bytes,
		   uint64_t *written_bytes, uint32_t *lanes);

/* The fd that every worker inherits as WORKER_FD_LOCK. */
void worker_set_lock(int fd);
/* The state folder, where kept workers are found; stays the caller's. */
void worker_set_folder(int fd);

#endif
