/* SPDX-License-Identifier: GPL-2.0 */
/* Ask several targets at once, in bounded time. */
#ifndef DISAGG_LIB_PROBE_H
#define DISAGG_LIB_PROBE_H

#include "target.h"

#define DSG_PROBE_NS	(3 * DSG_NSEC_PER_SEC)

/* What to ask for. */
enum dsg_probe_what {
	DSG_PROBE_INVENTORY,	/* struct disagg_wire_resource */
	DSG_PROBE_LEASES,	/* struct disagg_wire_lease_info */
};

/**
 * struct dsg_probe - one target's answer
 * @target: who was asked
 * @fault: fault.code is DSG_OK if it answered; else the rest is empty
 * @rtt_ns: how long the question took once connected, nanoseconds
 * @count: entries
 * @resources: INVENTORY: the target's resources, checked, in its own order
 * @leases: LEASES: the target's leases, checked, in its own order
 */
struct dsg_probe {
	struct dsg_target target;
	struct dsg_fault fault;
	uint64_t rtt_ns;
	size_t count;
	struct disagg_wire_resource *resources;
	struct disagg_wire_lease_info *leases;
};

/*
 * Ask @count targets at once. Ends within @wait_ns whatever they, or the name
 * service, do: who hasn't answered by then is unreachable. *@probes has @count
 * entries in the order of @targets; dsg_probes_free() them.
 */
int dsg_probe_targets(const struct dsg_target *targets, size_t count, enum dsg_probe_what what,
		      uint64_t wait_ns, struct dsg_probe **probes, struct dsg_fault *fault);
void dsg_probes_free(struct dsg_probe *probes, size_t count);

#endif /* DISAGG_LIB_PROBE_H */
