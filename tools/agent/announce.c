// SPDX-License-Identifier: GPL-2.0
/*
 * disagg-agent --announcements: hears that a target is worth another try, and has udev
 * start what looks for nodes that are not attached.
 *
 * Anybody can send such a datagram, so this is a process of its own: it has no secrets
 * and no memory that is locked, and it may wait, for a name server. Whatever comes, it
 * reads few datagrams a second, asks seldom who the targets are, and tells udev seldom.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent.h"
#include "file.h"
#include "target.h"
#include "wire.h"

#define UEVENT		"/sys/module/disagg/uevent"
#define TELL_NS		(5 * DSG_NSEC_PER_SEC)	/* between two that udev is told */
#define LOOK_NS		(10 * DSG_NSEC_PER_SEC)	/* between two looks at the targets' files */
#define BURST		64			/* datagrams that are read, at most, in one */
#define BURST_NS	(DSG_NSEC_PER_SEC / 10)
#define RECEIVE_ROOM	(64 << 10)
#define ADDRESSES_MAX	1024

/* Addresses of the targets, and what their names are; IPv4 mapped into IPv6. */
static struct known {
	struct in6_addr address;
	char target[DISAGG_WIRE_NAME_LEN];
} known[ADDRESSES_MAX];
static unsigned int nr_known;
static uint64_t look_again;	/* monotonic ns: not before */

static int udp_fd = -1, signals_fd = -1;
static bool pending;		/* udev is to be told */
static uint64_t quiet_until;	/* monotonic ns */

static bool to_v6(const struct sockaddr *address, struct in6_addr *v6)
{
	if (address->sa_family == AF_INET6) {
		*v6 = ((const struct sockaddr_in6 *)address)->sin6_addr;
		return true;
	}
	if (address->sa_family != AF_INET)
		return false;
	memset(v6, 0, sizeof(*v6));
	memset(&v6->s6_addr[10], 0xff, 2);
	memcpy(&v6->s6_addr[12], &((const struct sockaddr_in *)address)->sin_addr, 4);
	return true;
}

static void learn_target(const struct dsg_target *target)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *ai;

	if (getaddrinfo(target->host, NULL, &hints, &list))
		return;
	for (ai = list; ai && nr_known < ADDRESSES_MAX; ai = ai->ai_next) {
		if (!to_v6(ai->ai_addr, &known[nr_known].address))
			continue;
		memcpy(known[nr_known].target, target->name, sizeof(target->name));
		nr_known++;
	}
	freeaddrinfo(list);
}

/* A file that cannot be read is no reason to forget the others. */
static void learn_targets(void)
{
	char dir[4096], **names;
	struct dsg_target target;
	struct dsg_fault fault;
	size_t count;

	snprintf(dir, sizeof(dir), "%s/targets.d", dsg_confdir());
	nr_known = 0;
	if (dsg_file_names(dir, ".yaml", &names, &count, &fault)) {
		say(LOG_WARNING, "%s", fault.reason);
		return;
	}
	for (size_t i = 0; i < count; i++)
		if (!dsg_target_load(names[i], &target, &fault))
			learn_target(&target);
		else
			say(LOG_WARNING, "%s", fault.reason);
	dsg_names_free(names, count);
}

static const char *find_known(const struct in6_addr *address)
{
	for (unsigned int i = 0; i < nr_known; i++)
		if (!memcmp(&known[i].address, address, sizeof(*address)))
			return known[i].target;
	return NULL;
}

/* Which target has the address; NULL: none, as far as that was looked up. */
static const char *find_target(const struct sockaddr *from)
{
	struct in6_addr address;
	const char *target;

	if (!to_v6(from, &address))
		return NULL;
	target = find_known(&address);
	if (target || dsg_now_ns() < look_again)
		return target;
	learn_targets();
	/* From when that is done: it may take its time. */
	look_again = dsg_deadline(LOOK_NS);
	return find_known(&address);
}

static bool is_announcement(const void *data, ssize_t len)
{
	struct disagg_wire_announce a;

	if (len != sizeof(a))
		return false;
	memcpy(&a, data, sizeof(a));
	return le32toh(a.magic) == DISAGG_WIRE_MAGIC_ANNOUNCE &&
	       le16toh(a.version) == DISAGG_WIRE_VERSION &&
	       dsg_is_zero(a.reserved, sizeof(a.reserved)) &&
	       dsg_is_zero(a.reserved2, sizeof(a.reserved2));
}

