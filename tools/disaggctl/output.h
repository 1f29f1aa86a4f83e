/* SPDX-License-Identifier: GPL-2.0 */
/* Tables for people, JSON documents for programs. */
#ifndef DISAGGCTL_OUTPUT_H
#define DISAGGCTL_OUTPUT_H

#include "cli.h"

#define TABLE_WIDTH	100
#define TABLE_COLUMNS	12

/**
 * struct table - rows of text
 * @headers: one per column; NULL ends them
 * @right: columns that are aligned to the right, as bits
 *
 * Start with zeroes and the headers; table_print() frees the rows.
 */
struct table {
	const char *headers[TABLE_COLUMNS + 1];
	unsigned int right;
	char ***rows;
	size_t count;
};

/* Add a row; every cell is a string, and copied. An empty one shows as "-". */
void table_row(struct table *table, ...);
/* Print at most TABLE_WIDTH columns wide: the widest cells are cut first. */
void table_print(struct table *table);

/* A new document, with its schema. */
struct json_object *json_document(void);
/* Print a document (with the warnings so far) on stdout, and free it. */
void json_print(struct cli *cli, struct json_object *document);

/* Add a field. */
void put_value(struct json_object *o, const char *key, struct json_object *value);
void put_string(struct json_object *o, const char *key, const char *value);
/* An empty @value becomes null. */
void put_string_or_null(struct json_object *o, const char *key, const char *value);
void put_number(struct json_object *o, const char *key, uint64_t value);
void put_bool(struct json_object *o, const char *key, bool value);

/* Print the failure on stderr. */
void output_fault(struct cli *cli, const struct dsg_fault *fault);

/* "2026-11-23 10:32:05" in local time, from nanoseconds since 1970. Returns @buf. */
char *time_format(uint64_t ns, char buf[32]);

#endif /* DISAGGCTL_OUTPUT_H */
