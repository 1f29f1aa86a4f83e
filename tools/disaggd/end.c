// SPDX-License-Identifier: GPL-2.0
/* disaggd --end-lease: what the operator says of the journal while no daemon runs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "end.h"
#include "journal.h"
#include "log.h"

struct search {
	uint64_t generation;	/* 0: all are printed */
	bool found;
};

static int print_row(const struct journal_row *row, void *ctx)
{
	struct search *search = ctx;

	if (search->generation && search->generation != row->generation)
		return 0;
	search->found = true;
	printf("lease %llu: %llu bytes of %s for %s/%s on %s of tenant %s\n",
	       (unsigned long long)row->generation, (unsigned long long)row->size, row->resource,
	       row->node, row->device, row->host, row->tenant);
	return 0;
}

static int end_one(const char *text)
{
	struct search search = { 0 };
	char *end;
	int err;

	errno = 0;
	search.generation = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || !search.generation) {
		log_error("%s is no lease's number", text);
		return -EINVAL;
	}
	err = journal_load(print_row, &search);
	if (!err && !search.found)
		err = -ESTALE;
	/* A row that is damaged, which is logged, can be ended, too. */
	if (!err || err == -EBADMSG)
		err = journal_end(search.generation, "ended by the operator");
	if (err == -ESTALE)
		log_error("the journal has no lease %s that is open", text);
	return err;
}

int end_leases(char *const *generations)
{
	struct search all = { 0 };
	int err = 0;

	if (!*generations)
		return journal_load(print_row, &all);
	for (; *generations && !err; generations++)
		err = end_one(*generations);
	return err;
}
