/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DISAGGD_LISTEN_H
#define DISAGGD_LISTEN_H

#include "config.h"

/* Listen on all of config->listen; 0 or -errno after logging why. */
int listeners_open(const struct config *config);
void listeners_close(void);

#endif
