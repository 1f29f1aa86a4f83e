/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The journal: the one authority on who holds what. Every function that writes has
 * the change on disk when it returns 0; only then may it be acknowledged.
 */
#ifndef DISAGGD_JOURNAL_H
#define DISAGGD_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/disagg_wire.h>

#define JOURNAL_MEDIUM_LEN	512

enum journal_state {
	JOURNAL_RESERVED = 1,
	JOURNAL_COMMITTED = 2,
	JOURNAL_ENDED = 3,
};

/**
 * struct journal_row - a lease as the journal holds it
 * @generation: assigned by journal_reserve(), never used again
 * @expires_wall: CLOCK_REALTIME nanoseconds, 0: never
 * @lease_ns: how long it stands after COMMIT, 0: until released
 * @offset: where its extent starts, bytes (storage)
 * @medium: which file or device that is in (storage), see struct resource; may be empty
 */
struct journal_row {
	uint64_t generation;
	uint8_t id[DISAGG_WIRE_UUID_LEN];
	uint8_t txid[DISAGG_WIRE_UUID_LEN];
	uint8_t token[DISAGG_WIRE_KEY_LEN];
	enum journal_state state;
	uint32_t class;
	uint32_t attrs;
	uint64_t size;
	uint64_t offset;
	uint64_t lease_ns;
	uint64_t expires_wall;
	char resource[DISAGG_WIRE_NAME_LEN];
	char tenant[DISAGG_WIRE_NAME_LEN];
	char node[DISAGG_WIRE_NAME_LEN];
	char device[DISAGG_WIRE_NAME_LEN];
	char host[DISAGG_WIRE_NAME_LEN];
	char medium[JOURNAL_MEDIUM_LEN];
};

/* Open or make @dir/journal.sqlite; 0 or -errno after logging why. */
int journal_open(const char *dir);
void journal_close(void);

/*
 * Call @each for every row that has not ended, oldest first, until it fails; those that are
 * damaged are logged and passed over, and then it is -EBADMSG in the end.
 */
int journal_load(int (*each)(const struct journal_row *row, void *ctx), void *ctx);

/* Assign row->generation and insert; 0 or -EIO. */
int journal_reserve(struct journal_row *row);
int journal_commit(uint64_t generation, uint64_t expires_wall);
int journal_renew(uint64_t generation, uint64_t expires_wall);
int journal_resize(uint64_t generation, uint64_t size);
int journal_set_medium(uint64_t generation, const char *medium);
int journal_end(uint64_t generation, const char *why);

/* Whether leases of storage on @resource go on (also when the journal can't be read). */
bool journal_has_storage(const char *resource);

/*
 * What the journal knows of a lease with this id, or this txid: whether it has ended,
 * still holds something (also when the journal can't be read), or never was.
 */
enum journal_knows { JOURNAL_KNOWS_NONE, JOURNAL_KNOWS_OPEN, JOURNAL_KNOWS_ENDED };
enum journal_knows journal_knows_id(const uint8_t id[DISAGG_WIRE_UUID_LEN]);
enum journal_knows journal_knows_txid(const uint8_t txid[DISAGG_WIRE_UUID_LEN]);

#endif
