/* SPDX-License-Identifier: GPL-2.0 */
/* Where disagg keeps its files on a compute host, and how it writes and locks them. */
#ifndef DISAGG_LIB_FILE_H
#define DISAGG_LIB_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "fault.h"

/*
 * The folders: /etc/disagg, /var/lib/disagg and /run/disagg, or what the
 * environment variables DISAGG_CONFDIR, DISAGG_STATEDIR and DISAGG_RUNDIR say.
 */
const char *dsg_confdir(void);
const char *dsg_statedir(void);
const char *dsg_rundir(void);

/* Call first: what is opened later must not become standard output or error. */
void dsg_standard_fds(void);

/*
 * Call before keys are read: nobody without CAP_SYS_PTRACE sees this process's memory, and
 * no core dump has it.
 */
void dsg_no_dump(void);

/*
 * Replace @path by @len bytes of @data, all or nothing and durable (written
 * to @path.new, synced, renamed, folder synced). Makes missing folders, with
 * @dir_mode. One at a time: the caller holds a lock.
 */
int dsg_file_write(const char *path, const void *data, size_t len, mode_t mode,
		   mode_t dir_mode, struct dsg_fault *fault);
/* Remove @path, durably. A file that isn't there is no error. */
int dsg_file_remove(const char *path, struct dsg_fault *fault);
/*
 * Read at most @max bytes of @path. @data is allocated, NUL-terminated, the
 * caller's. DSG_NOT_FOUND if there is no such file.
 */
int dsg_file_read(const char *path, size_t max, char **data, size_t *len,
		  struct dsg_fault *fault);
/*
 * Names of the files NAME@suffix in @dir, without the suffix, sorted; only those
 * for which dsg_name_ok() holds. A missing folder has none. Free with
 * dsg_names_free().
 */
int dsg_file_names(const char *dir, const char *suffix, char ***names, size_t *count,
		   struct dsg_fault *fault);
void dsg_names_free(char **names, size_t count);

/*
 * Take the lock @name (a file in dsg_rundir()), waiting @wait_ns at most.
 * @shared: with others that share it. Returns its fd, for dsg_unlock(), or -1
 * with DSG_CONFLICT and who holds it.
 */
int dsg_lock(const char *name, bool shared, uint64_t wait_ns, struct dsg_fault *fault);
/* Whether somebody holds the lock @name for himself; @holder: whose process, 0 unknown; or NULL. */
bool dsg_lock_held(const char *name, int *holder);
/* The lock that the agent holds while it runs. */
#define DSG_AGENT_LOCK	"agent.lock"
void dsg_unlock(int fd);

#endif /* DISAGG_LIB_FILE_H */
