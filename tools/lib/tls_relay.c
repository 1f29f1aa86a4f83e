// SPDX-License-Identifier: GPL-2.0
/* Where the kernel does not encrypt: bytes between a TLS connection and a plain socket. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "tls_internal.h"

#define RECORD	16384	/* the longest that TLS has */

/**
 * struct way - one direction
 * @in: from the TLS connection to the plain socket; else the other one
 * @ended: its source has
 * @told: and so has its destination
 */
struct way {
	bool in;
	char buf[RECORD];
	size_t at, len;
	bool ended;
	bool told;
};

static ssize_t take(struct dsg_tls *tls, int plain, struct way *w)
{
	ssize_t n;

	if (w->in)
		return dsg_tls_recv(tls, w->buf, sizeof(w->buf));
	n = recv(plain, w->buf, sizeof(w->buf), MSG_DONTWAIT);
	return n < 0 ? -errno : n;
}

static ssize_t give(struct dsg_tls *tls, int plain, const struct way *w)
{
	ssize_t n;

	if (!w->in)
		return dsg_tls_send(tls, w->buf + w->at, w->len);
	n = send(plain, w->buf + w->at, w->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

static void tell(struct dsg_tls *tls, int plain, struct way *w)
{
	if (!w->in && dsg_tls_end(tls) == -EAGAIN)
		return;
	shutdown(w->in ? plain : tls->fd, SHUT_WR);
	w->told = true;
}

/* True: something has moved. *@broken: it can't go on. */
static bool move(struct dsg_tls *tls, int plain, struct way *w, bool *broken)
{
	ssize_t n = 0;

	if (!w->len && !w->ended) {
		n = take(tls, plain, w);
		w->ended = !n;
		w->len = n > 0 ? (size_t)n : 0;
		w->at = 0;
	}
	if (w->len) {
		n = give(tls, plain, w);
		w->at += n > 0 ? (size_t)n : 0;
		w->len -= n > 0 ? (size_t)n : 0;
	} else if (w->ended && !w->told) {
		tell(tls, plain, w);
	}
	*broken = n < 0 && n != -EAGAIN && n != -EINTR;
	return n > 0;
}

void dsg_tls_relay(struct dsg_tls *tls, int plain)
{
	struct way in = { .in = true }, out = { .in = false };
	bool broken = false, gone = false;

	/* Gone is who can neither be told nor say anything: what he said is still sent. */
	while (!broken && !(in.told && out.told) && !(gone && out.told)) {
		struct pollfd p[] = { { .fd = -1 }, { .fd = gone ? -1 : plain } };
		bool moved = move(tls, plain, &in, &broken);

		if (!broken)
			moved |= move(tls, plain, &out, &broken);
		if (moved || broken)
			continue;
		if (!in.len && !in.ended)
			p[0].events |= POLLIN;
		if (out.len || (out.ended && !out.told))
			p[0].events |= POLLOUT;
		/*
		 * The end of one that nothing is wanted of would be told again and again.
		 * That of @plain is of interest once all that it sent has been read.
		 */
		if (p[0].events)
			p[0].fd = tls->fd;
		if (in.len)
			p[1].events |= POLLOUT;
		if (!out.len && !out.ended)
			p[1].events |= POLLIN;
		else if (!in.len && !out.ended)
			p[1].fd = -1;
		if (poll(p, 2, -1) > 0 && p[1].revents & (POLLHUP | POLLERR) && out.ended)
			gone = true;
	}
}
