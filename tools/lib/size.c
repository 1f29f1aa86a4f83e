// SPDX-License-Identifier: GPL-2.0
/* Sizes and durations: text to numbers and back. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "size.h"

#define DECIMALS_MAX	9

__extension__ typedef unsigned __int128 u128;

/*
 * Read digits, and with @decimals also a fraction, as whole + part / scale.
 * Returns where the number ends, NULL if there is none, or it is too long.
 */
static const char *read_number(const char *p, bool decimals, uint64_t *whole,
			       uint64_t *part, uint64_t *scale)
{
	const char *start = p;

	*whole = 0;
	*part = 0;
	*scale = 1;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*whole, 10, whole) ||
		    __builtin_add_overflow(*whole, (uint64_t)(*p - '0'), whole))
			return NULL;
	if (p == start)
		return NULL;
	if (!decimals || *p != '.')
		return p;
	for (start = ++p; *p >= '0' && *p <= '9'; p++) {
		if (p - start >= DECIMALS_MAX)
			return NULL;
		*part = *part * 10 + (uint64_t)(*p - '0');
		*scale *= 10;
	}
	return p == start ? NULL : p;
}

const char *dsg_size_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGTPE";
	uint64_t whole, part, scale, unit = 1, extra;
	const char *p, *u;

	if (*text == '-')
		return "a size cannot be negative";
	p = read_number(text, true, &whole, &part, &scale);
	if (!p)
		return *text >= '0' && *text <= '9' ? "the number is too large" :
						      "a size starts with a number";
	if (p[0] == ' ' && p[1])
		p++;
	if (!strcmp(p, "B")) {
		p++;
	} else if (*p) {
		char letter = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;

		u = strchr(units, letter);
		if (!u)
			return "unknown unit; use K, M, G, T, P or E (powers of 1024)";
		unit = 1ULL << (10 * (u - units + 1));
		p++;
		if (!strcmp(p, "iB") || !strcmp(p, "i"))
			p += strlen(p);
		else if (!strcmp(p, "B"))
			return "KB, MB, GB mean two things; use KiB, MiB, GiB (or K, M, G)";
	}
	if (*p)
		return "unknown unit; use K, M, G, T, P or E (powers of 1024)";
	/* part < 10^9 and unit <= 2^60: 128 bits are enough for the product. */
	extra = (uint64_t)((u128)part * unit / scale);
	if ((u128)part * unit % scale)
		return "that is not a whole number of bytes";
	if (__builtin_mul_overflow(whole, unit, &whole) ||
	    __builtin_add_overflow(whole, extra, bytes) || *bytes > INT64_MAX)
		return "the size is too large; the most is 8 EiB - 1";
	if (!*bytes)
		return "a size of zero makes no device";
	return NULL;
}

char *dsg_size_format(uint64_t bytes, char buf[DSG_SIZE_STRLEN])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	uint64_t unit = 1;
	size_t i = 0;

	while (i + 1 < sizeof(units) / sizeof(*units) && bytes / unit >= 1024) {
		unit <<= 10;
		i++;
	}
	if (bytes % unit)
		snprintf(buf, DSG_SIZE_STRLEN, "%.1f %s", (double)bytes / (double)unit, units[i]);
	else
		snprintf(buf, DSG_SIZE_STRLEN, "%llu %s", (unsigned long long)(bytes / unit),
			 units[i]);
	return buf;
}

static const struct {
	const char *name;
	uint64_t ns;
} durations[] = {
	{ "d", 86400000000000ULL },
	{ "h", 3600000000000ULL },
	{ "m", 60000000000ULL },
	{ "s", 1000000000ULL },
	{ "ms", 1000000ULL },
	{ "us", 1000ULL },
	{ "ns", 1ULL },
};

#define DURATIONS (sizeof(durations) / sizeof(*durations))

const char *dsg_duration_parse(const char *text, uint64_t *ns)
{
	uint64_t whole, part, scale;
	const char *p = read_number(text, false, &whole, &part, &scale);
	size_t i;

	if (!p)
		return "a duration is a whole number and a unit, such as 30s, 500ms or 8h";
	if (!*p)
		p = "s";
	for (i = 0; i < DURATIONS; i++)
		if (!strcmp(p, durations[i].name))
			break;
	if (i == DURATIONS)
		return "unknown unit; use ns, us, ms, s, m, h or d";
	if (__builtin_mul_overflow(whole, durations[i].ns, ns) || *ns > INT64_MAX)
		return "the duration is too long";
	if (!*ns)
		return "a duration of zero";
	return NULL;
}

char *dsg_duration_format(uint64_t ns, char buf[DSG_SIZE_STRLEN])
{
	size_t i;

	for (i = 0; i + 1 < DURATIONS; i++)
		if (ns >= durations[i].ns)
			break;
	if (ns % durations[i].ns)
		snprintf(buf, DSG_SIZE_STRLEN, "%.1f%s", (double)ns / (double)durations[i].ns,
			 durations[i].name);
	else
		snprintf(buf, DSG_SIZE_STRLEN, "%llu%s",
			 (unsigned long long)(ns / durations[i].ns), durations[i].name);
	return buf;
}
