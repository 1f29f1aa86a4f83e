// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a lease: reserved -> (starting) -> committed -> (ending) -> gone.
 * Each step is in the journal before anybody hears of it, and what a lease holds of
 * its resource is free again only when its worker is dead.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "access.h"
#include "announce.h"
#include "journal.h"
#include "lease.h"
#include "log.h"
#include "wire.h"

#define STOP_GRACE_NS	(5 * DSG_NSEC_PER_SEC)
#define HELLO_NS	(2 * DSG_NSEC_PER_SEC)	/* for kept workers to answer */

static const struct config *conf;
static struct lease *leases;
static unsigned int count;
static bool stopping;

static uint64_t wall_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * DSG_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* The journal keeps times that survive a reboot; SQLite's integers are signed. */
static uint64_t wall_after(uint64_t ns)
{
	uint64_t now = wall_now();

	if (!ns)
		return 0;
	return ns > INT64_MAX - now ? INT64_MAX : now + ns;
}

static uint64_t expiry_after(uint64_t ns)
{
	return ns ? dsg_deadline(ns) : 0;
}

struct lease *lease_first(void)
{
	return leases;
}

struct lease *lease_next(const struct lease *lease)
{
	return lease->next;
}

unsigned int leases_count(void)
{
	return count;
}

static void link_lease(struct lease *l)
{
	l->next = leases;
	l->link = &leases;
	if (leases)
		leases->link = &l->next;
	leases = l;
	count++;
}

static void free_lease(struct lease *l)
{
	*l->link = l->next;
	if (l->next)
		l->next->link = l->link;
	count--;
	/* What a try that failed gives back is no reason for others to try. */
	if (l->committed)
		announce_news();
	explicit_bzero(l->token, sizeof(l->token));
	free(l);
}

bool lease_is_of(const struct lease *l, const struct tenant_config *tenant)
{
	return !strcmp(l->tenant, tenant->name);
}

uint16_t lease_find(const uint8_t id[DISAGG_WIRE_UUID_LEN],
		    const struct tenant_config *tenant, struct lease **lease)
{
	for (struct lease *l = leases; l; l = l->next) {
		if (memcmp(l->id, id, sizeof(l->id)))
			continue;
		if (!lease_is_of(l, tenant))
			return DISAGG_WIRE_E_NOT_FOUND;
		*lease = l;
		return l->state == LEASE_ENDING ? DISAGG_WIRE_E_STALE : DISAGG_WIRE_OK;
	}
	switch (journal_knows_id(id)) {
	case JOURNAL_KNOWS_ENDED:
		return DISAGG_WIRE_E_STALE;
	case JOURNAL_KNOWS_OPEN:
		return DISAGG_WIRE_E_BUSY;	/* kept aside: it is not gone */
	default:
		return DISAGG_WIRE_E_NOT_FOUND;
	}
}

/* A row of the journal at start, before it is a lease. */
struct candidate {
	struct journal_row row;
	struct resource *resource;	/* NULL: it is no longer offered */
	bool expired;
	const char *ends;		/* the configuration gives it up: why; or NULL */
	struct worker *worker;		/* that an earlier daemon left for it */
	uint64_t size;			/* that this one serves */
};

struct candidates {
	struct candidate *of;
	size_t count;
};

static bool in_memory(const struct journal_row *row)
{
	return row->class == DISAGG_WIRE_CLASS_MEMORY && row->state == JOURNAL_COMMITTED;
}

/* A lease whose resource is not offered is kept aside, and so must be what it is in. */
static const char *aside_misfit(struct candidate *c)
{
	const struct journal_row *row = &c->row;
	const struct resource *other = NULL;

	while ((other = resource_on_medium(row->medium, other))) {
		if (other->conf->read_only && row->attrs & DISAGG_WIRE_ATTR_READ_ONLY)
			continue;
		if (other->conf->overwrite) {
			c->ends = "what it was in is lent by another id (overwrite)";
			continue;
		}
		log_error("resource %s: %s is offered as %s now", row->resource,
			  other->conf->path, other->conf->id);
		return other->conf->read_only ?
		       "would be shown: give the resource its id back, or say \"overwrite: yes\"" :
		       "would be overwritten: give the resource its id back, or say \"overwrite: yes\"";
	}
	return NULL;
}

