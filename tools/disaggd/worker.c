// SPDX-License-Identifier: GPL-2.0
/* The parent's side of the workers: start, order, hear, bury. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "log.h"
#include "wire.h"
#include "worker.h"

#define DEATH_NS	(10 * DSG_NSEC_PER_SEC)	/* for workers that were killed to be gone */

extern char **environ;

static int lock_fd = -1, folder_fd = -1;

void worker_set_lock(int fd)
{
	lock_fd = fd;
}

void worker_set_folder(int fd)
{
	folder_fd = fd;
}

/* The unit protects the parent; what holds the memory is to go before the rest. */
static void forget_oom_score(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "0", 1) < 0)
		log_warning("oom_score_adj: %s", strerror(errno));
	close(fd);
}

/*
 * In the child: nothing of the parent's memory survives the exec, and nothing of
 * its files but what is named here, so a worker that goes wrong knows no other
 * lease's token. One that is @kept has no part in the lock, which is for those that
 * the next daemon must wait for.
 */
static void become_worker(pid_t parent, int orders, int shared, int medium, bool kept,
			  const char *resource)
{
	int last = medium < 0 ? WORKER_FD_LOCK : WORKER_FD_MEDIUM;
	char title[64];
	char *argv[] = { "disaggd", "--worker", title, NULL };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!kept)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!kept && getppid() != parent)
		_exit(1);
	forget_oom_score();
	/* Out of the way of the numbers they are to have. */
	orders = fcntl(orders, F_DUPFD, 10);
	shared = fcntl(shared, F_DUPFD, 10);
	lock_fd = fcntl(lock_fd, F_DUPFD, 10);
	if (medium >= 0)
		medium = fcntl(medium, F_DUPFD, 10);
	if (dup2(orders, WORKER_FD_ORDERS) < 0 || dup2(shared, WORKER_FD_SHARED) < 0 ||
	    dup2(lock_fd, WORKER_FD_LOCK) < 0 ||
	    (last == WORKER_FD_MEDIUM && dup2(medium, WORKER_FD_MEDIUM) < 0) ||
	    close_range((unsigned int)last + 1, ~0U, 0) ||
	    (kept && close(WORKER_FD_LOCK)))
		_exit(1);
	snprintf(title, sizeof(title), "%s", resource);
	execve("/proc/self/exe", argv, environ);
	_exit(127);
}

static void worker_free(struct worker *w)
{
	if (w->shared)
		munmap(w->shared, sizeof(*w->shared));
	if (w->reports.fd >= 0) {
		loop_remove(&w->reports);
		close(w->reports.fd);
	}
	if (w->exit.fd >= 0) {
		loop_remove(&w->exit);
		close(w->exit.fd);
	}
	loop_free_later(w);
}

static void unlink_socket(uint64_t generation)
{
	char name[40];

	snprintf(name, sizeof(name), WORKER_SOCKET, (unsigned long long)generation);
	unlinkat(folder_fd, name, 0);
}

static void on_report(struct source *source, uint32_t events)
{
	struct worker *w = (struct worker *)((char *)source -
					     offsetof(struct worker, reports));
	struct worker_report report;
	ssize_t n;

	(void)events;
	n = recv(source->fd, &report, sizeof(report), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof(report)) {
		/* It is going; on_exit() does the rest. */
		loop_remove(source);
		close(source->fd);
		source->fd = -1;
		return;
	}
	if (report.type == WORKER_READY) {
		lease_worker_ready(w->lease, (uint16_t)report.status);
	} else if (report.type == WORKER_RESIZED) {
		lease_worker_resized(w->lease, (uint16_t)report.status, report.size);
	} else if (report.type == WORKER_PUBLISHED) {
		lease_worker_published(w->lease);
	}
}

