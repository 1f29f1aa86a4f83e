// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "journal.h"
#include "log.h"

#define SCHEMA_VERSION	3
#define ENDED_ROWS_KEPT	10000

static const char schema[] =
	"CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
	"INSERT INTO meta VALUES ('generation', 0);"
	"CREATE TABLE lease ("
	" generation INTEGER PRIMARY KEY,"
	" id BLOB NOT NULL UNIQUE,"
	" txid BLOB NOT NULL UNIQUE,"
	" token BLOB NOT NULL,"
	" state INTEGER NOT NULL,"
	" class INTEGER NOT NULL,"
	" attrs INTEGER NOT NULL,"
	" size INTEGER NOT NULL,"
	" start INTEGER NOT NULL,"
	" lease_ns INTEGER NOT NULL,"
	" expires INTEGER NOT NULL,"
	" resource TEXT NOT NULL,"
	" node TEXT NOT NULL,"
	" device TEXT NOT NULL,"
	" host TEXT NOT NULL,"
	" ended TEXT,"
	" tenant TEXT NOT NULL,"
	" medium TEXT NOT NULL DEFAULT '',"
	" ended_at INTEGER NOT NULL DEFAULT 0);"	/* the newest generation then */
	"CREATE INDEX lease_state ON lease (state);"
	"CREATE INDEX lease_ended ON lease (ended_at) WHERE state = 3;"
	"PRAGMA user_version = 3;";

/* From each version to the next: 1 knew no tenants, 2 neither media nor when a lease ended. */
static const char *const upgrades[SCHEMA_VERSION] = {
	[1] = "ALTER TABLE lease ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';"
	      "PRAGMA user_version = 2;",
	[2] = "ALTER TABLE lease ADD COLUMN medium TEXT NOT NULL DEFAULT '';"
	      "ALTER TABLE lease ADD COLUMN ended_at INTEGER NOT NULL DEFAULT 0;"
	      "UPDATE lease SET ended_at = generation;"
	      "CREATE INDEX lease_ended ON lease (ended_at) WHERE state = 3;"
	      "PRAGMA user_version = 3;",
};

enum statement {
	BUMP, INSERT, PRUNE, COMMIT, RENEW, RESIZE, MEDIUM, END, LOAD, BY_ID, BY_TXID,
	ON_RESOURCE, STATEMENTS,
};

static const char *const sql[STATEMENTS] = {
	[BUMP] = "UPDATE meta SET value = value + 1 WHERE key = 'generation'"
		 " RETURNING value",
	[INSERT] = "INSERT INTO lease (generation, id, txid, token, state, class, attrs,"
		   " size, start, lease_ns, expires, resource, node, device, host, tenant, medium)"
		   " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[PRUNE] = "DELETE FROM lease WHERE state = 3 AND ended_at <= ?",
	[COMMIT] = "UPDATE lease SET state = 2, expires = ?2"
		   " WHERE generation = ?1 AND state = 1",
	[RENEW] = "UPDATE lease SET expires = ?2 WHERE generation = ?1 AND state = 2",
	[RESIZE] = "UPDATE lease SET size = ?2 WHERE generation = ?1 AND state = 2",
	[MEDIUM] = "UPDATE lease SET medium = ?2 WHERE generation = ?1 AND state < 3",
	[END] = "UPDATE lease SET state = 3, ended = ?2, token = x'',"
		" ended_at = (SELECT value FROM meta WHERE key = 'generation')"
		" WHERE generation = ?1 AND state < 3",
	[LOAD] = "SELECT generation, id, txid, token, state, class, attrs, size, start,"
		 " lease_ns, expires, resource, node, device, host, tenant, medium FROM lease"
		 " WHERE state < 3 ORDER BY generation",
	[BY_ID] = "SELECT state FROM lease WHERE id = ?",
	[BY_TXID] = "SELECT state FROM lease WHERE txid = ?",
	[ON_RESOURCE] = "SELECT 1 FROM lease WHERE state < 3 AND resource = ? AND class = ? AND"
			" (expires = 0 OR expires > strftime('%s', 'now') * 1000000000)"
			" LIMIT 1",
};

static sqlite3 *db;
static sqlite3_stmt *stmts[STATEMENTS];

static int db_error(const char *what)
{
	log_error("journal: cannot %s: %s", what, sqlite3_errmsg(db));
	return -EIO;
}

static int run(const char *text)
{
	return sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(text);
}

static int schema_version(void)
{
	sqlite3_stmt *s;
	int version = -1;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL) != SQLITE_OK)
		return -1;
	if (sqlite3_step(s) == SQLITE_ROW)
		version = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return version;
}

