/* SPDX-License-Identifier: GPL-2.0 */
/* What the commands of disaggctl share: options, output, interruption. */
#ifndef DISAGGCTL_CLI_H
#define DISAGGCTL_CLI_H

#include <json-c/json.h>
#include <stdio.h>

#include "fault.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define SCHEMA 1	/* of JSON documents; fields are only ever added */

/**
 * struct option - one option of a command
 * @name: long name, without "--"
 * @arg: what its argument is called; NULL: a flag
 * @help: one line
 * @flag: set to true when a flag is given
 * @text: set to the argument; the last one given wins
 * @list: every argument is added to it
 */
struct option {
	const char *name;
	const char *arg;
	const char *help;
	bool *flag;
	const char **text;
	struct text_list *list;
};

struct text_list {
	const char *items[64];
	size_t count;
};

/**
 * struct cli - one run of the program
 * @json: -j: documents for programs
 * @pretty: -p: with line breaks and indentation
 * @warnings: under -j, collected here and shown in the document; else NULL
 * @details: under -j, goes into the document of an error; NULL: none; owned
 */
struct cli {
	bool json;
	bool pretty;
	struct json_object *warnings;
	struct json_object *details;
};

/**
 * struct command - an entry of the grammar
 * @object: first word
 * @verb: second word; NULL: the object is a command by itself
 * @args: arguments as the synopsis shows them
 * @summary: one line
 * @options: ends with an entry without a name; NULL: none
 * @min, @max: how many arguments
 * @run: does it; returns a DSG_* code and describes a failure in @fault
 */
struct command {
	const char *object;
	const char *verb;
	const char *args;
	const char *summary;
	const struct option *options;
	int min;
	int max;
	int (*run)(struct cli *cli, int argc, char **argv, struct dsg_fault *fault);
};

extern const struct command commands[];
extern const size_t command_count;

/* help.c: explain everything, an object (@verb NULL) or a command. */
void help_print(FILE *out, const char *object, const char *verb);
/* suggest.c: the one of @count words that @word was meant to be, or NULL. */
const char *suggest(const char *word, const char *const *words, size_t count);

/* A warning: on stderr, or in the document. */
__attribute__((format(printf, 2, 3)))
void cli_warn(struct cli *cli, const char *fmt, ...);

/*
 * Say on stderr, every 3 seconds from now on, that this still goes on; "" ends it.
 * Silent under -j.
 */
__attribute__((format(printf, 2, 3)))
void progress(struct cli *cli, const char *fmt, ...);

/*
 * interrupt.c: from now on SIGINT, SIGTERM and SIGHUP are noted, not obeyed; they
 * cut off exchanges with targets.
 */
void interrupt_catch(void);
/* From now on they are noted only, so that an undo is whole. */
void interrupt_hold(void);
/* If one was noted, DSG_FAILED, which replaces what @fault said. */
int interrupt_check(struct dsg_fault *fault);

/* The commands, each in the file of its object. */
typedef int command_fn(struct cli *cli, int argc, char **argv, struct dsg_fault *fault);
command_fn target_add, target_list, target_remove;
command_fn resource_list, lease_list;
command_fn node_create, node_list, node_show, node_delete, node_resize;
command_fn node_attach, node_detach, node_save;
command_fn device_list, device_show, device_set, device_stats;
command_fn monitor_run, doctor_run, version_show;
extern const struct option target_add_options[], target_list_options[];
extern const struct option resource_list_options[], lease_list_options[];
extern const struct option node_create_options[], node_delete_options[];
extern const struct option node_attach_options[], node_detach_options[];
extern const struct option device_set_options[], device_stats_options[];

#endif /* DISAGGCTL_CLI_H */
