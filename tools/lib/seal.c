// SPDX-License-Identifier: GPL-2.0
/*
 * A lease's token on its way to the client: both sides of a connection agree on a key by
 * X25519, and the token is masked with what follows from it. Not against who can change
 * what is sent, which is TLS's to prevent.
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

int dsg_seal_agree(const uint8_t secret[DISAGG_WIRE_KEY_LEN],
		   const uint8_t peer[DISAGG_WIRE_KEY_LEN],
		   const uint8_t nonce[DISAGG_WIRE_KEY_LEN],
		   const uint8_t client[DISAGG_WIRE_KEY_LEN],
		   uint8_t seal[DISAGG_WIRE_KEY_LEN])
{
	uint8_t buf[2 * DISAGG_WIRE_KEY_LEN], shared[DISAGG_WIRE_KEY_LEN];
	int err = -EPROTO;

	curve25519_mul(shared, secret, peer);
	memcpy(buf, nonce, DISAGG_WIRE_KEY_LEN);
	memcpy(buf + DISAGG_WIRE_KEY_LEN, client, DISAGG_WIRE_KEY_LEN);
	/* A point of small order leaves nothing that is secret. */
	if (!dsg_is_zero(shared, sizeof(shared)))
		err = dsg_hmac(shared, buf, sizeof(buf), seal);
	explicit_bzero(shared, sizeof(shared));
	return err;
}

int dsg_seal_grant(const uint8_t seal[DISAGG_WIRE_KEY_LEN], struct disagg_wire_grant *grant)
{
	uint8_t mask[DISAGG_WIRE_KEY_LEN], buf[sizeof(grant->lease) + sizeof(grant->generation)];
	int err;

	memcpy(buf, grant->lease, sizeof(grant->lease));
	memcpy(buf + sizeof(grant->lease), &grant->generation, sizeof(grant->generation));
	err = dsg_hmac(seal, buf, sizeof(buf), mask);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(mask); i++)
		grant->token[i] ^= mask[i];
	explicit_bzero(mask, sizeof(mask));
	return 0;
}
