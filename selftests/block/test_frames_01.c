// SPDX-License-Identifier: GPL-2.0
/*
 * What a target is sent for what a program does to the disk: which operations,
 * with which flags, in which order, and never more at once than was agreed on.
 */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "../control/dgnl.h"

#define SIZE		(16 << 20)
#define MAX_PAYLOAD	65536
#define MAX_DISCARD	(1 << 20)
#define MAX_FRAMES	256

static struct dgnl nl;
static char *buf;

/* All but READs, which udev sends too. */
static struct disagg_wire_frame seen[MAX_FRAMES];
static volatile unsigned int nr_seen;

static bool record(struct server *s, struct disagg_wire_frame *frame)
{
	if (frame->op != DISAGG_WIRE_OP_READ && nr_seen < MAX_FRAMES)
		seen[nr_seen++] = *frame;
	return answer_well(s, frame);
}

static int attach(struct server *s, uint64_t features, uint32_t flags)
{
	int lane = serve(s), fd;
	struct device_new d = device_defaults(&lane, 1);
	unsigned int id;
	char path[40];

	d.size = SIZE;
	d.features = features;
	d.flags = flags;
	d.max_payload = MAX_PAYLOAD;
	d.max_discard = MAX_DISCARD;
	if (device_new(&nl, &d, &id))
		bail("no device");
	close(lane);
	settle_udev();
	snprintf(path, sizeof(path), "/dev/disagg%u", id);
	fd = open(path, (flags & DISAGG_DEVICE_FLAGS_READ_ONLY ? O_RDONLY : O_RDWR) |
		  O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		bail(path);
	nr_seen = 0;
	return fd;
}

static void detach(struct server *s, int fd)
{
	close(fd);
	result(!device_del(&nl, "n", "d", true), "it can be deleted");
	serve_end(s);
}

/*
 * What was seen is this: letters of operations, "!" for FUA, "k" for NOUNMAP; more
 * may follow a "*", as the flush that O_DSYNC on a disk brings in any case.
 */
static void sent(const char *want, const char *what)
{
	size_t len = strcspn(want, "*");
	char got[3 * MAX_FRAMES + 1] = "", *p = got;
	bool ok;

	for (unsigned int i = 0; i < nr_seen; i++) {
		*p++ = "?RWFDZ"[seen[i].op <= DISAGG_WIRE_OP_WRITE_ZEROES ? seen[i].op : 0];
		if (seen[i].flags & DISAGG_WIRE_FLAG_FUA)
			*p++ = '!';
		if (seen[i].flags & DISAGG_WIRE_FLAG_NOUNMAP)
			*p++ = 'k';
	}
	*p = 0;
	ok = want[len] ? !strncmp(got, want, len) : !strcmp(got, want);
	if (!ok)
		note("'%s' was sent, not '%s'", got, want);
	result(ok, "%s", what);
	nr_seen = 0;
}

static void write_with(int fd, int rwf)
{
	struct iovec vec = { .iov_base = buf, .iov_len = 4096 };

	if (pwritev2(fd, &vec, 1, 0, rwf) != 4096)
		note("write: %s", strerror(errno));
}

static void caches(void)
{
	struct server s = { .odd = record };
	int fd;

	fd = attach(&s, DISAGG_WIRE_F_FLUSH | DISAGG_WIRE_F_FUA, 0);
	write_with(fd, 0);
	sent("W", "a plain write");
	write_with(fd, RWF_DSYNC);
	sent("W!*", "a write with O_DSYNC, to a target that has FUA");
	fdatasync(fd);
	sent("F", "fdatasync");
	detach(&s, fd);

	fd = attach(&s, DISAGG_WIRE_F_FLUSH, 0);
	write_with(fd, RWF_DSYNC);
	sent("WF*", "a write with O_DSYNC, to a target that has none");
	detach(&s, fd);

	fd = attach(&s, 0, 0);
	write_with(fd, RWF_DSYNC);
	fsync(fd);
	sent("W", "to a target without a cache nothing is flushed");
	detach(&s, fd);
}

static void zeroes(void)
{
	uint64_t range[2] = { 0, 65536 };
	struct server s = { .odd = record };
	int fd;

	fd = attach(&s, DISAGG_WIRE_F_DISCARD | DISAGG_WIRE_F_WRITE_ZEROES, 0);
	if (ioctl(fd, BLKDISCARD, range))
		note("BLKDISCARD: %s", strerror(errno));
	sent("D", "BLKDISCARD");
	if (ioctl(fd, BLKZEROOUT, range))
		note("BLKZEROOUT: %s", strerror(errno));
	sent("Zk", "BLKZEROOUT keeps the space");
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536))
		note("fallocate: %s", strerror(errno));
	sent("Z", "punching a hole does not");
	range[1] = 4 * MAX_DISCARD;
	if (ioctl(fd, BLKDISCARD, range))
		note("BLKDISCARD: %s", strerror(errno));
	sent("DDDD", "a long discard is cut at max-discard");
	detach(&s, fd);
}

static void sizes(void)
{
	struct server s = { .odd = record };
	uint32_t longest = 0;
	uint64_t next = 0;
	bool whole = true;
	int fd;

	fd = attach(&s, 0, 0);
	if (pwrite(fd, buf, 1 << 20, SIZE - (1 << 20)) != 1 << 20)
		note("write: %s", strerror(errno));
	for (unsigned int i = 0; i < nr_seen; i++) {
		longest = seen[i].payload > longest ? seen[i].payload : longest;
		whole &= seen[i].payload == seen[i].length;
		next += seen[i].length;
	}
	note("%u requests, the longest of %u bytes", nr_seen, longest);
	result(longest && longest <= MAX_PAYLOAD, "no payload is longer than max-payload");
	result(whole && next == 1 << 20, "together they are what was written");
	nr_seen = 0;
	result(pwrite(fd, buf, 4096, SIZE) < 0 && !nr_seen, "nothing is sent beyond the end");
	detach(&s, fd);
}

static void read_only(void)
{
	struct server s = { .odd = record };
	uint64_t range[2] = { 0, 65536 };
	char path[60];
	int fd = attach(&s, DISAGG_WIRE_F_DISCARD | DISAGG_WIRE_F_FLUSH,
			DISAGG_DEVICE_FLAGS_READ_ONLY), rw;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rw = open(path, O_RDWR | O_CLOEXEC);
	result(rw < 0 || (pwrite(rw, buf, 4096, 0) < 0 || fsync(rw)),
	       "a read-only disk takes no writes");
	if (rw >= 0) {
		ioctl(rw, BLKDISCARD, range);
		close(rw);
	}
	sent("", "and the target is sent none");
	detach(&s, fd);
}

int main(void)
{
	need_module();
	nl = dgnl_open();
	if (posix_memalign((void **)&buf, 4096, 1 << 20) || node_new(&nl, "n"))
		bail("no node");
	memset(buf, 1, 1 << 20);
	caches();
	zeroes();
	sizes();
	read_only();
	result(!node_del(&nl, "n", false) && module_free(), "nothing is left");
	return finish();
}
