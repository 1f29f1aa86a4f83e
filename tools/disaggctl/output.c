// SPDX-License-Identifier: GPL-2.0
/* Tables, JSON documents, failures. */
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include "output.h"

#define GAP	2	/* spaces between columns */
#define CELL_MIN	6	/* no column is cut to less */

static void *need_memory(void *p)
{
	if (!p) {
		fputs("disaggctl: out of memory\n", stderr);
		exit(DSG_FAILED);
	}
	return p;
}

static size_t columns_of(const struct table *table)
{
	size_t n = 0;

	while (table->headers[n])
		n++;
	return n;
}

void table_row(struct table *table, ...)
{
	size_t columns = columns_of(table);
	char **row = need_memory(calloc(columns, sizeof(*row)));
	va_list args;

	va_start(args, table);
	for (size_t c = 0; c < columns; c++) {
		const char *cell = va_arg(args, const char *);

		row[c] = need_memory(strdup(*cell ? cell : "-"));
	}
	va_end(args);
	table->rows = need_memory(realloc(table->rows,
					  (table->count + 1) * sizeof(*table->rows)));
	table->rows[table->count++] = row;
}

/* Cut the widest columns until everything fits. */
static void fit_widths(size_t *widths, size_t columns)
{
	for (;;) {
		size_t total = GAP * (columns - 1), widest = 0;

		for (size_t c = 0; c < columns; c++) {
			total += widths[c];
			if (widths[c] > widths[widest])
				widest = c;
		}
		if (total <= TABLE_WIDTH || widths[widest] <= CELL_MIN)
			return;
		widths[widest]--;
	}
}

static void print_cell(const char *text, size_t width, bool right, bool last)
{
	size_t len = strlen(text);

	if (len > width)
		printf("%.*s~", (int)width - 1, text);
	else if (right)
		printf("%*s", (int)width, text);
	else
		printf("%-*s", last ? 0 : (int)width, text);
	if (!last)
		printf("%*s", GAP, "");
}

void table_print(struct table *table)
{
	size_t columns = columns_of(table), widths[TABLE_COLUMNS];

	for (size_t c = 0; c < columns; c++) {
		widths[c] = strlen(table->headers[c]);
		for (size_t r = 0; r < table->count; r++)
			if (strlen(table->rows[r][c]) > widths[c])
				widths[c] = strlen(table->rows[r][c]);
	}
	fit_widths(widths, columns);
	for (size_t c = 0; c < columns; c++)
		print_cell(table->headers[c], widths[c], table->right >> c & 1,
			   c + 1 == columns);
	putchar('\n');
	for (size_t r = 0; r < table->count; r++) {
		for (size_t c = 0; c < columns; c++) {
			print_cell(table->rows[r][c], widths[c], table->right >> c & 1,
				   c + 1 == columns);
			free(table->rows[r][c]);
		}
		putchar('\n');
		free(table->rows[r]);
	}
	free(table->rows);
	table->rows = NULL;
	table->count = 0;
}

void put_value(struct json_object *o, const char *key, struct json_object *value)
{
	json_object_object_add(o, key, value);
}

/* What is no UTF-8 becomes question marks. */
static void make_utf8(char *p)
{
	locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	locale_t before = uselocale(utf8);
	size_t left = strlen(p);

	while (left) {
		mbstate_t state = { 0 };
		wchar_t wide;
		size_t n = mbrtowc(&wide, p, left, &state);

		if (!n || n > left || wide > 0x10ffff) {
			*p = '?';
			n = 1;
		}
		p += n;
		left -= n;
	}
	uselocale(before);
	if (utf8)
		freelocale(utf8);
}

/* JSON is UTF-8, which an argument for example need not be. */
static struct json_object *new_string(const char *value)
{
	char *copy = need_memory(strdup(value));
	struct json_object *o;

	for (const char *p = copy; *p; p++) {
		if (*p & 0x80) {
			make_utf8(copy);
			break;
		}
	}
	o = need_memory(json_object_new_string(copy));
	free(copy);
	return o;
}

void put_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, new_string(value));
}

void put_string_or_null(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, *value ? new_string(value) : NULL);
}

void put_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

void put_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

struct json_object *json_document(void)
{
	struct json_object *o = need_memory(json_object_new_object());

	put_number(o, "schema", SCHEMA);
	return o;
}

static void write_document(struct cli *cli, FILE *out, struct json_object *document)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE;

	if (cli->warnings) {
		json_object_object_add(document, "warnings", cli->warnings);
		cli->warnings = NULL;
	}
	flags |= cli->pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED :
			       JSON_C_TO_STRING_PLAIN;
	fprintf(out, "%s\n", json_object_to_json_string_ext(document, flags));
	fflush(out);
	json_object_put(document);
}

void json_print(struct cli *cli, struct json_object *document)
{
	write_document(cli, stdout, document);
}

/* Print each line of @text with @lead before it. */
static void print_lines(const char *lead, const char *text)
{
	const char *end;

	for (; (end = strchr(text, '\n')); text = end + 1)
		fprintf(stderr, "%s%.*s\n", lead, (int)(end - text), text);
	fprintf(stderr, "%s%s\n", lead, text);
}

static void copy_fields(struct json_object *to, struct json_object *from)
{
	struct json_object_iterator it = json_object_iter_begin(from);
	struct json_object_iterator end = json_object_iter_end(from);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
		json_object_object_add(to, json_object_iter_peek_name(&it),
				       json_object_get(json_object_iter_peek_value(&it)));
}

void output_fault(struct cli *cli, const struct dsg_fault *fault)
{
	struct json_object *document, *error;

	if (!cli->json) {
		print_lines("disaggctl: ", fault->reason);
		if (*fault->hint)
			print_lines("  hint: ", fault->hint);
		return;
	}
	document = json_document();
	error = json_object_new_object();
	put_number(error, "code", fault->code);
	put_string(error, "name", dsg_code_name(fault->code));
	put_string(error, "reason", fault->reason);
	put_string_or_null(error, "hint", fault->hint);
	if (cli->details)
		copy_fields(error, cli->details);
	put_value(document, "error", error);
	write_document(cli, stderr, document);
}

void cli_warn(struct cli *cli, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!cli->json) {
		print_lines("disaggctl: warning: ", text);
		return;
	}
	if (!cli->warnings)
		cli->warnings = json_object_new_array();
	json_object_array_add(cli->warnings, new_string(text));
}

char *time_format(uint64_t ns, char buf[32])
{
	time_t seconds = (time_t)(ns / DSG_NSEC_PER_SEC);
	struct tm tm;

	if (!ns || !localtime_r(&seconds, &tm) || !strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm))
		buf[0] = '\0';
	return buf;
}