static void on_exit_source(struct source *source, uint32_t events)
{
	struct worker *w = (struct worker *)((char *)source -
					     offsetof(struct worker, exit));
	struct lease *lease = w->lease;
	siginfo_t info = { 0 };
	uint32_t lanes = 0;
	bool clean;

	(void)events;
	if (w->adopted) {
		/* Not a child of this process: how it ended is not told. */
		if (!w->kill_at)
			log_warning("worker %d of lease %llu on %s is gone", (int)w->pid,
				    (unsigned long long)lease->generation,
				    lease->resource->conf->id);
		goto gone;
	}
	if (waitid(P_PIDFD, (id_t)source->fd, &info, WEXITED | WNOHANG)) {
		if (errno == EINTR)
			return;
		info.si_status = -1;	/* somebody else has buried it */
	} else if (!info.si_pid) {
		return;
	}
	clean = info.si_code == CLD_EXITED && info.si_status == 0;
	if (!clean && !w->kill_at)
		log_warning("worker %d of lease %llu on %s %s %d", (int)w->pid,
			    (unsigned long long)lease->generation,
			    lease->resource->conf->id,
			    info.si_code == CLD_EXITED ? "exited with status" :
							 "was killed by signal",
			    info.si_status);
gone:
	unlink_socket(lease->generation);
	worker_counts(w, &lease->read_bytes, &lease->written_bytes, &lanes);
	worker_free(w);
	lease_worker_gone(lease);
}

static void worker_init(struct worker *w, struct lease *lease)
{
	w->lease = lease;
	w->exit.fd = -1;
	w->exit.ready = on_exit_source;
	w->reports.fd = -1;
	w->reports.ready = on_report;
}

