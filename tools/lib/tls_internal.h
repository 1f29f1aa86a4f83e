/* SPDX-License-Identifier: GPL-2.0 */
/* What tls.c, ktls.c and tls_relay.c share. */
#ifndef DISAGG_LIB_TLS_INTERNAL_H
#define DISAGG_LIB_TLS_INTERNAL_H

#include <gnutls/gnutls.h>

#include "target.h"
#include "tls.h"

/**
 * struct dsg_creds - keys as GnuTLS has them
 * @psk_file: server: where the callback looks
 */
struct dsg_creds {
	bool server;
	gnutls_priority_t priority;
	gnutls_certificate_credentials_t x509;
	gnutls_psk_client_credentials_t psk_client;
	gnutls_psk_server_credentials_t psk_server;
	char psk_file[DSG_PATH_LEN];
};

/**
 * struct dsg_tls - one connection
 * @host: client: whose certificate it must be
 * @expected: client: this, and that it is a server's
 * @identity: server: as the client has proved it
 * @trouble: server: why a client's identity is none
 * @alert: what the peer ended it with, or what ended it for the peer
 * @nothing: bytes received since one of them was for who called dsg_tls_recv()
 */
struct dsg_tls {
	struct dsg_creds *creds;
	gnutls_session_t session;
	int fd;
	char host[DSG_HOST_LEN];
	gnutls_typed_vdata_st expected[2];
	char identity[DSG_IDENTITY_LEN];
	char trouble[256];
	const char *alert;
	size_t nothing;
};

__attribute__((format(printf, 3, 4)))
int dsg_tls_fail(struct dsg_error *error, int err, const char *fmt, ...);

#endif /* DISAGG_LIB_TLS_INTERNAL_H */
