// SPDX-License-Identifier: GPL-2.0
/*
 * Deletion by force and rmmod with a silent peer, in every state that a device can be
 * in: how long they take is measured, and must not be more than two seconds. And
 * SIGKILL for each caller that may have to wait: it ends, but for I/O that the block
 * layer waits for uninterruptibly, which deletion by force ends.
 */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../control/dgnl.h"

#define SIZE		(16 << 20)
#define BOUND_MS	2000
#define KILLED_MS	2000
#define DEFAULT_TIMEOUT_MS	30000
#define LANES		2

static struct dgnl nl;

/* ---- the target: silent when told so ---- */

static volatile bool silent;

static bool answer(struct server *s, struct disagg_wire_frame *f)
{
	return silent ? true : answer_well(s, f);
}

static struct server servers[LANES];

static unsigned int make(uint32_t io_timeout)
{
	struct device_new d;
	unsigned int id;
	int fds[LANES];

	silent = false;
	for (int i = 0; i < LANES; i++) {
		servers[i] = (struct server) { .odd = answer };
		fds[i] = serve(&servers[i]);
	}
	d = device_defaults(fds, LANES);
	d.size = SIZE;
	d.io_timeout = io_timeout;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	for (int i = 0; i < LANES; i++)
		close(fds[i]);
	settle_udev();
	silent = true;
	return id;
}

static void end_servers(void)
{
	for (int i = 0; i < LANES; i++)
		serve_end(&servers[i]);
}

static bool becomes(int state)
{
	for (int i = 0; i < 800; i++) {
		if (device_state(&nl, "n", "d") == state)
			return true;
		poll(NULL, 0, 10);
	}
	note("state %d, not %d", device_state(&nl, "n", "d"), state);
	return false;
}

static void wait_inflight(void)
{
	struct answer a;

	for (int i = 0; i < 500; i++) {
		if (!device_get(&nl, "n", "d", &a) &&
		    get_num(a.reply, a.len, DISAGG_A_DEVICE_INFLIGHT))
			return;
		poll(NULL, 0, 10);
	}
	bail("nothing is in flight");
}

/* ---- those who wait ---- */

static pid_t start(void (*work)(int arg), int arg)
{
	pid_t pid = fork();

	if (!pid) {
		work(arg);
		_exit(0);
	}
	if (pid < 0)
		bail("fork");
	return pid;
}

/* Return: after how many milliseconds it has ended, or -1. */
static int ended(pid_t pid, unsigned int ms)
{
	uint64_t begin = now_ms();

	do {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return now_ms() - begin;
		poll(NULL, 0, 5);
	} while (now_ms() - begin < ms);
	return -1;
}

static void read_direct(int fd)
{
	char *buf;

	if (!posix_memalign((void **)&buf, 4096, 65536))
		(void)!pread(fd, buf, 65536, 0);
}

static void write_direct(int fd)
{
	char *buf;

	if (!posix_memalign((void **)&buf, 4096, 65536))
		(void)!pwrite(fd, buf, 65536, 1 << 20);
}

static void read_buffered(int fd)
{
	char buf[4096];

	(void)!pread(fd, buf, sizeof(buf), 8 << 20);
}

/* ---- deletion by force ---- */

static void deleted(const char *state, int disk, pid_t *jobs, unsigned int nr_jobs)
{
	uint64_t begin = now_ms();
	int err = device_del(&nl, "n", "d", true), ms = now_ms() - begin, longest = 0;

	note("%s: deleted by force in %d ms", state, ms);
	result(!err && ms <= BOUND_MS, "%s: deleted by force within 2 s", state);
	for (unsigned int i = 0; i < nr_jobs; i++) {
		int one = ended(jobs[i], BOUND_MS);

		longest = one < 0 || longest < 0 ? -1 : one > longest ? one : longest;
	}
	if (nr_jobs)
		result(longest >= 0, "%s: and who waited is told (%d ms)", state, longest);
	if (disk >= 0)
		close(disk);
	end_servers();
}

static void lose(void)
{
	for (int i = 0; i < LANES; i++)
		shutdown(servers[i].fd, SHUT_RDWR);
	if (!becomes(DISAGG_DEVICE_STATE_LOST))
		bail("not lost");
}

enum state { LIVE_IDLE, LIVE_BUSY, LOST_IDLE, LOST_BUSY, LOST_FAST, DEAD, STATES };
static const char * const names[STATES] = {
	"live", "live, I/O in flight", "lost", "lost, I/O waits", "lost, fail-fast", "dead",
};

