/* SPDX-License-Identifier: GPL-2.0 */
/* disaggd.yaml(5), read and checked. */
#ifndef DISAGGD_CONFIG_H
#define DISAGGD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/disagg_wire.h>

#define CONFIG_PATH		"/etc/disagg/disaggd.yaml"
#define CONFIG_RESOURCES_MAX	256
#define CONFIG_LISTEN_MAX	16

/**
 * struct listen_config - one address to listen on
 * @host: numeric address or name, without brackets
 * @port: TCP port; 0 lets the kernel choose (the log says which)
 */
struct listen_config {
	char host[256];
	uint16_t port;
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
	char *state_dir;
	struct resource_config *resources;
	unsigned int resource_count;
	struct quota_config quota;
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
