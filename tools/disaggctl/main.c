// SPDX-License-Identifier: GPL-2.0
/* disaggctl: the grammar, and what leads to a command. */
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "cli.h"
#include "output.h"

#define ARGS_MAX	16

const struct command commands[] = {
	{ "target", "add", "NAME ADDRESS[:PORT]", "make a target known to this host",
	  target_add_options, 2, 2, target_add },
	{ "target", "list", "", "targets, whether they answer, and what is free",
	  target_list_options, 0, 0, target_list },
	{ "target", "remove", "NAME", "forget a target that no node uses", NULL, 1, 1,
	  target_remove },
	{ "resource", "list", "", "what the targets offer", resource_list_options, 0, 0,
	  resource_list },
	{ "lease", "list", "", "leases that the targets have granted, to any host",
	  lease_list_options, 0, 0, lease_list },
	{ "node", "create", "NAME", "compose a node: all of its devices, or nothing",
	  node_create_options, 1, 1, node_create },
	{ "node", "list", "", "nodes of this host", NULL, 0, 0, node_list },
	{ "node", "show", "NAME", "a node and its devices", NULL, 1, 1, node_show },
	{ "node", "delete", "[NAME]", "take a node apart and give its leases back",
	  node_delete_options, 0, 1, node_delete },
	{ "node", "attach", "NAME", "attach a node that has leases, or a file in nodes.d",
	  node_attach_options, 1, 1, node_attach },
	{ "node", "detach", "NAME", "take a node's devices away, and keep its leases",
	  node_detach_options, 1, 1, node_detach },
	{ "node", "save", "NAME", "write its file in nodes.d, to attach it at boot", NULL, 1, 1,
	  node_save },
	{ "node", "resize", "NAME DEVICE SIZE", "let a device grow to SIZE (or by +SIZE)", NULL,
	  3, 3, node_resize },
	{ "device", "list", "", "devices of this host", NULL, 0, 0, device_list },
	{ "device", "show", "NODE/DEVICE", "all about a device", NULL, 1, 1, device_show },
	{ "device", "stats", "[NODE/DEVICE]", "how long requests took", device_stats_options, 0,
	  1, device_stats },
	{ "device", "set", "NODE/DEVICE", "change a device's timers", device_set_options, 1, 1,
	  device_set },
	{ "monitor", NULL, "", "print events as they happen", NULL, 0, 0, monitor_run },
	{ "doctor", NULL, "", "check all that nodes depend on, and name remedies", NULL, 0, 0,
	  doctor_run },
	{ "version", NULL, "", "versions of the tool, the module and the protocols", NULL, 0, 0,
	  version_show },
};

const size_t command_count = COUNT(commands);

/* The command line, taken apart. */
struct line {
	const char *words[2];	/* object and verb */
	size_t word_count;
	const struct command *command;
	char *args[ARGS_MAX];
	int arg_count;
	bool help;
};

static int unknown(struct dsg_fault *fault, const char *what, const char *word,
		   const char *const *words, size_t count, const char *help)
{
	const char *near = suggest(word, words, count);

	dsg_fault_set(fault, DSG_USAGE, "unknown %s: %s", what, word);
	if (near)
		return dsg_fault_hint(fault, "did you mean %s? (disaggctl help%s lists them all)",
				      near, help);
	return dsg_fault_hint(fault, "disaggctl help%s lists them all", help);
}

static bool object_exists(const char *object)
{
	for (size_t i = 0; i < command_count; i++)
		if (!strcmp(commands[i].object, object))
			return true;
	return false;
}

/* Find the command as soon as its words are there. */
static int find_command(struct line *line, struct dsg_fault *fault)
{
	const char *words[COUNT(commands) + 1];
	const char *object = line->words[0], *verb = line->words[1];
	char help[64];
	size_t n = 0;

	if (!object_exists(object)) {
		for (size_t i = 0; i < command_count; i++)
			words[n++] = commands[i].object;
		words[n++] = "help";
		return unknown(fault, "command", object, words, n, "");
	}
	for (size_t i = 0; i < command_count; i++) {
		const struct command *c = &commands[i];

		if (strcmp(c->object, object))
			continue;
		if (!c->verb || (verb && !strcmp(c->verb, verb))) {
			line->command = c;
			return 0;
		}
		words[n++] = c->verb;
	}
	if (!verb)
		return 0;
	snprintf(help, sizeof(help), " %s", object);
	return unknown(fault, "verb", verb, words, n, help);
}

static int take_option(struct cli *cli, struct line *line, const char *arg, char ***next,
		       struct dsg_fault *fault)
{
	const struct option *options = line->command ? line->command->options : NULL;
	const char *words[32] = { "json", "pretty", "help", "version" };
	const char *equals = strchr(arg, '='), *value;
	size_t len = equals ? (size_t)(equals - arg) : strlen(arg), n = 4;
	char name[64], help[64] = "";

