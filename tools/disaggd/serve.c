// SPDX-License-Identifier: GPL-2.0
/* The worker's main thread: takes the parent's orders, owns the lanes. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "serve.h"
#include "wire.h"

static struct serve serve = { .fd = -1 };

static void report(uint32_t type, uint16_t status, uint64_t size)
{
	struct worker_report r = { .type = type, .status = status, .size = size };

	if (send(WORKER_FD_ORDERS, &r, sizeof(r), MSG_NOSIGNAL) < 0)
		log_error("worker: cannot report: %s", strerror(errno));
}

/* The next message and the fd that came with it (-1: none). */
static ssize_t receive(void *buf, size_t len, int *fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { buf, len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c;
	ssize_t n;

	*fd = -1;
	do {
		n = recvmsg(WORKER_FD_ORDERS, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	return n;
}

static void take_lane(const struct worker_order *order, int fd)
{
	struct lane **lane = &serve.lanes[order->lane];
	int err;

	/* The old connection's last write lands before the new one is welcomed. */
	if (*lane)
		lane_end(*lane, SHUT_RDWR);
	*lane = NULL;
	err = lane_start(&serve, order, fd);
	if (err)
		log_error("worker: cannot start lane %u: %s", order->lane, strerror(-err));
}

/* All sockets are shut before the first is waited for: they end together. */
static void stop(int how)
{
	for (unsigned int i = 0; i < DISAGG_WIRE_MAX_LANES; i++)
		if (serve.lanes[i])
			shutdown(serve.lanes[i]->fd, how);
	for (unsigned int i = 0; i < DISAGG_WIRE_MAX_LANES; i++)
		if (serve.lanes[i])
			lane_end(serve.lanes[i], how);
}

static int take_orders(void)
{
	for (;;) {
		struct worker_order order;
		uint16_t status;
		ssize_t n;
		int fd;

		n = receive(&order, sizeof(order), &fd);
		if (n != (ssize_t)sizeof(order))
			return n ? 1 : 0;	/* the parent is gone */
		switch (order.type) {
		case WORKER_LANE:
			if (fd >= 0 && order.lane < DISAGG_WIRE_MAX_LANES)
				take_lane(&order, fd);
			break;
		case WORKER_RESIZE:
			status = serve.medium->resize(&serve, order.size);
			report(WORKER_RESIZED, status, order.size);
			break;
		case WORKER_PUBLISH:
			atomic_store(&serve.size, order.size);
			report(WORKER_PUBLISHED, DISAGG_WIRE_OK, order.size);
			break;
		case WORKER_STOP:
			stop(order.abrupt ? SHUT_RDWR : SHUT_RD);
			return 0;
		}
	}
}

static void confine(void)
{
	prctl(PR_SET_NAME, "disaggd-worker");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifndef __SANITIZE_ADDRESS__
	prctl(PR_SET_DUMPABLE, 0);
#endif
	/* Stopping is the parent's decision, also when the whole group is signalled. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

int serve_main(void)
{
	uint16_t status;
	int fd;

	confine();
	serve.shared = mmap(NULL, sizeof(*serve.shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED, WORKER_FD_SHARED, 0);
	if (serve.shared == MAP_FAILED) {
		log_error("--worker is for disaggd's own use");
		return 2;
	}
	close(WORKER_FD_SHARED);
	if (receive(&serve.setup, sizeof(serve.setup), &fd) != sizeof(serve.setup))
		return 1;
	serve.medium = serve.setup.class == DISAGG_WIRE_CLASS_STORAGE ? &storage_medium :
									&memory_medium;
	status = serve.medium->open(&serve);
	atomic_store(&serve.size, serve.setup.size);
	report(WORKER_READY, status, serve.setup.size);
	if (status)
		return 0;
	return take_orders();
}
