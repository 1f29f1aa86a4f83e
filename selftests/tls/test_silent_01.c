// SPDX-License-Identifier: GPL-2.0
/*
 * Many lanes with TLS, to a target that takes nothing in: on one of each device, at the
 * least, part of a record is stuck, which will never go. A node of them is deleted by force
 * as quickly as one device with a lane; and the module unloaded, when nobody uses them.
 */
#include "ktls.h"

#define DEVICES		6	/* at most */
#define LANES		8	/* of each device */
#define JOBS		2	/* of each device */
#define BIG		(1 << 20)
#define BOUND_MS	2000

static struct dgnl nl;
static unsigned int nr_devices = DEVICES;
static int peers[DEVICES][LANES];

static const char *name_of(unsigned int device)
{
	static char name[16];

	snprintf(name, sizeof(name), "d%u", device);
	return name;
}

/* n with all of its devices. */
static void make(uint32_t io_timeout, unsigned int *ids)
{
	int lanes[LANES], small = 4096;
	struct device_new d;

	if (node_new(&nl, "n"))
		bail("no node");
	for (unsigned int i = 0; i < nr_devices; i++) {
		for (unsigned int l = 0; l < LANES; l++) {
			lanes[l] = tls_pair(&peers[i][l], &ciphers[l % NR_CIPHERS]);
			setsockopt(peers[i][l], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
			setsockopt(lanes[l], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
		}
		d = device_defaults(lanes, LANES);
		d.name = name_of(i);
		d.io_timeout = io_timeout;
		d.dead_after = DISAGG_NEVER;
		if (device_new(&nl, &d, &ids[i]))
			bail("no device");
		for (unsigned int l = 0; l < LANES; l++)
			close(lanes[l]);
	}
}

static void unmake(void)
{
	for (unsigned int i = 0; i < nr_devices; i++)
		for (unsigned int l = 0; l < LANES; l++)
			close(peers[i][l]);
}

static bool all_are(int state)
{
	unsigned int n = 0;

	for (int tries = 0; tries < 1000 && n < nr_devices; tries++) {
		n = 0;
		for (unsigned int i = 0; i < nr_devices; i++)
			n += device_state(&nl, "n", name_of(i)) == state;
		if (n < nr_devices)
			poll(NULL, 0, 20);
	}
	if (n < nr_devices)
		note("%u of %u are in state %d", n, nr_devices, state);
	return n == nr_devices;
}

/* Devices that have sent something, as far as it went. */
static unsigned int used(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < nr_devices; i++) {
		unsigned int l = 0;

		while (l < LANES && !lane_num(&nl, "n", name_of(i), l, DISAGG_A_LANE_REQUESTS))
			l++;
		n += l < LANES;
	}
	return n;
}

static void deleted(int state, const char *when)
{
	unsigned int ids[DEVICES], told = 0;
	struct job jobs[DEVICES * JOBS];
	int disks[DEVICES], err, ms;
	uint64_t start;
	bool ok;

	make(state == LOST ? 1000 : 600000, ids);
	for (unsigned int i = 0; i < nr_devices; i++)
		disks[i] = open_disk(ids[i], O_RDWR | O_DIRECT);
	for (unsigned int i = 0; i < nr_devices * JOBS; i++)
		job_start(&jobs[i], disks[i / JOBS], true, BIG);
	for (int i = 0; i < 1000 && used() < nr_devices; i++)
		poll(NULL, 0, 10);
	ok = used() == nr_devices && all_are(state);
	start = now_ms();
	err = node_del(&nl, "n", true);
	ms = now_ms() - start;
	note("%s: deleted in %d ms", when, ms);
	result(ok && !err && ms <= BOUND_MS, "%s: the node is deleted by force within 2 s", when);
	for (unsigned int i = 0; i < nr_devices * JOBS; i++) {
		told += job_end(&jobs[i], BOUND_MS) > 0;
		free(jobs[i].buf);
	}
	result(told == nr_devices * JOBS, "%s: all who waited are told", when);
	for (unsigned int i = 0; i < nr_devices; i++)
		close(disks[i]);
	unmake();
}

static void unloaded(void)
{
	unsigned int ids[DEVICES];
	int ms;

	make(600000, ids);
	ms = unload_module(&nl);
	result(ms >= 0 && ms <= BOUND_MS, "rmmod within 2 s");
	unmake();
}

int main(void)
{
	need_module();
	if (system("modprobe tls"))
		bail("no TLS in this kernel");
	nl = dgnl_open();
	/* Fewer, on a kernel that looks at itself. */
	if (getenv("FUZZ_DEVICES"))
		nr_devices = strtol(getenv("FUZZ_DEVICES"), NULL, 10);
	if (!nr_devices)
		bail("FUZZ_DEVICES: at least 1");
	if (nr_devices > DEVICES)
		nr_devices = DEVICES;
	/* Nobody else asks for anything. */
	stop_udev();
	deleted(LIVE, "requests are stuck");
	deleted(LOST, "all devices are lost");
	unloaded();
	return finish();
}
