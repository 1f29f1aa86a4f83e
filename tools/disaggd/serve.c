// SPDX-License-Identifier: GPL-2.0
/* The worker's main thread: takes the parent's orders, owns the lanes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "serve.h"
#include "wire.h"

#define NAME_TRIES	100
#define SETTLE_NS	DSG_NSEC_PER_SEC	/* signals of one occasion come within it */

static struct serve serve = { .fd = -1 };
static int listener = -1;

/* False: the parent is not there any more. */
static bool report(uint32_t type, uint16_t status, uint64_t size)
{
	struct worker_report r = { .type = type, .status = status, .size = size };

	return send(WORKER_FD_ORDERS, &r, sizeof(r), MSG_NOSIGNAL) == sizeof(r);
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

static bool parent_is_gone(void)
{
	char c;

	return recv(WORKER_FD_ORDERS, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/*
 * A worker of the parent before, which was on its way when that died, may have taken the
 * name just now: it will find itself without a parent, and end. Return: 0 or -1.
 */
static int take_name(int fd, const struct sockaddr_un *address)
{
	for (int i = 0; i < NAME_TRIES; i++) {
		if (!bind(fd, (const struct sockaddr *)address, sizeof(*address)))
			return 0;
		if (errno != EADDRINUSE || parent_is_gone())
			return -1;
		unlink(address->sun_path);
	}
	return -1;
}

/*
 * Be found by the next parent. The name is otherwise a parent's to take away: it knows
 * whether the worker that has it is the one that is meant.
 */
static int listen_for_parent(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int folder = open(serve.setup.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char name[40];

	snprintf(name, sizeof(name), WORKER_SOCKET,
		 (unsigned long long)serve.setup.generation);
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", folder,
		 name);
	if (folder < 0 || fd < 0 || take_name(fd, &address) || listen(fd, SOMAXCONN)) {
		log_error("worker: %s/%s: %s", serve.setup.path, name, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	if (folder >= 0)
		close(folder);
	return fd;
}

static bool say_hello(int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct worker_hello hello = {
		.version = WORKER_VERSION,
		.generation = serve.setup.generation,
		.size = atomic_load(&serve.size),
	};
	struct iovec iov = { &hello, sizeof(hello) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int shared = WORKER_FD_SHARED;

	memcpy(hello.lease, serve.setup.lease, sizeof(hello.lease));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &shared, sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(hello);
}

/* The parent has given an order. */
static bool ordered = true;

/* Which parent it is, and that its successor does not come while it is reported to. */
static pthread_mutex_t parent_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int parent;

/* Take over who connects, if it is the next parent. */
static bool accept_parent(void)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	/* Who reports meanwhile finds the old one's socket shut: this does not wait. */
	pthread_mutex_lock(&parent_lock);
	ok = !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	     peer.uid == geteuid() && say_hello(fd) &&
	     dup3(fd, WORKER_FD_ORDERS, O_CLOEXEC) >= 0;
	parent += ok;
	pthread_mutex_unlock(&parent_lock);
	close(fd);
	return ok;
}

/*
 * The parent is gone. Lanes go on; false: no other has come in time. Meanwhile nobody
 * else decides about SIGTERM, and a host that shuts down must not wait.
 */
static bool await_parent(void)
{
	static uint64_t deadline;
	uint64_t settled = dsg_deadline(SETTLE_NS), now, until;
	struct pollfd p = { .fd = listener, .events = POLLIN };
	bool found = false;

	/* A parent that came and ordered nothing, since it could not start, was none. */
	if (ordered)
		deadline = dsg_deadline(serve.setup.keep_ns);
	ordered = false;
	while (!found && (now = dsg_now_ns()) < deadline) {
		/* What has ended the parent may be on its way to this process too. */
		if (now >= settled)
			signal(SIGTERM, SIG_DFL);
		until = now < settled && settled < deadline ? settled : deadline;
		found = poll(&p, 1, (int)((until - now) / 1000000 + 1)) > 0 &&
			accept_parent();
	}
	signal(SIGTERM, SIG_IGN);
	return found;
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

/* One RESIZE. It may take minutes, in which lanes come and parents go. */
struct resize {
	pthread_t thread;
	uint64_t size;
	unsigned int parent;	/* who has ordered it */
	struct resize *before;	/* NULL: the first */
};

static struct resize *last_resize;

static void *resize_run(void *arg)
{
	struct resize *r = arg;
	uint16_t status;

	/* The next parent does not know what the one before has ordered. */
	if (r->before) {
		pthread_join(r->before->thread, NULL);
		free(r->before);
	}
	status = serve.medium->resize(&serve, r->size);
	pthread_mutex_lock(&parent_lock);
	if (r->parent == parent)
		report(WORKER_RESIZED, status, r->size);
	pthread_mutex_unlock(&parent_lock);
	return NULL;
}

static void start_resize(uint64_t size)
{
	struct resize *r = calloc(1, sizeof(*r));

	if (r) {
		r->size = size;
		r->parent = parent;
		r->before = last_resize;
		if (!pthread_create(&r->thread, NULL, resize_run, r)) {
			last_resize = r;
			return;
		}
	}
	free(r);
	report(WORKER_RESIZED, DISAGG_WIRE_E_INTERNAL, size);
}

static int take_orders(void)
{
	for (;;) {
		struct worker_order order;
		ssize_t n;
		int fd;

		n = receive(&order, sizeof(order), &fd);
		if (n != (ssize_t)sizeof(order)) {
			if (listener >= 0 && await_parent())
				continue;
			return n > 0 ? 1 : 0;	/* the parent is gone */
		}
		ordered = true;
		switch (order.type) {
		case WORKER_LANE:
			if (fd >= 0 && order.lane < DISAGG_WIRE_MAX_LANES)
				take_lane(&order, fd);
			break;
		case WORKER_RESIZE:
			start_resize(order.size);
			break;
		case WORKER_PUBLISH:
			atomic_store(&serve.size, order.size);
			report(WORKER_PUBLISHED, DISAGG_WIRE_OK, order.size);
			break;
		case WORKER_KEEP:
			serve.setup.keep_ns = order.size;
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
	/* Stopping is the parent's decision, also when the whole group is signalled. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

int serve_main(void)
{
	uint16_t status = DISAGG_WIRE_OK;
	int fd;

	confine();
	serve.shared = mmap(NULL, sizeof(*serve.shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED, WORKER_FD_SHARED, 0);
	if (serve.shared == MAP_FAILED) {
		log_error("--worker is for disaggd's own use");
		return 2;
	}
	if (receive(&serve.setup, sizeof(serve.setup), &fd) != sizeof(serve.setup))
		return 1;
	serve.medium = serve.setup.class == DISAGG_WIRE_CLASS_STORAGE ? &storage_medium :
									&memory_medium;
	/*
	 * First of all: whoever comes after a parent that dies from here on finds this
	 * worker, and can end it; and if it has come already, it has looked.
	 */
	if (serve.setup.keep_ns) {
		listener = listen_for_parent();
		if (listener < 0)
			status = DISAGG_WIRE_E_INTERNAL;
		else if (parent_is_gone())
			return 0;
	}
	if (!status)
		status = serve.medium->open(&serve);
	atomic_store(&serve.size, serve.setup.size);
	/* Without a parent to commit it, it serves nobody. */
	if (!report(WORKER_READY, status, serve.setup.size) || status)
		return 0;
	return take_orders();
}
