// SPDX-License-Identifier: GPL-2.0
/*
 * One allocation in twenty that the module's functions make fails, in whatever thread:
 * those that receive, the workers, and this one, while devices are used, get other
 * connections, other sizes, and go. What is not refused is done, and no byte is wrong.
 */
#include "inject.h"

#define ROUNDS	40
#define PERCENT	5
/* A request that nobody tries again waits for the I/O timeout, which is 30 s. */
#define LONGEST_MS	5000
#define LEN	(1 << 20)

static char *data, *back;
static unsigned int refused[4], done[4], longest;

enum what { REQUEST, LANE, SIZED, DELETION };

static bool count_it(enum what what, int err)
{
	if (err)
		refused[what]++;
	else
		done[what]++;
	return !err || err == ENOMEM || err == ENOBUFS;
}

static bool fill_and_read(int fd, uint64_t offset)
{
	uint64_t start = now_ms();
	ssize_t n;

	for (size_t i = 0; i < LEN / sizeof(int); i++)
		((int *)data)[i] = (int)random();
	n = pwrite(fd, data, LEN, offset);
	if (!count_it(REQUEST, n < 0 ? errno : 0)) {
		note("a write: %s", strerror(errno));
		return false;
	}
	if (n != LEN)
		return true;
	if (memcmp(store + offset, data, LEN)) {
		note("other bytes than were written, at the target");
		return false;
	}
	n = pread(fd, back, LEN, offset);
	if (!count_it(REQUEST, n < 0 ? errno : 0)) {
		note("a read: %s", strerror(errno));
		return false;
	}
	if (now_ms() - start > longest)
		longest = now_ms() - start;
	if (n == LEN && memcmp(back, data, LEN)) {
		note("other bytes than were written are read");
		return false;
	}
	return true;
}

/* Requests with no other before or behind them, whose answer would set them going. */
static bool read_alone(int fd)
{
	for (int i = 0; i < 40; i++) {
		uint64_t start = now_ms();
		ssize_t n = pread(fd, back, 4096, i * 4096);

		if (!count_it(REQUEST, n < 0 ? errno : 0) ||
		    (n > 0 && memcmp(back, store + i * 4096, 4096)))
			return false;
		if (now_ms() - start > longest)
			longest = now_ms() - start;
	}
	return true;
}

static bool replace(void)
{
	struct server *spare;
	uint32_t generation;
	struct answer a;
	int fd;

	chance(0);
	generation = lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION);
	chance(PERCENT);
	spare = new_server(&fd);
	lane_replace(&nl, "n", "d", 0, generation, fd, &a);
	close(fd);
	await_server(a.error ? spare : servers[0]);
	if (!a.error)
		servers[0] = spare;
	if (a.error && a.error != ENOMEM && a.error != ENOBUFS)
		note("a lane: %s: %s", strerror(a.error), a.text);
	return count_it(LANE, a.error);
}

static bool round_of_it(void)
{
	bool ok = true;
	int fd;

	make_device();
	fd = open_disk(disk_id, O_RDWR | O_DIRECT);
	chance(PERCENT);
	for (int i = 0; ok && i < 4; i++)
		ok = fill_and_read(fd, (uint64_t)i * LEN) && read_alone(fd) && replace();
	ok &= count_it(SIZED, device_set(&nl, "n", "d", DISAGG_A_DEVICE_SIZE, SIZE));
	close(fd);
	if (!device_del(&nl, "n", "d", false))
		done[DELETION]++;
	else
		refused[DELETION]++;
	chance(0);
	delete_device();
	return ok;
}

int main(void)
{
	static const char * const what[] = { "requests", "lanes", "sizes",
					     "deletions" };
	unsigned int bad = 0, injected;
	bool never = false;

	need_module();
	inject_init();
	nl = dgnl_open();
	store = calloc(1, SIZE);
	data = aligned(LEN);
	back = aligned(LEN);
	if (!store || node_new(&nl, "n"))
		bail("no node");
	stop_udev();
	injected = injections();
	for (int i = 0; i < ROUNDS; i++)
		bad += !round_of_it();
	for (int i = 0; i < 4; i++) {
		note("%s: %u refused, %u done", what[i], refused[i], done[i]);
		never |= !done[i];
	}
	note("a request took %u ms at most", longest);
	result(longest < LONGEST_MS, "who waits for memory goes on when there is some");
	result(!bad, "refused for want of memory or done, and no byte is wrong");
	result(!never, "each is done some time");
	injected = injections() - injected;
	note("%u allocations failed", injected);
	result(injected >= ROUNDS, "allocations fail");
	result(!node_del(&nl, "n", false), "nothing is left");
	return finish();
}
