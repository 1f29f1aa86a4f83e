// SPDX-License-Identifier: GPL-2.0
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access.h"
#include "log.h"
#include "loop.h"
#include "relay.h"
#include "serve.h"
#include "session.h"
#include "tls.h"

#define HANDSHAKE_NS	(5 * DSG_NSEC_PER_SEC)
#define HANDSHAKES_MAX	64U	/* clients that have not said HELLO */

/* File descriptors that it starts with, besides 0 to 2. */
#define RELAY_FD_PARENT	3
#define RELAY_FD_CLIENT	4

struct relay_setup {
	struct dsg_keys keys;
	bool ktls;
	char peer[64];
};

/*
 * What it reports: first who the client is, to which the parent's answer is a GREETING;
 * then what he said to that, with the socket that carries what he says next.
 */
struct relay_report {
	char identity[DSG_IDENTITY_LEN];
	struct disagg_wire_hello hello;
};

/**
 * struct relay - the parent's handle
 * @reports: its socket, until it has reported HELLO
 * @exit: its pidfd
 * @tenant: the client's, once it has reported him
 * @keys: of the GREETING
 */
struct relay {
	struct relay *next;
	struct relay **link;
	struct source reports;
	struct source exit;
	const struct tenant_config *tenant;
	struct session_keys keys;
	char peer[64];
};

extern char **environ;

static struct relay *relays;
static unsigned int shaking;
static const struct config *conf;

/* ---- the parent ---- */

static void stop_listening(struct relay *r)
{
	if (r->reports.fd < 0)
		return;
	loop_remove(&r->reports);
	close(r->reports.fd);
	r->reports.fd = -1;
	explicit_bzero(&r->keys, sizeof(r->keys));
	shaking--;
}

static void relay_free(struct relay *r)
{
	stop_listening(r);
	if (r->exit.fd >= 0) {
		loop_remove(&r->exit);
		close(r->exit.fd);
	}
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
	loop_free_later(r);
}

static void on_exit_source(struct source *source, uint32_t events)
{
	struct relay *r = (struct relay *)((char *)source - offsetof(struct relay, exit));
	siginfo_t info = { 0 };

	(void)events;
	if (!waitid(P_PIDFD, (id_t)source->fd, &info, WEXITED | WNOHANG) && !info.si_pid)
		return;
	relay_free(r);
}

/* Return: 0 with the socket that came with it, or -1, in *@fd; or -EPROTO. */
static int receive_report(int from, struct relay_report *report, int *fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { report, sizeof(*report) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control.space),
	};
	ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	*fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	if (n == (ssize_t)sizeof(*report) &&
	    memchr(report->identity, '\0', sizeof(report->identity)))
		return 0;
	if (*fd >= 0)
		close(*fd);
	return -EPROTO;
}

