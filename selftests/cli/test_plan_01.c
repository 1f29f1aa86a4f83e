// SPDX-License-Identifier: GPL-2.0
/*
 * Pure parts of libdisagg, by tables of cases: placement, sizes, durations,
 * addresses.
 * LDLIBS: -lgnutls -lyaml
 */
#include <stdio.h>
#include <string.h>

#include "plan.h"
#include "size.h"
#include "target.h"

/* Cases leave out what is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define M DISAGG_WIRE_CLASS_MEMORY
#define S DISAGG_WIRE_CLASS_STORAGE
#define MIB (1ULL << 20)
#define CASES(array) (sizeof(array) / sizeof(*(array)))

static unsigned int results, failures;

static void result(int ok, const char *name, const char *why)
{
	if (!ok)
		printf("# %s\n", why);
	printf("%sok %u %s\n", ok ? "" : "not ", ++results, name);
	failures += !ok;
}

/* Sizes in MiB; block zero stands for 4096 bytes. */
struct offer {
	const char *target, *id;
	uint32_t class;
	uint64_t available, largest;
	uint32_t block;
	int read_only;
	size_t most;	/* zero: any number */
};

struct ask {
	uint32_t class;
	uint64_t size;
	int read_only;
};

struct plan_case {
	const char *name;
	struct offer offers[8];
	struct ask asks[6];
	int code;
	const char *places;	/* "target/id" of each ask, or what the reason holds */
};

static const struct plan_case plans[] = {
	{ "one fits", { { "a", "x", M, 64, 64 } }, { { M, 64 } }, 0, "a/x" },
	{ "the tighter resource of a target wins",
	  { { "a", "x", M, 64, 64 }, { "a", "y", M, 32, 32 } }, { { M, 32 } }, 0, "a/y" },
	{ "between equals the first name wins",
	  { { "b", "x", M, 64, 64 }, { "a", "z", M, 64, 64 }, { "a", "y", M, 64, 64 } },
	  { { M, 32 } }, 0, "a/y" },
	{ "the tighter target wins",
	  { { "a", "x", M, 128, 128 }, { "b", "x", M, 40, 40 } }, { { M, 32 } }, 0, "b/x" },
	{ "few targets beat a tight fit",
	  { { "a", "x", M, 32, 32 }, { "b", "x", M, 32, 32 }, { "c", "x", M, 500, 500 } },
	  { { M, 32 }, { M, 32 } }, 0, "c/x c/x" },
	{ "several targets if one is too small",
	  { { "a", "x", M, 48, 48 }, { "b", "x", M, 32, 32 } },
	  { { M, 32 }, { M, 48 } }, 0, "b/x a/x" },
	{ "two of three, the tightest pair",
	  { { "a", "x", M, 64, 64 }, { "b", "x", M, 40, 40 }, { "c", "x", M, 40, 40 } },
	  { { M, 40 }, { M, 40 } }, 0, "b/x c/x" },
	{ "classes are kept apart",
	  { { "a", "x", M, 64, 64 }, { "a", "y", S, 64, 64 } },
	  { { M, 32 }, { S, 32 } }, 0, "a/x a/y" },
	{ "one target for both classes",
	  { { "a", "x", M, 32, 32 }, { "b", "y", S, 32, 32 }, { "c", "x", M, 99, 99 },
	    { "c", "y", S, 99, 99 } },
	  { { M, 32 }, { S, 32 } }, 0, "c/x c/y" },
	{ "best fit alone would fail: 5 and 4, 4, 3, 3 into 10 and 9",
	  { { "a", "x", M, 10, 10 }, { "a", "y", M, 9, 9 } },
	  { { M, 5 }, { M, 4 }, { M, 4 }, { M, 3 }, { M, 3 } }, 0,
	  "a/y a/y a/x a/x a/x" },
	{ "available but in pieces",
	  { { "a", "x", M, 64, 16 } }, { { M, 32 } }, DSG_NO_SPACE, "largest single lease 16 MiB" },
	{ "too much in all",
	  { { "a", "x", M, 32, 32 }, { "b", "x", M, 32, 32 } },
	  { { M, 32 }, { M, 32 }, { M, 32 } }, DSG_NO_SPACE,
	  "asked 96 MiB (32 MiB for dev0), available 64 MiB" },
	{ "each fits, not all at once",
	  { { "a", "x", M, 48, 48 }, { "b", "x", M, 48, 48 } },
	  { { M, 32 }, { M, 32 }, { M, 32 } }, DSG_NO_SPACE, "not all of them at once" },
	{ "nobody offers the class",
	  { { "a", "x", M, 64, 64 } }, { { S, 32 } }, DSG_NOT_FOUND, "no target offers storage" },
	{ "nobody offers anything", { { 0 } }, { { M, 32 } }, DSG_NOT_FOUND, "no target offers" },
	{ "only the block size is in the way",
	  { { "a", "x", M, 64, 64, 2 << 20 } }, { { M, 3 } }, DSG_USAGE, "multiple of 2 MiB" },
	{ "a resource with another block size is left out",
	  { { "a", "x", M, 3, 3, 2 << 20 }, { "b", "x", M, 64, 64 } }, { { M, 3 } }, 0, "b/x" },
	{ "nothing that is written to goes on a read-only resource",
	  { { "a", "x", S, 64, 64, 0, 1 }, { "b", "x", S, 99, 99 } }, { { S, 64 } }, 0, "b/x" },
	{ "what is only read may",
	  { { "a", "x", S, 64, 64, 0, 1 }, { "b", "x", S, 99, 99 } }, { { S, 64, 1 } }, 0, "a/x" },
	{ "read-only resources alone",
	  { { "a", "x", S, 64, 64, 0, 1 } }, { { S, 64 } }, DSG_NOT_FOUND, "read-only" },
	{ "several share a read-only resource",
	  { { "a", "x", S, 64, 64, 0, 1 } }, { { S, 64, 1 }, { S, 64, 1 } }, 0, "a/x a/x" },
	{ "no more devices than it may have",
	  { { "a", "x", M, 64, 64, 0, 0, 1 }, { "b", "x", M, 99, 99 } },
	  { { M, 16 }, { M, 16 } }, 0, "b/x b/x" },
	{ "as many as it may have",
	  { { "a", "x", M, 64, 64, 0, 0, 1 }, { "b", "x", M, 16, 16 } },
	  { { M, 16 }, { M, 16 } }, 0, "b/x a/x" },
	{ "sums that do not fit 64 bits",
	  { { "a", "x", M, 1ULL << 42, 1ULL << 42 }, { "b", "x", M, 1ULL << 42, 1ULL << 42 } },
	  { { M, 1ULL << 42 }, { M, 1ULL << 42 } }, 0, "a/x b/x" },
};

