// SPDX-License-Identifier: GPL-2.0
/* Placement of a node's devices on resources. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "size.h"

/* Bounds of the search; beyond them the answer is good, but not the best. */
#define EXACT_TARGETS	12	/* all subsets of so many targets are tried */
#define STEPS_MAX	200000	/* placements tried in all */

struct slot {
	const struct dsg_plan_resource *res;
	size_t index;		/* in the caller's list */
	size_t target;		/* in the sorted list of targets */
	uint64_t available;
	uint64_t largest;
	size_t used;		/* devices on it */
};

struct search {
	struct slot *slots;	/* sorted by target, then id */
	size_t slot_count;
	const char **targets;	/* sorted */
	size_t target_count;
	struct dsg_plan_want **order;	/* largest first */
	size_t want_count;
	size_t choice[DSG_PLAN_WANTS_MAX];	/* slot of order[i] */
	size_t best[DSG_PLAN_WANTS_MAX];
	uint64_t best_slack;
	bool found;
	unsigned int steps;
};

static int compare_slots(const void *a, const void *b)
{
	const struct dsg_plan_resource *x = ((const struct slot *)a)->res;
	const struct dsg_plan_resource *y = ((const struct slot *)b)->res;
	int order = strcmp(x->target, y->target);

	return order ? order : strcmp(x->id, y->id);
}

static int compare_wants(const void *a, const void *b)
{
	const struct dsg_plan_want *x = *(struct dsg_plan_want *const *)a;
	const struct dsg_plan_want *y = *(struct dsg_plan_want *const *)b;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return x < y ? -1 : x > y;	/* all are in one array: the order asked */
}

static bool suits(const struct dsg_plan_want *want, const struct dsg_plan_resource *res)
{
	return want->class == res->class && (!res->read_only || want->read_only);
}

static bool fits(const struct dsg_plan_want *want, const struct slot *slot)
{
	return suits(want, slot->res) && slot->used < slot->res->most &&
	       want->size <= slot->largest &&
	       !(want->size % slot->res->block_size);
}

/*
 * Place order[i] and all after it on the targets that @mask allows: best fit
 * first, then, if that leads nowhere, the rest.
 */
static bool place_from(struct search *s, size_t i, const bool *mask)
{
	bool tried[s->slot_count];

	if (i == s->want_count)
		return true;
	memset(tried, 0, sizeof(tried));
	for (;;) {
		struct slot *slot = NULL;
		uint64_t available, largest;

		if (s->steps++ > STEPS_MAX)
			return false;
		for (size_t j = 0; j < s->slot_count; j++) {
			struct slot *c = &s->slots[j];

			if (tried[j] || !mask[c->target] || !fits(s->order[i], c))
				continue;
			if (!slot || c->available < slot->available)
				slot = c;
		}
		if (!slot)
			return false;
		tried[slot - s->slots] = true;
		available = slot->available;
		largest = slot->largest;
		if (!slot->res->read_only) {
			slot->available -= s->order[i]->size;
			if (slot->largest > slot->available)
				slot->largest = slot->available;
		}
		slot->used++;
		s->choice[i] = (size_t)(slot - s->slots);
		if (place_from(s, i + 1, mask))
			return true;
		slot->available = available;
		slot->largest = largest;
		slot->used--;
	}
}

static void reset_slots(struct search *s)
{
	for (size_t j = 0; j < s->slot_count; j++) {
		s->slots[j].available = s->slots[j].res->available;
		s->slots[j].largest = s->slots[j].res->largest;
		s->slots[j].used = 0;
	}
}

/* Try the targets of @mask; keep the outcome if it beats the best so far. */
static void try_targets(struct search *s, const bool *mask)
{
	uint64_t slack = 0;

	reset_slots(s);
	if (!place_from(s, 0, mask))
		return;
	for (size_t j = 0; j < s->slot_count; j++)
		if (s->slots[j].used && !s->slots[j].res->read_only &&
		    __builtin_add_overflow(slack, s->slots[j].available, &slack))
			slack = UINT64_MAX;
	if (s->found && slack >= s->best_slack)
		return;
	s->found = true;
	s->best_slack = slack;
	memcpy(s->best, s->choice, sizeof(s->best));
}

/* Try each set of @left more targets from @first on, in order of their names. */
static void try_sets(struct search *s, bool *mask, size_t first, size_t left)
{
	if (!left) {
		try_targets(s, mask);
		return;
	}
	for (size_t t = first; t + left <= s->target_count; t++) {
		mask[t] = true;
		try_sets(s, mask, t + 1, left - 1);
		mask[t] = false;
	}
}

static void search_targets(struct search *s)
{
	bool mask[s->target_count];

	memset(mask, 0, sizeof(mask));
	for (size_t k = 1; k <= s->target_count && !s->found; k++) {
		if (k > 1 && s->target_count > EXACT_TARGETS) {
			memset(mask, 1, sizeof(mask));
			try_targets(s, mask);
			return;
		}
		try_sets(s, mask, 0, k);
	}
}

/* Why the wants of one class can't be placed; false if they can by themselves. */
static bool explain_class(uint32_t class, const struct dsg_plan_want *wants, size_t want_count,
			  const struct dsg_plan_resource *resources, size_t resource_count,
			  struct dsg_fault *fault)
{
	uint64_t asked = 0, single = 0, available = 0, largest = 0;
	char a[DSG_SIZE_STRLEN], b[DSG_SIZE_STRLEN], c[DSG_SIZE_STRLEN], d[DSG_SIZE_STRLEN];
	const struct dsg_plan_want *biggest = NULL;
	const char *word = dsg_class_text(class);
	size_t known = 0, usable = 0;
	bool shared = false;