/* Is what a lease on storage is in not here, but somewhere else or gone? */
static const char *medium_misfit(const struct candidate *c)
{
	const struct resource *r = c->resource, *other = NULL;
	const struct journal_row *row = &c->row;

	if (resource_is_other_medium(r, row->medium)) {
		log_error("resource %s: %s is %s, not %s", row->resource, r->conf->path,
			  *r->medium ? r->medium : "of unknown identity", row->medium);
		return "is in another file or device: if it was copied, say \"replaced: yes\"";
	}
	if (row->offset > r->found || row->size > r->found - row->offset)
		return "reaches beyond its end: is this the right file or device?";
	if (!strcmp(r->medium, row->medium) || r->conf->replaced)
		return NULL;
	while ((other = resource_on_medium(row->medium, other))) {
		if (other == r)
			continue;
		log_error("resource %s: its leases were in what is %s now", row->resource,
			  other->conf->id);
		return "is on another resource: if it was copied, say \"replaced: yes\"";
	}
	return NULL;
}

/* Why a lease on storage can't go on as it is configured today; NULL: it can, or is to end. */
static const char *storage_misfit(const struct candidates *all, struct candidate *c)
{
	const struct resource *r = c->resource;
	const struct journal_row *row = &c->row;
	const char *why;

	if (!r)
		return aside_misfit(c);
	why = medium_misfit(c);
	if (why)
		return why;
	if (row->offset > r->capacity || row->size > r->capacity - row->offset)
		return "has no room on it any more: its size is too small";
	if ((row->offset | row->size) & (r->conf->block_size - 1))
		return "is not aligned to its block-size";
	if (r->conf->read_only)
		return row->attrs & DISAGG_WIRE_ATTR_READ_ONLY ? NULL :
			"may write to it: it can't be read-only";
	for (const struct candidate *o = all->of; o < c; o++)
		if (o->resource == r && !o->expired && !o->ends &&
		    o->row.offset < row->offset + row->size &&
		    row->offset < o->row.offset + o->row.size)
			return "shares its place with another: it must stay read-only";
	return NULL;
}

/* The same for one on memory, which has something to lose if its worker lives. */
static const char *memory_misfit(const struct candidates *all, const struct candidate *c)
{
	const struct resource *r = c->resource;
	uint64_t left, need;
	bool fits = true;

	if (!c->worker)
		return NULL;
	if (!r)
		return "is in use: it must still be offered";
	left = r->capacity;
	for (const struct candidate *o = all->of; o <= c; o++) {
		if (o->resource != r || !o->worker || o->expired)
			continue;
		need = resource_footprint(r, o->row.size);
		fits = need <= left;
		if (fits)
			left -= need;
	}
	return fits ? NULL : "has no room on it any more: its size is too small";
}

/* Nothing is ended before it is known that all that is to go on can. */
static int check_candidates(struct candidates *all)
{
	int err = 0;

	for (size_t i = 0; i < all->count; i++) {
		struct candidate *c = &all->of[i];
		const char *why = c->expired ? NULL :
				  c->row.class == DISAGG_WIRE_CLASS_STORAGE ?
				  storage_misfit(all, c) : memory_misfit(all, c);

		if (!why)
			continue;
		log_error("lease %llu on resource %s %s",
			  (unsigned long long)c->row.generation, c->row.resource, why);
		err = -ERANGE;
	}
	if (err)
		log_error("a lease whose data is lost is ended by disaggd --end-lease LEASE");
	return err;
}

/*
 * What a memory lease holds is in its worker, which may have outlived the daemon; if
 * it was killed between two steps of a RESIZE, the journal says how it was meant.
 */
static int adopt(struct lease *l, struct candidate *c)
{
	int err = worker_adopt(c->worker, l);

	if (err)
		return err;
	l->worker = c->worker;
	c->worker = NULL;
	log_info("lease %llu: goes on, worker %d", (unsigned long long)l->generation,
		 (int)l->worker->pid);
	if (c->size == l->size)
		return 0;
	if (c->size < l->size && !worker_resize(l->worker, l->held)) {
		l->size = c->size;
		return 0;
	}
	log_warning("lease %llu: its worker serves %llu bytes, the journal says %llu",
		    (unsigned long long)l->generation, (unsigned long long)c->size,
		    (unsigned long long)l->size);
	worker_stop(l->worker, true, 0);
	return 0;
}

static bool has_worker(uint64_t generation)
{
	for (const struct lease *l = leases; l; l = l->next)
		if (l->generation == generation && l->worker)
			return true;
	return false;
}

static int end_row(const struct journal_row *row, const char *why)
{
	log_warning("lease %llu on resource %s ends: %s", (unsigned long long)row->generation,
		    row->resource, why);
	return journal_end(row->generation, why);
}