/* What dsg_plan() makes of the case, with the offers rotated by @turn. */
static int run_plan(const struct plan_case *c, size_t turn, char *out, size_t size,
		    struct dsg_fault *fault)
{
	static const char *const names[] = { "dev0", "dev1", "dev2", "dev3", "dev4", "dev5" };
	struct dsg_plan_resource resources[CASES(c->offers)];
	struct dsg_plan_want wants[CASES(c->asks)];
	size_t offers = 0, asks = 0;
	int err;

	while (offers < CASES(c->offers) && c->offers[offers].target)
		offers++;
	while (asks < CASES(c->asks) && c->asks[asks].class)
		asks++;
	for (size_t i = 0; i < offers; i++) {
		const struct offer *o = &c->offers[(i + turn) % offers];

		resources[i] = (struct dsg_plan_resource) {
			.target = o->target, .id = o->id, .class = o->class,
			.read_only = o->read_only, .block_size = o->block ? o->block : 4096,
			.available = o->available * MIB, .largest = o->largest * MIB,
			.most = o->most ? o->most : SIZE_MAX,
		};
	}
	for (size_t i = 0; i < asks; i++)
		wants[i] = (struct dsg_plan_want) {
			.name = names[i], .class = c->asks[i].class,
			.read_only = c->asks[i].read_only, .size = c->asks[i].size * MIB,
		};
	err = dsg_plan(wants, asks, resources, offers, fault);
	*out = '\0';
	for (size_t i = 0; i < asks && !err; i++) {
		const struct dsg_plan_resource *r = &resources[wants[i].resource];

		snprintf(out + strlen(out), size - strlen(out), "%s%s/%s", i ? " " : "",
			 r->target, r->id);
	}
	return err;
}

static void test_plans(void)
{
	for (size_t i = 0; i < CASES(plans); i++) {
		const struct plan_case *c = &plans[i];
		char name[128], why[1200] = "";
		int ok = 1;

		for (size_t turn = 0; turn < CASES(c->offers) && ok; turn++) {
			struct dsg_fault fault = { .code = DSG_OK };
			char places[256];
			int err = run_plan(c, turn, places, sizeof(places), &fault);

			ok = err == c->code && (err ? strstr(fault.reason, c->places) != NULL :
						      !strcmp(places, c->places));
			snprintf(why, sizeof(why), "turned by %zu: code %d (want %d), '%s' '%s', want '%s'",
				 turn, err, c->code, places, fault.reason, c->places);
		}
		snprintf(name, sizeof(name), "plan: %s", c->name);
		result(ok, name, why);
	}
}

