// SPDX-License-Identifier: GPL-2.0
/*
 * disagg-agent: gives lanes that broke a new connection.
 *
 * The memory that the kernel could free by writing to a lost device it can't get
 * back without this program. So all that it needs is locked in memory before there
 * is any need, its loop allocates nothing but what records and handshakes of TLS need, which
 * is there, and the kernel is told that it must not wait for such a write on this program's
 * behalf (PR_SET_IO_FLUSHER).
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent.h"
#include "file.h"
#include "target.h"
#include "wire.h"

#define STACK_BYTES	(256 << 10)	/* touched in advance */
#define HEAP_BYTES	(8 << 20)	/* handshakes of TLS allocate */
#define EVENTS		(DEVICES_MAX * DISAGG_MAX_LANES + 2)	/* all that there can be */

#define GROUPS_MAX	16

int epoll_fd = -1;
static int signal_fd = -1;
static const char tag_module, tag_signal;

static void usage(FILE *to)
{
	fputs("Usage: disagg-agent [OPTION]...\n"
	      "Restore the links of this host's disagg devices.\n\n"
	      "  -a, --announcements  hear what targets announce, instead\n"
	      "  -p, --port PORT      on that port of UDP (default 7420)\n"
	      "  -g, --group ADDRESS  join this multicast group; up to 16\n"
	      "  -V, --version        print the version and exit\n"
	      "  -h, --help           print this and exit\n\n"
	      "See disagg-agent(8).\n", to);
}

__attribute__((noinline))
static void touch_stack(void)
{
	volatile char stack[STACK_BYTES];

	for (size_t i = 0; i < sizeof(stack); i += 1024)
		stack[i] = 0;
}

/* What reading a record frees stays here, locked, for the next one. */
static void keep_memory(void)
{
	void *heap;

	mallopt(M_TRIM_THRESHOLD, -1);
	mallopt(M_MMAP_MAX, 0);
	touch_stack();
	heap = malloc(HEAP_BYTES);
	if (heap)
		memset(heap, 1, HEAP_BYTES);
	__asm__ volatile("" : : "r"(heap) : "memory");
	free(heap);
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		say(LOG_WARNING, "locking memory: %s: under memory pressure links may not come back",
		    strerror(errno));
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
		say(LOG_WARNING, "PR_SET_IO_FLUSHER: %s: under memory pressure links may not come back",
		    strerror(errno));
}

static int watch(int fd, const void *tag)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = (void *)tag };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int open_all(void)
{
	sigset_t set;
	int err;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (epoll_fd < 0 || signal_fd < 0)
		return -errno;
	err = watch(signal_fd, &tag_signal);
	if (!err)
		err = module_open();
	if (!err)
		err = watch(module_fd(), &tag_module);
	return err;
}

/* Do what is due; return the next deadline. */
static uint64_t check_all(uint64_t now)
{
	uint64_t module = module_check(now), devices = devices_check(now);

	return module < devices ? module : devices;
}

/* SIGHUP: there are other keys. */
static bool asked_to_end(void)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	if (info.ssi_signo != SIGHUP)
		return true;
	devices_renew();
	return false;
}

static int loop(void)
{
	static struct epoll_event ev[EVENTS];

	/* What came before it was watched. */
	module_ready();
	for (uint64_t asked = dsg_now_ns();;) {
		/* A deadline counts if what it is for was not there when it was asked for. */
		uint64_t next = check_all(asked);
		int n, ms = -1;

		asked = dsg_now_ns();
		if (next != DSG_NO_DEADLINE)
			ms = next > asked ? (int)((next - asked) / 1000000 + 1) : 0;
		n = epoll_wait(epoll_fd, ev, EVENTS, ms);
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == &tag_signal) {
				if (asked_to_end())
					return 0;
			} else if (ev[i].data.ptr == &tag_module) {
				module_ready();
			} else {
				lane_ready(ev[i].data.ptr);
			}
		}
	}
}

static bool parse_port(const char *text, uint16_t *port)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	*port = (uint16_t)value;
	return *text >= '0' && *text <= '9' && !*end && !errno && value && value <= UINT16_MAX;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "announcements", no_argument, NULL, 'a' },
		{ "port", required_argument, NULL, 'p' },
		{ "group", required_argument, NULL, 'g' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	bool hears_announcements = false, other = false;
	uint16_t port = DISAGG_WIRE_PORT;
	char *groups[GROUPS_MAX];
	unsigned int nr_groups = 0;
	struct dsg_fault fault;
	int c, err, lock;

	dsg_standard_fds();
	dsg_no_dump();
	while ((c = getopt_long(argc, argv, "ap:g:Vh", options, NULL)) >= 0) {
		switch (c) {
		case 'a':
			hears_announcements = true;
			break;
		case 'p':
			other = true;
			if (parse_port(optarg, &port))
				break;
			fprintf(stderr, "disagg-agent: --port %s: expected 1 to 65535\n", optarg);
			return 2;
		case 'g':
			other = true;
			if (nr_groups == GROUPS_MAX) {
				fprintf(stderr, "disagg-agent: more than %d groups\n", GROUPS_MAX);
				return 2;
			}
			groups[nr_groups++] = optarg;
			break;
		case 'V':
			puts("disagg-agent " DISAGG_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc || (other && !hears_announcements)) {
		usage(stderr);
		return 2;
	}
	if (hears_announcements)
		return announcements(port, groups, nr_groups) ? 1 : 0;
	/* Who only looks whether there is an agent holds it for a moment. */
	lock = dsg_lock(DSG_AGENT_LOCK, false, 2 * DSG_NSEC_PER_SEC, &fault);
	if (lock < 0) {
		say(LOG_ERR, "%s: is another agent running?", fault.reason);
		return 1;
	}
	dsg_hostname();
	keep_memory();
	err = open_all();
	if (!err) {
		sd_notify(0, "READY=1");
		err = loop();
	}
	if (err)
		say(LOG_ERR, "%s", strerror(-err));
	return err ? 1 : 0;
}
