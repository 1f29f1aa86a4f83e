/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Placement: which resource each device of a node comes from. Pure: what comes
 * out depends on the arguments only, so a dry run shows what a create would do.
 */
#ifndef DISAGG_LIB_PLAN_H
#define DISAGG_LIB_PLAN_H

#include "fault.h"

#define DSG_PLAN_WANTS_MAX	64
#define DSG_PLAN_RESOURCES_MAX	4096
#define DSG_PLAN_NOWHERE	SIZE_MAX

/**
 * struct dsg_plan_resource - something to place on
 * @target: name of its target
 * @id: its id on that target
 * @class: DISAGG_WIRE_CLASS_*
 * @read_only: it can't be written to
 * @block_size: leases are multiples of this, bytes
 * @available: bytes that are free
 * @largest: bytes of the largest single lease
 * @most: so many devices may be placed on it
 */
struct dsg_plan_resource {
	const char *target;
	const char *id;
	uint32_t class;
	bool read_only;
	uint32_t block_size;
	uint64_t available;
	uint64_t largest;
	size_t most;
};

/**
 * struct dsg_plan_want - something to place
 * @name: the device, for messages
 * @class: DISAGG_WIRE_CLASS_*
 * @read_only: the device won't be written to
 * @size: bytes
 * @resource: result: index of the resource that it comes from
 */
struct dsg_plan_want {
	const char *name;
	uint32_t class;
	bool read_only;
	uint64_t size;
	size_t resource;
};

/*
 * Place all @wants on @resources, or none. The fewest targets that hold
 * everything win; among as few, those that are left with the least free space
 * in the resources used; then those whose names sort first. On a target, the
 * largest device goes first, each to the resource that it fills best, then by
 * id. Leases share what is read-only: they take nothing from it, and leave nothing. The order
 * of @resources doesn't matter.
 *
 * DSG_NO_SPACE with the figures asked, available and largest if they don't fit;
 * DSG_NOT_FOUND if no resource has a wanted class; DSG_USAGE if only a resource's
 * block size stands in the way.
 */
int dsg_plan(struct dsg_plan_want *wants, size_t want_count,
	     const struct dsg_plan_resource *resources, size_t resource_count,
	     struct dsg_fault *fault);

#endif /* DISAGG_LIB_PLAN_H */
