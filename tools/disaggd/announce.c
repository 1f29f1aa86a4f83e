// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "announce.h"
#include "listen.h"
#include "log.h"
#include "session.h"
#include "wire.h"

#define GAP_NS		DSG_NSEC_PER_SEC	/* between two; the first of those that double */
#define TIMES		6			/* that the same is said */

/**
 * struct sender - a socket, bound to an address on which hosts know this target
 * @family: of the addresses that it sends to
 */
struct sender {
	int fd;
	sa_family_t family;
};

/* struct receiver - who is told; @err: why that failed the last time, 0: it did not */
struct receiver {
	struct sockaddr_storage address;
	socklen_t len;
	const struct announce_config *conf;
	int err;
};

static struct sender senders[CONFIG_LISTEN_MAX];
static unsigned int nr_senders;
static struct receiver *receivers;
static unsigned int nr_receivers;
static bool news;
static uint32_t sequence;
static unsigned int said;		/* times that @sequence was */
static uint64_t due;			/* monotonic ns: the next time */
static uint64_t quiet_until;		/* monotonic ns */

/* Hosts know a target by its address: it is the source of what they get. */
static void add_sender(struct sockaddr_storage *address, socklen_t len)
{
	struct sender *s = &senders[nr_senders];

	if (address->ss_family == AF_INET)
		((struct sockaddr_in *)address)->sin_port = 0;
	else
		((struct sockaddr_in6 *)address)->sin6_port = 0;
	s->family = address->ss_family;
	s->fd = socket(s->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd >= 0 && !bind(s->fd, (struct sockaddr *)address, len)) {
		nr_senders++;
		return;
	}
	log_warning("cannot announce from one of the addresses that are listened on: %s",
		    strerror(errno));
	if (s->fd >= 0)
		close(s->fd);
}

static void open_senders(void)
{
	struct sockaddr_storage address, other;
	socklen_t len;

	for (unsigned int i = 0; (len = listener_address(i, &address)); i++) {
		bool twice = false;

		/* One address with two ports sends once. */
		for (unsigned int k = 0; k < nr_senders && !twice; k++) {
			socklen_t n = sizeof(other);

			if (senders[k].family != address.ss_family ||
			    getsockname(senders[k].fd, (struct sockaddr *)&other, &n))
				continue;
			twice = address.ss_family == AF_INET ?
				!memcmp(&((struct sockaddr_in *)&other)->sin_addr,
					&((struct sockaddr_in *)&address)->sin_addr, 4) :
				!memcmp(&((struct sockaddr_in6 *)&other)->sin6_addr,
					&((struct sockaddr_in6 *)&address)->sin6_addr, 16);
		}
		if (!twice)
			add_sender(&address, len);
	}
}

static void add_receiver(const struct announce_config *conf)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_DGRAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	};
	struct receiver *r = &receivers[nr_receivers];
	struct addrinfo *ai;
	char port[8];
	int err;

	snprintf(port, sizeof(port), "%u", conf->port);
	err = getaddrinfo(conf->host, port, &hints, &ai);
	if (err) {
		log_warning("cannot announce to %s: %s: left out", conf->host, gai_strerror(err));
		return;
	}
	memcpy(&r->address, ai->ai_addr, ai->ai_addrlen);
	r->len = ai->ai_addrlen;
	r->conf = conf;
	nr_receivers++;
	freeaddrinfo(ai);
}

void announce_open(const struct config *config)
{
	if (!config->announce_count)
		return;
	receivers = calloc(config->announce_count, sizeof(*receivers));
	if (!receivers) {
		log_warning("cannot announce: %s", strerror(ENOMEM));
		return;
	}
	for (unsigned int i = 0; i < config->announce_count; i++)
		add_receiver(&config->announce[i]);
	open_senders();
	due = dsg_now_ns();
}

/* Each address that has it hears of it; who can't be told is told of in the log, once. */
static void tell(struct receiver *r, const struct disagg_wire_announce *announce)
{
	bool sent = false;
	int err = EAFNOSUPPORT;	/* nothing listens on its family */

	for (unsigned int i = 0; i < nr_senders; i++) {
		if (senders[i].family != r->address.ss_family)
			continue;
		if (sendto(senders[i].fd, announce, sizeof(*announce), 0,
			   (struct sockaddr *)&r->address, r->len) == sizeof(*announce))
			sent = true;
		else
			err = errno;
	}
	if (sent || err == EAGAIN)
		err = 0;
	if (err && err != r->err)
		log_warning("cannot announce to %s port %u: %s; trying on", r->conf->host,
			    r->conf->port, strerror(err));
	r->err = err;
}

static void tell_all(void)
{
	struct disagg_wire_announce announce = {
		.magic = htole32(DISAGG_WIRE_MAGIC_ANNOUNCE),
		.version = htole16(DISAGG_WIRE_VERSION),
		.epoch = htole64(session_epoch()),
		.sequence = htole32(sequence),
	};

	for (unsigned int i = 0; i < nr_receivers; i++)
		tell(&receivers[i], &announce);
}

void announce_news(void)
{
	news = true;
}

uint64_t announce_check(uint64_t now)
{
	if (!nr_receivers)
		return DSG_NO_DEADLINE;
	if (news) {
		/* What was not said yet is the same occasion. */
		sequence += said > 0;
		news = false;
		said = 0;
		due = quiet_until;
	}
	if (said == TIMES)
		return DSG_NO_DEADLINE;
	if (due > now)
		return due;
	tell_all();
	quiet_until = now + GAP_NS;
	due = now + (GAP_NS << said++);
	return said == TIMES ? DSG_NO_DEADLINE : due;
}

void announce_close(void)
{
	while (nr_senders)
		close(senders[--nr_senders].fd);
	free(receivers);
	receivers = NULL;
	nr_receivers = 0;
}
