/* SPDX-License-Identifier: GPL-2.0 */
/* Composing a node and taking it apart. */
#ifndef DISAGGCTL_COMPOSE_H
#define DISAGGCTL_COMPOSE_H

#include "module.h"
#include "record.h"
#include "spec.h"

#define LOCK_WAIT_NS	(10 * DSG_NSEC_PER_SEC)
#define STEP_NS		(5 * DSG_NSEC_PER_SEC)	/* one exchange with a target */
#define RELEASE_NS	(3 * DSG_NSEC_PER_SEC)	/* for targets to answer */

/*
 * Make the node that @record describes (all devices placed, step ASKED): leases,
 * lanes, kernel devices, record. Everything or nothing; node_create() holds the
 * node's lock.
 */
int compose(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
	    const char *owner, struct dsg_fault *fault);
/*
 * Attach the node of a record that is there. Devices whose lease is COMMITTED keep
 * it, whatever happens; the others (placed, step ASKED) get a new one. On failure the
 * node is not attached, and the record says which devices have a lease.
 */
int compose_again(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
		  const char *owner, struct dsg_fault *fault);
/* What attaches is noted in the registry as one of these. */
#define OWNER_OPERATOR	"operator"
#define OWNER_BOOT	"boot"

/* Give up at once, or never, those devices of which nobody has said: is there an agent? */
void choose_dead_after(struct dsg_record *record);
/* The record of a node that is to be made: no device is placed yet. */
int record_of_spec(const struct dsg_spec *spec, struct dsg_record *record,
		   struct dsg_fault *fault);
/*
 * Place those devices of @record that have no resource, on @target only if that is
 * not empty. The caller has the lock of the targets, shared.
 */
int place(struct cli *cli, struct dsg_record *record, const char *target,
	  struct dsg_fault *fault);
/* Place and compose. The caller has the locks of the targets and of the node. */
int place_and_compose(struct cli *cli, struct dsg_netlink *nl, struct dsg_record *record,
		      const char *target, const char *owner, struct dsg_fault *fault);
/*
 * Remove the node from the module, if it has it; while a device is in use only with
 * @force. Leases are left alone.
 */
int detach_node(struct cli *cli, struct dsg_netlink *nl, const char *node, bool force,
		struct dsg_fault *fault);
/* Show a node that was just made. */
int print_node(struct cli *cli, struct dsg_netlink *nl, const char *name,
	       struct dsg_fault *fault);
/*
 * Give back what @record still holds on targets and, if that is all, remove the
 * record; else write it as "releasing". @wait_ns, @patient: see dsg_release_leases().
 */
int finish_release(struct dsg_record *record, uint64_t wait_ns, bool patient,
		   struct dsg_fault *fault);
/* Take the lock of one node; returns what dsg_lock() does. */
int lock_node(const char *name, uint64_t wait_ns, struct dsg_fault *fault);

#endif /* DISAGGCTL_COMPOSE_H */
