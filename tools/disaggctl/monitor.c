// SPDX-License-Identifier: GPL-2.0
/* disaggctl monitor */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "describe.h"
#include "size.h"

static const char *event_name(const struct dsg_event *event)
{
	switch (event->kind) {
	case DSG_EVENT_READY:
		return "ready";
	case DSG_EVENT_LOADED:
		return "module-loaded";
	case DSG_EVENT_UNLOADED:
		return "module-unloaded";
	case DSG_EVENT_OVERRUN:
		return "overrun";
	default:
		break;
	}
	switch (event->cmd) {
	case DISAGG_CMD_NODE_NEW_NTF:
		return "node-new";
	case DISAGG_CMD_NODE_DEL_NTF:
		return "node-delete";
	case DISAGG_CMD_DEVICE_NEW_NTF:
		return "device-new";
	case DISAGG_CMD_DEVICE_DEL_NTF:
		return "device-delete";
	case DISAGG_CMD_DEVICE_CHANGE_NTF:
		return "device-change";
	case DISAGG_CMD_LINK_CHANGE_NTF:
		return "link-change";
	default:
		return "unknown";
	}
}

static void print_json(struct cli *cli, const struct dsg_event *event, uint64_t now)
{
	struct json_object *document = json_document();

	put_string(document, "event", event_name(event));
	put_number(document, "time_ns", now);
	if (event->kind == DSG_EVENT_READY)
		put_bool(document, "module_loaded", event->loaded);
	if (event->kind == DSG_EVENT_NODE)
		put_string(document, "node", event->node.name);
	if (event->kind == DSG_EVENT_DEVICE) {
		put_string(document, "node", event->device.node);
		put_value(document, "device", device_object(&event->device));
	}
	json_print(cli, document);
}

static void print_text(const struct dsg_event *event, uint64_t now)
{
	const struct dsg_kernel_device *dev = &event->device;
	char when[32], size[DSG_SIZE_STRLEN];

	printf("%s %-15s ", time_format(now, when), event_name(event));
	switch (event->kind) {
	case DSG_EVENT_READY:
		printf("module %s\n", event->loaded ? "loaded" : "not loaded");
		break;
	case DSG_EVENT_NODE:
		puts(event->node.name);
		break;
	case DSG_EVENT_DEVICE:
		printf("%s/%s %s %s %s%s%s\n", dev->node, dev->name, dev->disk,
		       dsg_device_state_name(dev->state), dsg_size_format(dev->size, size),
		       *dev->reason ? ": " : "", dev->reason);
		break;
	case DSG_EVENT_OVERRUN:
		puts("events were lost");
		break;
	default:
		putchar('\n');
	}
}

static int on_event(const struct dsg_event *event, void *arg)
{
	struct cli *cli = arg;
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_REALTIME, &ts);
	now = (uint64_t)ts.tv_sec * DSG_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
	if (cli->json)
		print_json(cli, event, now);
	else
		print_text(event, now);
	/* Who reads this has gone: so do we. */
	return fflush(stdout) || ferror(stdout);
}

int monitor_run(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	sigset_t signals;
	int stop, err;

	(void)argc;
	(void)argv;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	stop = signalfd(-1, &signals, SFD_CLOEXEC);
	if (stop < 0)
		return dsg_fault_errno(fault, errno, "waiting for signals");
	cli->pretty = false;	/* one document per line */
	err = dsg_netlink_monitor(on_event, cli, stop, fault);
	close(stop);
	return err;
}
