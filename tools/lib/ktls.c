// SPDX-License-Identifier: GPL-2.0
/* A connection's way into the kernel: keys and sequence numbers, for both directions. */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/tls.h>

#include "tls_internal.h"

#ifndef SOL_TLS
#define SOL_TLS		282
#endif
#ifndef TCP_ULP
#define TCP_ULP		31
#endif

static const char ulp[] = "tls";

bool dsg_ktls_available(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there;

	if (fd < 0)
		return false;
	/* It wants a connection; that it says so shows that it is there. */
	there = !setsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, sizeof(ulp)) || errno == ENOTCONN;
	close(fd);
	return there;
}

union crypto {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 gcm128;
	struct tls12_crypto_info_aes_gcm_256 gcm256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
};

/* TLS 1.3 has one nonce, of which the kernel wants some ciphers' first bytes apart. */
#define FILL(field, type) do {							\
	if (key.size != sizeof((field).key) ||					\
	    iv.size != sizeof((field).salt) + sizeof((field).iv))		\
		return 0;							\
	(field).info.cipher_type = (type);					\
	memcpy((field).key, key.data, sizeof((field).key));			\
	memcpy((field).salt, iv.data, sizeof((field).salt));			\
	memcpy((field).iv, iv.data + sizeof((field).salt), sizeof((field).iv));	\
	memcpy((field).rec_seq, sequence, sizeof((field).rec_seq));		\
	return sizeof(field);							\
} while (0)

/* One direction. Return: bytes of @c, 0: no cipher that the kernel has. */
static socklen_t fill(gnutls_session_t session, bool receive, union crypto *c)
{
	gnutls_datum_t mac, iv, key;
	unsigned char sequence[8];

	memset(c, 0, sizeof(*c));
	c->info.version = TLS_1_3_VERSION;
	if (gnutls_record_get_state(session, receive, &mac, &iv, &key, sequence) < 0)
		return 0;
	switch (gnutls_cipher_get(session)) {
	case GNUTLS_CIPHER_AES_128_GCM:
		FILL(c->gcm128, TLS_CIPHER_AES_GCM_128);
	case GNUTLS_CIPHER_AES_256_GCM:
		FILL(c->gcm256, TLS_CIPHER_AES_GCM_256);
	case GNUTLS_CIPHER_CHACHA20_POLY1305:
		if (key.size != sizeof(c->chacha.key) || iv.size != sizeof(c->chacha.iv))
			return 0;
		c->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
		memcpy(c->chacha.key, key.data, sizeof(c->chacha.key));
		memcpy(c->chacha.iv, iv.data, sizeof(c->chacha.iv));
		memcpy(c->chacha.rec_seq, sequence, sizeof(c->chacha.rec_seq));
		return sizeof(c->chacha);
	default:
		return 0;
	}
}

int dsg_tls_to_kernel(struct dsg_tls *tls, struct dsg_error *error)
{
	union crypto send, receive;
	socklen_t send_len = fill(tls->session, false, &send);
	socklen_t receive_len = fill(tls->session, true, &receive);
	int err = 0;

	/* What the library has read already the kernel would never see. */
	if (dsg_tls_pending(tls)) {
		err = dsg_tls_fail(error, EPROTO, "TLS: the peer sent before it was its turn");
		goto out;
	}
	if (!send_len || !receive_len) {
		err = dsg_tls_fail(error, EOPNOTSUPP, "TLS: no cipher that the kernel has");
		goto out;
	}
	if (setsockopt(tls->fd, IPPROTO_TCP, TCP_ULP, ulp, sizeof(ulp))) {
		err = errno == ENOENT || errno == ENOPROTOOPT || errno == EPERM ? EOPNOTSUPP : errno;
		err = dsg_tls_fail(error, err, "this host's kernel has no TLS (kTLS): %s",
				   strerror(errno));
		goto out;
	}
	if (setsockopt(tls->fd, SOL_TLS, TLS_TX, &send, send_len) ||
	    setsockopt(tls->fd, SOL_TLS, TLS_RX, &receive, receive_len))
		err = dsg_tls_fail(error, errno == EOPNOTSUPP ? EIO : errno,
				   "the kernel does not take the TLS connection: %s",
				   strerror(errno));
out:
	explicit_bzero(&send, sizeof(send));
	explicit_bzero(&receive, sizeof(receive));
	return err;
}