static const struct {
	const char *text;
	uint64_t bytes;		/* 0: refused */
} sizes[] = {
	{ "512", 512 }, { "512B", 512 }, { "64KiB", 65536 }, { "64K", 65536 }, { "64k", 65536 },
	{ "1GiB", 1ULL << 30 }, { "1G", 1ULL << 30 }, { "1.5GiB", 3ULL << 29 }, { "2 MiB", 2 << 20 },
	{ "1Ki", 1024 }, { "7EiB", 7ULL << 60 }, { "0.5K", 512 },
	{ "", 0 }, { "0", 0 }, { "0GiB", 0 }, { "-1", 0 }, { "1GB", 0 }, { "1KB", 0 }, { "G", 0 },
	{ "1X", 0 }, { "1GiBs", 0 }, { "1.", 0 }, { ".5G", 0 }, { "1.3", 0 }, { "0.0001K", 0 },
	{ "8EiB", 0 }, { "16E", 0 }, { "18446744073709551616", 0 }, { "9223372036854775808", 0 },
	{ "0x10", 0 }, { "1e3", 0 }, { "1 ", 0 }, { "١", 0 }, { "1.0000000001G", 0 },
};

static void test_sizes(void)
{
	for (size_t i = 0; i < CASES(sizes); i++) {
		uint64_t bytes = 0;
		const char *bad = dsg_size_parse(sizes[i].text, &bytes);
		char name[128], why[256];

		snprintf(name, sizeof(name), "size: '%s'", sizes[i].text);
		snprintf(why, sizeof(why), "got %llu, '%s'", (unsigned long long)bytes,
			 bad ? bad : "");
		result(sizes[i].bytes ? !bad && bytes == sizes[i].bytes : !!bad, name, why);
	}
}

static const struct {
	uint64_t bytes;
	const char *text;
} formats[] = {
	{ 0, "0 B" }, { 512, "512 B" }, { 1024, "1 KiB" }, { 1536, "1.5 KiB" },
	{ 1ULL << 30, "1 GiB" }, { 1023ULL << 30, "1023 GiB" }, { UINT64_MAX, "16.0 EiB" },
};

static void test_formats(void)
{
	for (size_t i = 0; i < CASES(formats); i++) {
		char name[64], buf[DSG_SIZE_STRLEN];

		snprintf(name, sizeof(name), "size as text: %s", formats[i].text);
		dsg_size_format(formats[i].bytes, buf);
		result(!strcmp(buf, formats[i].text), name, buf);
	}
}

static const struct {
	const char *text;
	uint64_t ns;
} durations_table[] = {
	{ "30s", 30000000000 }, { "30", 30000000000 }, { "500ms", 500000000 }, { "8h", 28800000000000 },
	{ "1d", 86400000000000 }, { "2m", 120000000000 }, { "5us", 5000 }, { "7ns", 7 },
	{ "", 0 }, { "0s", 0 }, { "-1s", 0 }, { "1.5s", 0 }, { "1y", 0 }, { "s", 0 },
	{ "999999999999d", 0 }, { "1 s", 0 },
};

static void test_durations(void)
{
	for (size_t i = 0; i < CASES(durations_table); i++) {
		uint64_t ns = 0;
		const char *bad = dsg_duration_parse(durations_table[i].text, &ns);
		char name[64];

		snprintf(name, sizeof(name), "duration: '%s'", durations_table[i].text);
		result(durations_table[i].ns ? !bad && ns == durations_table[i].ns : !!bad, name,
		       bad ? bad : "accepted");
	}
}

static const struct {
	const char *text, *host;	/* host NULL: refused */
	unsigned int port;
	const char *again;
} addresses[] = {
	{ "192.0.2.1", "192.0.2.1", 7420, "192.0.2.1:7420" },
	{ "pool.example:99", "pool.example", 99, "pool.example:99" },
	{ "fe80::1", "fe80::1", 7420, "[fe80::1]:7420" },
	{ "[::1]:7421", "::1", 7421, "[::1]:7421" },
	{ "[::1]", "::1", 7420, "[::1]:7420" },
	{ "", NULL }, { ":7420", NULL }, { "a:", NULL }, { "a:0", NULL }, { "a:65536", NULL },
	{ "a:x", NULL }, { "a:+1", NULL }, { "[::1", NULL }, { "[::1]7", NULL }, { "a b", NULL },
	{ "a\"b", NULL }, { "[]:1", NULL }, { "a:99999999999999999999", NULL },
};

static void test_addresses(void)
{
	for (size_t i = 0; i < CASES(addresses); i++) {
		char host[DSG_HOST_LEN] = "", again[DSG_ADDRESS_LEN] = "", name[64];
		uint16_t port = 0;
		const char *bad = dsg_address_parse(addresses[i].text, host, &port);
		int ok = !!bad;

		if (!bad)
			dsg_address_format(host, port, again);
		if (addresses[i].host)
			ok = !bad && !strcmp(host, addresses[i].host) &&
			     port == addresses[i].port && !strcmp(again, addresses[i].again);
		snprintf(name, sizeof(name), "address: '%s'", addresses[i].text);
		result(ok, name, bad ? bad : again);
	}
}

int main(void)
{
	printf("TAP version 13\n1..%zu\n", CASES(plans) + CASES(sizes) + CASES(formats) +
	       CASES(durations_table) + CASES(addresses));
	test_plans();
	test_sizes();
	test_formats();
	test_durations();
	test_addresses();
	return failures ? 1 : 0;
}