static int prepare_schema(void)
{
	int version = schema_version();
	int err;

	if (version == SCHEMA_VERSION)
		return 0;
	if (version < 0 || version > SCHEMA_VERSION) {
		log_error("journal: its schema is version %d, this disaggd knows %d",
			  version, SCHEMA_VERSION);
		return -EINVAL;
	}
	err = run("BEGIN IMMEDIATE");
	if (!err && !version)
		err = run(schema);
	for (; version && version < SCHEMA_VERSION && !err; version++)
		err = run(upgrades[version]);
	if (!err)
		err = run("COMMIT");
	return err;
}

int journal_open(const char *dir)
{
	char path[1100];
	int fd, err;

	snprintf(path, sizeof(path), "%s/journal.sqlite", dir);
	/* It holds the tokens: made with its mode before SQLite sees it. */
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		err = -errno;
		log_error("journal: %s: %s", path, strerror(-err));
		return err;
	}
	if (fchmod(fd, 0600)) {
		err = -errno;
		log_error("journal: %s: %s", path, strerror(-err));
		close(fd);
		return err;
	}
	close(fd);
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
		err = db_error("open");
		goto err_close;
	}
	sqlite3_busy_timeout(db, 2000);
	err = run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
		  " PRAGMA secure_delete = ON;");
	if (!err)
		err = prepare_schema();
	for (int i = 0; !err && i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &stmts[i], NULL) != SQLITE_OK)
			err = db_error("prepare");
	if (err)
		goto err_close;
	return 0;

err_close:
	journal_close();
	return err;
}

void journal_close(void)
{
	for (int i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(stmts[i]);
		stmts[i] = NULL;
	}
	sqlite3_close(db);
	db = NULL;
}

static void copy_text(sqlite3_stmt *s, int column, char *to, size_t size)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	memset(to, 0, size);
	if (text)
		strncpy(to, text, size - 1);
}

static bool copy_blob(sqlite3_stmt *s, int column, void *to, int len)
{
	if (sqlite3_column_bytes(s, column) != len)
		return false;
	memcpy(to, sqlite3_column_blob(s, column), (size_t)len);
	return true;
}

int journal_load(int (*each)(const struct journal_row *row, void *ctx), void *ctx)
{
	sqlite3_stmt *s = stmts[LOAD];
	int err = 0, damaged = 0, rc;

	while (!err && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		struct journal_row row = {
			.generation = (uint64_t)sqlite3_column_int64(s, 0),
			.state = (enum journal_state)sqlite3_column_int(s, 4),
			.class = (uint32_t)sqlite3_column_int64(s, 5),
			.attrs = (uint32_t)sqlite3_column_int64(s, 6),
			.size = (uint64_t)sqlite3_column_int64(s, 7),
			.offset = (uint64_t)sqlite3_column_int64(s, 8),
			.lease_ns = (uint64_t)sqlite3_column_int64(s, 9),
			.expires_wall = (uint64_t)sqlite3_column_int64(s, 10),
		};

		if (!copy_blob(s, 1, row.id, sizeof(row.id)) ||
		    !copy_blob(s, 2, row.txid, sizeof(row.txid)) ||
		    !copy_blob(s, 3, row.token, sizeof(row.token))) {
			log_error("journal: the row of generation %llu is damaged (disaggd --end-lease ends it)",
				  (unsigned long long)row.generation);
			damaged = -EBADMSG;
			continue;
		}
		copy_text(s, 11, row.resource, sizeof(row.resource));
		copy_text(s, 12, row.node, sizeof(row.node));
		copy_text(s, 13, row.device, sizeof(row.device));
		copy_text(s, 14, row.host, sizeof(row.host));
		copy_text(s, 15, row.tenant, sizeof(row.tenant));
		copy_text(s, 16, row.medium, sizeof(row.medium));
		err = each(&row, ctx);
	}
	if (!err && rc != SQLITE_DONE)
		err = db_error("read");
	sqlite3_reset(s);
	return err ? err : damaged;
}

/* Run a statement that must change one row. */
static int step_change(sqlite3_stmt *s, const char *what)
{
	int rc = sqlite3_step(s);
	int err = 0;

	if (rc != SQLITE_DONE)
		err = db_error(what);
	else if (sqlite3_changes(db) != 1)
		err = -ESTALE;
	sqlite3_reset(s);
	return err;
}

static int bump_generation(uint64_t *generation)
{
	sqlite3_stmt *s = stmts[BUMP];
	int err = 0;

	if (sqlite3_step(s) == SQLITE_ROW)
		*generation = (uint64_t)sqlite3_column_int64(s, 0);
	else
		err = db_error("count generations");
	/* RETURNING gives its row first; the change is done at the last step. */
	if (!err && sqlite3_step(s) != SQLITE_DONE)
		err = db_error("count generations");
	sqlite3_reset(s);
	return err;
}

