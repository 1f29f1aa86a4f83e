/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DISAGGD_LISTEN_H
#define DISAGGD_LISTEN_H

#include <sys/socket.h>

#include "config.h"

/* Listen on all of config->listen; 0 or -errno after logging why. */
int listeners_open(const struct config *config);
void listeners_close(void);
/* The address of listener @i; its length, or 0: there are no more. */
socklen_t listener_address(unsigned int i, struct sockaddr_storage *address);

#endif
