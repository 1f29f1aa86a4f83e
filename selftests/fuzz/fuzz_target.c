// SPDX-License-Identifier: GPL-2.0
/* libdisagg: target records (target.c). What was read is written, and read as the same. */
#include <sys/stat.h>

#include <linux/limits.h>

#include "file.h"
#include "fuzz.h"
#include "target.h"

static char path[PATH_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	setenv("DISAGG_CONFDIR", fuzz_folder(), 1);
	snprintf(path, sizeof(path), "%s/targets.d", fuzz_folder());
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/targets.d/t.yaml", fuzz_folder());
	return 0;
}

/* The input as an address on a command line. */
static void check_address(const uint8_t *data, size_t size)
{
	char host[DSG_HOST_LEN], again[DSG_HOST_LEN], text[DSG_ADDRESS_LEN];
	char *s = malloc(size + 1);
	uint16_t port, port_again;

	memcpy(s, data, size);
	s[size] = '\0';
	if (!dsg_address_parse(s, host, &port)) {
		fuzz_assert(port && host[0] && strlen(host) < sizeof(host));
		dsg_address_format(host, port, text);
		fuzz_assert(!dsg_address_parse(text, again, &port_again));
		fuzz_assert(!strcmp(host, again) && port == port_again);
	}
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dsg_fault fault = { 0 };
	struct dsg_target *list, t;
	size_t count;

	if (size)
		check_address(data, size);
	fuzz_file(path, data, size);
	if (dsg_targets_load(&list, &count, &fault)) {
		fuzz_assert(fault.code && fault.reason[0]);
		return 0;
	}
	fuzz_assert(count == 1 && !strcmp(list->name, "t") && list->port && list->host[0]);
	fuzz_assert(!dsg_target_save(list, &fault));
	fuzz_assert(!dsg_target_load("t", &t, &fault));
	fuzz_assert(!strcmp(t.host, list->host) && t.port == list->port);
	fuzz_assert(t.keys.security == list->keys.security &&
		    !strcmp(t.keys.identity, list->keys.identity) &&
		    !strcmp(t.keys.psk_file, list->keys.psk_file) &&
		    !strcmp(t.keys.certificate, list->keys.certificate) &&
		    !strcmp(t.keys.key, list->keys.key) && !strcmp(t.keys.ca, list->keys.ca));
	free(list);
	return 0;
}