static void hear(void)
{
	for (int i = 0; i < BURST; i++) {
		char data[sizeof(struct disagg_wire_announce) + 1];
		struct sockaddr_storage from;
		socklen_t from_len = sizeof(from);
		const char *target;
		ssize_t n = recvfrom(udp_fd, data, sizeof(data), MSG_DONTWAIT | MSG_TRUNC,
				     (struct sockaddr *)&from, &from_len);

		if (n < 0)
			return;
		if (pending || !is_announcement(data, n))
			continue;
		target = find_target((struct sockaddr *)&from);
		if (!target)
			continue;
		pending = true;
		say(LOG_INFO, "target %s has announced itself", target);
	}
}

/* The kernel sends it to udev as an event of the module, with what follows the UUID. */
static void tell_udev(void)
{
	static bool said;
	const char *path = getenv("DISAGG_UEVENT");
	uint8_t id[DISAGG_WIRE_UUID_LEN];
	char uuid[DSG_UUID_STRLEN], event[80];
	int fd, len, err = 0;

	if (dsg_uuid_random(id))
		return;
	len = snprintf(event, sizeof(event), "change %s EVENT=announced\n",
		       dsg_uuid_format(id, uuid));
	fd = open(path ? path : UEVENT, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0 || write(fd, event, (size_t)len) != len)
		err = errno;
	if (fd >= 0)
		close(fd);
	if (err && !said)
		say(LOG_WARNING, "telling udev: %s: %s", path ? path : UEVENT,
		    err == ENOENT ? "the module is not loaded" : strerror(err));
	said = err;
}

/* All addresses; without IPv6, those of IPv4. */
static int open_socket(uint16_t port)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int room = RECEIVE_ROOM, off = 0;

	udp_fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (udp_fd >= 0 && (setsockopt(udp_fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
			    bind(udp_fd, (struct sockaddr *)&v6, sizeof(v6)))) {
		if (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT)
			return -errno;
		close(udp_fd);
		udp_fd = -1;
	}
	if (udp_fd < 0) {
		udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (udp_fd < 0 || bind(udp_fd, (struct sockaddr *)&v4, sizeof(v4)))
			return -errno;
	}
	setsockopt(udp_fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return 0;
}

/* A group, with the interface behind a '%' unless routes are to say which. */
static int join(const char *text)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM };
	struct addrinfo *ai = NULL;
	int err = EINVAL;

	if (!getaddrinfo(text, NULL, &hints, &ai)) {
		struct group_req group = { .gr_interface = 0 };

		memcpy(&group.gr_group, ai->ai_addr, ai->ai_addrlen);
		if (ai->ai_family == AF_INET6)
			group.gr_interface = ((struct sockaddr_in6 *)ai->ai_addr)->sin6_scope_id;
		err = 0;
		if (setsockopt(udp_fd, ai->ai_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP,
			       MCAST_JOIN_GROUP, &group, sizeof(group)))
			err = errno;
		freeaddrinfo(ai);
	}
	if (err)
		say(LOG_ERR, "--group %s: %s", text, strerror(err));
	return -err;
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return signals_fd < 0 ? -errno : 0;
}

static bool asked_to_end(void)
{
	struct signalfd_siginfo info;

	while (read(signals_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			return true;
		learn_targets();
	}
	return false;
}

int announcements(uint16_t port, char *const *groups, unsigned int nr_groups)
{
	struct pollfd fds[2];
	int err = open_signals();

	if (!err)
		err = open_socket(port);
	if (err) {
		say(LOG_ERR, "UDP port %u: %s", port, strerror(-err));
		return err;
	}
	for (unsigned int i = 0; i < nr_groups; i++) {
		err = join(groups[i]);
		if (err)
			return err;
	}
	learn_targets();
	sd_notify(0, "READY=1");
	fds[0] = (struct pollfd){ .fd = signals_fd, .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = udp_fd, .events = POLLIN };
	for (uint64_t rest = 0;;) {
		uint64_t now = dsg_now_ns(), until = DSG_NO_DEADLINE;

		if (pending && now >= quiet_until) {
			tell_udev();
			pending = false;
			quiet_until = now + TELL_NS;
		}
		if (pending)
			until = quiet_until;
		/* However many there are, this much is read of them; the kernel drops the rest. */
		fds[1].fd = now < rest ? -1 : udp_fd;
		if (now < rest && rest < until)
			until = rest;
		if (poll(fds, 2, until == DSG_NO_DEADLINE ? -1 :
			 (int)((until - now) / 1000000 + 1)) < 0 && errno != EINTR)
			return -errno;
		if (asked_to_end())
			return 0;
		if (fds[1].fd >= 0 && fds[1].revents) {
			hear();
			rest = dsg_deadline(BURST_NS);
		}
	}
}
