/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Records of TLS 1.3 (RFC 8446, 5.2) by one who has the key: many of them beforehand, to
 * be sent faster than they can be decrypted.
 */
#ifndef DISAGG_TEST_RECORDS_H
#define DISAGG_TEST_RECORDS_H

#include <stdint.h>
#include <string.h>

#include <gnutls/crypto.h>

#define RECORD_HEADER	5
#define RECORD_IV	12
#define RECORD_TAG	16
/* Bytes of one of application data with @text bytes of it. */
#define RECORD_LEN(text)	(RECORD_HEADER + (text) + 1 + RECORD_TAG)
#define RECORD_TEXT_MAX	256

/* The one with @number in a connection, into RECORD_LEN(@len) bytes. 0 or gnutls's error. */
static inline int record_seal(gnutls_aead_cipher_hd_t key, const void *iv, uint64_t number,
			      const void *text, size_t len, char *record)
{
	unsigned char nonce[RECORD_IV], inner[RECORD_TEXT_MAX + 1];
	size_t room = len + 1 + RECORD_TAG;

	if (len > RECORD_TEXT_MAX)
		return GNUTLS_E_SHORT_MEMORY_BUFFER;
	memcpy(record, "\27\3\3", 3);
	record[3] = (char)(room >> 8);
	record[4] = (char)(room & 255);
	memcpy(nonce, iv, sizeof(nonce));
	for (int i = 0; i < 8; i++)
		nonce[11 - i] ^= (unsigned char)(number >> 8 * i);
	if (len)
		memcpy(inner, text, len);
	inner[len] = 23;	/* application data */
	return gnutls_aead_cipher_encrypt(key, nonce, sizeof(nonce), record, RECORD_HEADER,
					  RECORD_TAG, inner, len + 1, record + RECORD_HEADER,
					  &room);
}

#endif /* DISAGG_TEST_RECORDS_H */
