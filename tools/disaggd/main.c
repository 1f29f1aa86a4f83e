// SPDX-License-Identifier: GPL-2.0
/* disaggd: options, the ladder up, the loop, the ladder down. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "announce.h"
#include "config.h"
#include "end.h"
#include "file.h"
#include "journal.h"
#include "lease.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "relay.h"
#include "serve.h"
#include "session.h"
#include "wire.h"

#define STOP_GRACE_NS	(5 * DSG_NSEC_PER_SEC)
#define LOCK_WAIT_NS	(10 * DSG_NSEC_PER_SEC)

static struct source signals;
static bool stop;

static void on_signal(struct source *source, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		log_warning("SIGHUP: the configuration is read at start only");
		return;
	}
	stop = true;
}

static int signals_open(void)
{
	sigset_t set;
	int fd, err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	signals.ready = on_signal;
	err = loop_add(&signals, fd, EPOLLIN);
	if (err)
		close(fd);
	return err;
}

/*
 * Workers inherit the lock, so it is free only when the last worker of an earlier
 * daemon is dead: none of them can touch an extent that this one gives away.
 */
static int state_lock(const char *dir)
{
	uint64_t deadline = dsg_deadline(LOCK_WAIT_NS);
	char path[1100];
	struct stat st;
	int fd;

	if (mkdir(dir, 0700) && errno != EEXIST)
		goto err;
	if (stat(dir, &st))
		goto err;
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH)) {
		log_error("%s: it must be a folder that only its owner, who runs disaggd, may write to",
			  dir);
		return -EPERM;
	}
	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		goto err;
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (dsg_now_ns() >= deadline) {
			log_error("%s is in use by another disaggd", dir);
			close(fd);
			return -EBUSY;
		}
		usleep(20000);
	}
	return fd;
err:
	log_error("%s: %s", dir, strerror(errno));
	return -errno;
}

/* Two descriptors per lease and one per connection outgrow the usual soft limit. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void notify(const char *state)
{
	sd_notifyf(0, "%sSTATUS=%u resources, %u leases", state, resources_count(),
		   leases_count());
}

static int serve_until(bool (*done)(void), uint64_t deadline)
{
	unsigned int told = UINT32_MAX;

	while (!done() && dsg_now_ns() < deadline) {
		uint64_t now = dsg_now_ns();
		uint64_t next = leases_check(now), other = sessions_check(now);
		uint64_t announcement = announce_check(now);
		int err;

		if (other < next)
			next = other;
		if (announcement < next)
			next = announcement;
		if (deadline < next)
			next = deadline;
		if (told != leases_count()) {
			told = leases_count();
			notify("");
		}
		err = loop_turn(next);
		if (err) {
			log_error("event loop: %s", strerror(-err));
			return err;
		}
	}
	return 0;
}

static bool asked_to_stop(void)
{
	return stop;
}

static bool all_quiet(void)
{
	return !leases_working();
}

static int run(const struct config *config)
{
	int lock, folder, err;

	umask(0077);
	raise_file_limit();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);	/* ignored, workers would leave nothing to wait for */
	lock = state_lock(config->state_dir);
	if (lock < 0)
		return lock;
	worker_set_lock(lock);
	folder = open(config->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	worker_set_folder(folder);
	err = folder < 0 ? -errno : loop_open();
	if (err)
		goto out_lock;
	err = signals_open();
	if (err)
		goto out_loop;
	err = journal_open(config->state_dir);
	if (err)
		goto out_resources;
	err = resources_open(config);
	if (err)
		goto out_leases;
	err = leases_open(config);
	if (err)
		goto out_leases;
	err = listeners_open(config);
	if (err)
		goto out_listeners;

	leases_keep();
	announce_open(config);
	notify("READY=1\n");
	err = serve_until(asked_to_stop, DSG_NO_DEADLINE);

	log_info("stopping");
	notify("STOPPING=1\n");
	announce_close();
	listeners_close();
	leases_stop(STOP_GRACE_NS);
	serve_until(all_quiet, dsg_deadline(STOP_GRACE_NS + DSG_NSEC_PER_SEC));

out_listeners:
	listeners_close();
	relays_close();
	sessions_close();
out_leases:
	leases_close();
	journal_close();
out_resources:
	resources_close();
	loop_remove(&signals);
	close(signals.fd);
out_loop:
	loop_close();
out_lock:
	if (folder >= 0)
		close(folder);
	close(lock);
	return err;
}

/* What a daemon's start may need; not beside one. */
static int amend(const struct config *config, char *const *generations)
{
	int lock, err;

	umask(0077);
	lock = state_lock(config->state_dir);
	if (lock < 0)
		return lock;
	err = journal_open(config->state_dir);
	if (!err) {
		err = end_leases(generations);
		journal_close();
	}
	close(lock);
	return err;
}

/* The daemon itself never has them in its memory. */
static int check_keys(const struct config *config)
{
	struct dsg_error error;
	struct dsg_creds *creds;
	int err;

	if (!config->has_tls)
		return 0;
	err = dsg_creds_load(&config->keys, true, &creds, &error);
	if (err)
		log_error("tls: %s", error.text);
	else
		dsg_creds_free(creds);
	return err;
}

static void usage(FILE *to)
{
	fputs("Usage: disaggd [OPTION]...\n"
	      "       disaggd [-c FILE] --end-lease [LEASE]...\n"
	      "Offer this host's memory and storage to other hosts.\n\n"
	      "  -c, --config FILE  configuration (default " CONFIG_PATH ")\n"
	      "      --check        check the configuration and exit\n"
	      "      --end-lease    end these leases, whose data is lost, or print those there are,\n"
	      "                     and exit; not while disaggd runs\n"
	      "  -f, --foreground   stay in the foreground (always so)\n"
	      "  -V, --version      print the version and exit\n"
	      "  -h, --help         print this and exit\n\n"
	      "See disaggd(8) and disaggd.yaml(5).\n", to);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, 'C' },
		{ "end-lease", no_argument, NULL, 'E' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = CONFIG_PATH;
	struct config *config;
	bool check = false, end = false;
	int c, err;

	dsg_standard_fds();
	dsg_no_dump();
	if (argc >= 2 && !strcmp(argv[1], "--worker")) {
		log_open("disaggd-worker");
		return serve_main();
	}
	if (argc == 2 && !strcmp(argv[1], "--relay")) {
		log_open("disaggd-relay");
		return relay_main();
	}
	log_open("disaggd");
	while ((c = getopt_long(argc, argv, "c:fVh", options, NULL)) >= 0) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'C':
			check = true;
			break;
		case 'E':
			end = true;
			break;
		case 'f':
			break;
		case 'V':
			puts("disaggd " DISAGG_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if ((optind < argc && !end) || (check && end)) {
		usage(stderr);
		return 2;
	}
	config = config_load(path);
	if (!config)
		return 2;
	if (check) {
		err = check_keys(config);
		if (!err)
			printf("%s: ok\n", path);
		config_free(config);
		return err ? 2 : 0;
	}
	err = end ? amend(config, argv + optind) : run(config);
	config_free(config);
	return err ? 1 : 0;
}
