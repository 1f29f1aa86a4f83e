// SPDX-License-Identifier: GPL-2.0
/* libdisagg: node records (record.c). What was read is written, and read as the same. */
#include <sys/stat.h>

#include <linux/limits.h>

#include "file.h"
#include "fuzz.h"
#include "record.h"

static char path[PATH_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	setenv("DISAGG_STATEDIR", fuzz_folder(), 1);
	snprintf(path, sizeof(path), "%s/nodes", fuzz_folder());
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/nodes/n.json", fuzz_folder());
	return 0;
}

static void check_device(const struct dsg_record_device *d)
{
	fuzz_assert(dsg_name_ok(d->name) && dsg_name_ok(d->target.name));
	fuzz_assert(dsg_name_ok(d->resource) && strlen(d->target.host) < DSG_HOST_LEN);
	fuzz_assert(d->step <= DSG_LEASE_RELEASED);
	fuzz_assert(d->class >= DISAGG_WIRE_CLASS_MEMORY && d->class <= DISAGG_WIRE_CLASS_GPU);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dsg_record first, second;
	struct dsg_fault fault = { 0 };
	char **names;
	size_t count;

	fuzz_file(path, data, size);
	if (dsg_record_load("n", &first, &fault)) {
		fuzz_assert(fault.code && fault.reason[0]);
		return 0;
	}
	fuzz_assert(!strcmp(first.name, "n") && dsg_record_state_name(first.state));
	for (size_t i = 0; i < first.count; i++)
		check_device(&first.devices[i]);
	fuzz_assert(!dsg_record_save(&first, &fault));
	fuzz_assert(!dsg_record_load("n", &second, &fault));
	fuzz_assert(first.count == second.count && first.state == second.state &&
		    first.pid == second.pid && first.created_ns == second.created_ns);
	for (size_t i = 0; i < first.count; i++)
		fuzz_assert(!memcmp(&first.devices[i], &second.devices[i],
				    sizeof(*first.devices)));
	fuzz_assert(!dsg_record_names(&names, &count, &fault) && count == 1);
	dsg_names_free(names, count);
	dsg_record_free(&first);
	dsg_record_free(&second);
	return 0;
}
