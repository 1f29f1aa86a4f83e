/* SPDX-License-Identifier: GPL-2.0 */
/* The parent's event loop: one thread, epoll, level-triggered. */
#ifndef DISAGGD_LOOP_H
#define DISAGGD_LOOP_H

#include <stdint.h>

/**
 * struct source - something that the loop watches; embed it
 * @fd: set by loop_add(); the owner's to close, after loop_remove()
 * @ready: called with the EPOLL* events that are there
 */
struct source {
	int fd;
	void (*ready)(struct source *source, uint32_t events);
};

/* 0 or -errno. */
int loop_open(void);
void loop_close(void);

/* Watch @fd for @events; 0 or -errno. */
int loop_add(struct source *source, int fd, uint32_t events);
void loop_change(struct source *source, uint32_t events);
void loop_remove(struct source *source);
/*
 * free() @p once no event that is already out can refer to it: what holds a source
 * is freed this way.
 */
void loop_free_later(void *p);

/* Wait until @deadline (ns, monotonic) and dispatch; 0 or -errno. */
int loop_turn(uint64_t deadline);

#endif
