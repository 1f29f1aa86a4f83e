// SPDX-License-Identifier: GPL-2.0
/*
 * Lanes with TLS in the kernel: what is written is read again, whatever the cipher,
 * the size and the block size; nothing of it can be read on the wire; sockets that
 * are only half set up are refused; and the module says which lanes are protected.
 */
#include "ktls.h"

#include <linux/fs.h>
#include <sys/uio.h>

#define BIG	(1 << 20)	/* one request of the largest kind */

static struct dgnl nl;
static char *store;

/* With CRC: requests are checked, replies are sealed. */
static volatile bool bad_request;

static bool answer_sealed(struct server *s, struct disagg_wire_frame *f)
{
	const char *payload;

	if (dsg_frame_check(f, DISAGG_WIRE_MAGIC_REQUEST, true) ||
	    dsg_crc32c(s->payload, f->payload) != f->payload_crc)
		bad_request = true;
	payload = make_reply(s, f);
	dsg_frame_seal(f, payload, f->payload, true);
	return write_all(s->fd, f, sizeof(*f)) && write_all(s->fd, payload, f->payload);
}

static bool io(int fd, const char *buf, char *back, size_t len, off_t offset)
{
	memset(back, 0, len);
	return pwrite(fd, buf, len, offset) == (ssize_t)len &&
	       !memcmp(store + offset, buf, len) &&
	       pread(fd, back, len, offset) == (ssize_t)len && !memcmp(back, buf, len);
}

static void data(const struct cipher *c, bool crc, uint32_t block_size)
{
	struct server s = { .odd = crc ? answer_sealed : NULL, .store = store };
	char *buf = aligned(4 * BIG), *back = aligned(4 * BIG);
	struct device_new d;
	bool ok = true;
	int fd, lane;

	lane = tls_serve(&s, c);
	d = device_defaults(&lane, 1);
	d.size = SIZE;
	d.block_size = block_size;
	d.features |= DISAGG_WIRE_F_FUA | DISAGG_WIRE_F_FLUSH;
	if (crc)
		d.features |= DISAGG_WIRE_F_CRC32C;
	bad_request = false;
	fd = make_device(&nl, &d);
	pattern(buf, 4 * BIG, 0, c->type + crc);
	for (size_t len = block_size; len <= 4 * BIG; len *= 4)
		ok &= io(fd, buf, back, len, 3 * block_size) &&
		      io(fd, buf + block_size, back, len - (len > block_size) * block_size, BIG);
	result(ok && !bad_request, "%s, blocks of %u%s: what is written is read again", c->name,
	       block_size, crc ? ", CRC" : "");
	result(lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_SECURITY) == DISAGG_LANE_SECURITY_TLS &&
	       device_state(&nl, "n", "d") == LIVE &&
	       lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_GENERATION) == 1,
	       "%s, blocks of %u%s: the lane has TLS, and had no other socket", c->name,
	       block_size, crc ? ", CRC" : "");
	close(fd);
	/* udev may have it open for a moment, since it was open for writing. */
	if (device_del(&nl, "n", "d", true))
		note("it is not deleted");
	serve_end(&s);
	free(buf);
	free(back);
}

/* FUA and flush, discard, zeroes, a device that grows. */
static void operations(void)
{
	uint64_t range[2] = { 65536, 131072 }, size = 0;
	struct server s = { .store = store };
	char *buf = aligned(65536);
	struct device_new d;
	int fd, lane, flags;

	lane = tls_serve(&s, &ciphers[0]);
	d = device_defaults(&lane, 1);
	d.size = SIZE / 2;
	d.features |= DISAGG_WIRE_F_FUA | DISAGG_WIRE_F_FLUSH;
	fd = make_device(&nl, &d);
	flags = fcntl(fd, F_GETFL);
	pattern(buf, 65536, 0, 5);
	result(pwritev2(fd, &(struct iovec) { buf, 65536 }, 1, 65536, RWF_DSYNC) == 65536 &&
	       !fsync(fd) && !memcmp(store + 65536, buf, 65536), "FUA and FLUSH");
	memset(store, 0x77, SIZE);
	result(!ioctl(fd, BLKDISCARD, range) && !store[65536], "DISCARD");
	memset(store, 0x77, SIZE);
	result(!ioctl(fd, BLKZEROOUT, range) && !store[65536] && !store[196607] &&
	       store[196608] == 0x77, "WRITE_ZEROES");
	result(!device_set(&nl, "n", "d", DISAGG_A_DEVICE_SIZE, SIZE) &&
	       !ioctl(fd, BLKGETSIZE64, &size) && size == SIZE &&
	       pwrite(fd, buf, 65536, SIZE - 65536) == 65536 &&
	       !memcmp(store + SIZE - 65536, buf, 65536), "it grows, and so does what it takes");
	result(flags >= 0 && goes_at_once(&nl), "it can be deleted while it is open");
	close(fd);
	serve_end(&s);
	free(buf);
}

