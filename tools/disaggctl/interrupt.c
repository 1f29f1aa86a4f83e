// SPDX-License-Identifier: GPL-2.0
/* Signals that ask the program to end, noted so that it can undo first. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "cli.h"

#define SOCKETS_MAX	256	/* fds that are looked at */

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
static volatile sig_atomic_t pending;

static void note(int sig)
{
	pending = sig;
}

/*
 * Also end the exchanges that are going on, so that nobody waits for a target
 * that doesn't answer: whatever they were for will be undone. What this program was
 * given when it was started is not its own, and would have been closed then had it been
 * made as its own are. Calls only what may be called from a signal handler.
 */
static void note_and_end(int sig)
{
	int saved = errno;

	note(sig);
	for (int fd = 3; fd < SOCKETS_MAX; fd++) {
		socklen_t len = sizeof(int);
		int domain, flags = fcntl(fd, F_GETFD);

		if (flags >= 0 && flags & FD_CLOEXEC &&
		    !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
		    (domain == AF_INET || domain == AF_INET6))
			shutdown(fd, SHUT_RDWR);
	}
	errno = saved;
}

static void handle(void (*handler)(int sig))
{
	struct sigaction action = { .sa_handler = handler };

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < COUNT(signals); i++)
		sigaction(signals[i], &action, NULL);
}

void interrupt_catch(void)
{
	handle(note_and_end);
}

void interrupt_hold(void)
{
	handle(note);
}

int interrupt_check(struct dsg_fault *fault)
{
	return pending ? dsg_fault_set(fault, DSG_FAILED, "interrupted (%s)",
				       strsignal(pending)) : 0;
}
