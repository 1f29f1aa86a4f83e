// SPDX-License-Identifier: GPL-2.0
/*
 * Operations that meet: attaching, changing, losing and deleting the same device
 * from several threads at once. Whoever comes first, nothing is left in the end,
 * and the kernel has no complaint (the runner reads its log).
 */
#include "dgnl.h"

#define LANES	2

static volatile bool stop_now;
static unsigned int attached, deleted;	/* in all races together */
static unsigned int shown[8];		/* how often each state */

/* Threads of one race; each has its own netlink socket. */
struct racer {
	pthread_t thread;
	void (*step)(struct racer *r, struct dgnl *nl);
	unsigned int steps, good;
};

/* Attach a device and leave it to the others. */
static void attach(struct racer *r, struct dgnl *nl)
{
	struct server servers[LANES] = {};
	int fds[LANES], err;
	struct device_new d = device_defaults(fds, LANES);

	for (int i = 0; i < LANES; i++)
		fds[i] = serve(&servers[i]);
	node_new(nl, "n");
	d.depth = 1024;
	err = device_new(nl, &d, NULL);
	r->good += !err;
	for (int i = 0; i < LANES; i++)
		close(fds[i]);
	/* The others have this long, then the target goes. */
	if (!err)
		poll(NULL, 0, r->steps % 50);
	for (int i = 0; i < LANES; i++)
		serve_end(&servers[i]);
	device_del(nl, "n", "d", r->steps & 1);
}

/* Now at once, now after an attach has had time to get far, or to its end. */
static void pause_a_bit(struct racer *r)
{
	poll(NULL, 0, (r->steps * 7) % 200);
}

static void force_device(struct racer *r, struct dgnl *nl)
{
	pause_a_bit(r);
	r->good += !device_del(nl, "n", "d", true);
}

static void delete_device(struct racer *r, struct dgnl *nl)
{
	pause_a_bit(r);
	r->good += !device_del(nl, "n", "d", false);
}

static void force_node(struct racer *r, struct dgnl *nl)
{
	pause_a_bit(r);
	r->good += !node_del(nl, "n", true);
}

static void delete_node(struct racer *r, struct dgnl *nl)
{
	pause_a_bit(r);
	r->good += !node_del(nl, "n", false);
}

static void resize(struct racer *r, struct dgnl *nl)
{
	r->good += !device_set(nl, "n", "d", DISAGG_A_DEVICE_SIZE,
			       (16 << 20) + (r->steps & 1023) * 4096ULL);
}

static void set_timeout(struct racer *r, struct dgnl *nl)
{
	r->good += !device_set(nl, "n", "d", DISAGG_A_DEVICE_IO_TIMEOUT, 1000 + r->steps % 1000);
}

static void see_state(void *data, const void *attrs, size_t len)
{
	(void)data;
	shown[get_num(attrs, len, DISAGG_A_DEVICE_STATE) & 7]++;
}

static void look(struct racer *r, struct dgnl *nl)
{
	struct answer a;

	dump(nl, DISAGG_CMD_DEVICE_GET, 8192, see_state, NULL, NULL);
	if (device_get(nl, "n", "d", &a))
		return;
	see_state(NULL, a.reply, a.len);
	r->good++;
}

static void *race_main(void *data)
{
	struct racer *r = data;
	struct dgnl nl = dgnl_open();

	while (!stop_now) {
		r->step(r, &nl);
		r->steps++;
	}
	close(nl.fd);
	return NULL;
}

typedef void (*step_fn)(struct racer *r, struct dgnl *nl);

static void race(struct dgnl *nl, const char *name, const step_fn *steps, unsigned int ms)
{
	struct racer racers[6] = {};
	unsigned int n;

	stop_now = false;
	for (n = 0; steps[n]; n++) {
		racers[n].step = steps[n];
		if (pthread_create(&racers[n].thread, NULL, race_main, &racers[n]))
			bail("no thread");
	}
	poll(NULL, 0, ms);
	stop_now = true;
	for (unsigned int i = 0; i < n; i++) {
		pthread_join(racers[i].thread, NULL);
		note("thread %u: %u of %u went well", i, racers[i].good, racers[i].steps);
	}
	node_del(nl, "n", true);
	attached += racers[0].good;
	deleted += racers[1].good;
	result(!count(nl, DISAGG_CMD_NODE_GET) &&
	       !count(nl, DISAGG_CMD_DEVICE_GET), "%s: nothing is left", name);
}

/* Takes events as they come, so that the module makes them. */
static void *listen_main(void *data)
{
	char buf[65536];

	while (recv(*(int *)data, buf, sizeof(buf), 0) >= 0 || errno == ENOBUFS)
		;
	return NULL;
}

int main(void)
{
	struct dgnl nl;
	pthread_t listener;
	int events;

	need_module();
	nl = dgnl_open();
	events = dgnl_listen(&nl);
	dgnl_timeout(events, 0);
	if (pthread_create(&listener, NULL, listen_main, &events))
		bail("no thread");

	race(&nl, "attach and delete by force",
	     (step_fn[]){ attach, force_device, NULL }, 2500);
	race(&nl, "attach and delete its node by force",
	     (step_fn[]){ attach, force_node, NULL }, 2500);
	race(&nl, "two delete, one of them by force",
	     (step_fn[]){ attach, delete_device, force_device, NULL }, 2500);
	race(&nl, "node and device are deleted at once",
	     (step_fn[]){ attach, delete_node, force_device, force_node, NULL }, 2500);
	race(&nl, "resize, timeout, looking and deleting",
	     (step_fn[]){ attach, resize, set_timeout, look, delete_device, NULL }, 2500);

	pthread_cancel(listener);
	pthread_join(listener, NULL);
	close(events);
	result(attached && deleted, "now one came first, now the other");
	note("shown: connecting %u, live %u, lost %u, removing %u, dead %u times",
	     shown[DISAGG_DEVICE_STATE_CONNECTING], shown[DISAGG_DEVICE_STATE_LIVE],
	     shown[DISAGG_DEVICE_STATE_LOST], shown[DISAGG_DEVICE_STATE_REMOVING],
	     shown[DISAGG_DEVICE_STATE_DEAD]);
	result(shown[DISAGG_DEVICE_STATE_CONNECTING] && shown[DISAGG_DEVICE_STATE_LIVE] &&
	       shown[DISAGG_DEVICE_STATE_REMOVING],
	       "a device that is just coming or going is shown as such");
	result(module_free(), "nobody holds the module");
	return finish();
}
