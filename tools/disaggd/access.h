/* SPDX-License-Identifier: GPL-2.0 */
/* Who a client is to be taken for, and what he may lease. */
#ifndef DISAGGD_ACCESS_H
#define DISAGGD_ACCESS_H

#include <sys/socket.h>

#include "config.h"

/* Each is NULL for who has no business here. */
const struct tenant_config *access_identity(const struct config *config, const char *identity);
const struct tenant_config *access_plaintext(const struct config *config,
					     const struct sockaddr_storage *peer);

bool access_resource(const struct tenant_config *tenant, const char *id);

#endif
