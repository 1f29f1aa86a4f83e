// SPDX-License-Identifier: GPL-2.0
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.h"

static const char *prefix = "disaggd";
static int to_journal;

void log_open(const char *who)
{
	prefix = who;
	to_journal = getenv("JOURNAL_STREAM") != NULL;
}

/* One write per line, so that lines of workers and the parent never mix. */
void log_line(enum log_level level, const char *fmt, ...)
{
	char line[640];
	int head, body;
	va_list args;
	ssize_t n;

	if (to_journal)
		head = snprintf(line, sizeof(line), "<%d>", level);
	else
		head = snprintf(line, sizeof(line), "%s: ", prefix);
	va_start(args, fmt);
	body = vsnprintf(line + head, sizeof(line) - 1 - (size_t)head, fmt, args);
	va_end(args);
	if (body < 0)
		return;
	if (head + body > (int)sizeof(line) - 2)
		body = (int)sizeof(line) - 2 - head;
	line[head + body] = '\n';
	n = write(STDERR_FILENO, line, (size_t)(head + body + 1));
	(void)n;
}
