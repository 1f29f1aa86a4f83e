// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes are cut again and again at random moments, in several ways, while several
 * programs write, read back and compare. No request fails, and every read sees what
 * was written last. FUZZ_CUTS=N for another number than 400.
 */
#include "../control/dgnl.h"

#define SIZE		(16 << 20)
#define LANES		2
#define JOBS		3
#define BLOCKS		32		/* of each job, of up to MAX_LEN */
#define MAX_LEN		65536
#define TIMEOUT_MS	300

static char *store;
static volatile bool enough, over, failed;
static int disk;
static unsigned int cuts_wanted = 400;

/* ---- the target ---- */

enum mood { WELL, DIE_BEFORE, DIE_AFTER, DIE_HALFWAY, BE_SILENT, MOODS };

static struct lane {
	struct server server;
	pthread_t thread;
	unsigned int index, cuts[MOODS + 2];
	unsigned int uncut;	/* it was lost all the same */
	unsigned int seed;
	volatile enum mood mood;
	volatile bool acted;	/* has met a request, or a PING, in its mood */
	volatile bool done;	/* has had its cuts */
	int refused;
} lanes[LANES];

static bool answer(struct server *s, struct disagg_wire_frame *f)
{
	struct lane *lane = (struct lane *)((char *)s - offsetof(struct lane, server));
	enum mood mood = lane->mood;
	const char *payload;

	lane->acted |= mood != WELL;
	switch (mood) {
	case DIE_BEFORE:
		break;
	case DIE_AFTER:
		make_reply(s, f);
		break;
	case DIE_HALFWAY:
		payload = make_reply(s, f);
		write_all(s->fd, f, f->payload ? sizeof(*f) : sizeof(*f) / 2);
		write_all(s->fd, payload, f->payload / 2);
		break;
	case BE_SILENT:
		return true;
	default:
		return answer_well(s, f);
	}
	shutdown(s->fd, SHUT_RDWR);
	return false;
}

/* Give the lane another connection than that of @generation. Return: whether it was taken. */
static bool renew(struct dgnl *nl, struct lane *lane, uint32_t generation)
{
	struct answer a;
	int fd;

	serve_end(&lane->server);
	lane->mood = WELL;
	lane->acted = false;
	fd = serve(&lane->server);
	/* The other lane may be just at it. */
	for (int i = 0; i < 2000; i++) {
		lane->refused = lane_replace(nl, "n", "d", lane->index, generation, fd, &a);
		if (lane->refused != EBUSY)
			break;
		poll(NULL, 0, 1);
	}
	close(fd);
	if (lane->refused) {
		note("lane %u: %s: %s", lane->index, strerror(lane->refused), a.text);
		/* Nobody should wait for it. */
		device_set(nl, "n", "d", DISAGG_A_DEVICE_DEAD_AFTER, 0);
	}
	return !lane->refused;
}

static bool is_lost(struct dgnl *nl, const struct lane *lane)
{
	return lane_num(nl, "n", "d", lane->index, DISAGG_A_LANE_STATE) == DISAGG_LANE_STATE_LOST;
}

/*
 * Cut the lane in one way or another, and give it a new connection: as often as is wanted,
 * and then until nobody uses the disk any more.
 */
static void *lane_main(void *data)
{
	struct lane *lane = data;
	struct dgnl nl = dgnl_open();
	unsigned int n, way;
	bool lost;

	for (n = 0; !over; n++) {
		lane->done = n >= cuts_wanted / LANES || failed;
		poll(NULL, 0, rand_r(&lane->seed) % 16);
		lost = is_lost(&nl, lane);
		lane->uncut += lost;
		way = rand_r(&lane->seed) % 24;
		way = !way ? BE_SILENT : way % 4;
		if (way == WELL) {	/* cut from outside, at whatever is going on */
			bool half = rand_r(&lane->seed) & 1;

			lane->cuts[MOODS + half]++;
			shutdown(lane->server.fd, half ? SHUT_WR : SHUT_RDWR);
		} else {
			lane->mood = way;
			lane->cuts[way]++;
			/* Until it has found a request to be in that mood for. */
			for (int i = 0; i < 2000 && !over && !is_lost(&nl, lane); i++)
				poll(NULL, 0, 1);
			lane->uncut += !lost && is_lost(&nl, lane) && !lane->acted;
		}
		if (!renew(&nl, lane, 1 + n))
			break;
	}
	lane->done = true;
	close(nl.fd);
	return NULL;
}

/* ---- those who use it ---- */

static struct job {
	pthread_t thread;
	unsigned int index, seed;
	uint32_t version[BLOCKS], len[BLOCKS];
	unsigned int writes, reads;
} jobs[JOBS];

static void fill(char *buf, uint32_t len, unsigned int block, uint32_t version)
{
	uint32_t *p = (uint32_t *)buf;

	for (uint32_t i = 0; i < len / 4; i++)
		p[i] = version * 2654435761u + block * 97 + i;
}