/* A device in @state; return: its disk, opened, with I/O where that is said. */
static int enter(enum state state, int flags, pid_t *jobs, unsigned int *nr_jobs)
{
	int disk = open_disk(make(600000), flags | O_DIRECT);

	*nr_jobs = 0;
	if (state == LIVE_BUSY || state == LOST_BUSY) {
		jobs[(*nr_jobs)++] = start(read_direct, disk);
		jobs[(*nr_jobs)++] = start(write_direct, disk);
		wait_inflight();
	}
	if (state >= LOST_IDLE)
		lose();
	if (state == LOST_FAST)
		device_set(&nl, "n", "d", DISAGG_A_DEVICE_FAIL_FAST, 0);
	if (state == DEAD) {
		device_set(&nl, "n", "d", DISAGG_A_DEVICE_DEAD_AFTER, 0);
		becomes(DISAGG_DEVICE_STATE_DEAD);
	}
	return disk;
}

static void each_state(void)
{
	unsigned int nr_jobs;
	pid_t jobs[2];

	for (int state = 0; state < STATES; state++) {
		int disk = enter(state, O_RDWR, jobs, &nr_jobs);

		deleted(names[state], disk, jobs, nr_jobs);
	}
}

/* Connecting, and being removed: nothing stays so, so it is met at random. */
static volatile bool enough;
static volatile unsigned int attached;

static void *attacher_main(void *data)
{
	struct dgnl mine = dgnl_open();
	int peer = -1;

	(void)data;
	while (!enough) {
		struct device_new d;
		int lane, last = peer;

		lane = tcp_pair(&peer);
		d = device_defaults(&lane, 1);
		d.dead_after = DISAGG_NEVER;
		if (!device_new(&mine, &d, NULL))
			attached++;
		close(lane);
		close(last);
	}
	close(peer);
	close(mine.fd);
	return NULL;
}

struct deleter {
	pthread_t thread;
	unsigned int deleted, seed;
	uint64_t longest;
};

static void *deleter_main(void *data)
{
	struct dgnl mine = dgnl_open();
	struct deleter *my = data;
	uint64_t first = now_ms();

	while (!enough) {
		uint64_t begin = now_ms();
		bool rare;

		if (!device_del(&mine, "n", "d", true))
			my->deleted++;
		if (now_ms() - begin > my->longest)
			my->longest = now_ms() - begin;
		/* So that some are there before they go: fewer deletions where that takes long. */
		rare = attached < 5 && now_ms() - first > 1000;
		poll(NULL, 0, rand_r(&my->seed) % (rare ? 500 : 20));
	}
	close(mine.fd);
	return NULL;
}

