// SPDX-License-Identifier: GPL-2.0
/*
 * The limit that a block device over TCP could reach: two programs on loopback
 * that exchange messages of the same sizes, with as many in flight, and do
 * nothing else.
 *
 *	raw_tcp REQUEST REPLY DEPTH MILLISECONDS
 *
 * REQUEST and REPLY in bytes. Prints exchanges per second.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUFFER	(1U << 20)

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Send @n messages of @size bytes. Returns false when the peer is gone. */
static int send_messages(int fd, const char *buffer, size_t size, uint64_t n)
{
	uint64_t left = size * n;

	while (left) {
		ssize_t sent = send(fd, buffer, left < BUFFER ? left : BUFFER, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return 0;
		left -= (uint64_t)sent;
	}
	return 1;
}

/*
 * Answer each whole message of @in bytes with one of @out bytes, until @deadline
 * or the end of the stream. Returns how many were answered.
 */
static uint64_t answer(int fd, size_t in, size_t out, uint64_t deadline)
{
	char *buffer = calloc(1, BUFFER);
	uint64_t have = 0, total = 0;

	if (!buffer)
		return 0;
	while (!deadline || now_ms() < deadline) {
		ssize_t got = recv(fd, buffer, BUFFER, 0);
		uint64_t whole;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		have += (uint64_t)got;
		whole = have / in;
		have %= in;
		total += whole;
		if (whole && !send_messages(fd, buffer, out, whole))
			break;
	}
	free(buffer);
	return total;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	size_t request, reply;
	uint64_t start, ms, total, depth;
	static char buffer[BUFFER];
	int listener, fd;
	pid_t server;

	if (argc != 5) {
		fprintf(stderr, "usage: raw_tcp REQUEST REPLY DEPTH MILLISECONDS\n");
		return 2;
	}
	request = strtoul(argv[1], NULL, 10);
	reply = strtoul(argv[2], NULL, 10);
	depth = strtoul(argv[3], NULL, 10);
	ms = strtoul(argv[4], NULL, 10);
	if (!request || !reply || !depth || !ms)
		return 2;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, len) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&addr, &len)) {
		perror("raw_tcp: listen");
		return 1;
	}

	server = fork();
	if (server < 0) {
		perror("raw_tcp: fork");
		return 1;
	}
	if (!server) {
		fd = accept(listener, NULL, NULL);
		nodelay(fd);
		answer(fd, request, reply, 0);
		_exit(0);
	}

	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, len)) {
		perror("raw_tcp: connect");
		kill(server, SIGKILL);
		return 1;
	}
	nodelay(fd);
	start = now_ms();
	send_messages(fd, buffer, request, depth);
	total = answer(fd, reply, request, start + ms);
	printf("%.1f\n", (double)total * 1000 / (double)(now_ms() - start));
	close(fd);
	waitpid(server, NULL, 0);
	return 0;
}