	for (size_t i = 0; i < want_count; i++) {
		if (wants[i].class != class)
			continue;
		if (__builtin_add_overflow(asked, wants[i].size, &asked))
			asked = UINT64_MAX;
		if (wants[i].size > single) {
			single = wants[i].size;
			biggest = &wants[i];
		}
	}
	if (!biggest)
		return false;
	for (size_t j = 0; j < resource_count; j++) {
		if (resources[j].class != class)
			continue;
		known++;
		if (!suits(biggest, &resources[j]))
			continue;
		usable++;
		shared |= resources[j].read_only;
		if (__builtin_add_overflow(available, resources[j].available, &available))
			available = UINT64_MAX;
		if (resources[j].largest > largest)
			largest = resources[j].largest;
	}
	if (!known) {
		dsg_fault_set(fault, DSG_NOT_FOUND, "no target offers %s", word);
		dsg_fault_hint(fault, "what there is: disaggctl resource list");
		return true;
	}
	if (!usable) {
		dsg_fault_set(fault, DSG_NOT_FOUND, "all %s on offer is read-only", word);
		dsg_fault_hint(fault, "ask for it with --read-only");
		return true;
	}
	if ((shared || asked <= available) && single <= largest)
		return false;
	dsg_fault_set(fault, DSG_NO_SPACE,
		      "not enough %s: asked %s (%s for %s), available %s, largest single lease %s",
		      word, dsg_size_format(asked, a), dsg_size_format(single, b), biggest->name,
		      dsg_size_format(available, c), dsg_size_format(largest, d));
	dsg_fault_hint(fault, "what is free: disaggctl resource list");
	return true;
}

static int explain(const struct dsg_plan_want *wants, size_t want_count,
		   const struct dsg_plan_resource *resources, size_t resource_count,
		   struct dsg_fault *fault)
{
	static const uint32_t classes[] = {
		DISAGG_WIRE_CLASS_MEMORY, DISAGG_WIRE_CLASS_STORAGE, DISAGG_WIRE_CLASS_GPU,
	};

	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
		if (explain_class(classes[i], wants, want_count, resources, resource_count,
				  fault))
			return fault->code;
	for (size_t i = 0; i < want_count; i++) {
		uint32_t block = 0;
		bool aligned = false;

		for (size_t j = 0; j < resource_count; j++) {
			if (!suits(&wants[i], &resources[j]) ||
			    wants[i].size > resources[j].largest)
				continue;
			if (!(wants[i].size % resources[j].block_size))
				aligned = true;
			else if (!block || resources[j].block_size < block)
				block = resources[j].block_size;
		}
		if (!aligned && block) {
			char text[DSG_SIZE_STRLEN];

			return dsg_fault_set(fault, DSG_USAGE,
					     "the size of %s is not a multiple of %s, the resource's block size",
					     wants[i].name, dsg_size_format(block, text));
		}
	}
	dsg_fault_set(fault, DSG_NO_SPACE,
		      "each device fits somewhere, but not all of them at once");
	return dsg_fault_hint(fault, "what is free: disaggctl resource list");
}

static void free_search(struct search *s)
{
	free(s->slots);
	free(s->targets);
	free(s->order);
}

int dsg_plan(struct dsg_plan_want *wants, size_t want_count,
	     const struct dsg_plan_resource *resources, size_t resource_count,
	     struct dsg_fault *fault)
{
	struct search s = { .slot_count = resource_count, .want_count = want_count };

	if (!want_count || want_count > DSG_PLAN_WANTS_MAX)
		return dsg_fault_set(fault, DSG_USAGE, "a node has 1 to %d devices",
				     DSG_PLAN_WANTS_MAX);
	if (resource_count > DSG_PLAN_RESOURCES_MAX) {
		dsg_fault_set(fault, DSG_FAILED, "the targets offer more than %d resources",
			      DSG_PLAN_RESOURCES_MAX);
		return dsg_fault_hint(fault, "name one target with --target");
	}
	if (!resource_count)
		return explain(wants, want_count, resources, 0, fault);
	s.slots = calloc(resource_count, sizeof(*s.slots));
	s.targets = calloc(resource_count, sizeof(*s.targets));
	s.order = calloc(want_count, sizeof(*s.order));
	if (!s.slots || !s.targets || !s.order) {
		free_search(&s);
		return dsg_fault_memory(fault);
	}
	for (size_t j = 0; j < resource_count; j++) {
		s.slots[j].res = &resources[j];
		s.slots[j].index = j;
	}
	qsort(s.slots, resource_count, sizeof(*s.slots), compare_slots);
	for (size_t j = 0; j < resource_count; j++) {
		const char *name = s.slots[j].res->target;

		if (!s.target_count || strcmp(s.targets[s.target_count - 1], name))
			s.targets[s.target_count++] = name;
		s.slots[j].target = s.target_count - 1;
	}
	for (size_t i = 0; i < want_count; i++)
		s.order[i] = &wants[i];
	qsort(s.order, want_count, sizeof(*s.order), compare_wants);

	search_targets(&s);
	for (size_t i = 0; i < want_count && s.found; i++)
		s.order[i]->resource = s.slots[s.best[i]].index;
	free_search(&s);
	return s.found ? 0 : explain(wants, want_count, resources, resource_count, fault);
}