/* A medium's open file for one worker alone, which a lock can belong to; or -errno. */
static int open_again(int fd)
{
	char path[32];
	int flags = fcntl(fd, F_GETFL);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = flags < 0 ? flags : open(path, (flags & (O_ACCMODE | O_DIRECT)) | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

struct worker *worker_start(struct lease *lease, const struct worker_setup *setup)
{
	int pair[2] = { -1, -1 }, shared = -1, pidfd = -1, medium = -1, err;
	struct worker *w = calloc(1, sizeof(*w));
	pid_t parent = getpid();

	if (!w)
		return NULL;
	worker_init(w, lease);
	w->kept = setup->keep_ns;
	/* One that the daemon before started and nobody saw may have the name. */
	if (w->kept)
		unlink_socket(lease->generation);
	shared = memfd_create("disaggd-counters", MFD_CLOEXEC);
	if (shared < 0 || ftruncate(shared, sizeof(*w->shared)) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		goto err_free;
	w->shared = mmap(NULL, sizeof(*w->shared), PROT_READ, MAP_SHARED, shared, 0);
	if (w->shared == MAP_FAILED) {
		w->shared = NULL;
		goto err_free;
	}
	if (send(pair[0], setup, sizeof(*setup), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		goto err_free;

	if (lease->resource->fd >= 0) {
		medium = open_again(lease->resource->fd);
		errno = -medium;
		if (medium < 0)
			goto err_free;
	}

	w->pid = fork();
	if (w->pid < 0)
		goto err_free;
	if (!w->pid)
		become_worker(parent, pair[1], shared, medium, setup->keep_ns,
			      setup->resource);
	if (medium >= 0)
		close(medium);
	medium = -1;
	pidfd = pidfd_open(w->pid, 0);
	if (pidfd < 0)
		goto err_kill;
	errno = -loop_add(&w->exit, pidfd, EPOLLIN);
	if (errno) {
		w->exit.fd = -1;
		goto err_kill;
	}
	errno = -loop_add(&w->reports, pair[0], EPOLLIN);
	if (errno) {
		w->reports.fd = -1;
		goto err_kill;
	}
	close(pair[1]);
	close(shared);
	return w;

err_kill:
	err = errno;
	kill(w->pid, SIGKILL);
	waitpid(w->pid, NULL, 0);
	if (w->exit.fd < 0 && pidfd >= 0)
		close(pidfd);
	errno = err;
err_free:
	err = errno;
	if (w->reports.fd < 0 && pair[0] >= 0)
		close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
	if (shared >= 0)
		close(shared);
	if (medium >= 0)
		close(medium);
	worker_free(w);
	errno = err;
	return NULL;
}

static int send_order(struct worker *w, const struct worker_order *order, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)order, sizeof(*order) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (w->reports.fd < 0)
		return -EPIPE;
	if (fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(w->reports.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int worker_lane(struct worker *w, const struct worker_order *order, int fd)
{
	return send_order(w, order, fd);
}

int worker_resize(struct worker *w, uint64_t size)
{
	struct worker_order order = { .type = WORKER_RESIZE, .size = size };

	return send_order(w, &order, -1);
}

int worker_publish(struct worker *w, uint64_t size)
{
	struct worker_order order = { .type = WORKER_PUBLISH, .size = size };

	return send_order(w, &order, -1);
}

void worker_keep(struct worker *w, uint64_t keep_ns)
{
	struct worker_order order = { .type = WORKER_KEEP, .size = keep_ns };

	w->kept = keep_ns;
	send_order(w, &order, -1);	/* if it is gone, on_exit_source() hears of it */
}

void worker_stop(struct worker *w, bool abrupt, uint64_t grace_ns)
{
	struct worker_order order = { .type = WORKER_STOP, .abrupt = abrupt };
	uint64_t kill_at = dsg_deadline(grace_ns);

	if (!grace_ns) {
		pidfd_send_signal(w->exit.fd, SIGKILL, NULL, 0);
		w->kill_at = DSG_NO_DEADLINE;
		return;
	}
	if (!w->kill_at || kill_at < w->kill_at)
		w->kill_at = kill_at;
	if (send_order(w, &order, -1))
		w->kill_at = dsg_now_ns();
}

void worker_check(struct worker *w, uint64_t now)
{
	if (!w->kill_at || now < w->kill_at)
		return;
	log_warning("worker %d did not stop in time: killed", (int)w->pid);
	pidfd_send_signal(w->exit.fd, SIGKILL, NULL, 0);
	w->kill_at = DSG_NO_DEADLINE;
}

void worker_abandon(struct worker *w)
{
	worker_free(w);
}

/* Connect to a kept worker. Return: the socket, -ENOENT if it is gone, or -errno. */
static int connect_worker(uint64_t generation, pid_t *pid, int *pidfd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct ucred peer;
	socklen_t len = sizeof(peer);
	/* One that hangs accepts nobody: if its queue is full, that is an error. */
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	/* The folder's own path may be longer than an address. */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" WORKER_SOCKET,
		 folder_fd, (unsigned long long)generation);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		goto err_close;
	errno = EPERM;
	if (peer.uid != geteuid())
		goto err_close;
	*pid = peer.pid;
	*pidfd = pidfd_open(peer.pid, 0);
	if (*pidfd >= 0)
		return fd;
err_close:
	err = errno == ECONNREFUSED || errno == ESRCH ? -ENOENT : -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

int worker_find(uint64_t generation, struct worker **worker)
{
	struct worker *w = calloc(1, sizeof(*w));
	int fd;

	*worker = NULL;
	if (!w)
		return -ENOMEM;
	worker_init(w, NULL);
	w->adopted = true;
	w->kept = true;
	fd = connect_worker(generation, &w->pid, &w->exit.fd);
	if (fd < 0) {
		worker_free(w);
		return fd == -ENOENT ? 0 : fd;
	}
	w->reports.fd = fd;
	*worker = w;
	return 0;
}

static int ms_until(uint64_t deadline)
{
	uint64_t now = dsg_now_ns();

	return now < deadline ? (int)((deadline - now) / 1000000 + 1) : 0;
}

/*
 * What it says of itself, and its counters' memfd; -EPROTO if it does not in time or not
 * as it should, -EMFILE if there is no room for the memfd.
 */
static int hear_hello(int fd, uint64_t deadline, struct worker_hello *hello)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { hello, sizeof(*hello) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control.space),
	};
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct cmsghdr *c;
	int shared = -1;
	ssize_t n;

	if (poll(&p, 1, ms_until(deadline)) <= 0)
		return -EPROTO;
	n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&shared, CMSG_DATA(c), sizeof(int));
	if (n == (ssize_t)sizeof(*hello) && shared >= 0)
		return shared;
	if (shared >= 0)
		close(shared);
	return n == (ssize_t)sizeof(*hello) && msg.msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
}

/* Killed, and its memory not free yet. */
static struct dying {
	uint64_t generation;
	pid_t pid;
	int pidfd;
} *dying;
static size_t dying_count;

/* Takes @pidfd over. */
static void kill_kept(uint64_t generation, pid_t pid, int pidfd)
{
	struct dying *more = realloc(dying, (dying_count + 1) * sizeof(*more));

	pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	if (!more) {
		close(pidfd);
		return;
	}
	dying = more;
	dying[dying_count++] = (struct dying){ generation, pid, pidfd };
}

void worker_bury(void)
{
	uint64_t deadline = dsg_deadline(DEATH_NS);

	for (size_t i = 0; i < dying_count; i++) {
		struct pollfd p = { .fd = dying[i].pidfd, .events = POLLIN };

		/* While it has its name a daemon that comes later will find it. */
		if (poll(&p, 1, ms_until(deadline)) > 0)
			unlink_socket(dying[i].generation);
		else
			log_warning("worker %d was killed and is not dead yet",
				    (int)dying[i].pid);
		close(dying[i].pidfd);
	}
	free(dying);
	dying = NULL;
	dying_count = 0;
}

int worker_hear(struct worker **worker, uint64_t generation,
		const uint8_t id[DISAGG_WIRE_UUID_LEN], uint64_t deadline, uint64_t *size)
{
	struct worker *w = *worker;
	struct worker_hello hello;
	int shared = hear_hello(w->reports.fd, deadline, &hello), err;

	if (shared == -EMFILE)
		return shared;
	if (shared < 0 || hello.version != WORKER_VERSION || hello.generation != generation ||
	    memcmp(hello.lease, id, sizeof(hello.lease)))
		goto err_kill;
	w->shared = mmap(NULL, sizeof(*w->shared), PROT_READ, MAP_SHARED, shared, 0);
	if (w->shared == MAP_FAILED) {
		err = -errno;
		w->shared = NULL;
		close(shared);
		return err;
	}
	close(shared);
	*size = hello.size;
	return 0;

err_kill:
	log_warning("worker %d of lease %llu does not answer as it should: killed", (int)w->pid,
		    (unsigned long long)generation);
	kill_kept(generation, w->pid, w->exit.fd);
	w->exit.fd = -1;
	if (shared >= 0)
		close(shared);
	worker_free(w);
	*worker = NULL;
	return 0;
}

int worker_adopt(struct worker *w, struct lease *lease)
{
	int err = loop_add(&w->exit, w->exit.fd, EPOLLIN);

	if (!err)
		err = loop_add(&w->reports, w->reports.fd, EPOLLIN);
	if (!err)
		w->lease = lease;
	return err;
}

static void sweep_one(uint64_t generation)
{
	int fd, pidfd;
	pid_t pid;

	fd = connect_worker(generation, &pid, &pidfd);
	if (fd >= 0) {
		log_info("worker %d serves no lease any more: killed", (int)pid);
		kill_kept(generation, pid, pidfd);
		close(fd);
	} else if (fd == -ENOENT) {
		unlink_socket(generation);
	} else {
		log_warning("the worker of lease %llu, which has ended, cannot be reached: %s",
			    (unsigned long long)generation, strerror(-fd));
	}
}

void worker_sweep(bool (*wanted)(uint64_t generation))
{
	int dup = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = dup < 0 ? NULL : fdopendir(dup);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		unsigned long long generation;

		if (sscanf(entry->d_name, WORKER_SOCKET, &generation) == 1 &&
		    !wanted(generation))
			sweep_one(generation);
	}
	if (dir)
		closedir(dir);
	else if (dup >= 0)
		close(dup);
}

void worker_counts(const struct worker *w, uint64_t *read_bytes,
		   uint64_t *written_bytes, uint32_t *lanes)
{
	for (unsigned int i = 0; i < DISAGG_WIRE_MAX_LANES; i++) {
		const struct worker_counters *c = &w->shared->lanes[i];

		*read_bytes += atomic_load_explicit(&c->read_bytes, memory_order_relaxed);
		*written_bytes += atomic_load_explicit(&c->written_bytes,
						       memory_order_relaxed);
		*lanes += atomic_load_explicit(&c->connected, memory_order_relaxed);
	}
}
