/* SPDX-License-Identifier: GPL-2.0 */
/* Give a node's leases back, to all of its targets at once, in bounded time. */
#ifndef DISAGG_LIB_RELEASE_H
#define DISAGG_LIB_RELEASE_H

#include "record.h"

/*
 * Release every lease of @record that isn't released. A target has @wait_ns to answer,
 * whatever it, or the name service, does; if @patient, one that has answered gets what it
 * may need for ending workers and freeing memory on top, 45 s at most. Each that succeeds
 * has step RELEASED afterwards, also when others fail: then the first failure, in the order
 * of the devices, is described. The record isn't written.
 */
int dsg_release_leases(struct dsg_record *record, uint64_t wait_ns, bool patient,
		       struct dsg_fault *fault);

#endif /* DISAGG_LIB_RELEASE_H */
