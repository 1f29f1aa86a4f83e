// SPDX-License-Identifier: GPL-2.0
/* disaggctl doctor: look at all that this host's nodes depend on, and name remedies. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "describe.h"
#include "file.h"
#include "probe.h"
#include "size.h"

#define FILES_MIN	1024	/* a node's lanes are sockets of one process, for a moment */
#define WATCHED_MAX	128	/* devices, see disagg-agent(8) */

enum result { FINE, WARNING, BAD };
static const char *const words[] = { "ok", "warning", "failed" };

/*
 * struct finding - @remedy: what to do, empty if nothing is. Both at their full length: a
 * command that is cut off is another command.
 */
struct finding {
	const char *check;
	enum result result;
	char *text;
	char *remedy;
};

struct findings {
	struct finding *items;
	size_t count;
	bool no_memory;
};

__attribute__((format(printf, 5, 6)))
static void find(struct findings *all, const char *check, enum result result,
		 const char *remedy, const char *fmt, ...)
{
	struct finding *more = realloc(all->items, (all->count + 1) * sizeof(*more));
	va_list args;

	if (!more) {
		all->no_memory = true;
		return;
	}
	all->items = more;
	more += all->count++;
	more->check = check;
	more->result = result;
	more->remedy = strdup(remedy);
	va_start(args, fmt);
	if (vasprintf(&more->text, fmt, args) < 0)
		more->text = NULL;
	va_end(args);
	if (more->remedy && more->text)
		return;
	all->no_memory = true;
	all->count--;
	free(more->remedy);
	free(more->text);
}

static void findings_free(struct findings *all)
{
	for (size_t i = 0; i < all->count; i++) {
		free(all->items[i].remedy);
		free(all->items[i].text);
	}
	free(all->items);
}

static void check_module(struct findings *all, struct dsg_netlink *nl)
{
	struct dsg_module_info info;
	struct dsg_fault fault;

	if (!nl) {
		if (module_installed(&fault))
			find(all, "module", BAD, fault.hint, "%s", fault.reason);
		else
			find(all, "module", FINE, "",
			     "installed, and loaded when the first node is made");
		return;
	}
	if (dsg_netlink_info(nl, &info, &fault))
		find(all, "module", BAD, fault.hint, "%s", fault.reason);
	else if (info.wire != DISAGG_WIRE_VERSION || strcmp(info.version, DISAGG_VERSION))
		find(all, "module", info.wire == DISAGG_WIRE_VERSION ? WARNING : BAD,
		     "install both from one release; reload the module when no node is left",
		     "version %s (wire %u) is loaded, disaggctl is %s (wire %u)", info.version,
		     info.wire, DISAGG_VERSION, DISAGG_WIRE_VERSION);
	else
		find(all, "module", FINE, "", "version %s is loaded", info.version);
}

/* Devices whose lost links somebody must restore; @first: one of them. */
static size_t wait_for_agent(const struct host_view *view, const struct dsg_kernel_device **first)
{
	size_t count = 0;

	*first = NULL;
	for (size_t i = 0; i < view->device_count; i++) {
		if (!view->devices[i].dead_after_ms)
			continue;
		if (!count++)
			*first = &view->devices[i];
	}
	return count;
}

/* Devices that nobody restores: attached while no agent ran, or set so since. */
static void check_given_up(struct findings *all, const struct host_view *view)
{
	char remedy[128];

	for (size_t i = 0; i < view->node_count; i++) {
		const struct dsg_record *record = &view->nodes[i].record;

		for (size_t j = 0; j < record->count; j++) {
			const struct dsg_kernel_device *dev =
				host_view_device(view, record->name, record->devices[j].name);

			if (!dev || dev->dead_after_ms || record->devices[j].dead_after_set ||
			    dev->state == DISAGG_DEVICE_STATE_DEAD ||
			    dev->state == DISAGG_DEVICE_STATE_REMOVING)
				continue;
			snprintf(remedy, sizeof(remedy),
				 "disaggctl device set %s/%s --dead-after never", dev->node, dev->name);
			find(all, "agent", WARNING, remedy,
			     "%s/%s is given up once its link is lost, although an agent runs",
			     dev->node, dev->name);
		}
	}
}

