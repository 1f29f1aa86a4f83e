// SPDX-License-Identifier: GPL-2.0
/* What a command that takes long is doing, on stderr. */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "cli.h"

#define INTERVAL_NS	(3 * DSG_NSEC_PER_SEC)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char step[256];
static uint64_t step_start;
static bool running;

static void *watch(void *arg)
{
	static const struct timespec tick = { .tv_nsec = 100000000 };
	uint64_t shown = 0;

	(void)arg;
	for (;;) {
		uint64_t now;

		nanosleep(&tick, NULL);
		pthread_mutex_lock(&lock);
		/* Not before the step began. */
		now = dsg_now_ns();
		if (step[0] && now - step_start >= INTERVAL_NS && now - shown >= INTERVAL_NS) {
			fprintf(stderr, "disaggctl: still %s (%llu s)\n", step,
				(unsigned long long)((now - step_start) / DSG_NSEC_PER_SEC));
			shown = now;
		}
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

void progress(struct cli *cli, const char *fmt, ...)
{
	pthread_t thread;
	sigset_t all, old;
	va_list args;

	if (cli->json)
		return;
	pthread_mutex_lock(&lock);
	va_start(args, fmt);
	vsnprintf(step, sizeof(step), fmt, args);
	va_end(args);
	step_start = dsg_now_ns();
	if (!running && step[0]) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		/* Without the thread there is no progress to see, nothing worse. */
		running = !pthread_create(&thread, NULL, watch, NULL);
		if (running)
			pthread_detach(thread);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_mutex_unlock(&lock);
}
