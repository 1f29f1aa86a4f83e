/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The leases: what the journal says, at work. Functions that act on a lease return
 * DISAGG_WIRE_*; LEASE_LATER means that lease_done() will be called with the
 * outcome.
 */
#ifndef DISAGGD_LEASE_H
#define DISAGGD_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/disagg_wire.h>

#include "config.h"
#include "resource.h"
#include "worker.h"

#define LEASE_LATER	0xffff

enum lease_state {
	LEASE_RESERVED,
	LEASE_STARTING,		/* COMMIT waits for the worker; the journal says reserved */
	LEASE_COMMITTED,
	LEASE_ENDING,		/* ended in the journal; the worker still holds it */
};

/**
 * struct lease - one lease
 * @tenant: whose it is
 * @held: bytes that are taken from the resource; above @size while it is growing
 * @offset: start of the extent (storage)
 * @committed: it is, or was before it began to end
 * @publishing: its worker has yet to let the lanes use what RESIZE added
 * @expires: monotonic ns, 0: never
 * @worker: its worker, NULL if there is none now
 * @read_bytes, @written_bytes: traffic of workers that are gone
 */
struct lease {
	struct lease *next;
	struct lease **link;
	struct resource *resource;
	struct worker *worker;
	enum lease_state state;
	uint8_t id[DISAGG_WIRE_UUID_LEN];
	uint8_t txid[DISAGG_WIRE_UUID_LEN];
	uint8_t token[DISAGG_WIRE_KEY_LEN];
	uint64_t generation;
	uint32_t attrs;
	uint64_t size;
	uint64_t held;
	uint64_t offset;
	uint64_t lease_ns;
	uint64_t expires;
	bool committed;
	bool publishing;
	uint64_t read_bytes;
	uint64_t written_bytes;
	char tenant[DISAGG_WIRE_NAME_LEN];
	char node[DISAGG_WIRE_NAME_LEN];
	char device[DISAGG_WIRE_NAME_LEN];
	char host[DISAGG_WIRE_NAME_LEN];
};

/* Take over what the journal holds; 0 or -errno. */
int leases_open(const struct config *config);
/* The start has succeeded: from now on the configuration's restart-grace holds for all. */
void leases_keep(void);
/*
 * Stop the workers that are not kept, bounded; the loop must turn until
 * leases_working() is false. leases_close() leaves the others to the next daemon.
 */
void leases_stop(uint64_t grace_ns);
bool leases_working(void);
void leases_close(void);

struct lease *lease_first(void);
struct lease *lease_next(const struct lease *lease);
unsigned int leases_count(void);
bool lease_is_of(const struct lease *lease, const struct tenant_config *tenant);
/*
 * @tenant's lease @id in *@lease, or DISAGG_WIRE_E_STALE, _E_NOT_FOUND, or _E_BUSY: kept
 * aside. Another tenant's is not found.
 */
uint16_t lease_find(const uint8_t id[DISAGG_WIRE_UUID_LEN],
		    const struct tenant_config *tenant, struct lease **lease);

uint16_t lease_reserve(const struct disagg_wire_reserve *reserve,
		       const struct tenant_config *tenant, struct lease **lease);
uint16_t lease_commit(struct lease *lease);
uint16_t lease_release(struct lease *lease);
uint16_t lease_renew(struct lease *lease, uint64_t lease_ns);
uint16_t lease_resize(struct lease *lease, const struct tenant_config *tenant, uint64_t size);
/* Give the authenticated lane @fd, which stays the caller's, to the worker. */
uint16_t lease_lane(struct lease *lease, const struct worker_order *order, int fd);

void lease_grant(const struct lease *lease, bool with_token,
		 struct disagg_wire_grant *grant);
void lease_info(const struct lease *lease, struct disagg_wire_lease_info *info);

/* End what has expired, kill what won't stop; when to look again. */
uint64_t leases_check(uint64_t now);

/* From worker.c. */
void lease_worker_ready(struct lease *lease, uint16_t status);
void lease_worker_resized(struct lease *lease, uint16_t status, uint64_t size);
void lease_worker_published(struct lease *lease);
void lease_worker_gone(struct lease *lease);

/*
 * Provided by control.c: what was LEASE_LATER for @op on @lease has come to
 * @status. The lease is still there during the call.
 */
void lease_done(struct lease *lease, uint8_t op, uint16_t status);

#endif
