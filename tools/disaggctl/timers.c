// SPDX-License-Identifier: GPL-2.0
/* The timers of a device: as options, and "device set". */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "describe.h"
#include "output.h"
#include "timers.h"

#define NS_PER_MS	1000000ULL

int parse_timer(const char *name, const char *text, uint32_t *ms, struct dsg_fault *fault)
{
	bool io = !strcmp(name, "io-timeout");
	uint64_t min = io ? 100 : 0, max = io ? 3600000 : DISAGG_NEVER - 1, ns;
	const char *bad;

	if (!text)
		return 0;
	if (!io && !strcmp(text, "never")) {
		*ms = DISAGG_NEVER;
		return 0;
	}
	if (!io && !strcmp(text, "0")) {
		*ms = 0;
		return 0;
	}
	bad = dsg_duration_parse(text, &ns);
	if (bad)
		return dsg_fault_set(fault, DSG_USAGE, "--%s %s: %s", name, text, bad);
	if (ns < min * NS_PER_MS || ns > max * NS_PER_MS)
		return dsg_fault_set(fault, DSG_USAGE, "--%s %s: expected %s", name, text,
				     io ? "100ms to 1h" : "0 to 49 days, or never");
	*ms = (uint32_t)(ns / NS_PER_MS);
	return 0;
}

const char *timer_format(uint32_t ms, char buf[DSG_SIZE_STRLEN])
{
	if (ms == DISAGG_NEVER)
		return "never";
	return ms ? dsg_duration_format(ms * NS_PER_MS, buf) : "at once";
}

static struct {
	const char *io_timeout;
	const char *fail_fast;
	const char *dead_after;
} opt;

const struct option device_set_options[] = {
	{ .name = "io-timeout", .arg = "DURATION", .text = &opt.io_timeout,
	  .help = "that a request may take; after half of it the target is asked if it lives" },
	{ .name = "fail-fast", .arg = "DURATION", .text = &opt.fail_fast,
	  .help = "after which I/O of a lost lane fails, or never" },
	{ .name = "dead-after", .arg = "DURATION", .text = &opt.dead_after,
	  .help = "after which a lost device is given up, or never" },
	{ .name = NULL },
};

int device_set(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct dsg_timers timers = {
		.set_io_timeout = opt.io_timeout,
		.set_fail_fast = opt.fail_fast,
		.set_dead_after = opt.dead_after,
	};
	char *slash = strchr(argv[0], '/'), io[DSG_SIZE_STRLEN], fast[DSG_SIZE_STRLEN],
	     dead[DSG_SIZE_STRLEN];
	struct dsg_kernel_device *dev;
	struct dsg_netlink *nl;
	int err;

	(void)argc;
	if (!slash) {
		dsg_fault_set(fault, DSG_USAGE, "%s does not name a device", argv[0]);
		return dsg_fault_hint(fault, "NODE/DEVICE, as disaggctl device list shows it");
	}
	if (!opt.io_timeout && !opt.fail_fast && !opt.dead_after)
		return dsg_fault_set(fault, DSG_USAGE,
				     "what is to change? --io-timeout, --fail-fast or --dead-after");
	if (parse_timer("io-timeout", opt.io_timeout, &timers.io_timeout_ms, fault) ||
	    parse_timer("fail-fast", opt.fail_fast, &timers.fail_fast_ms, fault) ||
	    parse_timer("dead-after", opt.dead_after, &timers.dead_after_ms, fault))
		return fault->code;
	*slash = '\0';
	err = dsg_netlink_open(&nl, fault);
	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	err = dev ? dsg_netlink_device_timers(nl, argv[0], slash + 1, &timers, fault) :
		    dsg_fault_memory(fault);
	if (!err)
		err = dsg_netlink_device(nl, argv[0], slash + 1, dev, fault);
	dsg_netlink_close(nl);
	if (!err && cli->json) {
		struct json_object *document = json_document();

		put_value(document, "device", device_object(dev));
		json_print(cli, document);
	} else if (!err) {
		printf("%s/%s: I/O timeout %s, fail-fast %s, dead after %s\n", dev->node, dev->name,
		       timer_format(dev->io_timeout_ms, io),
		       timer_format(dev->fail_fast_ms, fast),
		       timer_format(dev->dead_after_ms, dead));
	}
	free(dev);
	return err;
}
