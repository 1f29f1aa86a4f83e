// SPDX-License-Identifier: GPL-2.0
/* Help, made from the grammar. */
#include <string.h>

#include "cli.h"

static void print_synopsis(FILE *out, const struct command *c)
{
	fprintf(out, "disaggctl %s%s%s%s%s", c->object, c->verb ? " " : "",
		c->verb ? c->verb : "", *c->args ? " " : "", c->args);
}

static void print_command(FILE *out, const struct command *c)
{
	fputs("Usage: ", out);
	print_synopsis(out, c);
	fprintf(out, "%s\n\n%s.\n\nOptions:\n", c->options ? " [OPTIONS]" : "", c->summary);
	for (const struct option *o = c->options; o && o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		fprintf(out, "  %-22s  %s\n", left, o->help);
	}
	fputs("  -j, --json              a JSON document instead of text\n"
	      "  -p, --pretty            JSON with line breaks\n"
	      "  -h, --help              this text\n", out);
}

static void print_list(FILE *out, const char *object)
{
	for (size_t i = 0; i < command_count; i++) {
		const struct command *c = &commands[i];
		char left[64];

		if (object && strcmp(c->object, object))
			continue;
		snprintf(left, sizeof(left), "%s%s%s%s%s", c->object, c->verb ? " " : "",
			 c->verb ? c->verb : "", *c->args ? " " : "", c->args);
		fprintf(out, "  %-36s  %s\n", left, c->summary);
	}
}

void help_print(FILE *out, const char *object, const char *verb)
{
	for (size_t i = 0; object && i < command_count; i++) {
		const struct command *c = &commands[i];

		if (!strcmp(c->object, object) &&
		    (c->verb ? verb && !strcmp(c->verb, verb) : true)) {
			print_command(out, c);
			return;
		}
	}
	fputs("Usage: disaggctl [-j|--json] [-p|--pretty] OBJECT VERB [ARGUMENTS] [OPTIONS]\n\n",
	      out);
	print_list(out, object);
	fputs("\ndisaggctl help OBJECT VERB tells a command's options; disaggctl(8) all the rest.\n",
	      out);
}
