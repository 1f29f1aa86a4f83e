/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DISAGG_TIMERS_H
#define DISAGG_TIMERS_H

#include "netlink.h"
#include "size.h"

/*
 * Read the option --@name: "io-timeout" takes a duration, "fail-fast" and
 * "dead-after" also 0 and "never". Without @text @ms stays as it is.
 */
int parse_timer(const char *name, const char *text, uint32_t *ms, struct dsg_fault *fault);
/* For people: a duration, "at once" or "never". */
const char *timer_format(uint32_t ms, char buf[DSG_SIZE_STRLEN]);

#endif