static void at_random(void)
{
	struct deleter deleters[2] = { { .seed = 1 }, { .seed = 2 } };
	unsigned int deleted;
	pthread_t attacher;

	enough = false;
	if (pthread_create(&attacher, NULL, attacher_main, NULL))
		bail("no thread");
	for (int i = 0; i < 2; i++)
		if (pthread_create(&deleters[i].thread, NULL, deleter_main, &deleters[i]))
			bail("no thread");
	poll(NULL, 0, 5000);
	enough = true;
	pthread_join(attacher, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(deleters[i].thread, NULL);
	deleted = deleters[0].deleted + deleters[1].deleted;
	if (!device_del(&nl, "n", "d", true))
		deleted++;
	note("connecting, removing: %u made, %u deleted; the longest deletion took %llu and %llu ms",
	     attached, deleted, (unsigned long long)deleters[0].longest,
	     (unsigned long long)deleters[1].longest);
	result(deleters[0].longest <= BOUND_MS && deleters[1].longest <= BOUND_MS,
	       "connecting, removing: deleted by force within 2 s");
	result(attached && deleted == attached, "connecting, removing: each of them, once");
}

/* ---- rmmod ---- */

static void restart(void)
{
	if (system("modprobe disagg"))
		bail("the module cannot be loaded again");
	nl = dgnl_open();
	if (node_new(&nl, "n"))
		bail("no node");
}

static void unloaded(enum state state)
{
	pid_t jobs[2];
	unsigned int nr_jobs;
	/* udev would read what was opened for writing, and hold the module as long. */
	int disk = enter(state, O_RDONLY, jobs, &nr_jobs), ms;

	close(disk);	/* who has the disk open holds the module */
	ms = unload_module(&nl);
	result(ms >= 0 && ms <= BOUND_MS, "%s: rmmod within 2 s", names[state]);
	end_servers();
	restart();
}

/* ---- many ---- */

#define MANY		128

static int many_peers[MANY], nr_many = MANY;

static void ask_delete_node(int arg)
{
	struct dgnl mine = dgnl_open();

	node_del(&mine, "n", arg);
}

static void ask_unload(int arg)
{
	syscall(SYS_delete_module, "disagg", arg);
}

static bool module_is_live(void)
{
	FILE *f = fopen("/sys/module/disagg/initstate", "re");
	char state[16] = "";

	if (!f)
		return false;
	if (!fgets(state, sizeof(state), f))
		state[0] = '\0';
	fclose(f);
	return !strncmp(state, "live", 4);
}

/* n with so many devices, each of a lane whose target says nothing. */
static void make_many(void)
{
	for (int i = 0; i < nr_many; i++) {
		int lane = tcp_pair(&many_peers[i]);
		struct device_new d = device_defaults(&lane, 1);
		char name[16];

		snprintf(name, sizeof(name), "d%d", i);
		d.name = name;
		d.dead_after = DISAGG_NEVER;
		if (device_new(&nl, &d, NULL))
			bail("no device");
		close(lane);
	}
}

static void unmake_many(void)
{
	for (int i = 0; i < nr_many; i++)
		close(many_peers[i]);
}

static bool many_are_gone(void)
{
	char name[16];

	for (int i = 0; i < nr_many; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		if (device_state(&nl, "n", name) >= 0)
			return false;
	}
	return true;
}

static void many(void)
{
	uint64_t begin;
	pid_t caller;
	int err, ms;

	/* Fewer, on a kernel that looks at itself. */
	if (getenv("FUZZ_DEVICES"))
		nr_many = strtol(getenv("FUZZ_DEVICES"), NULL, 10);
	if (nr_many < 2 || nr_many > MANY)
		bail("FUZZ_DEVICES: 2 to 128");
	stop_udev();
	make_many();
	begin = now_ms();
	err = node_del(&nl, "n", true);
	ms = now_ms() - begin;
	note("%d devices: deleted by force in %d ms", nr_many, ms);
	result(!err && ms <= BOUND_MS, "%d devices: deleted by force within 2 s", nr_many);
	unmake_many();

	if (node_new(&nl, "n"))
		bail("no node");
	make_many();
	caller = start(ask_delete_node, true);
	for (int i = 0; i < BOUND_MS && device_state(&nl, "n", "d0") == DISAGG_DEVICE_STATE_LIVE; i++)
		poll(NULL, 0, 1);
	kill(caller, SIGKILL);
	begin = now_ms();
	err = ended(caller, KILLED_MS);
	while (!many_are_gone() && now_ms() - begin <= BOUND_MS)
		poll(NULL, 0, 5);
	ms = now_ms() - begin;
	note("%d devices: deleted by who was killed in %d ms; the node is %s", nr_many, ms,
	     node_new(&nl, "n") ? "there" : "gone, too");
	result(err >= 0 && ms <= BOUND_MS, "%d devices: gone, although who deleted them is killed",
	       nr_many);
	unmake_many();

	make_many();
	if (!module_free())
		bail("the module is in use");
	close(nl.fd);
	begin = now_ms();
	caller = start(ask_unload, O_NONBLOCK);
	while (module_is_live() && now_ms() - begin <= BOUND_MS)
		poll(NULL, 0, 1);
	kill(caller, SIGKILL);
	err = ended(caller, BOUND_MS);
	ms = now_ms() - begin;
	note("%d devices: rmmod, which was killed, took %d ms", nr_many, ms);
	result(err >= 0 && ms <= BOUND_MS && access("/sys/module/disagg", F_OK),
	       "%d devices: rmmod within 2 s", nr_many);
	unmake_many();
	restart();
	start_udev();
}

/* Connecting, and being removed: again at random, by those who go on until it is gone. */
static void *churn_main(void *data)
{
	struct dgnl mine = dgnl_open();
	const char *name = data;
	unsigned int seed = *name;
	int peer;

	while (!enough) {
		int lane = tcp_pair(&peer);
		struct device_new d = device_defaults(&lane, 1);

		d.name = name;
		d.dead_after = DISAGG_NEVER;
		if (!device_new(&mine, &d, NULL))
			attached++;
		close(lane);
		poll(NULL, 0, rand_r(&seed) % 3);
		device_del(&mine, "n", name, true);
		close(peer);
	}
	close(mine.fd);
	return NULL;
}

#define UNLOADS		10

static void unloaded_at_random(void)
{
	static const char * const churned[] = { "a", "b" };
	pthread_t threads[2];
	uint64_t longest = 0, begin;
	unsigned int used = 0;
	bool ok = true;

	stop_udev();
	for (unsigned int round = 0; round < UNLOADS; round++) {
		enough = false;
		attached = 0;
		for (int i = 0; i < 2; i++)
			if (pthread_create(&threads[i], NULL, churn_main, (void *)churned[i]))
				bail("no thread");
		for (int i = 0; i < 2000 && attached < 4 + round; i++)
			poll(NULL, 0, 5);
		ok &= attached >= 4 + round;
		begin = now_ms();
		while (syscall(SYS_delete_module, "disagg", O_NONBLOCK)) {
			if (errno != EAGAIN || now_ms() - begin > 2 * BOUND_MS) {
				ok = false;
				break;
			}
			used++;
			poll(NULL, 0, 1);
		}
		if (now_ms() - begin > longest)
			longest = now_ms() - begin;
		enough = true;
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		close(nl.fd);
		restart();
	}
	start_udev();
	note("connecting, removing: the longest rmmod took %llu ms; %u times it was in use",
	     (unsigned long long)longest, used);
	result(ok && longest <= BOUND_MS, "connecting, removing: rmmod within 2 s");
}

/* ---- SIGKILL ---- */

static void killed_io(void)
{
	unsigned int id = make(600000);
	int disk = open_disk(id, O_RDWR | O_DIRECT), plain = open_disk(id, O_RDONLY);
	pid_t direct, buffered;
	int ms;

	direct = start(read_direct, disk);
	wait_inflight();
	lose();
	buffered = start(read_buffered, plain);
	poll(NULL, 0, 200);
	kill(buffered, SIGKILL);
	ms = ended(buffered, KILLED_MS);
	note("a read through the page cache ends %d ms after SIGKILL", ms);
	result(ms >= 0, "killed: a read through the page cache on a lost device");
	/* Its pages are the kernel's until the request ends: nothing may end it but that. */
	kill(direct, SIGKILL);
	ms = ended(direct, 300);
	note("a direct read %s", ms < 0 ? "waits on, as on any disk" : "has ended");
	close(plain);
	deleted("killed: a direct read on a lost device", disk, &direct, 1);
}

/*
 * The one way that is left to hold a device's admin_lock: a program that has kept a
 * lane's socket sends from memory whose faults it serves itself, and so owns the socket's
 * lock. Whoever deletes the device waits for that, and others wait for him.
 */
static char *faulty;
static int kept;

static int make_faulty(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		return -1;
	faulty = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)faulty;
	reg.range.len = 4096;
	if (faulty == MAP_FAILED || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg))
		bail("userfaultfd");
	return uffd;
}