/* Is @needle, or a good part of it, in what the relay saw? */
static bool wire_has(const struct relay *r, int from, const char *needle, size_t len)
{
	for (size_t at = 0; at + 64 <= len; at += 64)
		if (memmem(r->seen[from], r->len[from], needle + at, 64))
			return true;
	return false;
}

static void on_the_wire(const struct cipher *c)
{
	char *buf = aligned(65536), *back = aligned(65536);
	const char *name = c ? c->name : "without TLS";
	struct server s = { .store = store };
	struct disagg_wire_frame frame = {
		.magic = DISAGG_WIRE_MAGIC_REQUEST, .op = DISAGG_WIRE_OP_WRITE,
	};
	bool ok, out, in, framed;
	struct relay r = {};
	struct device_new d;
	int fd, lane;

	lane = relay_serve(&r, &s, c, 8 << 20);
	d = device_defaults(&lane, 1);
	d.size = SIZE;
	fd = make_device(&nl, &d);
	pattern(buf, 65536, 0, 99);
	ok = io(fd, buf, back, 65536, 65536);
	out = wire_has(&r, 0, buf, 65536);
	in = wire_has(&r, 1, buf, 65536);
	framed = memmem(r.seen[0], r.len[0], &frame.magic, sizeof(frame.magic));
	note("%s: %zu bytes out, %zu in", name, r.len[0], r.len[1]);
	if (c)
		result(ok && !out && !in && !framed && r.len[0] > 65536 && r.len[1] > 65536,
		       "%s: the wire carries neither payload nor frames", name);
	else
		result(ok && out && in && framed, "%s: the relay sees all", name);
	close(fd);
	/* udev may have it open for a moment, since it was open for writing. */
	if (device_del(&nl, "n", "d", true))
		note("it is not deleted");
	serve_end(&s);
	relay_end(&r);
	free(buf);
	free(back);
}

/* ---- sockets that are refused ---- */

static const struct refusal {
	const char *name, *text;
	bool tx, rx;
	uint16_t version;
} refusals[] = {
	{ "TLS without keys", "both directions", false, false, TLS_1_3_VERSION },
	{ "TLS that only sends", "both directions", true, false, TLS_1_3_VERSION },
	{ "TLS that only receives", "both directions", false, true, TLS_1_3_VERSION },
	{ "TLS 1.2", "1.3", true, true, TLS_1_2_VERSION },
};

static void refused(const struct refusal *r)
{
	struct device_new d;
	struct answer a;
	int lane, peer;
	struct msg m;

	lane = tcp_pair(&peer);
	if (tls_ulp(lane) ||
	    (r->tx && tls_key(lane, &ciphers[0], TLS_TX, 1, r->version)) ||
	    (r->rx && tls_key(lane, &ciphers[0], TLS_RX, 0, r->version)))
		bail("no TLS");
	d = device_defaults(&lane, 1);
	device_new_msg(&nl, &m, &d);
	result(ask(&nl, &m, &a) == EPROTONOSUPPORT && strstr(a.text, r->text) &&
	       a.bad_attr == DISAGG_A_DEVICE_LANE, "%s is refused", r->name);
	if (a.error != EPROTONOSUPPORT)
		note("errno %d: %s", a.error, a.text);
	/* It is as good as it was: given the rest, it is taken. */
	if (r->version == TLS_1_3_VERSION) {
		if (!r->tx && tls_key(lane, &ciphers[0], TLS_TX, 1, r->version))
			bail("no key");
		if (!r->rx && tls_key(lane, &ciphers[0], TLS_RX, 0, r->version))
			bail("no key");
		result(!device_new(&nl, &d, NULL) && goes_at_once(&nl) && is_closed(peer),
		       "%s: when it is complete it is taken", r->name);
	}
	close(lane);
	close(peer);
}

