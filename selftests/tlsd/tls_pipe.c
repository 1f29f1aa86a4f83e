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
 * handed over by FD. With "flood" there it is a control connection, and once there has
 * been a WELCOME it sends records with nothing in them, as fast as it can, until FD or
 * the connection ends; "flooding" is on standard output when it does.
 *
 * LDLIBS: -lgnutls
 */
#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "records.h"
#include "tls.h"
#include "tls_internal.h"

#define RECORDS	(1 << 18)

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

/* Come to where a control connection's requests begin. */
static void say_hello(struct dsg_tls *tls, uint64_t deadline, struct dsg_error *error)
{
	struct disagg_wire_hello hello = { .mode = htole16(DISAGG_WIRE_MODE_CONTROL) };
	struct disagg_wire_greeting greeting;
	struct disagg_wire_welcome welcome;

	snprintf(error->text, sizeof(error->text), "no WELCOME");
	dsg_random(hello.proof, sizeof(hello.proof));
	if (dsg_tls_recv_all(tls, &greeting, sizeof(greeting), deadline) ||
	    dsg_hello_answer(&greeting, NULL, &hello, error) ||
	    dsg_tls_send_all(tls, &hello, sizeof(hello), deadline) ||
	    dsg_tls_recv_all(tls, &welcome, sizeof(welcome), deadline) ||
	    dsg_welcome_check(&welcome, &hello, error))
		fail(error);
}

static char *make_flood(struct dsg_tls *tls, struct dsg_error *error)
{
	char *records = malloc(RECORDS * RECORD_LEN(0));
	gnutls_datum_t iv, key;
	gnutls_aead_cipher_hd_t cipher;
	unsigned char next[8];
	uint64_t number;

	snprintf(error->text, sizeof(error->text), "no records");
	if (!records || gnutls_record_get_state(tls->session, 0, NULL, &iv, &key, next) ||
	    iv.size != RECORD_IV ||
	    gnutls_aead_cipher_init(&cipher, gnutls_cipher_get(tls->session), &key))
		fail(error);
	memcpy(&number, next, sizeof(number));
	for (size_t i = 0; i < RECORDS; i++)
		if (record_seal(cipher, iv.data, be64toh(number) + i, NULL, 0,
				records + i * RECORD_LEN(0)))
			fail(error);
	return records;
}

static void flood(int fd, int until, const char *records)
{
	size_t all = RECORDS * RECORD_LEN(0), sent = 0;

	while (sent < all) {
		struct pollfd p[] = { { fd, POLLOUT, 0 }, { until, POLLIN, 0 } };
		ssize_t n;

		if (poll(p, 2, -1) < 0 || p[1].revents)
			return;
		n = send(fd, records + sent, all - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			return;
		if (!sent) {
			printf("flooding\n");
			fflush(stdout);
		}
		sent += (size_t)n;
	}
	poll(&(struct pollfd) { until, POLLIN, 0 }, 1, -1);
}

int main(int argc, char **argv)
{
	uint64_t deadline = dsg_deadline(20 * DSG_NSEC_PER_SEC);
	struct dsg_error error = { .text = "usage" };
	struct dsg_keys keys = { .security = DSG_PSK };
	bool kernel = argc > 4 && !strcmp(argv[4], "kernel");
	bool floods = argc > 4 && !strcmp(argv[4], "flood");
	char **how = argv + 4 + kernel + floods;
	struct dsg_creds *creds;
	int n = argc - 4 - kernel - floods, fd;
	char *records = NULL;
	struct dsg_tls *tls;

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
	if (floods) {
		say_hello(tls, deadline, &error);
		records = make_flood(tls, &error);
	}
	printf("ok\n");
	fflush(stdout);
	if (floods)
		flood(fd, atoi(argv[1]), records);
	else if (kernel)
		hand_over(atoi(argv[1]), fd);
	else
		dsg_tls_relay(tls, atoi(argv[1]));
	return 0;
}
