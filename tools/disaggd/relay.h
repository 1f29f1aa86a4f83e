/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TLS connections: a process each does the handshake, and where the kernel does not
 * encrypt, it goes on to do that. It is the only one that sees keys, and all that it has
 * of the parent's is the client's socket.
 */
#ifndef DISAGGD_RELAY_H
#define DISAGGD_RELAY_H

#include "config.h"

/*
 * Take the socket @fd of @peer over. When he has proved who he is, a session begins.
 */
void relay_start(const struct config *config, int fd, const char *peer);
/* Those whose client has proved nothing yet end; the others go on by themselves. */
void relays_close(void);

/* The process's main(); returns an exit status. */
int relay_main(void);

#endif
