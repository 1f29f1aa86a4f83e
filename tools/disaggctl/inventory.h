/* SPDX-License-Identifier: GPL-2.0 */
/* The answers of one target, or of all of them. */
#ifndef DISAGGCTL_INVENTORY_H
#define DISAGGCTL_INVENTORY_H

#include "cli.h"
#include "probe.h"

/*
 * Ask target @name, or all known ones if it is NULL; dsg_probes_free() the
 * answers. With @name it has to be known, and to answer.
 */
int inventory_ask(struct cli *cli, const char *name, enum dsg_probe_what what,
		  struct dsg_probe **probes, size_t *count, struct dsg_fault *fault);
/*
 * DSG_UNREACHABLE, with the reasons, if a target did not answer; @what: what is
 * missing for it.
 */
int inventory_complete(const struct dsg_probe *probes, size_t count, const char *what,
		       struct dsg_fault *fault);

#endif /* DISAGGCTL_INVENTORY_H */