static void check_agent(struct findings *all, const struct host_view *view)
{
	const struct dsg_kernel_device *dev;
	size_t count = wait_for_agent(view, &dev);
	bool runs = dsg_lock_held(DSG_AGENT_LOCK, NULL);

	if (runs && count > WATCHED_MAX)
		find(all, "agent", BAD, "fewer, larger devices; or --dead-after 0 for some",
		     "runs, but of %zu devices it restores the links of %d only", count,
		     WATCHED_MAX);
	else if (runs)
		find(all, "agent", FINE, "", "runs, and restores links");
	else if (dev)
		find(all, "agent", BAD, "systemctl enable --now disagg-agent",
		     "does not run: nobody restores links, and %s/%s would wait for it", dev->node,
		     dev->name);
	else
		find(all, "agent", WARNING, "systemctl enable --now disagg-agent",
		     "does not run: a device whose link is lost is given up at once");
	if (runs)
		check_given_up(all, view);
}

static const char *remedy_of(const char *state, const char *node, char buf[128])
{
	const char *force = !strcmp(state, "unmanaged") ? " --force" : "";

	if (!strcmp(state, "degraded"))
		return "";	/* its devices say */
	if (!strcmp(state, "damaged"))
		return "restore the record from a backup, or remove it; its leases are on the targets";
	snprintf(buf, 128, "disaggctl node delete %s%s", node, force);
	return buf;
}

/* Somebody has deleted it past disaggctl; its lease stands. */
static void check_absent(struct findings *all, const struct host_view *view,
			 const struct node_view *node)
{
	char remedy[128];

	snprintf(remedy, sizeof(remedy), "disaggctl node delete %s, and make it again", node->name);
	for (size_t i = 0; i < node->record.count; i++)
		if (!host_view_device(view, node->name, node->record.devices[i].name))
			find(all, "device", BAD, remedy, "%s/%s is not there any more", node->name,
			     node->record.devices[i].name);
}

static void check_nodes(struct findings *all, const struct host_view *view)
{
	size_t up = 0;

	for (size_t i = 0; i < view->node_count; i++) {
		const struct node_view *node = &view->nodes[i];
		const char *state = node_view_state(view, node);
		char remedy[128];

		if (!strcmp(state, "up") || !strcmp(state, "creating"))
			up++;
		else
			find(all, "node", strcmp(state, "degraded") ? BAD : WARNING,
			     remedy_of(state, node->name, remedy), "%s is %s", node->name, state);
		if (!strcmp(state, "degraded"))
			check_absent(all, view, node);
	}
	if (up)
		find(all, "node", FINE, "", "%zu of %zu are as they should be", up,
		     view->node_count);
}

static void check_device(struct findings *all, const struct dsg_kernel_device *dev)
{
	char path[128], remedy[384], name[2 * DISAGG_NAME_MAX + 2];

	snprintf(name, sizeof(name), "%s/%s", dev->node, dev->name);
	if (dev->state == DISAGG_DEVICE_STATE_LOST) {
		const char *reason = "";

		for (uint32_t i = 0; i < dev->lane_count && !*reason; i++)
			if (dev->lanes[i].state == DISAGG_LANE_STATE_LOST)
				reason = dev->lanes[i].reason;
		snprintf(remedy, sizeof(remedy),
			 "bring target %s or the way to it back, or let I/O fail: "
			 "disaggctl device set %s --fail-fast 0", dev->target, name);
		find(all, "device", BAD, remedy, "%s is lost, and its I/O waits: %s", name, reason);
	} else if (dev->state == DISAGG_DEVICE_STATE_DEAD) {
		snprintf(remedy, sizeof(remedy),
			 "unmount what is on it, and disaggctl node delete %s --force", dev->node);
		find(all, "device", BAD, remedy, "%s is dead: %s", name, dev->reason);
	} else if (dev->state != DISAGG_DEVICE_STATE_LIVE) {
		find(all, "device", FINE, "", "%s is %s", name, dsg_device_state_name(dev->state));
	} else if (!strncmp(device_path(dev->node, dev->name, dev->disk, path), "/dev/disagg/", 12)) {
		find(all, "device", FINE, "", "%s is %s, as %s", name,
		     dsg_device_state_name(dev->state), path);
	} else {
		find(all, "device", WARNING,
		     "install disagg's udev rules, and udevadm trigger --subsystem-match=block",
		     "%s has no name in /dev/disagg, only %s", name, path);
	}
}

