// SPDX-License-Identifier: GPL-2.0
#include <netinet/in.h>
#include <string.h>

#include "access.h"

static const struct tenant_config *find(const struct config *config, const char *name)
{
	for (unsigned int i = 0; i < config->tenant_count; i++)
		if (!strcmp(config->tenants[i].name, name))
			return &config->tenants[i];
	return NULL;
}

const struct tenant_config *access_identity(const struct config *config, const char *identity)
{
	for (unsigned int i = 0; i < config->tenant_count; i++) {
		const struct tenant_config *t = &config->tenants[i];

		for (unsigned int k = 0; k < t->identity_count; k++)
			if (!strcmp(t->identities[k], identity))
				return t;
	}
	return config->has_tenants ? NULL : find(config, CONFIG_TENANT_DEFAULT);
}

static bool in_network(const uint8_t address[16], const struct network_config *n)
{
	unsigned int bytes = n->bits / 8, rest = n->bits % 8;

	return !memcmp(address, n->address, bytes) &&
	       (!rest || !((address[bytes] ^ n->address[bytes]) >> (8 - rest)));
}

const struct tenant_config *access_plaintext(const struct config *config,
					     const struct sockaddr_storage *peer)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
	const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
	uint8_t address[16] = { [10] = 0xff, [11] = 0xff };

	if (peer->ss_family == AF_INET)
		memcpy(address + 12, &in->sin_addr, 4);
	else if (peer->ss_family == AF_INET6)
		memcpy(address, &in6->sin6_addr, 16);
	else
		return NULL;
	for (unsigned int i = 0; i < config->plaintext_count; i++)
		if (in_network(address, &config->plaintext[i]))
			return find(config, CONFIG_TENANT_DEFAULT);
	return NULL;
}

bool access_resource(const struct tenant_config *tenant, const char *id)
{
	if (!tenant->resources)
		return true;
	for (unsigned int i = 0; i < tenant->resource_count; i++)
		if (!strcmp(tenant->resources[i], id))
			return true;
	return false;
}