	snprintf(name, sizeof(name), "%.*s", (int)len, arg);
	if (!equals && !strcmp(name, "json")) {
		cli->json = true;
		return 0;
	}
	if (!equals && !strcmp(name, "pretty")) {
		cli->pretty = true;
		return 0;
	}
	if (!equals && !strcmp(name, "help")) {
		line->help = true;
		return 0;
	}
	if (!equals && !strcmp(name, "version") && !line->word_count) {
		line->words[line->word_count++] = "version";
		return find_command(line, fault);
	}
	for (const struct option *o = options; o && o->name; o++) {
		words[n++] = o->name;
		if (strcmp(o->name, name))
			continue;
		if (o->flag) {
			if (equals)
				return dsg_fault_set(fault, DSG_USAGE, "--%s takes no value", name);
			*o->flag = true;
			return 0;
		}
		value = equals ? equals + 1 : **next ? *(*next)++ : NULL;
		if (!value || !*value)
			return dsg_fault_set(fault, DSG_USAGE, "--%s needs its %s", name, o->arg);
		if (o->text) {
			*o->text = value;
		} else if (o->list->count < COUNT(o->list->items)) {
			o->list->items[o->list->count++] = value;
		} else {
			return dsg_fault_set(fault, DSG_USAGE, "too many --%s", name);
		}
		return 0;
	}
	if (line->command)
		snprintf(help, sizeof(help), " %s%s%s", line->command->object,
			 line->command->verb ? " " : "",
			 line->command->verb ? line->command->verb : "");
	return unknown(fault, "option", name, words, n, help);
}

static int take_flags(struct cli *cli, struct line *line, const char *flags,
		      struct dsg_fault *fault)
{
	for (; *flags; flags++) {
		switch (*flags) {
		case 'j':
			cli->json = true;
			break;
		case 'p':
			cli->pretty = true;
			break;
		case 'h':
			line->help = true;
			break;
		case 'V':
			if (line->word_count) {
				dsg_fault_set(fault, DSG_USAGE, "-V is a command by itself");
				return dsg_fault_hint(fault, "disaggctl help");
			}
			line->words[line->word_count++] = "version";
			return find_command(line, fault);
		default:
			dsg_fault_set(fault, DSG_USAGE, "unknown option: -%c", *flags);
			return dsg_fault_hint(fault, "disaggctl help");
		}
	}
	return 0;
}

static int take_word(struct line *line, char *word, struct dsg_fault *fault)
{
	if (!line->word_count && !strcmp(word, "help")) {
		line->help = true;
		return 0;
	}
	if (!line->command) {
		line->words[line->word_count++] = word;
		return find_command(line, fault);
	}
	if (line->arg_count == ARGS_MAX || (!line->help && line->arg_count == line->command->max)) {
		dsg_fault_set(fault, DSG_USAGE, "one argument too many: %s", word);
		return dsg_fault_hint(fault, "disaggctl help %s %s", line->command->object,
				      line->command->verb ? line->command->verb : "");
	}
	line->args[line->arg_count++] = word;
	return 0;
}

static int take_line(struct cli *cli, struct line *line, char **argv, struct dsg_fault *fault)
{
	bool options = true;
	int err = 0;

	/* Also when the line is wrong, the error has the form that was asked for. */
	for (char **p = argv; *p && strcmp(*p, "--"); p++) {
		if (!strcmp(*p, "-j") || !strcmp(*p, "--json"))
			cli->json = true;
		if (!strcmp(*p, "-jp") || !strcmp(*p, "-pj"))
			cli->json = cli->pretty = true;
	}
	while (*argv && !err) {
		char *arg = *argv++;

		if (options && !strcmp(arg, "--"))
			options = false;
		else if (options && !strncmp(arg, "--", 2))
			err = take_option(cli, line, arg + 2, &argv, fault);
		else if (options && arg[0] == '-' && arg[1])
			err = take_flags(cli, line, arg + 1, fault);
		else
			err = take_word(line, arg, fault);
	}
	return err;
}

static int check_line(const struct line *line, struct dsg_fault *fault)
{
	const struct command *c = line->command;

	if (!line->word_count) {
		dsg_fault_set(fault, DSG_USAGE, "what is to be done?");
		return dsg_fault_hint(fault, "disaggctl help");
	}
	if (!c) {
		char verbs[256] = "";

		for (size_t i = 0; i < command_count; i++)
			if (!strcmp(commands[i].object, line->words[0]))
				snprintf(verbs + strlen(verbs), sizeof(verbs) - strlen(verbs),
					 "%s%s", *verbs ? ", " : "", commands[i].verb);
		dsg_fault_set(fault, DSG_USAGE, "what is to be done with %s? One of: %s",
			      line->words[0], verbs);
		return dsg_fault_hint(fault, "disaggctl help %s", line->words[0]);
	}
	if (line->arg_count < c->min) {
		dsg_fault_set(fault, DSG_USAGE, "missing: %s", c->args);
		return dsg_fault_hint(fault, "disaggctl help %s %s", c->object,
				      c->verb ? c->verb : "");
	}
	return 0;
}

/* As it is without SIG_IGN: who writes to nobody ends, and silently. */
static void end_if_unread(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };

	if (poll(&out, 1, 0) == 1 && out.revents & POLLERR) {
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
}

int main(int argc, char **argv)
{
	struct dsg_fault fault = { .code = DSG_OK };
	struct line line = { .word_count = 0 };
	struct cli cli = { .json = false };
	int err;

	(void)argc;
	dsg_standard_fds();
	dsg_no_dump();
	signal(SIGPIPE, SIG_IGN);	/* nothing half-made because a reader has gone */
	setlocale(LC_CTYPE, "");
	err = take_line(&cli, &line, argv + 1, &fault);
	if (!err && line.help) {
		help_print(stdout, line.words[0], line.command ? line.command->verb : NULL);
	} else {
		if (!err)
			err = check_line(&line, &fault);
		if (!err)
			err = line.command->run(&cli, line.arg_count, line.args, &fault);
	}
	progress(&cli, "%s", "");
	if (fflush(stdout) || ferror(stdout))
		end_if_unread();
	if (!err && ferror(stdout))
		err = dsg_fault_set(&fault, DSG_FAILED, "writing the output failed");
	if (err)
		output_fault(&cli, &fault);
	json_object_put(cli.details);
	json_object_put(cli.warnings);
	return err;
}
