// SPDX-License-Identifier: GPL-2.0
/* The devices that are watched. What a device needs is read when it appears. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "agent.h"
#include "record.h"
#include "wire.h"

static struct device devices[DEVICES_MAX];
static bool marked[DEVICES_MAX];

static struct device *find(uint32_t id)
{
	for (int i = 0; i < DEVICES_MAX; i++)
		if (devices[i].used && devices[i].id == id)
			return &devices[i];
	return NULL;
}

static void forget(struct device *dev)
{
	for (uint32_t i = 0; i < dev->nr_lanes; i++)
		lane_stop(&dev->lanes[i]);
	dsg_creds_free(dev->creds);
	dev->creds = NULL;
	explicit_bzero(dev->token, sizeof(dev->token));
	dev->used = false;
}

/* The address of "1.2.3.4:7420", "[2001:db8::1]:7420" or "[fe80::1]:7420%2". */
static bool parse_peer(const char *peer, struct device *dev)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&dev->address;
	struct sockaddr_in *in = (struct sockaddr_in *)&dev->address;
	const char *colon = strrchr(peer, ':');
	char host[64], *scope;
	unsigned long port;

	memset(&dev->address, 0, sizeof(dev->address));
	if (!colon || colon == peer || (size_t)(colon - peer) >= sizeof(host))
		return false;
	port = strtoul(colon + 1, &scope, 10);
	if (!port || port > 65535)
		return false;
	if (*peer == '[') {
		snprintf(host, sizeof(host), "%.*s", (int)(colon - peer - 2), peer + 1);
		if (*scope == '%')
			in6->sin6_scope_id = (uint32_t)strtoul(scope + 1, NULL, 10);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		dev->address_len = sizeof(*in6);
		return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1;
	}
	snprintf(host, sizeof(host), "%.*s", (int)(colon - peer), peer);
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	dev->address_len = sizeof(*in);
	return inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

/* The secret of the device's lease, from its node's record. */
static bool read_token(struct device *dev)
{
	struct dsg_record record;
	struct dsg_fault fault;
	bool found = false;

	if (dsg_record_load(dev->node, &record, &fault)) {
		say(LOG_WARNING, "%s/%s: its links can't be restored: %s", dev->node, dev->name,
		    fault.reason);
		return false;
	}
	for (size_t i = 0; i < record.count && !found; i++) {
		const struct dsg_record_device *d = &record.devices[i];

		found = !strcmp(d->name, dev->name) &&
			!memcmp(d->lease, dev->lease, sizeof(dev->lease)) &&
			d->generation == dev->generation;
		if (found) {
			memcpy(dev->token, d->token, sizeof(dev->token));
			dev->epoch = d->epoch;
			dev->target = d->target;
		}
	}
	dsg_record_free(&record);
	if (!found)
		say(LOG_WARNING, "%s/%s: its links can't be restored: no record of its lease",
		    dev->node, dev->name);
	return found;
}

int device_read_keys(struct device *dev)
{
	struct dsg_error error = { .err = 0 };
	struct dsg_creds *creds = NULL;
	struct dsg_fault fault = { .reason = "" };
	struct dsg_keys keys;
	int err = 0;

	dev->keys_read_at = dsg_now_ns();
	if (dsg_target_keys(&dev->target, &keys, &fault))
		err = -EIO;
	else if (keys.security != DSG_PLAIN)
		err = dsg_creds_load(&keys, false, &creds, &error);
	if (err) {
		say(LOG_WARNING, "%s/%s: the keys for target %s: %s", dev->node, dev->name,
		    dev->target.name, error.err ? error.text : fault.reason);
		return err;
	}
	for (uint32_t i = 0; i < dev->nr_lanes; i++)
		lane_interrupt(&dev->lanes[i]);
	dsg_creds_free(dev->creds);
	dev->creds = creds;
	return 0;
}

void devices_renew(void)
{
	for (int i = 0; i < DEVICES_MAX; i++) {
		struct device *dev = &devices[i];

		if (dev->used && !device_read_keys(dev) && dev->creds)
			dev->renew = dev->nr_lanes;
	}
}

/* One after the other: a device always has lanes that nobody touches, if it has several. */
static void renew_next(struct device *dev)
{
	while (dev->renew) {
		struct lane *lane = &dev->lanes[dev->renew - 1];

		/* The one before is still at it. */
		if (dev->renew < dev->nr_lanes && lane[1].renewing)
			return;
		dev->renew--;
		/* One that is on its way back has the new keys. */
		if (lane->state != LANE_IDLE || lane->lost || dev->given_up)
			continue;
		lane_renew(lane);
		return;
	}
}

static struct device *adopt(const struct news *news)
{
	struct device *dev = NULL;

