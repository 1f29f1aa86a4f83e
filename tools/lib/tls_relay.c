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
 * @ended: its source has
 * @told: and so has its destination
 */
struct way {
	char buf[RECORD];
	size_t at, len;
	bool ended;
	bool told;
};

/* True: something has moved. *@broken: it can't go on. */
static bool move_in(struct dsg_tls *tls, int plain, struct way *w, bool *broken)
{
	ssize_t n;

	if (!w->len && !w->ended) {
		n = dsg_tls_recv(tls, w->buf, sizeof(w->buf));
		*broken = n < 0 && n != -EAGAIN;
		if (n < 0)
			return false;
		w->ended = !n;
		w->len = (size_t)n;
		w->at = 0;
	}
	if (w->len) {
		n = send(plain, w->buf + w->at, w->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		*broken = n < 0 && errno != EAGAIN && errno != EINTR;
		if (n <= 0)
			return false;
		w->at += (size_t)n;
		w->len -= (size_t)n;
		return true;
	}
	if (w->ended && !w->told) {
		shutdown(plain, SHUT_WR);
		w->told = true;
	}
	return false;
}

static bool move_out(struct dsg_tls *tls, int plain, struct way *w, bool *broken)
{
	ssize_t n;

	if (!w->len && !w->ended) {
		n = recv(plain, w->buf, sizeof(w->buf), MSG_DONTWAIT);
		*broken = n < 0 && errno != EAGAIN && errno != EINTR;
		if (n < 0)
			return false;
		w->ended = !n;
		w->len = (size_t)n;
		w->at = 0;
	}
	if (w->len) {
		n = dsg_tls_send(tls, w->buf + w->at, w->len);
		*broken = n < 0 && n != -EAGAIN;
		if (n <= 0)
			return false;
		w->at += (size_t)n;
		w->len -= (size_t)n;
		return true;
	}
	if (w->ended && !w->told) {
		int err = dsg_tls_end(tls);

		if (err == -EAGAIN)
			return false;
		shutdown(tls->fd, SHUT_WR);
		w->told = true;
	}
	return false;
}

void dsg_tls_relay(struct dsg_tls *tls, int plain)
{
	struct way in = { .at = 0 }, out = { .at = 0 };
	bool broken = false, gone = false;

	/* Gone is who can neither be told nor say anything: what he said is still sent. */
	while (!broken && !(in.told && out.told) && !(gone && out.told)) {
		struct pollfd p[] = { { .fd = -1 }, { .fd = gone ? -1 : plain } };
		bool moved = move_in(tls, plain, &in, &broken);

		if (!broken)
			moved |= move_out(tls, plain, &out, &broken);
		if (moved || broken)
			continue;
		if (!in.len && !in.ended)
			p[0].events |= POLLIN;
		if (out.len || (out.ended && !out.told))
			p[0].events |= POLLOUT;
		/* The end of one that nothing is wanted of would be told again and again. */
		if (p[0].events)
			p[0].fd = tls->fd;
		if (in.len)
			p[1].events |= POLLOUT;
		if (!out.len && !out.ended)
			p[1].events |= POLLIN;
		if (poll(p, 2, -1) > 0 && p[1].revents & (POLLHUP | POLLERR) && out.ended)
			gone = true;
	}
}
