/* SPDX-License-Identifier: GPL-2.0 */
/* disaggd.yaml(5), read and checked. */
#ifndef DISAGGD_CONFIG_H
#define DISAGGD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/disagg_wire.h>

#include "target.h"
#include "tls.h"

#define CONFIG_PATH		"/etc/disagg/disaggd.yaml"
#define CONFIG_RESOURCES_MAX	256
#define CONFIG_LISTEN_MAX	16
#define CONFIG_ANNOUNCE_MAX	64
#define CONFIG_LIST_MAX		1024	/* networks, tenants, or one's identities */
#define CONFIG_TENANT_DEFAULT	"default"

/**
 * struct listen_config - one address to listen on
 * @host: numeric address or name, without brackets
 * @port: TCP port; 0 lets the kernel choose (the log says which)
 * @tls: TLS from the first byte
 */
struct listen_config {
	char host[256];
	uint16_t port;
	bool tls;
};

/* struct announce_config - who is told of news; @host: an address; @port: of UDP */
struct announce_config {
	char host[DSG_HOST_LEN];
	uint16_t port;
};

/* Addresses that begin with the same @bits; IPv4 mapped into IPv6. */
struct network_config {
	uint8_t address[16];
	unsigned int bits;
};

/**
 * struct tenant_config - whose leases are out of other tenants' reach
 * @identities: who belongs to it
 * @resources: ids of what it may lease; NULL: all
 * @max_lease_size: bytes of one lease, as asked for; UINT64_MAX: no limit, as below
 * @max_size: bytes of all its leases
 * @line: where the file says it; 0: nowhere
 */
struct tenant_config {
	char name[DISAGG_WIRE_NAME_LEN];
	char (*identities)[DSG_IDENTITY_LEN];
	unsigned int identity_count;
	char (*resources)[DISAGG_WIRE_NAME_LEN];
	unsigned int resource_count;
	uint64_t max_lease_size;
	uint64_t max_leases;
	uint64_t max_size;
	unsigned int line;
};


/**
 * struct resource_config - one resource
 * @id: its name
 * @class: DISAGG_WIRE_CLASS_MEMORY or _STORAGE
 * @size: bytes; storage: 0 means the size of what is at @path
 * @hugepage: bytes of a huge page, 0: none (memory)
 * @block_size: bytes, a power of two
 * @prealloc: allocate a lease's memory at COMMIT (memory)
 * @path: file or block device (storage), owned
 * @direct: O_DIRECT (storage)
 * @read_only: existing data that leases share and none may change (storage)
 * @replaced: what is at @path is another device than before, with its data (storage)
 * @overwrite: leases that another id has in it may end (storage)
 * @line: where the file says it
 */
struct resource_config {
	char id[DISAGG_WIRE_NAME_LEN];
	uint32_t class;
	uint64_t size;
	uint64_t hugepage;
	uint32_t block_size;
	bool prealloc;
	char *path;
	bool direct;
	bool read_only;
	bool replaced;
	bool overwrite;
	unsigned int line;
};

/* Bytes and numbers; UINT64_MAX: no limit. */
struct quota_config {
	uint64_t max_lease_size;
	uint64_t max_leases;
	uint64_t max_leases_per_host;
	uint64_t max_size_per_host;
};

struct config {
	struct listen_config listen[CONFIG_LISTEN_MAX];
	unsigned int listen_count;
	struct announce_config *announce;
	unsigned int announce_count;
	char *state_dir;
	struct resource_config *resources;
	unsigned int resource_count;
	struct quota_config quota;
	struct dsg_keys keys;
	bool has_tls;
	bool ktls;		/* leave encryption to the kernel where it can */
	struct network_config *plaintext;	/* who may do without */
	unsigned int plaintext_count;
	struct tenant_config *tenants;	/* one is the default */
	unsigned int tenant_count;
	bool has_tenants;	/* the file says which */
	uint32_t max_lanes;
	uint64_t reserve_ttl_ns;
	uint64_t keep_ns;	/* how long workers of memory outlive the daemon */
};

/*
 * Read @path. Returns a configuration that config_free() frees, or NULL after
 * printing "PATH:LINE: what is wrong" to stderr.
 */
struct config *config_load(const char *path);
void config_free(struct config *config);

#endif