/* Leases that ended long ago are forgotten, so that the journal has a largest size. */
static int prune(uint64_t generation)
{
	sqlite3_stmt *s = stmts[PRUNE];
	int err = 0;

	if (generation <= ENDED_ROWS_KEPT)
		return 0;
	sqlite3_bind_int64(s, 1, (sqlite3_int64)(generation - ENDED_ROWS_KEPT));
	if (sqlite3_step(s) != SQLITE_DONE)
		err = db_error("forget old leases");
	sqlite3_reset(s);
	return err;
}

int journal_reserve(struct journal_row *row)
{
	sqlite3_stmt *s = stmts[INSERT];
	int err;

	err = run("BEGIN IMMEDIATE");
	if (err)
		return err;
	err = bump_generation(&row->generation);
	if (!err)
		err = prune(row->generation);
	if (err)
		goto err_rollback;
	sqlite3_bind_int64(s, 1, (sqlite3_int64)row->generation);
	sqlite3_bind_blob(s, 2, row->id, sizeof(row->id), SQLITE_STATIC);
	sqlite3_bind_blob(s, 3, row->txid, sizeof(row->txid), SQLITE_STATIC);
	sqlite3_bind_blob(s, 4, row->token, sizeof(row->token), SQLITE_STATIC);
	sqlite3_bind_int(s, 5, row->state);
	sqlite3_bind_int64(s, 6, row->class);
	sqlite3_bind_int64(s, 7, row->attrs);
	sqlite3_bind_int64(s, 8, (sqlite3_int64)row->size);
	sqlite3_bind_int64(s, 9, (sqlite3_int64)row->offset);
	sqlite3_bind_int64(s, 10, (sqlite3_int64)row->lease_ns);
	sqlite3_bind_int64(s, 11, (sqlite3_int64)row->expires_wall);
	sqlite3_bind_text(s, 12, row->resource, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 13, row->node, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 14, row->device, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 15, row->host, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 16, row->tenant, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 17, row->medium, -1, SQLITE_STATIC);
	err = step_change(s, "insert a lease");
	sqlite3_clear_bindings(s);
	if (err)
		goto err_rollback;
	err = run("COMMIT");
	if (err)
		goto err_rollback;
	return 0;

err_rollback:
	sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}

static int change(enum statement which, uint64_t generation, uint64_t value,
		  const char *what)
{
	sqlite3_bind_int64(stmts[which], 1, (sqlite3_int64)generation);
	sqlite3_bind_int64(stmts[which], 2, (sqlite3_int64)value);
	return step_change(stmts[which], what);
}

int journal_commit(uint64_t generation, uint64_t expires_wall)
{
	return change(COMMIT, generation, expires_wall, "commit a lease");
}

int journal_renew(uint64_t generation, uint64_t expires_wall)
{
	return change(RENEW, generation, expires_wall, "renew a lease");
}

int journal_resize(uint64_t generation, uint64_t size)
{
	return change(RESIZE, generation, size, "resize a lease");
}

static int change_text(enum statement which, uint64_t generation, const char *text,
		       const char *what)
{
	sqlite3_bind_int64(stmts[which], 1, (sqlite3_int64)generation);
	sqlite3_bind_text(stmts[which], 2, text, -1, SQLITE_STATIC);
	return step_change(stmts[which], what);
}

int journal_set_medium(uint64_t generation, const char *medium)
{
	return change_text(MEDIUM, generation, medium, "note a lease's medium");
}

int journal_end(uint64_t generation, const char *why)
{
	return change_text(END, generation, why, "end a lease");
}

bool journal_has_storage(const char *resource)
{
	sqlite3_stmt *s = stmts[ON_RESOURCE];
	int rc;

	sqlite3_bind_text(s, 1, resource, -1, SQLITE_STATIC);
	sqlite3_bind_int(s, 2, DISAGG_WIRE_CLASS_STORAGE);
	rc = sqlite3_step(s);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		db_error("look for leases");
	sqlite3_reset(s);
	return rc != SQLITE_DONE;
}

static enum journal_knows knows(enum statement which,
				const uint8_t uuid[DISAGG_WIRE_UUID_LEN])
{
	enum journal_knows known = JOURNAL_KNOWS_NONE;
	sqlite3_stmt *s = stmts[which];
	int rc;

	sqlite3_bind_blob(s, 1, uuid, DISAGG_WIRE_UUID_LEN, SQLITE_STATIC);
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		known = sqlite3_column_int(s, 0) == JOURNAL_ENDED ? JOURNAL_KNOWS_ENDED :
								    JOURNAL_KNOWS_OPEN;
	} else if (rc != SQLITE_DONE) {
		db_error("look up a lease");
		known = JOURNAL_KNOWS_OPEN;
	}
	sqlite3_reset(s);
	return known;
}

enum journal_knows journal_knows_id(const uint8_t id[DISAGG_WIRE_UUID_LEN])
{
	return knows(BY_ID, id);
}

enum journal_knows journal_knows_txid(const uint8_t txid[DISAGG_WIRE_UUID_LEN])
{
	return knows(BY_TXID, txid);
}
