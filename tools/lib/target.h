/* SPDX-License-Identifier: GPL-2.0 */
/* The targets that this host knows: records, addresses, connections. */
#ifndef DISAGG_LIB_TARGET_H
#define DISAGG_LIB_TARGET_H

#include "fault.h"
#include "tls.h"

#define DSG_HOST_LEN		256
#define DSG_ADDRESS_LEN		(DSG_HOST_LEN + 8)	/* host, brackets, colon, port */

/**
 * struct dsg_target - how to reach one disaggd
 * @name: the operator's name for it, as dsg_name_ok() wants it
 * @host: name or address, without brackets
 * @port: TCP port
 * @keys: how both sides prove who they are
 * @recorded: from a node's record: @keys are not known, dsg_target_keys() finds them;
 *	@tls: there were some
 */
struct dsg_target {
	char name[DISAGG_WIRE_NAME_LEN];
	char host[DSG_HOST_LEN];
	uint16_t port;
	struct dsg_keys keys;
	bool recorded;
	bool tls;
};

/*
 * Read HOST, HOST:PORT, ADDRESS6 or [ADDRESS6]:PORT; the port defaults to
 * DISAGG_WIRE_PORT. Returns NULL or what is wrong with @text.
 */
const char *dsg_address_parse(const char *text, char host[DSG_HOST_LEN], uint16_t *port);
/* Write host and port in the form that dsg_address_parse() reads. Returns @buf. */
char *dsg_address_format(const char *host, uint16_t port, char buf[DSG_ADDRESS_LEN]);

/* All records, sorted by name; free() the list. */
int dsg_targets_load(struct dsg_target **targets, size_t *count, struct dsg_fault *fault);
/* One record by name; DSG_NOT_FOUND. */
int dsg_target_load(const char *name, struct dsg_target *target, struct dsg_fault *fault);
/* Write the record, replacing one of the same name. */
int dsg_target_save(const struct dsg_target *target, struct dsg_fault *fault);
int dsg_target_remove(const char *name, struct dsg_fault *fault);

/* What is wrong with keys for a target as they were given (paths, names), or NULL. */
const char *dsg_keys_bad(const struct dsg_keys *keys);
/*
 * The keys of @target as they are to be used now: a node's record has none, since they
 * may have been changed since it was written.
 */
int dsg_target_keys(const struct dsg_target *target, struct dsg_keys *keys,
		    struct dsg_fault *fault);
/*
 * Connect to @target, and over TLS if it has keys, which are read now. Both are the
 * caller's; *@tls needs *@creds. *@tls is NULL if there is no TLS.
 */
int dsg_target_connect(const struct dsg_target *target, uint64_t deadline, int *fd,
		       struct dsg_creds **creds, struct dsg_tls **tls, struct dsg_fault *fault);
/*
 * Open a control session with @target. On success it is the caller's, for
 * dsg_session_close().
 */
int dsg_target_open(const struct dsg_target *target, uint64_t deadline,
		    struct dsg_session *session, struct dsg_fault *fault);
/* This host's name, cut to what the wire carries; never NULL. */
const char *dsg_hostname(void);

#endif /* DISAGG_LIB_TARGET_H */
