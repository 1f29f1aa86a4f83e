// SPDX-License-Identifier: GPL-2.0
/*
 * Releasing: one thread per target, left behind if it is late, as in probe.c.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lease.h"
#include "release.h"

/* After so long a RESERVE that was never committed has certainly ended. */
#define ASKED_ENDED_NS	(3 * DSG_RESERVE_TTL_NS)
/* What a target that answers may take for a lease: its worker gets 5 s to end, and frees. */
#define END_NS		(7 * DSG_NSEC_PER_SEC)
#define FREE_RATE_MIN	(1ULL << 30)	/* bytes per second */
#define PATIENCE_NS	(45 * DSG_NSEC_PER_SEC)	/* in all: units are stopped within a minute */
#define GONE_MS		5000		/* what a connection survives of a target that is gone */

/*
 * Shared by the caller and the threads; the last one frees it. Until @deadline a target
 * has to answer at all, and until @end those that have are waited for.
 */
struct round {
	pthread_mutex_t lock;
	pthread_cond_t done;
	uint64_t deadline;
	uint64_t end;
	size_t answered;		/* of those that are pending */
	size_t refs;
	size_t pending;
	bool patient;
	struct dsg_record *record;	/* NULL once the caller has gone on */
	struct dsg_fault *faults;	/* one per device */
};

/* The devices of one target; its own copies of them. @more_ns: how long it may take. */
struct job {
	struct round *round;
	bool answered;
	uint64_t more_ns;
	char node[DISAGG_WIRE_NAME_LEN];
	size_t count;
	size_t *indices;
	struct dsg_record_device *devices;
	struct dsg_fault *faults;
};

static void job_free(struct job *job)
{
	if (job->devices)
		explicit_bzero(job->devices, job->count * sizeof(*job->devices));
	free(job->devices);
	free(job->indices);
	free(job->faults);
	free(job);
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

/* It has answered. Return: until when it may take. */
static uint64_t extend(struct job *job)
{
	struct round *round = job->round;
	uint64_t end = round->deadline + job->more_ns;

	pthread_mutex_lock(&round->lock);
	job->answered = true;
	round->answered++;
	if (end > round->end)
		round->end = end;
	pthread_mutex_unlock(&round->lock);
	return end;
}

static void release_all(struct job *job)
{
	const struct dsg_target *target = &job->devices[0].target;
	struct dsg_session session;
	struct dsg_fault fault;
	uint64_t end;

	if (dsg_target_open(target, job->round->deadline, &session, &fault)) {
		for (size_t i = 0; i < job->count; i++)
			job->faults[i] = fault;
		return;
	}
	dsg_lane_tune(session.fd, GONE_MS);
	end = extend(job);
	for (size_t i = 0; i < job->count; i++) {
		job->faults[i].code = DSG_OK;
		dsg_lease_release(&session, job->node, &job->devices[i], end,
				  &job->faults[i]);
	}
	dsg_session_close(&session);
}

static void *release_thread(void *arg)
{
	struct job *job = arg;
	struct round *round = job->round;

	release_all(job);
	pthread_mutex_lock(&round->lock);
	for (size_t i = 0; round->record && i < job->count; i++) {
		round->record->devices[job->indices[i]] = job->devices[i];
		round->faults[job->indices[i]] = job->faults[i];
	}
	round->pending--;
	round->answered -= job->answered;
	pthread_cond_signal(&round->done);
	round_put(round);
	job_free(job);
	return NULL;
}

/* One may be known by two names, with other keys, and then be another tenant's. */
static bool same_target(const struct dsg_target *a, const struct dsg_target *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->host, b->host) && a->port == b->port;
}

static struct job *make_job(struct round *round, const struct dsg_record *record, size_t first)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->round = round;
	memcpy(job->node, record->name, sizeof(job->node));
	job->indices = calloc(record->count, sizeof(*job->indices));
	job->devices = calloc(record->count, sizeof(*job->devices));
	job->faults = calloc(record->count, sizeof(*job->faults));
	if (!job->indices || !job->devices || !job->faults) {
		job_free(job);
		return NULL;
	}
	for (size_t i = first; i < record->count; i++) {
		const struct dsg_record_device *dev = &record->devices[i];

		if (dev->step == DSG_LEASE_RELEASED ||
		    !same_target(&dev->target, &record->devices[first].target))
			continue;
		job->indices[job->count] = i;
		job->devices[job->count++] = *dev;
		if (round->patient)
			job->more_ns += END_NS + dev->size / FREE_RATE_MIN * DSG_NSEC_PER_SEC;
	}
	if (job->more_ns > PATIENCE_NS)
		job->more_ns = PATIENCE_NS;
	return job;
}