static void *holder_main(void *data)
{
	(void)data;
	(void)!send(kept, faulty, 4096, MSG_NOSIGNAL);
	return NULL;
}

static void ask_delete(int arg)
{
	struct dgnl mine = dgnl_open();

	device_del(&mine, "n", "d", arg);
}

static void ask_set(int arg)
{
	struct dgnl mine = dgnl_open();

	device_set(&mine, "n", "d", DISAGG_A_DEVICE_IO_TIMEOUT, arg);
}

static void ask_grow(int arg)
{
	struct dgnl mine = dgnl_open();

	device_set(&mine, "n", "d", DISAGG_A_DEVICE_SIZE, arg);
}

static void ask_dead_after(int arg)
{
	struct dgnl mine = dgnl_open();

	device_set(&mine, "n", "d", DISAGG_A_DEVICE_DEAD_AFTER, arg);
}

static void ask_lane(int arg)
{
	struct dgnl mine = dgnl_open();
	struct answer a;
	int peer;

	lane_replace(&mine, "n", "d", 0, arg, tcp_pair(&peer), &a);
}

static int uffd;
static pthread_t holder;

/* A device whose socket's lock is held, until let_go(). Return: the number of its disk. */
static unsigned int hold(uint32_t io_timeout)
{
	struct device_new d;
	unsigned int id;
	int lane;

	silent = false;
	servers[0] = (struct server) { .odd = answer };
	lane = serve(&servers[0]);
	d = device_defaults(&lane, 1);
	d.size = SIZE;
	d.io_timeout = io_timeout;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	settle_udev();
	silent = true;
	kept = lane;
	return id;
}

