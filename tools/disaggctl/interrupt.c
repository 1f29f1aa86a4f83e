// SPDX-License-Identifier: GPL-2.0
/* Signals that ask the program to end, noted so that it can undo first. */
#include <signal.h>

#include "cli.h"

static volatile sig_atomic_t pending;

static void note(int sig)
{
	pending = sig;
}

void interrupt_catch(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = note };

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < COUNT(signals); i++)
		sigaction(signals[i], &action, NULL);
}

int interrupt_pending(void)
{
	return pending;
}