/* Who has the descriptor as well may do harm to the lane, and to nothing else. */
static void descriptor_kept(void)
{
	struct server s[2] = { { .store = store }, { .store = store } };
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	char *buf = aligned(65536), *back = aligned(65536);
	int fd, lanes[2], kept[2], on = 1;
	struct device_new d;
	bool ok;

	lanes[0] = tls_serve(&s[0], &ciphers[1]);
	lanes[1] = serve(&s[1]);
	for (int i = 0; i < 2; i++)
		kept[i] = dup(lanes[i]);
	d = device_defaults(lanes, 2);
	d.size = SIZE;
	fd = make_device(&nl, &d);
	result(lane_num(&nl, "n", "d", 0, DISAGG_A_LANE_SECURITY) == DISAGG_LANE_SECURITY_TLS &&
	       lane_num(&nl, "n", "d", 1, DISAGG_A_LANE_SECURITY) == DISAGG_LANE_SECURITY_NONE,
	       "one lane with TLS and one without");
	result(tls_ulp(kept[1]) && tls_ulp(kept[0]), "TLS is not set up on a lane");
	result(connect(kept[0], &none, sizeof(none)) && listen(kept[0], 1),
	       "a lane with TLS is neither disconnected nor made to listen");
	d = device_defaults(kept, 1);
	d.name = "e";
	result(device_new(&nl, &d, NULL) == EBUSY, "nor given to a second device");
	/* These are allowed. */
	setsockopt(kept[0], SOL_TLS, 3 /* TLS_TX_ZEROCOPY_RO */, &on, sizeof(on));
	setsockopt(kept[0], SOL_TLS, 4 /* TLS_RX_EXPECT_NO_PAD */, &on, sizeof(on));
	ok = true;
	pattern(buf, 65536, 0, 7);
	for (int i = 0; i < 32; i++)
		ok &= io(fd, buf, back, 65536, i * 65536);
	result(ok && device_state(&nl, "n", "d") == LIVE, "options of TLS do no harm");
	result(goes_at_once(&nl) && is_closed(s[0].fd) && is_closed(s[1].fd),
	       "both lanes are let go although somebody else has them");
	result(listen(kept[0], 1), "nor does it listen afterwards");
	for (int i = 0; i < 2; i++) {
		close(kept[i]);
		serve_end(&s[i]);
	}
	close(fd);
	free(buf);
	free(back);
}

/* The module goes although devices are there; nobody has them open. */
static void unload(void)
{
	struct server s = { .store = store };
	struct device_new d;
	int lane, ms;

	lane = tls_serve(&s, &ciphers[0]);
	d = device_defaults(&lane, 1);
	close(make_device(&nl, &d));
	settle_udev();
	ms = unload_module(&nl);
	result(ms >= 0 && ms <= 2000, "the module goes with a lane that has TLS");
	result(is_closed(s.fd), "whose connection it closes");
	serve_end(&s);
}

int main(void)
{
	need_module();
	if (system("modprobe tls"))
		bail("no TLS in this kernel");
	nl = dgnl_open();
	store = calloc(1, SIZE);
	if (node_new(&nl, "n"))
		bail("no node");
	for (size_t i = 0; i < NR_CIPHERS; i++)
		data(&ciphers[i], i & 1, i == 2 ? 512 : 4096);
	data(&ciphers[0], true, 512);
	data(&ciphers[0], false, 2048);
	operations();
	on_the_wire(NULL);
	for (size_t i = 0; i < NR_CIPHERS; i++)
		on_the_wire(&ciphers[i]);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++)
		refused(&refusals[i]);
	descriptor_kept();
	result(!count(&nl, DISAGG_CMD_DEVICE_GET), "no device is left");
	unload();
	return finish();
}