/* The records have the secrets of leases in them. */
static void check_keys(struct findings *all)
{
	char dir[PATH_MAX], remedy[2 * sizeof(dir) + 64];
	struct stat st;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/nodes", dsg_statedir());
	snprintf(remedy, sizeof(remedy), "chown -R root: %s; chmod -R go-rwx %s", dir, dir);
	d = opendir(dir);
	if (!d && errno == ENOENT) {
		find(all, "keys", FINE, "", "there are none yet");
		return;
	}
	if (!d) {
		find(all, "keys", BAD, "run it as root", "%s: %s", dir, strerror(errno));
		return;
	}
	if (!fstat(dirfd(d), &st) && (st.st_mode & 0077 || st.st_uid != geteuid()))
		find(all, "keys", BAD, remedy, "others than root may look into %s", dir);
	for (struct dirent *entry; (entry = readdir(d));)
		if (!fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISREG(st.st_mode) && (st.st_mode & 0077 || st.st_uid != geteuid()))
			find(all, "keys", BAD, remedy, "others than root may read %s/%s", dir,
			     entry->d_name);
	closedir(d);
	if (!all->count || strcmp(all->items[all->count - 1].check, "keys"))
		find(all, "keys", FINE, "", "only root can read the secrets of leases");
}

#define EXPIRES_SOON	(14 * 24 * 3600)	/* seconds */

/* The keys that a target is to be reached with. */
static void check_target_keys(struct findings *all, const struct dsg_target *target)
{
	struct dsg_error error = { 0 };
	struct dsg_creds *creds;
	int64_t left;

	if (dsg_creds_load(&target->keys, false, &creds, &error)) {
		find(all, "keys", BAD, "mend it, or give others: disaggctl target add",
		     "target %s: %s", target->name, error.text);
		return;
	}
	left = dsg_creds_expire(creds) - (int64_t)time(NULL);
	if (!dsg_creds_expire(creds))
		find(all, "keys", FINE, "", "target %s: the key of %s", target->name,
		     target->keys.identity);
	else if (left <= 0)
		find(all, "keys", BAD, "renew it, under the same name or by disaggctl target add",
		     "target %s: %s has expired", target->name, target->keys.certificate);
	else
		find(all, "keys", left < EXPIRES_SOON ? WARNING : FINE,
		     left < EXPIRES_SOON ? "renew it, under the same name or by disaggctl target add" : "",
		     "target %s: %s expires in %lld days", target->name,
		     target->keys.certificate, (long long)left / (24 * 3600));
	dsg_creds_free(creds);
}

static void check_tls(struct findings *all, const struct dsg_target *targets, size_t count)
{
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		if (targets[i].keys.security == DSG_PLAIN)
			continue;
		any = true;
		check_target_keys(all, &targets[i]);
	}
	if (!any)
		return;
	if (dsg_ktls_available())
		find(all, "tls", FINE, "", "the kernel can encrypt");
	else
		find(all, "tls", BAD, "modprobe tls",
		     "the kernel can't encrypt (kTLS): devices of targets with TLS can't be attached");
}

static void check_targets(struct findings *all, struct cli *cli)
{
	struct dsg_probe *probes = NULL;
	struct dsg_target *targets;
	struct dsg_fault fault;
	size_t count;

	if (dsg_targets_load(&targets, &count, &fault)) {
		find(all, "target", BAD, fault.hint, "%s", fault.reason);
		return;
	}
	check_tls(all, targets, count);
	progress(cli, "waiting for targets");
	if (!count)
		find(all, "target", WARNING, "disaggctl target add NAME ADDRESS", "none is known");
	else if (dsg_probe_targets(targets, count, DSG_PROBE_INVENTORY, DSG_PROBE_NS, &probes,
				   &fault))
		find(all, "target", BAD, fault.hint, "%s", fault.reason);
	for (size_t i = 0; probes && i < count; i++) {
		char rtt[DSG_SIZE_STRLEN];

		if (probes[i].fault.code)
			find(all, "target", BAD, probes[i].fault.hint, "%s", probes[i].fault.reason);
		else
			find(all, "target", probes[i].count ? FINE : WARNING,
			     probes[i].count ? "" : "look at its disaggd.yaml",
			     "%s answers in %s and offers %zu resources", targets[i].name,
			     dsg_duration_format(probes[i].rtt_ns, rtt), probes[i].count);
	}
	dsg_probes_free(probes, count);
	free(targets);
}

/* Leases have ends, and logs of several hosts are read side by side. */
static void check_clock(struct findings *all)
{
	struct timex tx = { .modes = 0 };

	if (adjtimex(&tx) < 0)
		find(all, "clock", WARNING, "", "adjtimex: %s", strerror(errno));
	else if (tx.status & STA_UNSYNC)
		find(all, "clock", WARNING, "timedatectl set-ntp true, or another NTP client",
		     "nobody keeps the clock right");
	else
		find(all, "clock", FINE, "", "synchronized, within %ld us", tx.maxerror);
}

