// SPDX-License-Identifier: GPL-2.0
/*
 * What a control connection keeps from who reads it: both sides agree on a key by X25519,
 * and a lease's token is masked with what follows from it, and so is the name by which it
 * may be asked for again. Not against who can change what is sent, which is TLS's to
 * prevent.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <nettle/curve25519.h>

#include "wire.h"

_Static_assert(CURVE25519_SIZE == DISAGG_WIRE_KEY_LEN, "a key fits its field");

int dsg_seal_keys(uint8_t secret[DISAGG_WIRE_KEY_LEN], uint8_t public[DISAGG_WIRE_KEY_LEN])
{
	int err = dsg_random(secret, DISAGG_WIRE_KEY_LEN);

	if (!err)
		curve25519_mul_g(public, secret);
	return err;
}

int dsg_seal_agree(const uint8_t secret[DISAGG_WIRE_KEY_LEN], bool target,
		   const uint8_t nonce[DISAGG_WIRE_KEY_LEN],
		   const uint8_t client[DISAGG_WIRE_KEY_LEN],
		   uint8_t seal[DISAGG_WIRE_KEY_LEN])
{
	uint8_t buf[2 * DISAGG_WIRE_KEY_LEN], shared[DISAGG_WIRE_KEY_LEN], any = 0;
	int err = -EPROTO;

	curve25519_mul(shared, secret, target ? client : nonce);
	memcpy(buf, nonce, DISAGG_WIRE_KEY_LEN);
	memcpy(buf + DISAGG_WIRE_KEY_LEN, client, DISAGG_WIRE_KEY_LEN);
	for (size_t i = 0; i < sizeof(shared); i++)
		any |= shared[i];
	/* A point of small order leaves nothing that is secret. */
	if (any)
		err = dsg_hmac(shared, buf, sizeof(buf), seal);
	explicit_bzero(shared, sizeof(shared));
	return err;
}

/* @data ^= the first @len bytes of HMAC-SHA256(seal, what) */
static int mask(const uint8_t seal[DISAGG_WIRE_KEY_LEN], const void *what, size_t what_len,
		uint8_t *data, size_t len)
{
	uint8_t mac[DISAGG_WIRE_KEY_LEN];
	int err = dsg_hmac(seal, what, what_len, mac);

	for (size_t i = 0; i < len && !err; i++)
		data[i] ^= mac[i];
	explicit_bzero(mac, sizeof(mac));
	return err;
}

int dsg_seal_grant(const uint8_t seal[DISAGG_WIRE_KEY_LEN], struct disagg_wire_grant *grant)
{
	uint8_t what[sizeof(grant->lease) + sizeof(grant->generation)];

	memcpy(what, grant->lease, sizeof(grant->lease));
	memcpy(what + sizeof(grant->lease), &grant->generation, sizeof(grant->generation));
	return mask(seal, what, sizeof(what), grant->token, sizeof(grant->token));
}

int dsg_seal_reserve(const uint8_t seal[DISAGG_WIRE_KEY_LEN], uint32_t tag,
		     struct disagg_wire_reserve *reserve)
{
	uint32_t what = htole32(tag);

	return mask(seal, &what, sizeof(what), reserve->txid, sizeof(reserve->txid));
}
