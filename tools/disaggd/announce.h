/* SPDX-License-Identifier: GPL-2.0 */
/* Telling hosts that there is a reason to ask (protocol.rst, "Announcements"). */
#ifndef DISAGGD_ANNOUNCE_H
#define DISAGGD_ANNOUNCE_H

#include <stdint.h>

#include "config.h"

/* The listeners are open: announce the start. What cannot be is left out, and logged. */
void announce_open(const struct config *config);
/* There is news: it is said by the next announce_check() that may. */
void announce_news(void);
/* Say what is due; when to look again. */
uint64_t announce_check(uint64_t now);
void announce_close(void);

#endif
