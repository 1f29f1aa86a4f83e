/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Allocations that fail where a test wants it: the N-th of a stretch of this thread's
 * (/proc/thread-self/fail-nth), or by chance those of the module's own functions,
 * whoever runs them (failslab, fail_page_alloc, by what is on the stack).
 */
#ifndef DISAGG_TEST_INJECT_H
#define DISAGG_TEST_INJECT_H

#include "../tls/tls_pair.h"

#define DEBUGFS	"/sys/kernel/debug/"
#define SIZE	(16 << 20)
#define LANES	2
#define TIMES	"100000000"	/* as many as anybody may want */

static struct dgnl nl;

DG_FN bool put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Both kinds of allocation, those that could wait for memory and single pages too. */
DG_FN void inject_setting(const char *name, const char *value)
{
	static const char * const kinds[] = { "failslab", "fail_page_alloc" };
	char path[128];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s/%s", kinds[i], name);
		if (!put_file(path, value))
			bail(path);
	}
}

/*
 * Where the module's functions are, by their symbols, since the size of its text nobody
 * tells; or, with @name, the kernel's function of that name.
 */
DG_FN bool symbols(const char *name, uint64_t *start, uint64_t *end)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char line[512], kind, symbol[256], module[64];
	unsigned long long at;
	int n;

	*start = UINT64_MAX;
	*end = 0;
	while (f && fgets(line, sizeof(line), f)) {
		n = sscanf(line, "%llx %c %255s [%63[^]]", &at, &kind, symbol, module);
		/* The kernel's own are in order: its function ends where the next one begins. */
		if (name && *start < at && !*end)
			*end = at;
		if (n < 3 || (kind != 't' && kind != 'T') ||
		    (name ? n != 3 || strcmp(symbol, name) : n != 4 || strcmp(module, "disagg")))
			continue;
		*start = at < *start ? at : *start;
		if (!name)
			*end = at + 4096 > *end ? at + 4096 : *end;	/* of the last one */
	}
	if (f)
		fclose(f);
	return *start < *end;
}

/* Only what is allocated with a function on the stack that lies there. */
DG_FN void inject_range(uint64_t start, uint64_t end)
{
	char text[32];

	snprintf(text, sizeof(text), "%#llx", (unsigned long long)start);
	inject_setting("require-start", text);
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)end);
	inject_setting("require-end", text);
}

/* Of what the module allocates, or has allocated for it. */
DG_FN void inject_module(void)
{
	uint64_t start, end;

	if (!symbols(NULL, &start, &end))
		bail("the module has no symbols");
	inject_range(start, end);
}

DG_FN void inject_init(void)
{
	if (access(DEBUGFS "failslab", F_OK) || access("/proc/thread-self/fail-nth", F_OK))
		bail("this kernel injects no faults");
	inject_module();
	inject_setting("stacktrace-depth", "32");
	inject_setting("ignore-gfp-wait", "N");
	inject_setting("probability", "0");
	inject_setting("times", TIMES);
	inject_setting("verbose", "0");
	if (!put_file(DEBUGFS "fail_page_alloc/min-order", "0"))
		bail("min-order");
}

/* ---- the N-th ---- */

static int inject_fd = -1;

/* The @nth allocation of this thread from now on fails. */
DG_FN void arm(unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	if (inject_fd < 0)
		inject_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (pwrite(inject_fd, text, len, 0) != len)
		bail("fail-nth");
}

/* None from now on. Return: whether one has. */
DG_FN bool disarm(void)
{
	char text[16] = "";

	if (pread(inject_fd, text, sizeof(text) - 1, 0) <= 0 || pwrite(inject_fd, "0", 1, 0) != 1)
		bail("fail-nth");
	return !atoi(text);
}

/* ---- by chance ---- */

/* How many have failed so far. */
DG_FN unsigned int injections(void)
{
	static const char * const left[] = { DEBUGFS "failslab/times",
					     DEBUGFS "fail_page_alloc/times" };
	unsigned int n = 0;
	char text[32];

	for (int i = 0; i < 2; i++) {
		int fd = open(left[i], O_RDONLY | O_CLOEXEC);
		ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

		if (len <= 0)
			bail(left[i]);
		text[len] = 0;
		n += atoi(TIMES) - atoi(text);
		close(fd);
	}
	return n;
}

/* Of all of them @percent of a hundred fail, whoever runs the module; 0: none. */
DG_FN void chance(unsigned int percent)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", percent);
	inject_setting("probability", text);
}

/* ---- a device, and what is behind it ---- */

static char *store;
static struct server *servers[LANES];
static int lanes[LANES];
static const struct cipher *cipher;	/* of TLS, or NULL for none */

DG_FN struct server *new_server(int *lane)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		bail("no memory");
	s->store = store;
	*lane = tls_serve(s, cipher);
	return s;
}

DG_FN void end_server(struct server *s)
{
	serve_end(s);
	free(s);
}

static unsigned int never_told;

/*
 * The module has let go of its socket, to which nobody else holds on. A FIN for which
 * there is no memory TCP does not send: that is counted.
 */
DG_FN void await_server(struct server *s)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	if (pthread_timedjoin_np(s->thread, NULL, &until)) {
		never_told++;
		end_server(s);
		return;
	}
	close(s->fd);
	free(s);
}

DG_FN void make_lanes(void)
{
	for (int i = 0; i < LANES; i++)
		servers[i] = new_server(&lanes[i]);
}

DG_FN void close_lanes(void)
{
	for (int i = 0; i < LANES; i++)
		close(lanes[i]);
}

DG_FN void end_lanes(void)
{
	for (int i = 0; i < LANES; i++)
		end_server(servers[i]);
}

DG_FN void await_lanes(void)
{
	for (int i = 0; i < LANES; i++)
		await_server(servers[i]);
}

DG_FN bool device_there(void)
{
	return device_state(&nl, "n", "d") >= 0;
}

static unsigned int disk_id;

DG_FN bool works(void)
{
	static char *buf;
	int fd = open_disk(disk_id, O_RDWR | O_DIRECT);
	bool ok;

	if (!buf)
		buf = aligned(65536);
	for (int i = 0; i < 65536; i++)
		buf[i] = (char)random();
	ok = pwrite(fd, buf, 65536, 1 << 20) == 65536 && !memcmp(store + (1 << 20), buf, 65536) &&
	     pread(fd, buf, 65536, 1 << 20) == 65536 && !memcmp(store + (1 << 20), buf, 65536);
	close(fd);
	return ok;
}

DG_FN void make_device(void)
{
	struct device_new d = device_defaults(lanes, LANES);

	make_lanes();
	d.size = SIZE / 2;
	d.dead_after = DISAGG_NEVER;
	if (device_new(&nl, &d, &disk_id))
		bail("no device");
	close_lanes();
}

DG_FN void delete_device(void)
{
	if (device_there() && device_del(&nl, "n", "d", true))
		bail("the device stays");
	end_lanes();
}

#endif /* DISAGG_TEST_INJECT_H */
