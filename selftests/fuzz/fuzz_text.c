// SPDX-License-Identifier: GPL-2.0
/*
 * libdisagg: sizes, durations, ids and names as people write them (size.c, wire.c).
 * What is written again is read as the same.
 */
#include "fuzz.h"
#include "size.h"
#include "wire.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	return 0;
}

static void check_numbers(const char *s)
{
	char text[DSG_SIZE_STRLEN];
	uint64_t n, again;

	if (!dsg_size_parse(s, &n)) {
		fuzz_assert(n && n <= INT64_MAX);
		dsg_size_format(n, text);
		fuzz_assert(strchr(text, '.') || (!dsg_size_parse(text, &again) && n == again));
	}
	if (!dsg_duration_parse(s, &n)) {
		fuzz_assert(n && n <= INT64_MAX);
		dsg_duration_format(n, text);
		fuzz_assert(strchr(text, '.') ||
			    (!dsg_duration_parse(text, &again) && n == again));
	}
}

static void check_ids(const char *s, const uint8_t *data, size_t size)
{
	uint8_t id[DISAGG_WIRE_UUID_LEN], again[DISAGG_WIRE_UUID_LEN];
	char text[DSG_UUID_STRLEN], field[DISAGG_WIRE_NAME_LEN];

	if (!dsg_uuid_parse(s, id))
		fuzz_assert(!dsg_uuid_parse(dsg_uuid_format(id, text), again) &&
			    !memcmp(id, again, sizeof(id)));
	if (dsg_name_ok(s))
		fuzz_assert(!dsg_string_set(field, sizeof(field), s) &&
			    dsg_string_ok(field, sizeof(field)));
	if (size && dsg_string_ok((const char *)data, size))
		fuzz_assert(strlen((const char *)data) < size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1), text[DSG_SIZE_STRLEN];
	uint64_t n = 0;

	if (size)
		memcpy(s, data, size);
	s[size] = '\0';
	check_numbers(s);
	check_ids(s, data, size);
	memcpy(&n, s, size < sizeof(n) ? size : sizeof(n));
	fuzz_assert(strlen(dsg_size_format(n, text)) < sizeof(text));
	fuzz_assert(strlen(dsg_duration_format(n, text)) < sizeof(text));
	fuzz_assert(dsg_status_text((unsigned int)n) && dsg_op_text((unsigned int)n) &&
		    dsg_class_text((unsigned int)n) && dsg_status_errno((unsigned int)n) >= 0);
	free(s);
	return 0;
}
