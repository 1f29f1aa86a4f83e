/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pairs of sockets on which TLS is set up in the kernel, with keys that the test makes up,
 * as after a handshake.
 */
#ifndef DISAGG_TEST_TLS_PAIR_H
#define DISAGG_TEST_TLS_PAIR_H

#include "../control/dgnl.h"

#include <linux/tls.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

struct cipher {
	const char *name;
	uint16_t type;
	size_t len;		/* of what setsockopt() takes */
};

static const struct cipher ciphers[] = {
	{ "AES-128-GCM", TLS_CIPHER_AES_GCM_128, sizeof(struct tls12_crypto_info_aes_gcm_128) },
	{ "AES-256-GCM", TLS_CIPHER_AES_GCM_256, sizeof(struct tls12_crypto_info_aes_gcm_256) },
	{ "CHACHA20-POLY1305", TLS_CIPHER_CHACHA20_POLY1305,
	  sizeof(struct tls12_crypto_info_chacha20_poly1305) },
};

#define NR_CIPHERS	(sizeof(ciphers) / sizeof(*ciphers))

/* Keys for one direction (@option) of @fd; they differ by @sender. Return: errno. */
DG_FN int tls_key(int fd, const struct cipher *c, int option, int sender, uint16_t version)
{
	union {
		struct tls_crypto_info info;
		char bytes[128];
	} crypto = { .bytes = {} };

	/* IV, key and salt are noise to the kernel; the record's number starts at zero. */
	memset(crypto.bytes, 0x21 + sender, c->len - 8);
	memset(crypto.bytes + c->len - 8, 0, 8);
	crypto.info.version = version;
	crypto.info.cipher_type = c->type;
	return setsockopt(fd, SOL_TLS, option, &crypto, c->len) ? errno : 0;
}

DG_FN int tls_ulp(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ? errno : 0;
}

/* One end; @client says which. Return: errno. */
DG_FN int tls_install(int fd, const struct cipher *c, int client)
{
	int err = tls_ulp(fd);

	if (!err)
		err = tls_key(fd, c, TLS_TX, client, TLS_1_3_VERSION);
	return err ? err : tls_key(fd, c, TLS_RX, !client, TLS_1_3_VERSION);
}

/* As tcp_pair(), with TLS. */
DG_FN int tls_pair(int *peer, const struct cipher *c)
{
	int fd = tcp_pair(peer);

	errno = tls_install(fd, c, 1);
	if (!errno)
		errno = tls_install(*peer, c, 0);
	if (errno)
		bail("no TLS in the kernel");
	return fd;
}

/* As serve(), with TLS; @c may be NULL for none. */
DG_FN int tls_serve(struct server *s, const struct cipher *c)
{
	int fd;

	if (!c)
		return serve(s);
	fd = tls_pair(&s->fd, c);
	serve_on(s);
	return fd;
}

#endif /* DISAGG_TEST_TLS_PAIR_H */
