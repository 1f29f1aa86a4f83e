// SPDX-License-Identifier: GPL-2.0
/* The word that was meant. */
#include <string.h>

#include "cli.h"

#define WORD_MAX	32

static size_t least(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/*
 * Edits from @a to @b: insert, delete, replace, or swap two neighbours (the
 * restricted Damerau-Levenshtein distance).
 */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][WORD_MAX + 1], la = strlen(a), lb = strlen(b);
	size_t *before = rows[0], *above = rows[1], *row = rows[2], *spare;

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	memset(rows, 0, sizeof(rows));
	for (size_t j = 0; j <= lb; j++)
		above[j] = j;
	for (size_t i = 1; i <= la; i++) {
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			row[j] = least(above[j] + 1, row[j - 1] + 1,
				       above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		spare = before;
		before = above;
		above = row;
		row = spare;
	}
	return above[lb];
}

const char *suggest(const char *word, const char *const *words, size_t count)
{
	size_t len = strlen(word), best = len / 2 + 1;
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t d = distance(word, words[i]);

		/* What begins like it is as near as one edit. */
		if (len > 1 && !strncmp(word, words[i], len) && d > 1)
			d = 1;
		if (d < best && d <= 3) {
			best = d;
			found = words[i];
		}
	}
	return found;
}