static void *job_main(void *data)
{
	struct job *j = data;
	char *buf, *want;

	if (posix_memalign((void **)&buf, 4096, MAX_LEN) ||
	    posix_memalign((void **)&want, 4096, MAX_LEN))
		bail("no memory");
	while (!enough && !failed) {
		unsigned int b = rand_r(&j->seed) % BLOCKS;
		off_t at = (off_t)(j->index * BLOCKS + b) * MAX_LEN;
		ssize_t n;

		if (!j->version[b] || rand_r(&j->seed) % 2) {
			j->len[b] = 4096 << rand_r(&j->seed) % 5;
			fill(buf, j->len[b], b, ++j->version[b]);
			n = pwrite(disk, buf, j->len[b], at);
			j->writes++;
		} else {
			n = pread(disk, buf, j->len[b], at);
			fill(want, j->len[b], b, j->version[b]);
			if (n == j->len[b] && memcmp(buf, want, (size_t)n)) {
				note("job %u, block %u: not what was written last", j->index, b);
				failed = true;
			}
			j->reads++;
		}
		if (n != j->len[b]) {
			note("job %u, block %u: %zd, %s", j->index, b, n, strerror(errno));
			failed = true;
		}
	}
	free(buf);
	free(want);
	return NULL;
}

int main(void)
{
	struct device_new d;
	struct answer a;
	struct dgnl nl;
	unsigned int id = 0, writes = 0, reads = 0, total = 0, uncut = 0;
	uint64_t start, replays = 0;
	bool refused = false;
	int fds[LANES];
	char path[40];

	if (getenv("FUZZ_CUTS"))
		cuts_wanted = strtoul(getenv("FUZZ_CUTS"), NULL, 10);
	need_module();
	nl = dgnl_open();
	store = calloc(1, SIZE);
	if (node_new(&nl, "n"))
		bail("no node");
	for (unsigned int i = 0; i < LANES; i++) {
		lanes[i].server = (struct server) { .odd = answer, .store = store };
		lanes[i].index = i;
		lanes[i].seed = i + 1;
		fds[i] = serve(&lanes[i].server);
	}
	d = device_defaults(fds, LANES);
	d.size = SIZE;
	d.io_timeout = TIMEOUT_MS;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &id))
		bail("no device");
	for (unsigned int i = 0; i < LANES; i++)
		close(fds[i]);
	settle_udev();
	snprintf(path, sizeof(path), "/dev/disagg%u", id);
	disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk < 0)
		bail(path);

	start = now_ms();
	for (unsigned int i = 0; i < JOBS; i++) {
		jobs[i].index = i;
		jobs[i].seed = i + 100;
		if (pthread_create(&jobs[i].thread, NULL, job_main, &jobs[i]))
			bail("no thread");
	}
	for (unsigned int i = 0; i < LANES; i++)
		if (pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]))
			bail("no thread");
	for (unsigned int i = 0; i < LANES; i++)
		while (!lanes[i].done)
			poll(NULL, 0, 20);
	enough = true;
	for (unsigned int i = 0; i < JOBS; i++) {
		pthread_join(jobs[i].thread, NULL);
		writes += jobs[i].writes;
		reads += jobs[i].reads;
	}
	over = true;
	for (unsigned int i = 0; i < LANES; i++) {
		pthread_join(lanes[i].thread, NULL);
		refused |= lanes[i].refused;
		uncut += lanes[i].uncut;
		for (unsigned int w = 0; w < MOODS + 2; w++)
			total += lanes[i].cuts[w];
		replays += lane_num(&nl, "n", "d", i, DISAGG_A_LANE_REPLAYS);
		note("lane %u: %u before, %u after, %u halfway, %u silent, %u shut, %u half shut", i,
		     lanes[i].cuts[DIE_BEFORE], lanes[i].cuts[DIE_AFTER],
		     lanes[i].cuts[DIE_HALFWAY], lanes[i].cuts[BE_SILENT],
		     lanes[i].cuts[MOODS], lanes[i].cuts[MOODS + 1]);
	}
	note("%u cuts in %llu ms; %u writes, %u reads, %llu sent again", total,
	     (unsigned long long)(now_ms() - start), writes, reads, (unsigned long long)replays);
	result(!refused && (failed || total >= cuts_wanted / LANES * LANES),
	       "every new connection was taken");
	result(!failed, "no request failed, and no byte was wrong");
	result(replays > total / 8, "requests were sent again");
	note("%u lanes were lost without a cut", uncut);
	result(uncut <= 3, "hardly a lane is lost without a cut");
	device_get(&nl, "n", "d", &a);
	result(get_num(a.reply, a.len, DISAGG_A_DEVICE_STATE) == DISAGG_DEVICE_STATE_LIVE &&
	       !get_num(a.reply, a.len, DISAGG_A_DEVICE_ERRORS), "the device lives, without an error");
	close(disk);
	result(!node_del(&nl, "n", true), "it can be deleted");
	for (unsigned int i = 0; i < LANES; i++)
		serve_end(&lanes[i].server);
	result(module_free(), "nothing is left");
	return finish();
}
