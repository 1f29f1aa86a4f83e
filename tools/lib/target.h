/* SPDX-License-Identifier: GPL-2.0 */
/* The targets that this host knows: records, addresses, connections. */
#ifndef DISAGG_LIB_TARGET_H
#define DISAGG_LIB_TARGET_H

#include "fault.h"

#define DSG_HOST_LEN		256
#define DSG_ADDRESS_LEN		(DSG_HOST_LEN + 8)	/* host, brackets, colon, port */

/**
 * struct dsg_target - how to reach one disaggd
 * @name: the operator's name for it, as dsg_name_ok() wants it
 * @host: name or address, without brackets
 * @port: TCP port
 */
struct dsg_target {
	char name[DISAGG_WIRE_NAME_LEN];
	char host[DSG_HOST_LEN];
	uint16_t port;
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

/*
 * Open a control session with @host. @name is only for messages. On success the
 * session is the caller's, for dsg_session_close().
 */
int dsg_target_open(const char *name, const char *host, uint16_t port, uint64_t deadline,
		    struct dsg_session *session, struct dsg_fault *fault);
/* This host's name, cut to what the wire carries; never NULL. */
const char *dsg_hostname(void);

#endif /* DISAGG_LIB_TARGET_H */