static void start_holder(void)
{
	if (pthread_create(&holder, NULL, holder_main, NULL))
		bail("no thread");
	/* Once its fault is there it is in the midst of send(). */
	if (poll(&(struct pollfd){ .fd = uffd, .events = POLLIN }, 1, 10000) != 1)
		bail("nobody holds the socket's lock");
}

static void let_go(void)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)faulty, .len = 4096 },
	};

	ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
	pthread_join(holder, NULL);
}

static void end_hold(void)
{
	close(kept);
	close(uffd);
	munmap(faulty, 4096);
	serve_end(&servers[0]);
	device_del(&nl, "n", "d", true);
	node_new(&nl, "n");	/* unless it is still there */
}

/* SIGKILL for who is blocked. */
static void killed(const char *name, pid_t pid)
{
	bool waited = waitpid(pid, NULL, WNOHANG) == 0;
	int ms;

	kill(pid, SIGKILL);
	ms = waited ? ended(pid, KILLED_MS) : -1;
	note("%s %s, %d ms after SIGKILL", name, waited ? "waited, and ended" : "did not wait", ms);
	result(ms >= 0, "killed: %s, which waits for it", name);
}

static void killed_netlink(void)
{
	static const struct {
		const char *name;
		void (*work)(int arg);
		int arg;
	} callers[] = {
		{ "device-del", ask_delete, false },
		{ "device-del by force", ask_delete, true },
		{ "node-del by force", ask_delete_node, true },
		{ "device-set, a timer", ask_set, 1000 },
		{ "device-set, the size", ask_grow, SIZE },
	};
	pid_t first, waits[sizeof(callers) / sizeof(*callers)];
	int ms;

	uffd = make_faulty();
	if (uffd < 0) {
		skip("killed: netlink callers", "this kernel has no userfaultfd");
		return;
	}
	hold(DEFAULT_TIMEOUT_MS);
	start_holder();
	first = start(ask_delete, true);
	poll(NULL, 0, 200);
	for (size_t i = 0; i < sizeof(callers) / sizeof(*callers); i++)
		waits[i] = start(callers[i].work, callers[i].arg);
	poll(NULL, 0, 500);
	result(waitpid(first, NULL, WNOHANG) == 0,
	       "killed: a deletion waits for the owner of a socket's lock");
	for (size_t i = 0; i < sizeof(callers) / sizeof(*callers); i++)
		killed(callers[i].name, waits[i]);
	let_go();
	ms = ended(first, BOUND_MS);
	result(ms >= 0, "killed: and it goes on when that lets go");
	end_hold();
}

/* The module's own thread waits for that owner, to take a lane's socket away. */
static void killed_behind_lane(void)
{
	int disk;
	pid_t reader, caller;

	uffd = make_faulty();
	if (uffd < 0) {
		skip("killed: callers behind a lane", "this kernel has no userfaultfd");
		return;
	}
	disk = open_disk(hold(1000), O_RDONLY | O_DIRECT);
	reader = start(read_direct, disk);
	wait_inflight();
	start_holder();
	/* Not even a PING can be sent; the lane is given up after ten timeouts all the same. */
	poll(NULL, 0, 16000);
	result(device_state(&nl, "n", "d") == DISAGG_DEVICE_STATE_LIVE,
	       "killed: a lane's end waits for the owner of its socket's lock");
	caller = start(ask_dead_after, DISAGG_NEVER);
	poll(NULL, 0, 1000);
	killed("device-set, dead-after", caller);
	caller = start(ask_lane, 1);
	poll(NULL, 0, 1000);
	killed("device-set, a lane", caller);
	let_go();
	result(becomes(DISAGG_DEVICE_STATE_LOST), "killed: and it goes on when that lets go");
	close(disk);
	device_del(&nl, "n", "d", true);
	if (ended(reader, BOUND_MS) < 0)
		note("the reader waits on");
	end_hold();
}

int main(void)
{
	need_module();
	nl = dgnl_open();
	if (node_new(&nl, "n"))
		bail("no node");
	each_state();
	at_random();
	unloaded(LIVE_IDLE);
	unloaded(LOST_IDLE);
	unloaded(LOST_FAST);
	unloaded(DEAD);
	unloaded_at_random();
	many();
	killed_io();
	killed_netlink();
	killed_behind_lane();
	result(!node_del(&nl, "n", true) && module_free(), "nothing is left");
	return finish();
}