	for (int i = 0; i < DEVICES_MAX && !dev; i++)
		if (!devices[i].used)
			dev = &devices[i];
	if (!dev) {
		say(LOG_ERR, "%s/%s: not watched: there are %d devices already", news->node,
		    news->name, DEVICES_MAX);
		return NULL;
	}
	memset(dev, 0, sizeof(*dev));
	dev->id = news->id;
	snprintf(dev->node, sizeof(dev->node), "%s", news->node);
	snprintf(dev->name, sizeof(dev->name), "%s", news->name);
	memcpy(dev->lease, news->lease, sizeof(dev->lease));
	dev->generation = news->generation;
	dev->features = news->features;
	dev->max_payload = news->max_payload;
	dev->depth = news->depth;
	dev->block_size = news->block_size;
	dev->nr_lanes = news->nr_lanes;
	for (uint32_t i = 0; i < dev->nr_lanes; i++) {
		dev->lanes[i].device = dev;
		dev->lanes[i].index = i;
		dev->lanes[i].fd = -1;
	}
	if (!parse_peer(news->lanes[0].peer, dev)) {
		say(LOG_ERR, "%s/%s: not watched: its target's address makes no sense: %s",
		    news->node, news->name, news->lanes[0].peer);
		return NULL;
	}
	if (!read_token(dev) || device_read_keys(dev))
		return NULL;
	dev->used = true;
	return dev;
}

static bool is_same(const struct device *dev, const struct news *news)
{
	return !strcmp(dev->node, news->node) && !strcmp(dev->name, news->name) &&
	       !memcmp(dev->lease, news->lease, sizeof(dev->lease)) &&
	       dev->generation == news->generation;
}

/*
 * A lane's generation is live first and then lost: what says otherwise is older than
 * what was heard, or done, before.
 */
static bool is_old(const struct lane *lane, uint32_t generation, bool lost)
{
	return generation < lane->generation ||
	       (generation == lane->generation && lane->lost && !lost);
}

bool device_heard(const struct news *news)
{
	struct device *dev = find(news->id);

	/* Numbers are used again. */
	if (dev && !is_same(dev, news)) {
		forget(dev);
		dev = NULL;
	}
	if (!news->dead_after || (news->state != DISAGG_DEVICE_STATE_LIVE &&
				  news->state != DISAGG_DEVICE_STATE_LOST)) {
		if (dev)
			forget(dev);
		return true;
	}
	if (!dev)
		dev = adopt(news);
	if (!dev)
		return false;
	marked[dev - devices] = true;
	dev->size = news->size;
	dev->io_timeout = news->io_timeout;
	for (uint32_t i = 0; i < news->nr_lanes && i < dev->nr_lanes; i++) {
		struct lane *lane = &dev->lanes[news->lanes[i].index];
		bool lost = news->lanes[i].state == DISAGG_LANE_STATE_LOST, newer;

		if (is_old(lane, news->lanes[i].generation, lost))
			continue;
		newer = news->lanes[i].generation > lane->generation;
		lane->generation = news->lanes[i].generation;
		if (lost && lane->state == LANE_IDLE && !dev->given_up)
			lane_lost(lane, news->lanes[i].reason);
		else if (!lost && !(lane->renewing && !newer))
			lane_stop(lane);
		lane->lost = lost;
	}
	return true;
}

void device_gone(uint32_t id)
{
	struct device *dev = find(id);

	if (dev)
		forget(dev);
}

void devices_forget(void)
{
	for (int i = 0; i < DEVICES_MAX; i++)
		if (devices[i].used)
			forget(&devices[i]);
}

void devices_mark(void)
{
	memset(marked, 0, sizeof(marked));
}

void devices_sweep(void)
{
	for (int i = 0; i < DEVICES_MAX; i++)
		if (devices[i].used && !marked[i])
			forget(&devices[i]);
}

unsigned int devices_count(void)
{
	unsigned int n = 0;

	for (int i = 0; i < DEVICES_MAX; i++)
		n += devices[i].used;
	return n;
}

uint64_t devices_check(uint64_t now)
{
	uint64_t next = DSG_NO_DEADLINE;

	for (int i = 0; i < DEVICES_MAX; i++) {
		struct device *dev = &devices[i];

		if (dev->used)
			renew_next(dev);
		for (uint32_t j = 0; dev->used && j < dev->nr_lanes; j++) {
			struct lane *lane = &dev->lanes[j];

			if (lane->state != LANE_IDLE && lane->deadline <= now)
				lane_due(lane);
			if (lane->state != LANE_IDLE && lane->deadline < next)
				next = lane->deadline;
		}
	}
	return next;
}