static int start_job(struct job *job)
{
	struct round *round = job->round;
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int err;

	pthread_mutex_lock(&round->lock);
	round->refs++;
	round->pending++;
	pthread_mutex_unlock(&round->lock);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attr, release_thread, job);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		pthread_mutex_lock(&round->lock);
		round->pending--;
		round_put(round);
	}
	return err;
}

/* Whether the device comes first among those of its target that hold something. */
static bool leads(const struct dsg_record *record, size_t i)
{
	if (record->devices[i].step == DSG_LEASE_RELEASED)
		return false;
	for (size_t j = 0; j < i; j++)
		if (record->devices[j].step != DSG_LEASE_RELEASED &&
		    same_target(&record->devices[j].target, &record->devices[i].target))
			return false;
	return true;
}

/* What was asked for long ago and never known to be granted holds nothing now. */
static void forget_old(struct dsg_record *record)
{
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_REALTIME, &ts);
	now = (uint64_t)ts.tv_sec * DSG_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
	if (now < record->created_ns || now - record->created_ns < ASKED_ENDED_NS)
		return;
	for (size_t i = 0; i < record->count; i++)
		if (record->devices[i].step == DSG_LEASE_ASKED)
			record->devices[i].step = DSG_LEASE_RELEASED;
}

static void wait_jobs(struct round *round)
{
	while (round->pending) {
		/* It may be later than it was. */
		uint64_t grace = (round->answered ? round->end : round->deadline) +
				 DSG_NSEC_PER_SEC / 10;
		struct timespec until = {
			.tv_sec = (time_t)(grace / DSG_NSEC_PER_SEC),
			.tv_nsec = (long)(grace % DSG_NSEC_PER_SEC),
		};

		if (dsg_now_ns() >= grace)
			break;
		pthread_cond_timedwait(&round->done, &round->lock, &until);
	}
}

int dsg_release_leases(struct dsg_record *record, uint64_t wait_ns, bool patient,
		       struct dsg_fault *fault)
{
	struct dsg_fault *faults = calloc(record->count + 1, sizeof(*faults));
	struct round *round = calloc(1, sizeof(*round));
	pthread_condattr_t attr;
	int err;

	if (!faults || !round) {
		free(faults);
		free(round);
		return dsg_fault_memory(fault);
	}
	forget_old(record);
	pthread_mutex_init(&round->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&round->done, &attr);
	pthread_condattr_destroy(&attr);
	round->deadline = round->end = dsg_deadline(wait_ns);
	round->patient = patient;
	round->record = record;
	round->faults = faults;
	round->refs = 1;
	for (size_t i = 0; i < record->count; i++)
		dsg_fault_set(&faults[i], DSG_UNREACHABLE, "target %s: no answer in time",
			      record->devices[i].target.name);
	/* Threads write to the record: what follows reads it under the lock. */
	pthread_mutex_lock(&round->lock);
	for (size_t i = 0; i < record->count; i++) {
		struct job *job;

		if (!leads(record, i))
			continue;
		job = make_job(round, record, i);
		pthread_mutex_unlock(&round->lock);
		err = job ? start_job(job) : ENOMEM;
		pthread_mutex_lock(&round->lock);
		if (!err)
			continue;
		dsg_fault_errno(&faults[i], err, "starting a thread");
		if (job)
			job_free(job);
	}
	wait_jobs(round);
	err = 0;
	for (size_t i = 0; i < record->count && !err; i++) {
		if (record->devices[i].step == DSG_LEASE_RELEASED)
			continue;
		*fault = faults[i];
		err = fault->code;
		if (!err)
			err = dsg_fault_memory(fault);
	}
	round->record = NULL;
	round->faults = NULL;
	round_put(round);
	free(faults);
	return err;
}
