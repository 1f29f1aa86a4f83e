/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TLS 1.3 with mutual authentication: keys from files, the handshake, and the way of a
 * connection into the kernel (kTLS). Nothing here waits: what would is -EAGAIN.
 */
#ifndef DISAGG_LIB_TLS_H
#define DISAGG_LIB_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire.h"

#define DSG_PATH_LEN		256
#define DSG_IDENTITY_LEN	128

enum dsg_security { DSG_PLAIN, DSG_PSK, DSG_X509 };

/**
 * struct dsg_keys - what proves who this side is, and who the other is: paths of files
 * @security: what a client uses; a server uses whatever it has files for
 * @identity: PSK, client: which of the file's keys
 * @psk_file: lines IDENTITY:HEX, mode 0600
 * @certificate: X.509, PEM, this side's chain
 * @key: of the certificate, PEM, mode 0600
 * @ca: PEM, who signs the other side's certificates
 */
struct dsg_keys {
	enum dsg_security security;
	char identity[DSG_IDENTITY_LEN];
	char psk_file[DSG_PATH_LEN];
	char certificate[DSG_PATH_LEN];
	char key[DSG_PATH_LEN];
	char ca[DSG_PATH_LEN];
};

/* "plain", "psk", "x509" */
const char *dsg_security_text(enum dsg_security security);
/* Letters, digits and "._-@+", at most DSG_IDENTITY_LEN - 1 of them. */
bool dsg_identity_ok(const char *s);
/*
 * Whose the identity of a key is: what comes after a '+' tells only one of his keys
 * from another. Cuts @identity there.
 */
void dsg_identity_owner(char *identity);

/* Keys, read. */
struct dsg_creds;

/*
 * Read @keys for a client, or a server. The files of secrets must be their owner's
 * alone, and the owner root or who runs this. 0 or -errno.
 */
int dsg_creds_load(const struct dsg_keys *keys, bool server, struct dsg_creds **creds,
		   struct dsg_error *error);
void dsg_creds_free(struct dsg_creds *creds);
/* When this side's certificate ends, seconds since 1970; 0: it has none. */
int64_t dsg_creds_expire(const struct dsg_creds *creds);

/* One connection. */
struct dsg_tls;

/*
 * Begin on @fd, which stays the caller's. A client insists on a certificate for @host.
 * @creds must stay until dsg_tls_free(). 0 or -errno.
 */
int dsg_tls_new(struct dsg_creds *creds, int fd, const char *host, struct dsg_tls **tls,
		struct dsg_error *error);
void dsg_tls_free(struct dsg_tls *tls);
/*
 * Go on with the handshake: 0 when both sides have proved who they are, -EAGAIN when it
 * must go on when dsg_tls_events() (POLLIN or POLLOUT) are there, or -errno: -EACCES if
 * one side did not accept the other, -EPROTO if the peer does not speak TLS.
 */
int dsg_tls_handshake(struct dsg_tls *tls, struct dsg_error *error);
int dsg_tls_fd(const struct dsg_tls *tls);
short dsg_tls_events(const struct dsg_tls *tls);
/* The same to its end, or @deadline. */
int dsg_tls_handshake_until(struct dsg_tls *tls, uint64_t deadline, struct dsg_error *error);
/* The name that the client has proved (a server's; after the handshake). */
const char *dsg_tls_identity(const struct dsg_tls *tls);

/*
 * Like send() and recv(); -errno. After -EAGAIN, send the same again. Who sends records
 * with nothing in them is not listened to for long: -EPROTO.
 */
ssize_t dsg_tls_send(struct dsg_tls *tls, const void *buf, size_t len);
ssize_t dsg_tls_recv(struct dsg_tls *tls, void *buf, size_t len);
/* All of it, until @deadline. 0 or -errno: -ECONNRESET if the peer ended before. */
int dsg_tls_send_all(struct dsg_tls *tls, const void *buf, size_t len, uint64_t deadline);
int dsg_tls_recv_all(struct dsg_tls *tls, void *buf, size_t len, uint64_t deadline);
/* Received and not yet read: poll() does not tell. */
bool dsg_tls_pending(const struct dsg_tls *tls);
/* Nothing more will be sent. 0 or -errno. */
int dsg_tls_end(struct dsg_tls *tls);
/*
 * What the peer said when it ended the connection for a reason, or why it was not listened
 * to any more; NULL: nothing.
 */
const char *dsg_tls_alert(const struct dsg_tls *tls);

/* Whether this kernel can encrypt (loads the kernel's module if it may). */
bool dsg_ktls_available(void);
/*
 * From now on the kernel encrypts what @fd carries, and @tls is of no use. 0 or -errno;
 * -EOPNOTSUPP: this kernel can't, and nothing has changed.
 */
int dsg_tls_to_kernel(struct dsg_tls *tls, struct dsg_error *error);

/*
 * Carry bytes between @tls and the stream socket @plain until both sides have ended, or
 * one has broken. Ends are handed on. Whatever is on its way is in two buffers.
 */
void dsg_tls_relay(struct dsg_tls *tls, int plain);

#endif /* DISAGG_LIB_TLS_H */
