/* SPDX-License-Identifier: GPL-2.0 */
/* Composing a node and taking it apart. */
#ifndef DISAGGCTL_COMPOSE_H
#define DISAGGCTL_COMPOSE_H

#include "module.h"
#include "record.h"

#define LOCK_WAIT_NS	(10 * DSG_NSEC_PER_SEC)
#define STEP_NS		(5 * DSG_NSEC_PER_SEC)	/* one exchange with a target */
#define RELEASE_NS	(3 * DSG_NSEC_PER_SEC)	/* all leases of a node */
/* The same, where targets may be zeroing: a worker gets 5 s to end before it is killed. */
#define UNDO_NS		(8 * DSG_NSEC_PER_SEC)

/*
 * Make the node that @record describes (all devices placed, step ASKED): leases,
 * lanes, kernel devices, record. Everything or nothing; node_create() holds the
 * node's lock.
 */
int compose(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
	    struct dsg_fault *fault);
/*
 * Give back what @record still holds on targets and, if that is all, remove the
 * record; else write it as "releasing".
 */
int finish_release(struct dsg_record *record, uint64_t wait_ns, struct dsg_fault *fault);
/* Take the lock of one node; returns what dsg_lock() does. */
int lock_node(const char *name, uint64_t wait_ns, struct dsg_fault *fault);

#endif /* DISAGGCTL_COMPOSE_H */
