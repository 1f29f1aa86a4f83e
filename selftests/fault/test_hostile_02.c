// SPDX-License-Identifier: GPL-2.0
/*
 * A target that takes its time with one request while gigabytes go by, and a user
 * who keeps the descriptor of a lane's socket and makes something else of it.
 */
#include <netinet/tcp.h>

#include "../control/dgnl.h"

#define SIZE	(16 << 20)
#define LEN	(1 << 20)
#define FAR	(2200ULL << 20)	/* more than half of what TCP's numbers can tell apart */

static struct dgnl nl;
static struct disagg_wire_frame kept;
static volatile bool keeping;

/* The first READ is kept until enough has been written. */
static bool late_read(struct server *s, struct disagg_wire_frame *f)
{
	if (f->op == DISAGG_WIRE_OP_READ && keeping && !kept.magic) {
		kept = *f;
		return true;
	}
	if (!keeping && kept.magic) {
		struct disagg_wire_frame late = kept;

		kept.magic = 0;
		return answer_well(s, &late) && answer_well(s, f);
	}
	return answer_well(s, f);
}

static int disk;
static char *page;
static volatile ssize_t got;
static volatile bool done;

static void *reader_main(void *data)
{
	(void)data;
	got = pread(disk, page, 4096, 0);
	done = true;
	return NULL;
}

static void far_behind(void)
{
	struct server s = { .odd = late_read };
	struct device_new d;
	pthread_t reader;
	unsigned int id;
	uint64_t sent = 0;
	char *buf = aligned(LEN);
	int lane = serve(&s);

	page = aligned(4096);
	memset(buf, 1, LEN);
	d = device_defaults(&lane, 1);
	d.size = SIZE;
	d.io_timeout = 600000;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	settle_udev();
	disk = open_disk(id, O_RDWR | O_DIRECT);
	keeping = true;
	if (pthread_create(&reader, NULL, reader_main, NULL))
		bail("no thread");
	for (int i = 0; i < 500 && !kept.magic; i++)
		poll(NULL, 0, 10);
	while (sent < FAR && pwrite(disk, buf, LEN, 0) == LEN)
		sent += LEN;
	result(kept.magic && sent >= FAR && !done, "2.2 GiB go by while one READ waits");
	keeping = false;
	result(pwrite(disk, buf, LEN, 0) == LEN, "one more");
	for (int i = 0; i < 500 && !done; i++)
		poll(NULL, 0, 10);
	result(done && got == 4096, "the READ has its answer");
	pthread_join(reader, NULL);
	result(device_state(&nl, "n", "d") == DISAGG_DEVICE_STATE_LIVE, "and the device lives");
	close(disk);
	result(!device_del(&nl, "n", "d", true), "it can be deleted");
	serve_end(&s);
	free(buf);
	free(page);
}

static void other_uses(void)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct server s = { 0 };
	struct device_new d;
	int lane = serve(&s);
	bool refused;

	d = device_defaults(&lane, 1);
	if (device_new(&nl, &d, NULL))
		bail("no device");
	result(setsockopt(lane, IPPROTO_TCP, TCP_ULP, "tls", 4) && errno == EEXIST,
	       "a lane's socket cannot be made a TLS socket");
	/* Disconnected, the lane is lost, and soon the socket is its user's alone. */
	connect(lane, &unspec, sizeof(unspec));
	refused = listen(lane, 1) && errno == EINVAL;
	for (int i = 0; i < 500 && !refused; i++) {
		if (device_state(&nl, "n", "d") == DISAGG_DEVICE_STATE_DEAD)
			break;
		poll(NULL, 0, 10);
	}
	result(refused || device_state(&nl, "n", "d") == DISAGG_DEVICE_STATE_DEAD,
	       "nor one that listens, while it is a lane's");
	result(!device_del(&nl, "n", "d", true), "the device can be deleted");
	close(lane);
	serve_end(&s);
}

int main(void)
{
	need_module();
	nl = dgnl_open();
	if (node_new(&nl, "n"))
		bail("no node");
	far_behind();
	other_uses();
	result(!node_del(&nl, "n", false) && module_free(), "nothing is left");
	return finish();
}
