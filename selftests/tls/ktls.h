/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of lanes with TLS in the kernel: records that are not data, and a relay
 * between two sockets that sees, keeps and spoils what goes over the wire.
 */
#ifndef DISAGG_TEST_KTLS_H
#define DISAGG_TEST_KTLS_H

#include <sys/ioctl.h>

#include "tls_pair.h"
#include "wire.h"

#define SIZE		(16 << 20)
#define LIVE		DISAGG_DEVICE_STATE_LIVE
#define LOST		DISAGG_DEVICE_STATE_LOST
#define DEAD		DISAGG_DEVICE_STATE_DEAD

enum { RECORD_CHANGE_CIPHER = 20, RECORD_ALERT, RECORD_HANDSHAKE, RECORD_DATA };

/* Send a record of another type than data. */
DG_FN bool send_record(int fd, uint8_t type, const void *data, size_t len)
{
	char control[CMSG_SPACE(1)] = {};
	struct iovec vec = { .iov_base = (void *)data, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &vec, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_TLS;
	cmsg->cmsg_type = TLS_SET_RECORD_TYPE;
	cmsg->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(cmsg) = type;
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)len;
}

/* ---- a relay ---- */

struct relay {
	int fds[2];		/* towards the module, towards the target */
	pthread_t threads[2];
	char *seen[2];		/* what came from there */
	size_t len[2], room;
	volatile bool spoil;	/* one byte of what the target sends next */
};

struct relay_end {
	struct relay *r;
	int from;
};

DG_FN void *relay_main(void *data)
{
	struct relay_end e = *(struct relay_end *)data;
	struct relay *r = e.r;
	char buf[16384];
	ssize_t n;

	free(data);
	while ((n = recv(r->fds[e.from], buf, sizeof(buf), 0)) > 0) {
		if (r->len[e.from] + n <= r->room) {
			memcpy(r->seen[e.from] + r->len[e.from], buf, n);
			r->len[e.from] += n;
		}
		if (e.from && r->spoil) {
			buf[n / 2] ^= 1;
			r->spoil = false;
		}
		if (!write_all(r->fds[!e.from], buf, n))
			break;
	}
	shutdown(r->fds[!e.from], SHUT_WR);
	return NULL;
}

/* As tls_serve(), with @r in between, which keeps the first @room bytes of each side. */
DG_FN int relay_serve(struct relay *r, struct server *s, const struct cipher *c, size_t room)
{
	int fd = tcp_pair(&r->fds[0]);

	s->fd = tcp_pair(&r->fds[1]);
	if (c) {
		errno = tls_install(fd, c, 1);
		if (!errno)
			errno = tls_install(s->fd, c, 0);
		if (errno)
			bail("no TLS in the kernel");
	}
	r->room = room;
	for (int i = 0; i < 2; i++) {
		struct relay_end *e = malloc(sizeof(*e));

		*e = (struct relay_end) { r, i };
		r->seen[i] = malloc(room + 1);
		r->len[i] = 0;
		if (pthread_create(&r->threads[i], NULL, relay_main, e))
			bail("no thread");
	}
	serve_on(s);
	return fd;
}

DG_FN void relay_end(struct relay *r)
{
	for (int i = 0; i < 2; i++)
		shutdown(r->fds[i], SHUT_RDWR);
	for (int i = 0; i < 2; i++) {
		pthread_join(r->threads[i], NULL);
		close(r->fds[i]);
		free(r->seen[i]);
	}
}

/* ---- devices ---- */

/* Make n/d of @d, whose lanes are closed here; opened, and let alone by udev. */
DG_FN int make_device(struct dgnl *nl, const struct device_new *d)
{
	unsigned int id;

	if (device_new(nl, d, &id))
		bail("no device");
	for (unsigned int i = 0; i < d->nr_lanes; i++)
		close(d->lanes[i]);
	settle_udev();
	return open_disk(id, O_RDWR | O_DIRECT);
}

DG_FN bool in_state(struct dgnl *nl, int state)
{
	int is = 0;

	for (int i = 0; i < 400; i++) {
		is = device_state(nl, "n", "d");
		if (is == state)
			return true;
		poll(NULL, 0, 20);
	}
	note("state %d, not %d", is, state);
	return false;
}

/* Why lane 0 was lost, or the device is dead. */
DG_FN bool has_reason(struct dgnl *nl, const char *reason)
{
	struct answer a = {};
	const char *text = "";
	const void *start;
	size_t len;

	if (!device_get(nl, "n", "d", &a)) {
		text = get_str(a.reply, a.len, DISAGG_A_DEVICE_REASON);
		if (!*text && find_lane(&a, 0, &start, &len))
			text = get_str(start, len, DISAGG_A_LANE_REASON);
	}
	if (strstr(text, reason))
		return true;
	note("reason '%s'", text);
	return false;
}

DG_FN bool goes_at_once(struct dgnl *nl)
{
	uint64_t start = now_ms();
	int err = device_del(nl, "n", "d", true);

	if (err || now_ms() - start > 2000)
		note("delete: errno %d after %u ms", err, (unsigned int)(now_ms() - start));
	return !err && now_ms() - start <= 2000;
}

/* A new connection for lane 0, with TLS if @c. Return: errno. */
DG_FN int renew(struct dgnl *nl, struct server *s, const struct cipher *c)
{
	uint32_t generation = lane_num(nl, "n", "d", 0, DISAGG_A_LANE_GENERATION);
	struct answer a;
	int fd = tls_serve(s, c);

	lane_replace(nl, "n", "d", 0, generation, fd, &a);
	close(fd);
	if (a.error)
		note("%s: %s", strerror(a.error), a.text);
	return a.error;
}

/* Bytes that are nowhere else: of @seed, at @offset. */
DG_FN void pattern(char *buf, size_t len, uint64_t offset, uint64_t seed)
{
	for (size_t i = 0; i < len / 8; i++)
		((uint64_t *)buf)[i] = (offset / 8 + i + 1) * 0x9e3779b97f4a7c15ULL ^ seed;
}

/* ---- one request that waits ---- */

#define LEN		65536	/* where it is, and how long most are */

struct job {
	pthread_t thread;
	int fd;
	bool write;
	char *buf;
	size_t len;
	ssize_t n;
	int error;
	volatile bool done;
};

DG_FN void *job_main(void *data)
{
	struct job *j = data;

	j->n = j->write ? pwrite(j->fd, j->buf, j->len, LEN) : pread(j->fd, j->buf, j->len, LEN);
	j->error = j->n < 0 ? errno : 0;
	j->done = true;
	return NULL;
}

DG_FN void job_start(struct job *j, int fd, bool write, size_t len)
{
	*j = (struct job) { .fd = fd, .write = write, .len = len, .buf = aligned(len) };
	pattern(j->buf, len, 0, write ? 11 : 12);
	if (pthread_create(&j->thread, NULL, job_main, j))
		bail("no thread");
}

/* Return: 0, errno, or -1 if it has not ended within @ms. */
DG_FN int job_end(struct job *j, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (!j->done && now_ms() < end)
		poll(NULL, 0, 5);
	if (!j->done)
		return -1;
	pthread_join(j->thread, NULL);
	return j->n == (ssize_t)j->len ? 0 : j->error;
}

#endif /* DISAGG_TEST_KTLS_H */
