// SPDX-License-Identifier: GPL-2.0
/*
 * Load for one or more lanes of a running disaggd, to measure its own cost:
 *
 *	make -C tools
 *	cc -O2 -D_GNU_SOURCE -Iuapi -Itools/lib -o /tmp/lane_load \
 *		selftests/daemon/lane_load.c tools/lib/libdisagg.a -lgnutls -pthread
 *	/tmp/lane_load PORT read|write BYTES DEPTH SECONDS [LANES [crc]]
 *
 * It takes a lease of 64 MiB, keeps DEPTH requests in flight on each lane at random
 * offsets, and prints requests and bytes per second. Replies are checked for tag and
 * status, not for content.
 */
#include <endian.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "wire.h"

#define LEASE_SIZE	(64ULL << 20)
#define BUFFER_SIZE	(8U << 20)

static int port, op, depth, lanes = 1;
static uint32_t length;
static uint64_t stop_at;
static bool crc;
static struct disagg_wire_grant grant;

struct load {
	pthread_t thread;
	unsigned int lane;
	uint64_t done;
};

static void die(const char *what, const struct dsg_error *e)
{
	fprintf(stderr, "%s: %s\n", what, e ? e->text : "failed");
	exit(1);
}

static size_t put_request(uint8_t *out, uint32_t tag, uint32_t *seed)
{
	struct disagg_wire_frame frame = {
		.magic = htole32(DISAGG_WIRE_MAGIC_REQUEST),
		.op = (uint8_t)op,
		.tag = htole32(tag),
		.length = htole32(length),
	};
	uint32_t payload = op == DISAGG_WIRE_OP_WRITE ? length : 0;

	*seed = *seed * 1664525 + 1013904223;
	frame.offset = htole64((*seed >> 4) % (LEASE_SIZE / length) * length);
	memset(out + sizeof(frame), (int)tag, payload);
	dsg_frame_seal(&frame, out + sizeof(frame), payload, crc);
	memcpy(out, &frame, sizeof(frame));
	return sizeof(frame) + payload;
}

static void *run(void *arg)
{
	struct load *load = arg;
	struct dsg_lane lane = {
		.lease = grant.lease,
		.token = grant.token,
		.generation = le64toh(grant.generation),
		.lane = load->lane,
		.lanes = (uint32_t)lanes,
		.features = crc ? DISAGG_WIRE_F_CRC32C : 0,
	};
	size_t reply = sizeof(struct disagg_wire_frame) +
		       (op == DISAGG_WIRE_OP_READ ? length : 0);
	uint8_t *in = malloc(BUFFER_SIZE), *out = malloc(BUFFER_SIZE);
	uint32_t seed = load->lane + 1;
	struct dsg_session session;
	struct dsg_error error;
	size_t have = 0, len = 0;
	int fd;

	fd = dsg_connect("127.0.0.1", (uint16_t)port, DSG_NO_DEADLINE, &error);
	if (fd < 0 || dsg_handshake_lane(fd, &lane, DSG_NO_DEADLINE, &session, &error))
		die("lane", &error);
	for (int i = 0; i < depth; i++)
		len += put_request(out + len, (uint32_t)i, &seed);
	while (dsg_now_ns() < stop_at) {
		size_t at = 0;
		ssize_t n;

		if (len && dsg_send_all(fd, out, len, DSG_NO_DEADLINE))
			die("send", NULL);
		len = 0;
		n = recv(fd, in + have, BUFFER_SIZE - have, 0);
		if (n <= 0)
			die("receive", NULL);
		have += (size_t)n;
		for (; have - at >= reply; at += reply) {
			struct disagg_wire_frame frame;

			memcpy(&frame, in + at, sizeof(frame));
			if (dsg_frame_check(&frame, DISAGG_WIRE_MAGIC_REPLY, crc) ||
			    frame.status || le32toh(frame.tag) >= (uint32_t)depth)
				die("reply", NULL);
			len += put_request(out + len, le32toh(frame.tag), &seed);
			load->done++;
		}
		memmove(in, in + at, have - at);
		have -= at;
	}
	dsg_session_close(&session);
	free(in);
	free(out);
	return NULL;
}

int main(int argc, char **argv)
{
	struct disagg_wire_reserve reserve = {
		.class = htole32(DISAGG_WIRE_CLASS_MEMORY),
		.size = htole64(LEASE_SIZE),
	};
	struct disagg_wire_lease_ref ref = { 0 };
	struct disagg_wire_grant committed;
	struct dsg_session session;
	struct dsg_error error;
	struct load *load;
	uint64_t done = 0;
	double seconds;
	int fd;

	if (argc < 6) {
		fprintf(stderr, "usage: %s PORT read|write BYTES DEPTH SECONDS [LANES [crc]]\n",
			argv[0]);
		return 2;
	}
	port = atoi(argv[1]);
	op = argv[2][0] == 'r' ? DISAGG_WIRE_OP_READ : DISAGG_WIRE_OP_WRITE;
	length = (uint32_t)atoi(argv[3]);
	depth = atoi(argv[4]);
	seconds = atof(argv[5]);
	if (argc > 6)
		lanes = atoi(argv[6]);
	crc = argc > 7;
	if (!length || depth < 1 || lanes < 1 || depth * (length + 48ULL) > BUFFER_SIZE)
		die("arguments", NULL);

	fd = dsg_connect("127.0.0.1", (uint16_t)port, DSG_NO_DEADLINE, &error);
	if (fd < 0 || dsg_handshake_control(fd, NULL, "load", 0, DSG_NO_DEADLINE, &session, &error))
		die("control", &error);
	if (dsg_uuid_random(reserve.txid) ||
	    dsg_control_reserve(&session, &reserve, &grant, DSG_NO_DEADLINE, &error))
		die("reserve", &error);
	memcpy(ref.lease, grant.lease, sizeof(ref.lease));
	ref.generation = grant.generation;
	if (dsg_control_lease(&session, DISAGG_WIRE_OP_COMMIT, grant.token, &ref, &committed,
			      DSG_NO_DEADLINE, &error))
		die("commit", &error);

	load = calloc((size_t)lanes, sizeof(*load));
	if (!load)
		die("memory", NULL);
	stop_at = dsg_deadline((uint64_t)(seconds * 1e9));
	for (int i = 0; i < lanes; i++) {
		load[i].lane = (unsigned int)i;
		pthread_create(&load[i].thread, NULL, run, &load[i]);
	}
	for (int i = 0; i < lanes; i++) {
		pthread_join(load[i].thread, NULL);
		done += load[i].done;
	}
	free(load);
	printf("%s %u bytes, depth %d, %d lanes%s: %.0f requests/s, %.0f MB/s, %.1f us each\n",
	       argv[2], length, depth, lanes, crc ? ", crc" : "", (double)done / seconds,
	       (double)done * length / seconds / 1e6,
	       seconds * 1e6 * depth * lanes / (double)done);
	if (dsg_control_lease(&session, DISAGG_WIRE_OP_RELEASE, grant.token, &ref, NULL,
			      DSG_NO_DEADLINE, &error))
		die("release", &error);
	dsg_session_close(&session);
	return 0;
}
