// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

/*
 * Who reads the log may be waiting for a disk that this program is to bring back:
 * what cannot be written at once is lost.
 */
void say(int level, const char *fmt, ...)
{
	static int journal = -1;
	char line[512];
	va_list args;
	int n = 0;

	if (journal < 0)
		journal = getenv("JOURNAL_STREAM") != NULL;
	n = snprintf(line, sizeof(line), journal ? "<%d>" : "disagg-agent: ", level);
	va_start(args, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
	va_end(args);
	n = (int)strlen(line);
	line[n++] = '\n';
	if (send(STDERR_FILENO, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	    errno == ENOTSOCK && write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}
