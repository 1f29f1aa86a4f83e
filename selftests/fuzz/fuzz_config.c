// SPDX-License-Identifier: GPL-2.0
/* disaggd: disaggd.yaml (config.c). What is accepted is within its limits. */
#include <linux/limits.h>

#include "access.h"
#include "config.h"
#include "fuzz.h"
#include "wire.h"

static char path[PATH_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	snprintf(path, sizeof(path), "%s/disaggd.yaml", fuzz_folder());
	return 0;
}

static void check_resource(const struct resource_config *r)
{
	bool storage = r->class == DISAGG_WIRE_CLASS_STORAGE;

	fuzz_assert(dsg_string_ok(r->id, sizeof(r->id)) && dsg_name_ok(r->id));
	fuzz_assert(storage || r->class == DISAGG_WIRE_CLASS_MEMORY);
	fuzz_assert(storage ? r->path && r->path[0] == '/' : !r->path && r->size);
	fuzz_assert(r->block_size >= 512 && r->block_size <= 4096 &&
		    !(r->block_size & (r->block_size - 1)));
	fuzz_assert(r->size <= INT64_MAX && !(r->size % r->block_size));
	fuzz_assert(!r->hugepage || !(r->size % r->hugepage));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *c;

	fuzz_file(path, data, size);
	c = config_load(path);
	if (!c)
		return 0;
	fuzz_assert(c->resource_count && c->resource_count <= CONFIG_RESOURCES_MAX);
	fuzz_assert(c->listen_count && c->listen_count <= CONFIG_LISTEN_MAX);
	fuzz_assert(c->max_lanes && c->max_lanes <= DISAGG_WIRE_MAX_LANES);
	fuzz_assert(c->state_dir[0] == '/' && c->reserve_ttl_ns);
	for (unsigned int i = 0; i < c->resource_count; i++)
		check_resource(&c->resources[i]);
	for (unsigned int i = 0; i < c->listen_count; i++)
		fuzz_assert(c->listen[i].host[0] &&
			    strlen(c->listen[i].host) < sizeof(c->listen[i].host));
	fuzz_assert(c->tenant_count && c->plaintext);
	for (unsigned int i = 0; i < c->plaintext_count; i++)
		fuzz_assert(c->plaintext[i].bits <= 128);
	for (unsigned int i = 0; i < c->tenant_count; i++)
		for (unsigned int k = 0; k < c->tenants[i].identity_count; k++)
			fuzz_assert(dsg_identity_ok(c->tenants[i].identities[k]) &&
				    access_identity(c, c->tenants[i].identities[k]) ==
				    &c->tenants[i]);
	config_free(c);
	return 0;
}
