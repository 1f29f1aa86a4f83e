/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DISAGG_AGENT_H
#define DISAGG_AGENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <linux/disagg_netlink.h>
#include <linux/disagg_wire.h>

#include "target.h"

#define DEVICES_MAX	128

struct device;

enum lane_state {
	LANE_IDLE,		/* nothing to do: it lives, or nobody can help */
	LANE_PAUSE,		/* until the deadline, then another try */
	LANE_CONNECT,
	LANE_TLS,
	LANE_GREETING,
	LANE_WELCOME,
};

/**
 * struct lane - one lane of a device, and the connection on its way for it
 * @generation: of the module's socket, which the next one replaces
 * @lost: as the module says
 * @renewing: it lives, and is to have another connection all the same
 * @fd: -1 unless connecting, or awaiting GREETING or WELCOME
 * @slot: it is one of its device's @slots
 * @tls: its handshake, as long as that goes on
 * @tries: since it was last there for more than a moment
 * @said: a sum of why the last one failed
 * @deadline: monotonic ns; what is awaited must have come by then
 * @lost_at: monotonic ns; when it was heard of
 * @restored_at: monotonic ns; when it was last handed over
 * @epoch: of the target that greeted it
 * @have: bytes of @greeting or @welcome that are here
 */
struct lane {
	struct device *device;
	uint32_t index;
	uint32_t generation;
	bool lost;
	bool renewing;
	enum lane_state state;
	int fd;
	bool slot;
	struct dsg_tls *tls;
	unsigned int tries;
	uint32_t said;
	uint64_t deadline;
	uint64_t lost_at;
	uint64_t restored_at;
	uint64_t epoch;
	size_t have;
	struct disagg_wire_hello hello;
	union {
		struct disagg_wire_greeting greeting;
		struct disagg_wire_welcome welcome;
	};
};

/**
 * struct device - a device whose lanes are watched
 * @used: the slot is taken
 * @given_up: its target will not have it back
 * @address: of the target, as the lanes had it
 * @target: as its node's record has it
 * @creds: for its target; NULL: it does without TLS
 * @keys_read_at: monotonic ns, when that was tried last
 * @renew: lanes that are still to be renewed, the last one first
 * @epoch: of its target, when the lease was taken; zero: not known
 * @rtt: ns that the last connection took to come about
 * @slots: lanes that connect or shake hands, if it has @creds
 */
struct device {
	bool used;
	bool given_up;
	uint32_t id;
	char node[DISAGG_NAME_MAX + 1];
	char name[DISAGG_NAME_MAX + 1];
	uint8_t lease[DISAGG_WIRE_UUID_LEN];
	uint8_t token[DISAGG_WIRE_KEY_LEN];
	uint64_t generation;
	uint64_t size;
	uint64_t features;
	uint32_t max_payload;
	uint32_t depth;
	uint32_t block_size;
	uint32_t io_timeout;
	uint32_t nr_lanes;
	struct sockaddr_storage address;
	socklen_t address_len;
	struct dsg_target target;
	struct dsg_creds *creds;
	uint64_t keys_read_at;
	uint32_t renew;
	uint64_t epoch;
	uint64_t rtt;
	unsigned int slots;
	struct lane lanes[DISAGG_MAX_LANES];
};

/* What the module says of a device; strings are its message's. */
struct news {
	uint32_t id;
	const char *node, *name, *target;
	uint32_t state;
	const uint8_t *lease;
	uint64_t generation, size, features;
	uint32_t max_payload, depth, block_size, io_timeout, dead_after;
	uint32_t nr_lanes;
	struct {
		uint32_t index, generation, state;
		const char *peer, *reason;
	} lanes[DISAGG_MAX_LANES];
};

extern int epoll_fd;

/* log.c: a line to standard error, which is never waited for */
__attribute__((format(printf, 2, 3)))
void say(int level, const char *fmt, ...);

/* announce.c: until a signal ends it; 0 or -errno, which was logged */
int announcements(uint16_t port, char *const *groups, unsigned int nr_groups);

/* device.c */
/* Return: whether all is well; if not the module should be asked again some time. */
bool device_heard(const struct news *news);
void device_gone(uint32_t id);
void devices_forget(void);
/* Those that were not heard of between devices_mark() and devices_sweep() are gone. */
void devices_mark(void);
void devices_sweep(void);
unsigned int devices_count(void);
/* Read the keys for a device's target anew; 0 or -errno, and those before stay in use. */
int device_read_keys(struct device *dev);
/* The same for all, whose lanes then get new connections, one after the other. */
void devices_renew(void);
/* Do what is due; return the next deadline. */
uint64_t devices_check(uint64_t now);

/* lane.c */
void lane_lost(struct lane *lane, const char *why);
/* Replace a lane that lives by a new connection. */
void lane_renew(struct lane *lane);
/* What it is at is begun again later, with other keys. */
void lane_interrupt(struct lane *lane);
void lane_stop(struct lane *lane);
void lane_ready(struct lane *lane);
void lane_due(struct lane *lane);

/* module.c: 0 or -errno */
int module_open(void);
/* Its events are read, which calls device.c. */
void module_ready(void);
int module_fd(void);
/* Do what is due; return the next deadline. */
uint64_t module_check(uint64_t now);
int module_hand_over(const struct lane *lane, int fd);
int module_give_up(const struct device *device);

#endif