/* Return: whether there is more to come. */
static bool identified(struct relay *r, const struct relay_report *report)
{
	struct disagg_wire_greeting greeting;

	r->tenant = access_identity(conf, report->identity);
	if (!r->tenant) {
		log_warning("connection from %s refused: %s is in no tenant's identities",
			    r->peer, report->identity);
		return false;
	}
	return !session_greet(&greeting, &r->keys) &&
	       send(r->reports.fd, &greeting, sizeof(greeting),
		    MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(greeting);
}

static void on_report(struct source *source, uint32_t events)
{
	struct relay *r = (struct relay *)((char *)source - offsetof(struct relay, reports));
	struct relay_report report;
	int fd;

	(void)events;
	if (receive_report(source->fd, &report, &fd)) {
		stop_listening(r);	/* it has said why, and ends */
		return;
	}
	if (fd < 0 && !r->tenant && identified(r, &report))
		return;
	if (fd >= 0 && r->tenant)
		session_resume(fd, conf, r->tenant, r->peer, &r->keys, &report.hello);
	else if (fd >= 0)
		close(fd);
	stop_listening(r);
}

/*
 * The newest are the likeliest to be honest: an honest client needs milliseconds. The
 * list has the newest first.
 */
static void drop_oldest(void)
{
	struct relay *oldest = NULL;

	for (struct relay *r = relays; r; r = r->next)
		if (r->reports.fd >= 0)
			oldest = r;
	if (!oldest)
		return;
	stop_listening(oldest);
	pidfd_send_signal(oldest->exit.fd, SIGKILL, NULL, 0);
}

/* In the child: nothing of the parent's memory or files survives but these two. */
static void become_relay(int parent, int client)
{
	char *argv[] = { "disaggd", "--relay", NULL };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	parent = fcntl(parent, F_DUPFD, 10);
	client = fcntl(client, F_DUPFD, 10);
	if (dup2(parent, RELAY_FD_PARENT) < 0 || dup2(client, RELAY_FD_CLIENT) < 0 ||
	    close_range(RELAY_FD_CLIENT + 1, ~0U, 0))
		_exit(1);
	execve("/proc/self/exe", argv, environ);
	_exit(127);
}

static int watch(struct relay *r, int reports, int pidfd)
{
	int err = loop_add(&r->exit, pidfd, EPOLLIN);

	if (err) {
		r->exit.fd = -1;
		return err;
	}
	err = loop_add(&r->reports, reports, EPOLLIN);
	if (err) {
		r->reports.fd = -1;
		loop_remove(&r->exit);
		r->exit.fd = -1;
	}
	return err;
}

void relay_start(const struct config *config, int fd, const char *peer)
{
	struct relay_setup setup = { .keys = config->keys, .ktls = config->ktls };
	int pair[2] = { -1, -1 }, pidfd = -1, err = 0;
	struct relay *r = calloc(1, sizeof(*r));
	pid_t pid = -1;

	conf = config;
	if (shaking >= HANDSHAKES_MAX)
		drop_oldest();
	if (!r || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		goto err_free;
	r->reports.ready = on_report;
	r->exit.ready = on_exit_source;
	snprintf(r->peer, sizeof(r->peer), "%s", peer);
	memcpy(setup.peer, r->peer, sizeof(setup.peer));
	if (send(pair[0], &setup, sizeof(setup), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		goto err_free;
	pid = fork();
	if (pid < 0)
		goto err_free;
	if (!pid)
		become_relay(pair[1], fd);
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0)
		goto err_kill;
	err = watch(r, pair[0], pidfd);
	if (err)
		goto err_kill;
	r->next = relays;
	r->link = &relays;
	if (relays)
		relays->link = &r->next;
	relays = r;
	shaking++;
	close(pair[1]);
	close(fd);
	return;

err_kill:
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
err_free:
	log_error("connection from %s: cannot start TLS: %s", peer,
		  strerror(err ? -err : errno));
	if (pidfd >= 0)
		close(pidfd);
	if (pair[0] >= 0) {
		close(pair[0]);
		close(pair[1]);
	}
	free(r);
	close(fd);
}

void relays_close(void)
{
	while (relays) {
		if (relays->reports.fd >= 0)
			pidfd_send_signal(relays->exit.fd, SIGKILL, NULL, 0);
		relay_free(relays);
	}
}

/* ---- the process ---- */

static void confine(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	prctl(PR_SET_NAME, "disaggd-relay");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* It ends with the connection, or with who serves it. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	/* The unit protects the parent; this can be done without. */
	if (fd >= 0 && write(fd, "0", 1) < 0)
		log_warning("oom_score_adj: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* @fd may be -1 for none. */
static int report(const struct relay_report *r, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)r, sizeof(*r) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c = &control.header;

		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(RELAY_FD_PARENT, &msg, MSG_NOSIGNAL) == sizeof(*r) ? 0 : -errno;
}

/*
 * Who the client is, and what he says to that: HELLO in @r. 0; or -errno and why, which
 * is nothing where nobody need be told.
 */
static int greet(struct dsg_tls *tls, struct relay_report *r, struct dsg_error *error)
{
	struct disagg_wire_greeting greeting;
	int err;

	snprintf(r->identity, sizeof(r->identity), "%s", dsg_tls_identity(tls));
	err = report(r, -1);
	if (err)
		return err;
	/* Without an answer he is not wanted. */
	if (recv(RELAY_FD_PARENT, &greeting, sizeof(greeting), 0) != sizeof(greeting))
		return -EACCES;
	err = dsg_tls_send_all(tls, &greeting, sizeof(greeting), dsg_deadline(HELLO_TIMEOUT_NS));
	if (!err)
		err = dsg_tls_recv_all(tls, &r->hello, sizeof(r->hello),
				       dsg_deadline(HELLO_TIMEOUT_NS));
	if (err == -ETIMEDOUT)
		snprintf(error->text, sizeof(error->text), "no HELLO in time");
	else if (err && err != -ECONNRESET)
		snprintf(error->text, sizeof(error->text), "no HELLO: %s",
			 dsg_tls_alert(tls) ? dsg_tls_alert(tls) : strerror(-err));
	return err;
}

/*
 * Give the connection to the parent, and carry it. The kernel decrypts lanes only: it
 * does so for as long as there is something to decrypt, which may be for ever, and
 * whoever reads can't be told to stop. A worker has but one lease, the parent has all.
 */
static int serve(struct dsg_tls *tls, const struct relay_setup *setup,
		 const struct relay_report *r, struct dsg_error *error)
{
	bool lane = le16toh(r->hello.mode) == DISAGG_WIRE_MODE_LANE;
	/* What the library has read beside the HELLO the kernel would never see. */
	bool kernel = lane && setup->ktls && !dsg_tls_pending(tls);
	int err = kernel ? dsg_tls_to_kernel(tls, error) : -EOPNOTSUPP;
	int pair[2];

	if (!err)
		return report(r, RELAY_FD_CLIENT);
	if (err != -EOPNOTSUPP)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		snprintf(error->text, sizeof(error->text), "socketpair: %s", strerror(errno));
		return -errno;
	}
	err = report(r, pair[1]);
	close(pair[1]);
	close(RELAY_FD_PARENT);
	if (err)
		return err;
	dsg_tls_relay(tls, pair[0]);
	if (dsg_tls_alert(tls))
		log_warning("connection from %s ended: %s", setup->peer, dsg_tls_alert(tls));
	return 0;
}

int relay_main(void)
{
	struct dsg_error error = { .err = 0 };
	struct dsg_creds *creds = NULL;
	struct dsg_tls *tls = NULL;
	struct relay_report r = { .identity = "" };
	struct relay_setup setup;
	int err;

	confine();
	if (recv(RELAY_FD_PARENT, &setup, sizeof(setup), 0) != sizeof(setup)) {
		log_error("--relay is for disaggd's own use");
		return 2;
	}
	lane_tune(RELAY_FD_CLIENT);
	/* Read anew for each client: who is to be locked out is so from now on. */
	err = dsg_creds_load(&setup.keys, true, &creds, &error);
	if (!err)
		err = dsg_tls_new(creds, RELAY_FD_CLIENT, NULL, &tls, &error);
	if (!err)
		err = dsg_tls_handshake_until(tls, dsg_deadline(HANDSHAKE_NS), &error);
	if (!err)
		err = greet(tls, &r, &error);
	if (!err)
		err = serve(tls, &setup, &r, &error);
	if (err && *error.text)
		log_warning("connection from %s refused: %s", setup.peer, error.text);
	dsg_tls_free(tls);
	dsg_creds_free(creds);
	return err ? 1 : 0;
}