static int load(struct candidate *c, uint64_t now)
{
	const struct journal_row *row = &c->row;
	struct resource *r = c->resource;
	uint64_t available, largest;
	struct lease *l;

	if (c->expired) {
		log_info("lease %llu: expired", (unsigned long long)row->generation);
		return journal_end(row->generation, "expired");
	}
	if (in_memory(row) && !c->worker)
		return end_row(row, "its memory ended with the daemon");
	if (c->ends)
		return end_row(row, c->ends);
	if (!r) {
		log_warning("lease %llu is on resource %s, which is no longer offered: kept aside",
			    (unsigned long long)row->generation, row->resource);
		return 0;
	}
	if (strcmp(row->medium, r->medium) && journal_set_medium(row->generation, r->medium))
		return -EIO;
	if (row->class == DISAGG_WIRE_CLASS_MEMORY) {
		resource_room(r, &available, &largest);
		if (resource_footprint(r, row->size) > largest)
			return end_row(row, "its resource has become too small");
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->resource = r;
	l->state = row->state == JOURNAL_COMMITTED ? LEASE_COMMITTED : LEASE_RESERVED;
	l->committed = l->state == LEASE_COMMITTED;
	l->generation = row->generation;
	l->attrs = row->attrs;
	l->size = row->size;
	l->held = row->size;
	l->offset = row->offset;
	l->lease_ns = row->lease_ns;
	l->expires = row->expires_wall ? expiry_after(row->expires_wall - now) : 0;
	memcpy(l->id, row->id, sizeof(l->id));
	memcpy(l->txid, row->txid, sizeof(l->txid));
	memcpy(l->token, row->token, sizeof(l->token));
	memcpy(l->tenant, row->tenant, sizeof(l->tenant));
	memcpy(l->node, row->node, sizeof(l->node));
	memcpy(l->device, row->device, sizeof(l->device));
	memcpy(l->host, row->host, sizeof(l->host));
	link_lease(l);
	return c->worker ? adopt(l, c) : 0;
}

/* Rows are ended while they are loaded, so they are collected first. */
static int collect(const struct journal_row *row, void *ctx)
{
	struct candidates *all = ctx;
	struct candidate *more = realloc(all->of, (all->count + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	all->of = more;
	all->of[all->count++] = (struct candidate){ .row = *row };
	return 0;
}

static void prepare(struct candidate *c, uint64_t now)
{
	c->resource = resource_find(c->row.resource);
	if (c->resource && c->resource->conf->class != c->row.class)
		c->resource = NULL;
	c->expired = c->row.expires_wall && c->row.expires_wall <= now;
}

/* All are called before the first is heard: those that hang cost the time of one. */
static int find_workers(struct candidates *all)
{
	uint64_t deadline;

	for (size_t i = 0; i < all->count; i++) {
		struct candidate *c = &all->of[i];
		int err = in_memory(&c->row) && !c->expired ?
			  worker_find(c->row.generation, &c->worker) : 0;

		if (err) {
			log_error("lease %llu on resource %s: its worker cannot be reached: %s",
				  (unsigned long long)c->row.generation, c->row.resource,
				  strerror(-err));
			return err;
		}
	}
	deadline = dsg_deadline(HELLO_NS);
	for (size_t i = 0; i < all->count; i++) {
		struct candidate *c = &all->of[i];

		int err = c->worker ? worker_hear(&c->worker, c->row.generation, c->row.id,
						  deadline, &c->size) : 0;

		if (err) {
			log_error("lease %llu on resource %s: its worker cannot be heard: %s",
				  (unsigned long long)c->row.generation, c->row.resource,
				  strerror(-err));
			return err;
		}
	}
	return 0;
}

static void forget_candidates(struct candidates *all)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->of[i].worker)
			worker_abandon(all->of[i].worker);
	if (all->of)
		explicit_bzero(all->of, all->count * sizeof(*all->of));
	free(all->of);
}

/* Those with memory first: a reservation is not to take their room. */
static int load_all(struct candidates *all, uint64_t now)
{
	int err = 0;

	for (size_t i = 0; i < all->count && !err; i++)
		if (in_memory(&all->of[i].row))
			err = load(&all->of[i], now);
	for (size_t i = 0; i < all->count && !err; i++)
		if (!in_memory(&all->of[i].row))
			err = load(&all->of[i], now);
	return err;
}

int leases_open(const struct config *config)
{
	struct candidates all = { 0 };
	uint64_t now = wall_now();
	int err;

	conf = config;
	err = journal_load(collect, &all);
	for (size_t i = 0; i < all.count && !err; i++)
		prepare(&all.of[i], now);
	if (!err)
		err = find_workers(&all);
	if (!err)
		err = check_candidates(&all);
	if (!err)
		err = resources_prepare();
	if (!err)
		err = load_all(&all, now);
	forget_candidates(&all);
	if (!err)
		worker_sweep(has_worker);
	worker_bury();
	if (!err && all.count)
		log_info("journal: %zu leases were open, %u go on", all.count, count);
	return err;
}

/* Its worker may have made room for a RESIZE that did not come about: nobody counts that. */
static void give_back(struct lease *l)
{
	if (l->held == l->size)
		worker_resize(l->worker, l->size);
}

/* They were started with what the configuration said then. */
void leases_keep(void)
{
	for (struct lease *l = leases; l; l = l->next) {
		if (!l->worker || !l->worker->adopted)
			continue;
		worker_keep(l->worker, conf->keep_ns);
		give_back(l);
	}
}

/* What @tenant's leases (of @host, unless it is NULL) hold; their number. */
static uint64_t held_by(const struct tenant_config *tenant, const char *host, uint64_t *size)
{
	uint64_t n = 0;

	*size = 0;
	for (struct lease *l = leases; l; l = l->next) {
		if (!lease_is_of(l, tenant) || (host && strcmp(l->host, host)))
			continue;
		*size += resource_footprint(l->resource, l->held);
		n++;
	}
	return n;
}

/*
 * Within the quotas, if @more bytes and @new_leases more leases go to @tenant's @host?
 * Bytes are what is taken of a resource: whole huge pages. A host is what it says it is,
 * so no tenant's hosts count for another.
 */
static bool quota_ok(const struct tenant_config *tenant, const char *host, uint64_t more,
		     uint64_t new_leases)
{
	const struct quota_config *q = &conf->quota;
	uint64_t size, n = held_by(tenant, host, &size);

	if (count + new_leases > q->max_leases || n + new_leases > q->max_leases_per_host ||
	    more > q->max_size_per_host || size > q->max_size_per_host - more)
		return false;
	n = held_by(tenant, NULL, &size);
	return n + new_leases <= tenant->max_leases && more <= tenant->max_size &&
	       size <= tenant->max_size - more;
}

static bool resource_fits(const struct resource *r, const struct disagg_wire_reserve *req)
{
	return r->conf->class == le32toh(req->class) &&
	       le64toh(req->size) % r->conf->block_size == 0 &&
	       (!r->conf->read_only ||
		le32toh(req->attrs) & DISAGG_WIRE_ATTR_READ_ONLY);
}

/*
 * A named resource, or the one whose largest piece is the tightest fit: big pieces
 * stay whole for leases that need them. Ties go to the first in the configuration.
 */
static uint16_t choose(const struct disagg_wire_reserve *req,
		       const struct tenant_config *tenant, struct resource **chosen,
		       uint64_t *offset)
{
	uint64_t size = le64toh(req->size), available, largest, best = UINT64_MAX;
	uint16_t status = DISAGG_WIRE_E_NOT_FOUND;

	if (req->id[0]) {
		*chosen = resource_find(req->id);
		if (!*chosen || (*chosen)->conf->class != le32toh(req->class) ||
		    !access_resource(tenant, req->id))
			return DISAGG_WIRE_E_NOT_FOUND;
		if ((*chosen)->conf->read_only &&
		    !(le32toh(req->attrs) & DISAGG_WIRE_ATTR_READ_ONLY))
			return DISAGG_WIRE_E_READ_ONLY;
		if (!resource_fits(*chosen, req))
			return DISAGG_WIRE_E_INVALID;
		return resource_place(*chosen, size, offset) ? DISAGG_WIRE_E_NO_SPACE :
							       DISAGG_WIRE_OK;
	}
	*chosen = NULL;
	for (unsigned int i = 0; i < resources_count(); i++) {
		struct resource *r = resource_at(i);

		/* What is read-only holds somebody's data: it is asked for by name. */
		if (r->conf->class != le32toh(req->class) || r->conf->read_only ||
		    !access_resource(tenant, r->conf->id))
			continue;
		if (!resource_fits(r, req)) {
			if (status == DISAGG_WIRE_E_NOT_FOUND)
				status = DISAGG_WIRE_E_INVALID;
			continue;
		}
		status = DISAGG_WIRE_E_NO_SPACE;
		resource_room(r, &available, &largest);
		if (resource_footprint(r, size) <= largest && largest < best) {
			best = largest;
			*chosen = r;
		}
	}
	if (!*chosen)
		return status;
	return resource_place(*chosen, size, offset) ? DISAGG_WIRE_E_NO_SPACE :
						       DISAGG_WIRE_OK;
}

/* As long as the journal can hold. */
static uint64_t lease_time(uint64_t ns)
{
	return ns < INT64_MAX ? ns : INT64_MAX;
}

/* The same try again must ask for the same thing. */
static uint16_t repeat_reserve(struct lease *l, const struct disagg_wire_reserve *req)
{
	if (l->state == LEASE_ENDING)
		return DISAGG_WIRE_E_STALE;
	if (l->resource->conf->class != le32toh(req->class) ||
	    l->size != le64toh(req->size) || l->attrs != le32toh(req->attrs) ||
	    l->lease_ns != lease_time(le64toh(req->lease_ns)) ||
	    (req->id[0] && strcmp(l->resource->conf->id, req->id)) ||
	    strcmp(l->node, req->node) || strcmp(l->device, req->device) ||
	    strcmp(l->host, req->host))
		return DISAGG_WIRE_E_INVALID;
	return DISAGG_WIRE_OK;
}

uint16_t lease_reserve(const struct disagg_wire_reserve *req,
		       const struct tenant_config *tenant, struct lease **lease)
{
	uint64_t size = le64toh(req->size), ttl = le64toh(req->ttl_ns);
	struct journal_row row = { .state = JOURNAL_RESERVED };
	struct lease *l;
	uint16_t status;

	for (l = leases; l; l = l->next) {
		if (memcmp(l->txid, req->txid, sizeof(l->txid)))
			continue;
		if (!lease_is_of(l, tenant))
			return DISAGG_WIRE_E_DENIED;
		*lease = l;
		return repeat_reserve(l, req);
	}
	switch (journal_knows_txid(req->txid)) {
	case JOURNAL_KNOWS_ENDED:
		return DISAGG_WIRE_E_STALE;
	case JOURNAL_KNOWS_OPEN:
		return DISAGG_WIRE_E_BUSY;
	default:
		break;
	}
	if (stopping)
		return DISAGG_WIRE_E_BUSY;
	if (!size || size > INT64_MAX)
		return DISAGG_WIRE_E_INVALID;
	if (size > conf->quota.max_lease_size || size > tenant->max_lease_size ||
	    !quota_ok(tenant, req->host, size, 1))
		return DISAGG_WIRE_E_NO_SPACE;	/* before the resources are looked at */

	l = calloc(1, sizeof(*l));
	if (!l)
		return DISAGG_WIRE_E_INTERNAL;
	status = choose(req, tenant, &l->resource, &l->offset);
	if (!status && !quota_ok(tenant, req->host, resource_footprint(l->resource, size), 1))
		status = DISAGG_WIRE_E_NO_SPACE;
	if (status)
		goto err_free;
	if (!ttl || ttl > conf->reserve_ttl_ns)
		ttl = conf->reserve_ttl_ns;
	l->state = LEASE_RESERVED;
	l->attrs = le32toh(req->attrs);
	l->size = size;
	l->held = size;
	l->lease_ns = lease_time(le64toh(req->lease_ns));
	l->expires = dsg_deadline(ttl);
	memcpy(l->txid, req->txid, sizeof(l->txid));
	memcpy(l->tenant, tenant->name, sizeof(l->tenant));
	memcpy(l->node, req->node, sizeof(l->node));
	memcpy(l->device, req->device, sizeof(l->device));
	memcpy(l->host, req->host, sizeof(l->host));
	status = DISAGG_WIRE_E_INTERNAL;
	if (dsg_uuid_random(l->id) || dsg_random(l->token, sizeof(l->token)))
		goto err_free;

	row.class = l->resource->conf->class;
	row.attrs = l->attrs;
	row.size = l->size;
	row.offset = l->offset;
	row.lease_ns = l->lease_ns;
	row.expires_wall = wall_after(ttl);
	memcpy(row.id, l->id, sizeof(row.id));
	memcpy(row.txid, l->txid, sizeof(row.txid));
	memcpy(row.token, l->token, sizeof(row.token));
	memcpy(row.resource, l->resource->conf->id, sizeof(row.resource));
	memcpy(row.medium, l->resource->medium, sizeof(row.medium));
	memcpy(row.tenant, l->tenant, sizeof(row.tenant));
	memcpy(row.node, l->node, sizeof(row.node));
	memcpy(row.device, l->device, sizeof(row.device));
	memcpy(row.host, l->host, sizeof(row.host));
	if (journal_reserve(&row))
		goto err_free;
	explicit_bzero(row.token, sizeof(row.token));
	l->generation = row.generation;
	link_lease(l);
	log_info("lease %llu: reserved %llu bytes of %s for %s/%s on %s of tenant %s",
		 (unsigned long long)l->generation, (unsigned long long)size,
		 l->resource->conf->id, l->node, l->device, l->host, l->tenant);
	*lease = l;
	return DISAGG_WIRE_OK;

err_free:
	free(l);
	return status;
}

static int start_worker(struct lease *l, bool zero)
{
	const struct resource_config *r = l->resource->conf;
	struct worker_setup setup = {
		.generation = l->generation,
		.size = l->size,
		.max_size = l->resource->capacity,
		.offset = l->offset,
		.hugepage = r->hugepage,
		.class = r->class,
		.attrs = l->attrs,
		.block_size = r->block_size,
		.prealloc = r->prealloc,
		.zero = zero && !r->read_only,
		.shared = r->read_only,
	};

	if (r->class == DISAGG_WIRE_CLASS_MEMORY && conf->keep_ns) {
		setup.keep_ns = conf->keep_ns;
		strncpy(setup.path, conf->state_dir, sizeof(setup.path) - 1);
	}
	memcpy(setup.lease, l->id, sizeof(setup.lease));
	memcpy(setup.resource, r->id, sizeof(setup.resource));
	if (r->path)
		strncpy(setup.path, r->path, sizeof(setup.path) - 1);
	l->worker = worker_start(l, &setup);
	if (l->worker)
		return 0;
	log_error("lease %llu: cannot start a worker: %s",
		  (unsigned long long)l->generation, strerror(errno));
	return -EIO;
}

uint16_t lease_commit(struct lease *l)
{
	if (l->state == LEASE_COMMITTED)
		return DISAGG_WIRE_OK;
	if (l->state == LEASE_STARTING)
		return LEASE_LATER;
	if (stopping)
		return DISAGG_WIRE_E_BUSY;
	if (l->worker)
		return DISAGG_WIRE_E_BUSY;	/* one that failed is still going */
	if (start_worker(l, true))
		return DISAGG_WIRE_E_INTERNAL;
	l->state = LEASE_STARTING;
	return LEASE_LATER;
}

void lease_worker_ready(struct lease *l, uint16_t status)
{
	if (l->state == LEASE_COMMITTED && status)
		log_error("lease %llu: its worker cannot serve: %s",
			  (unsigned long long)l->generation, dsg_status_text(status));
	if (l->state != LEASE_STARTING)
		return;
	if (!status && journal_commit(l->generation, wall_after(l->lease_ns))) {
		status = DISAGG_WIRE_E_INTERNAL;
		worker_stop(l->worker, true, 0);
	}
	if (status) {
		l->state = LEASE_RESERVED;
	} else {
		l->state = LEASE_COMMITTED;
		l->committed = true;
		l->expires = expiry_after(l->lease_ns);
		log_info("lease %llu: committed, worker %d",
			 (unsigned long long)l->generation, (int)l->worker->pid);
	}
	lease_done(l, DISAGG_WIRE_OP_COMMIT, status);
}

/*
 * Ended in the journal already: let go of it, now or when its worker is dead. One that
 * is still making room takes no orders until it is done, and serves nobody: it has
 * nothing to finish.
 */
static void let_go(struct lease *l)
{
	uint64_t grace_ns = l->state == LEASE_STARTING ? 0 : STOP_GRACE_NS;

	if (l->state == LEASE_STARTING)
		lease_done(l, DISAGG_WIRE_OP_COMMIT, DISAGG_WIRE_E_STALE);
	lease_done(l, DISAGG_WIRE_OP_RESIZE, DISAGG_WIRE_E_STALE);
	l->state = LEASE_ENDING;
	l->expires = 0;
	if (l->worker)
		worker_stop(l->worker, true, grace_ns);
	else
		free_lease(l);
}

uint16_t lease_release(struct lease *l)
{
	bool wait = l->worker;

	if (journal_end(l->generation, "released"))
		return DISAGG_WIRE_E_INTERNAL;
	log_info("lease %llu: released", (unsigned long long)l->generation);
	let_go(l);
	return wait ? LEASE_LATER : DISAGG_WIRE_OK;
}

uint16_t lease_renew(struct lease *l, uint64_t lease_ns)
{
	if (l->state != LEASE_COMMITTED)
		return DISAGG_WIRE_E_INVALID;
	lease_ns = lease_time(lease_ns);
	if (journal_renew(l->generation, wall_after(lease_ns)))
		return DISAGG_WIRE_E_INTERNAL;
	l->expires = expiry_after(lease_ns);
	return DISAGG_WIRE_OK;
}

static bool room_to_grow(struct lease *l, uint64_t size)
{
	const struct resource *r = l->resource;
	uint64_t available, largest;

	if (r->conf->read_only)
		return size <= r->capacity;
	if (r->conf->class == DISAGG_WIRE_CLASS_MEMORY) {
		resource_room(r, &available, &largest);
		return resource_footprint(r, size) - resource_footprint(r, l->held) <=
		       available;
	}
	if (size > r->capacity || l->offset > r->capacity - size)
		return false;
	for (struct lease *o = leases; o; o = o->next)
		if (o != l && o->resource == r && o->offset > l->offset &&
		    o->offset < l->offset + size)
			return false;
	return true;
}

uint16_t lease_resize(struct lease *l, const struct tenant_config *tenant, uint64_t size)
{
	uint64_t more;

	if (l->state != LEASE_COMMITTED || size < l->size ||
	    size % l->resource->conf->block_size || size > INT64_MAX)
		return DISAGG_WIRE_E_INVALID;
	if (l->held > l->size || (l->publishing && size != l->size))
		return DISAGG_WIRE_E_BUSY;
	if (size == l->size)
		return l->publishing ? LEASE_LATER : DISAGG_WIRE_OK;
	if (stopping)
		return DISAGG_WIRE_E_BUSY;
	more = resource_footprint(l->resource, size) - resource_footprint(l->resource, l->size);
	if (size > conf->quota.max_lease_size || size > tenant->max_lease_size ||
	    !quota_ok(tenant, l->host, more, 0) || !room_to_grow(l, size))
		return DISAGG_WIRE_E_NO_SPACE;
	if (!l->worker && start_worker(l, false))
		return DISAGG_WIRE_E_INTERNAL;
	if (worker_resize(l->worker, size))
		return DISAGG_WIRE_E_INTERNAL;
	l->held = size;
	return LEASE_LATER;
}

void lease_worker_resized(struct lease *l, uint16_t status, uint64_t size)
{
	/* Nobody waits for what was given back. */
	if (l->state != LEASE_COMMITTED || l->held == l->size || l->held != size ||
	    l->publishing)
		return;
	/*
	 * The new part is zeroed by now; only then may a restart serve it, and only
	 * what is in the journal may be reached by the lanes.
	 */
	if (!status && journal_resize(l->generation, size))
		status = DISAGG_WIRE_E_INTERNAL;
	if (status) {
		l->held = l->size;
		give_back(l);
		lease_done(l, DISAGG_WIRE_OP_RESIZE, status);
		return;
	}
	l->size = size;
	log_info("lease %llu: now %llu bytes", (unsigned long long)l->generation,
		 (unsigned long long)size);
	l->publishing = true;
	if (worker_publish(l->worker, size))
		worker_stop(l->worker, true, STOP_GRACE_NS);
}

void lease_worker_published(struct lease *l)
{
	if (!l->publishing)
		return;
	l->publishing = false;
	lease_done(l, DISAGG_WIRE_OP_RESIZE, DISAGG_WIRE_OK);
}

uint16_t lease_lane(struct lease *l, const struct worker_order *order, int fd)
{
	if (stopping)
		return DISAGG_WIRE_E_BUSY;
	if (!l->worker && start_worker(l, false))
		return DISAGG_WIRE_E_INTERNAL;
	return worker_lane(l->worker, order, fd) ? DISAGG_WIRE_E_BUSY : DISAGG_WIRE_OK;
}

void lease_worker_gone(struct lease *l)
{
	l->worker = NULL;
	l->publishing = false;
	if (l->state == LEASE_STARTING) {
		l->state = LEASE_RESERVED;
		lease_done(l, DISAGG_WIRE_OP_COMMIT, DISAGG_WIRE_E_INTERNAL);
		return;
	}
	if (l->state == LEASE_ENDING) {
		lease_done(l, DISAGG_WIRE_OP_RELEASE, DISAGG_WIRE_OK);
		free_lease(l);
		return;
	}
	if (l->state != LEASE_COMMITTED)
		return;
	l->held = l->size;
	lease_done(l, DISAGG_WIRE_OP_RESIZE, DISAGG_WIRE_E_INTERNAL);
	if (l->resource->conf->class != DISAGG_WIRE_CLASS_MEMORY)
		return;		/* the next lane starts another */
	if (journal_end(l->generation, stopping ? "the daemon stopped" : "its worker died"))
		log_error("lease %llu: it ended, but the journal did not take it",
			  (unsigned long long)l->generation);
	if (!stopping)
		log_warning("lease %llu: ended with its worker",
			    (unsigned long long)l->generation);
	free_lease(l);
}

void lease_grant(const struct lease *l, bool with_token, struct disagg_wire_grant *g)
{
	uint64_t now = dsg_now_ns();

	memset(g, 0, sizeof(*g));
	memcpy(g->lease, l->id, sizeof(g->lease));
	g->generation = htole64(l->generation);
	g->size = htole64(l->size);
	if (l->expires)
		g->expires_ns = htole64(l->expires > now ? l->expires - now : 1);
	g->block_size = htole32(l->resource->conf->block_size);
	g->attrs = htole32(l->attrs);
	g->max_lanes = htole32(conf->max_lanes);
	memcpy(g->resource, l->resource->conf->id, sizeof(g->resource));
	if (with_token)
		memcpy(g->token, l->token, sizeof(g->token));
}

void lease_info(const struct lease *l, struct disagg_wire_lease_info *info)
{
	uint64_t now = dsg_now_ns(), read = l->read_bytes, written = l->written_bytes;
	uint32_t lanes = 0;

	memset(info, 0, sizeof(*info));
	if (l->worker)
		worker_counts(l->worker, &read, &written, &lanes);
	memcpy(info->lease, l->id, sizeof(info->lease));
	info->generation = htole64(l->generation);
	info->size = htole64(l->size);
	if (l->expires)
		info->expires_ns = htole64(l->expires > now ? l->expires - now : 1);
	info->read_bytes = htole64(read);
	info->written_bytes = htole64(written);
	info->class = htole32(l->resource->conf->class);
	info->state = htole32(l->state == LEASE_COMMITTED ? DISAGG_WIRE_LEASE_COMMITTED :
			      l->state == LEASE_ENDING ? DISAGG_WIRE_LEASE_ENDING :
							 DISAGG_WIRE_LEASE_RESERVED);
	info->lanes = htole32(lanes);
	memcpy(info->resource, l->resource->conf->id, sizeof(info->resource));
	memcpy(info->node, l->node, sizeof(info->node));
	memcpy(info->device, l->device, sizeof(info->device));
	memcpy(info->host, l->host, sizeof(info->host));
}

uint64_t leases_check(uint64_t now)
{
	uint64_t next = DSG_NO_DEADLINE;
	struct lease *after;

	for (struct lease *l = leases; l; l = after) {
		after = l->next;
		if (l->worker) {
			worker_check(l->worker, now);
			if (l->worker->kill_at && l->worker->kill_at < next)
				next = l->worker->kill_at;
		}
		/* A COMMIT that is under way has beaten the reservation's time. */
		if (!l->expires || l->state == LEASE_STARTING)
			continue;
		if (l->expires > now) {
			if (l->expires < next)
				next = l->expires;
			continue;
		}
		if (journal_end(l->generation, "expired")) {
			l->expires = now + DSG_NSEC_PER_SEC;	/* try again */
			if (l->expires < next)
				next = l->expires;
			continue;
		}
		log_info("lease %llu: expired", (unsigned long long)l->generation);
		let_go(l);
	}
	return next;
}

/* Its worker serves on for the next daemon, whatever it is at. */
static bool is_left(const struct lease *l)
{
	return l->worker->kept && l->state == LEASE_COMMITTED && !l->worker->kill_at;
}

/* Nobody waits for what it is at. */
static bool is_quiet(const struct lease *l)
{
	return !l->worker || (is_left(l) && l->held == l->size && !l->publishing);
}

void leases_stop(uint64_t grace_ns)
{
	stopping = true;
	for (struct lease *l = leases; l; l = l->next) {
		if (!l->worker || is_left(l))
			continue;
		/* One that is ready in time is left too. */
		if (l->worker->kept && l->state == LEASE_STARTING)
			continue;
		worker_stop(l->worker, false, grace_ns);
	}
}

bool leases_working(void)
{
	for (struct lease *l = leases; l; l = l->next)
		if (!is_quiet(l))
			return true;
	return false;
}

/* Until here requests are answered, and RELEASE ends also what is to be left. */
void leases_close(void)
{
	while (leases) {
		if (leases->worker && !is_left(leases))
			worker_stop(leases->worker, true, 0);
		if (leases->worker)
			worker_abandon(leases->worker);
		free_lease(leases);
	}
}
