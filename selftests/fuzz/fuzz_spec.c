// SPDX-License-Identifier: GPL-2.0
/* libdisagg: node files (spec.c). What was read is written, and read as the same. */
#include <sys/stat.h>

#include <linux/limits.h>

#include "fuzz.h"
#include "spec.h"

static char path[PATH_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	setenv("DISAGG_CONFDIR", fuzz_folder(), 1);
	snprintf(path, sizeof(path), "%s/nodes.d", fuzz_folder());
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/nodes.d/n.yaml", fuzz_folder());
	return 0;
}

static const struct dsg_spec_device *find(const struct dsg_spec *spec, const char *name)
{
	const struct dsg_spec_device *found = NULL;

	for (size_t i = 0; i < spec->count; i++) {
		if (strcmp(spec->devices[i].name, name))
			continue;
		fuzz_assert(!found);
		found = &spec->devices[i];
	}
	return found;
}

/* Devices are written class by class. */
static void check_same(const struct dsg_spec *a, const struct dsg_spec *b)
{
	fuzz_assert(a->count == b->count && a->count && a->count <= DSG_PLAN_WANTS_MAX);
	for (size_t i = 0; i < a->count; i++) {
		const struct dsg_spec_device *dev = &a->devices[i];
		const struct dsg_spec_device *other = find(b, dev->name);

		fuzz_assert(dsg_name_ok(dev->name) && !(dev->size % a->block_size));
		fuzz_assert(other && other->class == dev->class && other->size == dev->size);
	}
	fuzz_assert(!strcmp(a->name, b->name) && !strcmp(a->target, b->target));
	fuzz_assert(a->lanes == b->lanes && a->depth == b->depth &&
		    a->block_size == b->block_size && a->io_timeout_ms == b->io_timeout_ms &&
		    a->fail_fast_ms == b->fail_fast_ms && a->dead_after_ms == b->dead_after_ms &&
		    a->dead_after_set == b->dead_after_set && a->lease_ns == b->lease_ns &&
		    a->read_only == b->read_only && a->crc == b->crc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dsg_fault fault = { 0 };
	struct dsg_spec first, second;

	fuzz_file(path, data, size);
	if (dsg_spec_load("n", &first, &fault)) {
		fuzz_assert(fault.code && fault.reason[0]);
		return 0;
	}
	fuzz_assert(!dsg_spec_save(&first, &fault));
	fuzz_assert(!dsg_spec_load("n", &second, &fault));
	check_same(&first, &second);
	return 0;
}
