// SPDX-License-Identifier: GPL-2.0
/*
 * A TLS client for tests in other languages: what comes by file descriptor FD goes to
 * the target, encrypted, and the other way round. The first line on standard output is
 * "ok", or why not.
 *
 *	tls_pipe FD HOST PORT psk IDENTITY FILE
 *	tls_pipe FD HOST PORT x509 CERTIFICATE KEY CA
 *
 * With "kernel" before "psk" or "x509" the kernel encrypts, and the connection itself is
 * handed over by FD.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tls.h"

static void fail(const struct dsg_error *error)
{
	printf("%s\n", error->text);
	exit(1);
}

static void hand_over(int to, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	if (sendmsg(to, &msg, 0) != 1)
		exit(1);
}

int main(int argc, char **argv)
{
	uint64_t deadline = dsg_deadline(20 * DSG_NSEC_PER_SEC);
	struct dsg_error error = { .text = "usage" };
	struct dsg_keys keys = { .security = DSG_PSK };
	bool kernel = argc > 4 && !strcmp(argv[4], "kernel");
	char **how = argv + 4 + kernel;
	struct dsg_creds *creds;
	struct dsg_tls *tls;
	int n = argc - 4 - kernel, fd;

	if (n == 3) {
		snprintf(keys.identity, sizeof(keys.identity), "%s", how[1]);
		snprintf(keys.psk_file, sizeof(keys.psk_file), "%s", how[2]);
	} else if (n == 4) {
		keys.security = DSG_X509;
		snprintf(keys.certificate, sizeof(keys.certificate), "%s", how[1]);
		snprintf(keys.key, sizeof(keys.key), "%s", how[2]);
		snprintf(keys.ca, sizeof(keys.ca), "%s", how[3]);
	} else {
		fail(&error);
	}
	if (dsg_creds_load(&keys, false, &creds, &error))
		fail(&error);
	fd = dsg_connect(argv[2], (uint16_t)atoi(argv[3]), deadline, &error);
	if (fd < 0 || dsg_tls_new(creds, fd, argv[2], &tls, &error) ||
	    dsg_tls_handshake_until(tls, deadline, &error) ||
	    (kernel && dsg_tls_to_kernel(tls, &error)))
		fail(&error);
	printf("ok\n");
	fflush(stdout);
	if (kernel)
		hand_over(atoi(argv[1]), fd);
	else
		dsg_tls_relay(tls, atoi(argv[1]));
	return 0;
}
