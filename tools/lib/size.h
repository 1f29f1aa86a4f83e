/* SPDX-License-Identifier: GPL-2.0 */
/* Sizes and durations as people write and read them. */
#ifndef DISAGG_LIB_SIZE_H
#define DISAGG_LIB_SIZE_H

#include <stdint.h>

#define DSG_SIZE_STRLEN		24	/* room for any text made here */

/*
 * Read a size: a number, with decimals if the result is whole, and a unit: none
 * or B (bytes), K, M, G, T, P or E, each also as KiB and so on, always powers of
 * 1024. Units such as KB, which mean two things, are refused. @bytes is never 0.
 * Returns NULL, or what is wrong with @text (a static string).
 */
const char *dsg_size_parse(const char *text, uint64_t *bytes);
/* Write @bytes as "1 GiB", "1.5 GiB", "512 B". Returns @buf. */
char *dsg_size_format(uint64_t bytes, char buf[DSG_SIZE_STRLEN]);
/*
 * Read a duration: a whole number and ns, us, ms, s, m, h or d; without a unit,
 * seconds. @ns is never 0. Returns NULL or what is wrong.
 */
const char *dsg_duration_parse(const char *text, uint64_t *ns);
/* Write @ns as "30s", "1.5s", "250us", "8h". Returns @buf. */
char *dsg_duration_format(uint64_t ns, char buf[DSG_SIZE_STRLEN]);

#endif /* DISAGG_LIB_SIZE_H */
