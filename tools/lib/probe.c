// SPDX-License-Identifier: GPL-2.0
/*
 * Probing: one thread per target. A name lookup can't be interrupted, so a thread
 * that is late is left behind with its share of the state, and what it finds out
 * is thrown away.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "probe.h"

/* Shared by the caller and the threads; the last one frees it. */
struct round {
	pthread_mutex_t lock;
	pthread_cond_t done;
	enum dsg_probe_what what;
	uint64_t deadline;
	size_t refs;
	size_t pending;
	size_t count;
	struct dsg_probe *probes;
};

struct job {
	struct round *round;
	size_t index;
	struct dsg_probe probe;
};

static bool resource_ok(const struct disagg_wire_resource *res)
{
	uint32_t block = le32toh(res->block_size);

	return dsg_is_zero(res->reserved, sizeof(res->reserved)) &&
	       dsg_string_ok(res->id, sizeof(res->id)) && dsg_name_ok(res->id) &&
	       dsg_string_ok(res->model, sizeof(res->model)) &&
	       le64toh(res->available) <= le64toh(res->capacity) &&
	       le64toh(res->largest) <= le64toh(res->available) &&
	       block && !(block & (block - 1));
}

static bool lease_ok(const struct disagg_wire_lease_info *lease)
{
	return dsg_is_zero(lease->reserved, sizeof(lease->reserved)) &&
	       dsg_string_ok(lease->resource, sizeof(lease->resource)) &&
	       dsg_string_ok(lease->node, sizeof(lease->node)) &&
	       dsg_string_ok(lease->device, sizeof(lease->device)) &&
	       dsg_string_ok(lease->host, sizeof(lease->host));
}

static int malformed(struct dsg_probe *probe, const char *what)
{
	dsg_fault_set(&probe->fault, DSG_UNREACHABLE, "target %s: its %s is malformed",
		      probe->target.name, what);
	return dsg_fault_hint(&probe->fault, "install the same release of disagg on both sides");
}

static int ask(struct dsg_probe *probe, enum dsg_probe_what what, uint64_t deadline)
{
	struct dsg_error error = { 0 };
	struct dsg_session session;
	uint64_t start;
	void *entries;
	int err;

	err = dsg_target_open(&probe->target, deadline, &session, &probe->fault);
	if (err)
		return err;
	start = dsg_now_ns();
	if (what == DSG_PROBE_INVENTORY)
		err = dsg_control_list(&session, DISAGG_WIRE_OP_INVENTORY,
				       sizeof(*probe->resources), &entries, &probe->count,
				       deadline, &error);
	else
		err = dsg_control_list(&session, DISAGG_WIRE_OP_LEASES, sizeof(*probe->leases),
				       &entries, &probe->count, deadline, &error);
	probe->rtt_ns = dsg_now_ns() - start;
	dsg_session_close(&session);
	if (err) {
		probe->count = 0;
		return dsg_fault_wire(&probe->fault, &error, probe->target.name);
	}
	if (what == DSG_PROBE_INVENTORY) {
		probe->resources = entries;
		for (size_t i = 0; i < probe->count; i++)
			if (!resource_ok(&probe->resources[i]))
				return malformed(probe, "inventory");
	} else {
		probe->leases = entries;
		for (size_t i = 0; i < probe->count; i++)
			if (!lease_ok(&probe->leases[i]))
				return malformed(probe, "list of leases");
	}
	return 0;
}

static void drop_answer(struct dsg_probe *probe)
{
	free(probe->resources);
	free(probe->leases);
	probe->resources = NULL;
	probe->leases = NULL;
	probe->count = 0;
}

/* Called with the round's lock held; gives it up. */
static void round_put(struct round *round)
{
	bool last = !--round->refs;

	pthread_mutex_unlock(&round->lock);
	if (!last)
		return;
	pthread_cond_destroy(&round->done);
	pthread_mutex_destroy(&round->lock);
	free(round);
}

static void *probe_thread(void *arg)
{
	struct job *job = arg;
	struct round *round = job->round;

	if (ask(&job->probe, round->what, round->deadline))
		drop_answer(&job->probe);
	pthread_mutex_lock(&round->lock);
	if (round->probes) {
		round->probes[job->index] = job->probe;
		round->pending--;
		pthread_cond_signal(&round->done);
	} else {
		drop_answer(&job->probe);
	}
	round_put(round);
	free(job);
	return NULL;
}

static int start_job(struct round *round, size_t index)
{
	struct job *job = calloc(1, sizeof(*job));
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int err;

	if (!job)
		return ENOMEM;
	job->round = round;
	job->index = index;
	job->probe.target = round->probes[index].target;
	pthread_mutex_lock(&round->lock);
	round->refs++;
	round->pending++;
	pthread_mutex_unlock(&round->lock);

	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 << 10);
	err = pthread_create(&thread, &attr, probe_thread, job);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		free(job);
		pthread_mutex_lock(&round->lock);
		round->pending--;
		round_put(round);
	}
	return err;
}

int dsg_probe_targets(const struct dsg_target *targets, size_t count, enum dsg_probe_what what,
		      uint64_t wait_ns, struct dsg_probe **probes, struct dsg_fault *fault)
{
	struct dsg_probe *list = calloc(count + 1, sizeof(*list));
	struct round *round = calloc(1, sizeof(*round));
	pthread_condattr_t attr;
	struct timespec until;
	uint64_t grace;

	if (!list || !round) {
		free(list);
		free(round);
		return dsg_fault_memory(fault);
	}
	pthread_mutex_init(&round->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&round->done, &attr);
	pthread_condattr_destroy(&attr);
	round->what = what;
	round->deadline = dsg_deadline(wait_ns);
	round->count = count;
	round->probes = list;
	round->refs = 1;
	for (size_t i = 0; i < count; i++) {
		list[i].target = targets[i];
		dsg_fault_set(&list[i].fault, DSG_UNREACHABLE,
			      "target %s: no answer in time (looking up %s)", targets[i].name,
			      targets[i].host);
	}
	for (size_t i = 0; i < count; i++) {
		int err = start_job(round, i);

		if (err)
			dsg_fault_errno(&list[i].fault, err, "starting a thread");
	}

	/* The threads keep the deadline themselves, with a better explanation. */
	grace = round->deadline + DSG_NSEC_PER_SEC / 5;
	until.tv_sec = (time_t)(grace / DSG_NSEC_PER_SEC);
	until.tv_nsec = (long)(grace % DSG_NSEC_PER_SEC);
	pthread_mutex_lock(&round->lock);
	while (round->pending)
		if (pthread_cond_timedwait(&round->done, &round->lock, &until) == ETIMEDOUT)
			break;
	round->probes = NULL;
	round_put(round);
	*probes = list;
	return 0;
}

void dsg_probes_free(struct dsg_probe *probes, size_t count)
{
	if (!probes)
		return;
	for (size_t i = 0; i < count; i++)
		drop_answer(&probes[i]);
	free(probes);
}
