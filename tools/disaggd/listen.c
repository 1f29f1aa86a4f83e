// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"
#include "access.h"
#include "log.h"
#include "loop.h"
#include "relay.h"
#include "session.h"

#define ACCEPTS_PER_TURN	16

struct listener {
	struct source source;
	bool tls;
};

static struct listener listeners[CONFIG_LISTEN_MAX];
static unsigned int count;
static const struct config *conf;

/* Who has connected, and may he? Takes @fd over. */
static void admit(const struct listener *l, int fd)
{
	struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
	const struct tenant_config *tenant;
	socklen_t len = sizeof(address);
	char peer[64] = "unknown";

	if (getpeername(fd, (struct sockaddr *)&address, &len)) {
		close(fd);	/* gone already */
		return;
	}
	getnameinfo((struct sockaddr *)&address, len, peer, sizeof(peer), NULL, 0,
		    NI_NUMERICHOST);
	if (l->tls) {
		relay_start(conf, fd, peer);
		return;
	}
	tenant = access_plaintext(conf, &address);
	if (tenant) {
		session_start(fd, conf, tenant, peer);
	} else {
		log_warning("connection from %s refused: plaintext is not allowed from there",
			    peer);
		close(fd);
	}
}

static void on_connection(struct source *source, uint32_t events)
{
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int one = 1;
		int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
				log_error("cannot accept: %s", strerror(errno));
				usleep(10000);	/* don't spin on it */
			}
			return;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		admit((struct listener *)source, fd);
	}
}

static void log_address(int fd, bool tls)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	char host[64], port[16];

	if (!getsockname(fd, (struct sockaddr *)&address, &len) &&
	    !getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port,
			 sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		log_info("listening %son %s port %s", tls ? "for TLS " : "", host, port);
}

static int listen_on(const struct listen_config *listen_conf)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	};
	struct addrinfo *ai;
	int fd, err, one = 1;
	char port[8];

	snprintf(port, sizeof(port), "%u", listen_conf->port);
	err = getaddrinfo(listen_conf->host, port, &hints, &ai);
	if (err) {
		log_error("cannot listen on %s: %s", listen_conf->host, gai_strerror(err));
		return -EADDRNOTAVAIL;
	}
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		err = -errno;
		goto out_free;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 128)) {
		err = -errno;
		goto err_close;
	}
	listeners[count].source.ready = on_connection;
	listeners[count].tls = listen_conf->tls;
	err = loop_add(&listeners[count].source, fd, EPOLLIN);
	if (err)
		goto err_close;
	count++;
	log_address(fd, listen_conf->tls);
	goto out_free;

err_close:
	close(fd);
out_free:
	freeaddrinfo(ai);
	return err;
}

int listeners_open(const struct config *config)
{
	conf = config;
	for (unsigned int i = 0; i < config->listen_count; i++) {
		const struct listen_config *l = &config->listen[i];
		int err = listen_on(l);

		/* A host without IPv6 still serves the other addresses. */
		if (err == -EAFNOSUPPORT || (err == -EADDRNOTAVAIL && i)) {
			log_warning("cannot listen on %s port %u: %s: left out", l->host,
				    l->port, strerror(-err));
			continue;
		}
		if (err) {
			log_error("cannot listen on %s port %u: %s", l->host, l->port,
				  strerror(-err));
			return err;
		}
	}
	return count ? 0 : -EADDRNOTAVAIL;
}

void listeners_close(void)
{
	while (count) {
		count--;
		loop_remove(&listeners[count].source);
		close(listeners[count].source.fd);
	}
}

socklen_t listener_address(unsigned int i, struct sockaddr_storage *address)
{
	socklen_t len = sizeof(*address);

	if (i >= count || getsockname(listeners[i].source.fd, (struct sockaddr *)address, &len))
		return 0;
	return len;
}