static void check_limits(struct findings *all)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit)) {
		find(all, "limits", WARNING, "", "getrlimit: %s", strerror(errno));
		return;
	}
	if (limit.rlim_cur == RLIM_INFINITY)
		find(all, "limits", FINE, "", "open files are not limited");
	else if (limit.rlim_cur < FILES_MIN)
		find(all, "limits", WARNING, "ulimit -n 1024",
		     "%llu open files are few for nodes of many lanes",
		     (unsigned long long)limit.rlim_cur);
	else
		find(all, "limits", FINE, "", "%llu open files",
		     (unsigned long long)limit.rlim_cur);
}

/* The number behind @key in a file of /proc; @otherwise if it can't be read. */
static long proc_number(int pid, const char *name, const char *key, long otherwise)
{
	struct dsg_fault fault;
	char path[64], *text, *at;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	if (dsg_file_read(path, 1 << 16, &text, NULL, &fault))
		return otherwise;
	at = strstr(text, key);
	if (at)
		otherwise = strtol(at + strlen(key), NULL, 10);
	free(text);
	return otherwise;
}

/* What the agent lacks to work when memory is short, or NULL. */
static const char *agent_lacks(int pid)
{
	if (pid && !proc_number(pid, "status", "VmLck:", 1))
		return "its memory is not locked";
	if (pid && proc_number(pid, "oom_score_adj", "", -1000) > -1000)
		return "the OOM killer may choose it";
	return NULL;
}

/* Memory that can only be freed by writing to a device that is lost stays taken. */
static void check_swap(struct findings *all)
{
	char *text, *line, *rest;
	struct dsg_fault fault;
	const char *lacks;
	int agent = 0;

	if (dsg_file_read("/proc/swaps", 1 << 16, &text, NULL, &fault))
		return;	/* this kernel has no swap */
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "/dev/disagg", 11))
			continue;
		line[strcspn(line, " \t")] = '\0';
		if (!dsg_lock_held(DSG_AGENT_LOCK, &agent))
			find(all, "swap", BAD, "systemctl enable --now disagg-agent",
			     "%s, and no agent: when its link is lost, so is what is swapped out",
			     line);
		else if ((lacks = agent_lacks(agent)))
			find(all, "swap", WARNING,
			     "run it by its unit: systemctl enable --now disagg-agent",
			     "%s, and the agent may wait for it itself: %s", line, lacks);
		else
			find(all, "swap", FINE, "", "%s, and the agent runs", line);
	}
	free(text);
}

static void print_findings(struct cli *cli, const struct findings *all)
{
	struct json_object *document, *list;

	if (!cli->json) {
		for (size_t i = 0; i < all->count; i++) {
			const struct finding *f = &all->items[i];

			printf("%-8s %-8s %s\n", words[f->result], f->check, f->text);
			if (*f->remedy)
				printf("%17s > %s\n", "", f->remedy);
		}
		return;
	}
	document = json_document();
	list = json_object_new_array();
	for (size_t i = 0; i < all->count; i++) {
		const struct finding *f = &all->items[i];
		struct json_object *o = json_object_new_object();

		put_string(o, "check", f->check);
		put_string(o, "result", words[f->result]);
		put_string(o, "finding", f->text);
		put_string_or_null(o, "remedy", f->remedy);
		json_object_array_add(list, o);
	}
	put_value(document, "checks", list);
	json_print(cli, document);
}

static int judge(const struct findings *all, struct dsg_fault *fault)
{
	size_t bad = 0;

	for (size_t i = 0; i < all->count; i++)
		bad += all->items[i].result == BAD;
	if (all->no_memory)
		return dsg_fault_memory(fault);
	if (!bad)
		return 0;
	return dsg_fault_set(fault, DSG_FAILED, "%zu of %zu checks failed", bad, all->count);
}

int doctor_run(struct cli *cli, int argc, char **argv, struct dsg_fault *fault)
{
	struct findings all = { .count = 0 };
	struct host_view view;
	struct dsg_netlink *nl;
	int err;

	(void)argc;
	(void)argv;
	err = module_open_if_loaded(&nl, fault);
	if (!err)
		err = host_view_load(cli, nl, &view, fault);
	if (!err) {
		check_module(&all, nl);
		check_agent(&all, &view);
		check_nodes(&all, &view);
		for (size_t i = 0; i < view.device_count; i++)
			check_device(&all, &view.devices[i]);
		check_swap(&all);
		check_keys(&all);
		check_targets(&all, cli);
		check_clock(&all);
		check_limits(&all);
		progress(cli, "%s", "");
		print_findings(cli, &all);
		err = judge(&all, fault);
		host_view_free(&view);
	}
	dsg_netlink_close(nl);
	findings_free(&all);
	return err;
}
