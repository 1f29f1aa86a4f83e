// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "loop.h"
#include "wire.h"

#define LOOP_BATCH	64

struct garbage {
	struct garbage *next;
	void *p;
};

static int epoll_fd = -1;
static struct garbage *garbage;
static struct epoll_event batch[LOOP_BATCH];
static int batch_count;

int loop_open(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_fd < 0 ? -errno : 0;
}

static void collect(void)
{
	while (garbage) {
		struct garbage *g = garbage;

		garbage = g->next;
		free(g->p);
		free(g);
	}
}

void loop_close(void)
{
	collect();
	close(epoll_fd);
}

int loop_add(struct source *source, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = source };

	source->fd = fd;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

void loop_change(struct source *source, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = source };

	epoll_ctl(epoll_fd, EPOLL_CTL_MOD, source->fd, &ev);
}

void loop_remove(struct source *source)
{
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	/* It may have an event in the batch that is being dispatched. */
	for (int i = 0; i < batch_count; i++)
		if (batch[i].data.ptr == source)
			batch[i].data.ptr = NULL;
}

void loop_free_later(void *p)
{
	struct garbage *g = malloc(sizeof(*g));

	if (!g)
		return;	/* leaking it is the lesser evil */
	g->p = p;
	g->next = garbage;
	garbage = g;
}

int loop_turn(uint64_t deadline)
{
	int ms = -1, n;

	if (deadline != DSG_NO_DEADLINE) {
		uint64_t now = dsg_now_ns();
		uint64_t left = now >= deadline ? 0 : (deadline - now + 999999) / 1000000;

		ms = left > 3600000 ? 3600000 : (int)left;
	}
	n = epoll_wait(epoll_fd, batch, LOOP_BATCH, ms);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	batch_count = n;
	for (int i = 0; i < n; i++) {
		struct source *source = batch[i].data.ptr;

		if (source)
			source->ready(source, batch[i].events);
	}
	batch_count = 0;
	collect();
	return 0;
}
