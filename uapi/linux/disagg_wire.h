/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * disagg wire format: the one place where it is defined.
 *
 * Everything on the wire is little-endian, fixed-size and naturally aligned.
 * Documentation/protocol.rst says who sends what when; the numbers are here.
 */
#ifndef _UAPI_LINUX_DISAGG_WIRE_H
#define _UAPI_LINUX_DISAGG_WIRE_H

#include <linux/types.h>

#ifdef __KERNEL__
#include <linux/build_bug.h>
#else
#include <assert.h>
#endif

#define DISAGG_WIRE_SIZE(type, size) \
	static_assert(sizeof(struct type) == (size), #type)

#define DISAGG_WIRE_VERSION		1
#define DISAGG_WIRE_PORT		7420

#define DISAGG_WIRE_MAGIC_GREETING	0x52474744U	/* "DGGR" */
#define DISAGG_WIRE_MAGIC_HELLO		0x4c484744U	/* "DGHL" */
#define DISAGG_WIRE_MAGIC_WELCOME	0x4d574744U	/* "DGWM" */
#define DISAGG_WIRE_MAGIC_REQUEST	0x51524744U	/* "DGRQ" */
#define DISAGG_WIRE_MAGIC_REPLY		0x50524744U	/* "DGRP" */
#define DISAGG_WIRE_MAGIC_ANNOUNCE	0x4e414744U	/* "DGAN" */

/* Sizes of things that people see. Strings are NUL-padded, and NUL-terminated. */
#define DISAGG_WIRE_NAME_LEN		32
#define DISAGG_WIRE_REASON_LEN		96
#define DISAGG_WIRE_UUID_LEN		16
#define DISAGG_WIRE_KEY_LEN		32	/* token, nonce and MAC: SHA-256 */

/* Limits that a peer may lower in WELCOME but never raise. */
#define DISAGG_WIRE_MAX_PAYLOAD		(4U << 20)	/* bytes after a lane frame */
#define DISAGG_WIRE_MAX_CONTROL		(64U << 10)	/* bytes after a control frame */
#define DISAGG_WIRE_MAX_DEPTH		1024U		/* requests in flight per lane */
#define DISAGG_WIRE_MAX_LANES		64U		/* lanes of one link */

/* Feature bits: offered in GREETING, chosen in HELLO, confirmed in WELCOME. */
#define DISAGG_WIRE_F_CRC32C		0x01ULL	/* headers and payloads carry CRC32C */
#define DISAGG_WIRE_F_DISCARD		0x02ULL
#define DISAGG_WIRE_F_WRITE_ZEROES	0x04ULL
#define DISAGG_WIRE_F_FUA		0x08ULL
#define DISAGG_WIRE_F_FLUSH		0x10ULL	/* the target has a volatile cache */
#define DISAGG_WIRE_F_ALL		0x1fULL
/* In GREETING only: it has an epoch. Not for a connection to agree on. */
#define DISAGG_WIRE_F_EPOCH		0x20ULL

/* disagg_wire_hello.mode */
#define DISAGG_WIRE_MODE_CONTROL	1	/* control requests: inventory, leases */
#define DISAGG_WIRE_MODE_LANE		2	/* one lane of a lease */

/* disagg_wire_resource.class */
#define DISAGG_WIRE_CLASS_MEMORY	1
#define DISAGG_WIRE_CLASS_STORAGE	2
#define DISAGG_WIRE_CLASS_GPU		3

/* disagg_wire_welcome.attrs, disagg_wire_resource.attrs */
#define DISAGG_WIRE_ATTR_READ_ONLY	0x01U
#define DISAGG_WIRE_ATTR_ROTATIONAL	0x02U

/* Operations of a lane. */
#define DISAGG_WIRE_OP_READ		0x01
#define DISAGG_WIRE_OP_WRITE		0x02
#define DISAGG_WIRE_OP_FLUSH		0x03
#define DISAGG_WIRE_OP_DISCARD		0x04
#define DISAGG_WIRE_OP_WRITE_ZEROES	0x05
#define DISAGG_WIRE_OP_PING		0x06	/* one may be in flight besides depth others */

/* Operations of a control connection. */
#define DISAGG_WIRE_OP_INVENTORY	0x40	/* -> disagg_wire_resource[] */
#define DISAGG_WIRE_OP_RESERVE		0x41	/* disagg_wire_reserve -> disagg_wire_grant */
#define DISAGG_WIRE_OP_COMMIT		0x42	/* disagg_wire_lease_ref -> disagg_wire_grant */
#define DISAGG_WIRE_OP_RELEASE		0x43	/* disagg_wire_lease_ref -> nothing */
#define DISAGG_WIRE_OP_RENEW		0x44	/* disagg_wire_lease_ref -> disagg_wire_grant */
#define DISAGG_WIRE_OP_RESIZE		0x45	/* disagg_wire_lease_ref -> disagg_wire_grant */
#define DISAGG_WIRE_OP_LEASES		0x46	/* -> disagg_wire_lease_info[] */

/* disagg_wire_frame.flags */
/* WRITE and WRITE_ZEROES: durable before the reply */
#define DISAGG_WIRE_FLAG_FUA		0x01U
/* WRITE_ZEROES: keep the space allocated */
#define DISAGG_WIRE_FLAG_NOUNMAP	0x02U

/* disagg_wire_frame.status, disagg_wire_welcome.status */
#define DISAGG_WIRE_OK			0
#define DISAGG_WIRE_E_PROTO		1	/* malformed frame; the connection closes */
#define DISAGG_WIRE_E_VERSION		2	/* no common version */
#define DISAGG_WIRE_E_DENIED		3	/* wrong proof, or not allowed */
#define DISAGG_WIRE_E_NOT_FOUND		4	/* no such resource or lease */
#define DISAGG_WIRE_E_NO_SPACE		5	/* not enough capacity, or over quota */
#define DISAGG_WIRE_E_STALE		6	/* the lease has ended or has a newer generation */
#define DISAGG_WIRE_E_BUSY		7	/* the target stops, or the lease changes */
#define DISAGG_WIRE_E_INVALID		8	/* well-formed but wrong: range, alignment, state */
#define DISAGG_WIRE_E_IO		9	/* the medium failed */
#define DISAGG_WIRE_E_CRC		10	/* a payload's CRC32C did not match */
#define DISAGG_WIRE_E_NOT_SUPPORTED	11	/* an operation that was not negotiated */
#define DISAGG_WIRE_E_READ_ONLY		12	/* a write to a read-only lease */
#define DISAGG_WIRE_E_INTERNAL		13	/* the target failed; its log says why */

/**
 * struct disagg_wire_greeting - target to client, at once after accept
 * @magic: DISAGG_WIRE_MAGIC_GREETING
 * @version_min: lowest version that the target speaks
 * @version_max: highest version that the target speaks
 * @features: features that the target offers
 * @max_payload: bytes that may follow a lane frame
 * @max_depth: requests in flight per lane
 * @epoch: with DISAGG_WIRE_F_EPOCH: another number after whatever may have cost the
 *	target what was written and not flushed; else zero
 * @nonce: an X25519 public key that is this connection's own, and so 32 bytes that
 *	nobody could know before
 */
struct disagg_wire_greeting {
	__le32	magic;
	__le16	version_min;
	__le16	version_max;
	__le64	features;
	__le32	max_payload;
	__le32	max_depth;
	__le64	epoch;
	__u8	nonce[DISAGG_WIRE_KEY_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_greeting, 64);

/**
 * struct disagg_wire_hello - client to target, the answer to a GREETING
 * @magic: DISAGG_WIRE_MAGIC_HELLO
 * @version: the version that the client chose
 * @mode: DISAGG_WIRE_MODE_*
 * @features: the features that the client wants, a subset of the offer
 * @lease: lease id; zero for a control connection
 * @generation: the lease's generation; zero for a control connection
 * @lane: number of this lane, below @lanes
 * @lanes: lanes that the link has
 * @max_payload: the client's own limit in bytes; at most the offer
 * @depth: requests that the client keeps in flight on this lane; at most the offer
 * @host: name of the compute host, for people
 * @proof: HMAC-SHA256(token, nonce || this struct up to @proof); of a control
 *	connection the client's X25519 public key
 */
struct disagg_wire_hello {
	__le32	magic;
	__le16	version;
	__le16	mode;
	__le64	features;
	__u8	lease[DISAGG_WIRE_UUID_LEN];
	__le64	generation;
	__le32	lane;
	__le32	lanes;
	__le32	max_payload;
	__le32	depth;
	char	host[DISAGG_WIRE_NAME_LEN];
	__u8	reserved[8];
	__u8	proof[DISAGG_WIRE_KEY_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_hello, 128);

/**
 * struct disagg_wire_welcome - target to client, the answer to a HELLO
 * @magic: DISAGG_WIRE_MAGIC_WELCOME
 * @version: the version now in force
 * @status: DISAGG_WIRE_OK or why not; after anything else the target closes
 * @features: the features now in force
 * @capacity: the lease's size in bytes; zero for a control connection
 * @max_payload: bytes that may follow a frame, both ways
 * @depth: requests in flight on this lane
 * @block_size: smallest unit of offset and length, bytes, a power of two
 * @attrs: DISAGG_WIRE_ATTR_*
 * @max_discard: longest DISCARD or WRITE_ZEROES in bytes; zero: none
 * @reason: for people, when @status is not OK
 */
struct disagg_wire_welcome {
	__le32	magic;
	__le16	version;
	__le16	status;
	__le64	features;
	__le64	capacity;
	__le32	max_payload;
	__le32	depth;
	__le32	block_size;
	__le32	attrs;
	__le32	max_discard;
	__u8	reserved[20];
	char	reason[DISAGG_WIRE_REASON_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_welcome, 160);

/**
 * struct disagg_wire_frame - a request or a reply, on lanes and control connections
 * @magic: DISAGG_WIRE_MAGIC_REQUEST or DISAGG_WIRE_MAGIC_REPLY
 * @op: DISAGG_WIRE_OP_*; a reply repeats its request's
 * @flags: DISAGG_WIRE_FLAG_*; zero in a reply
 * @status: zero in a request, DISAGG_WIRE_* in a reply
 * @tag: names the request among those in flight on this connection
 * @generation: differs each time @tag is used again; a reply repeats it
 * @offset: bytes from the lease's start
 * @length: bytes of the range; at most 4 GiB - block size
 * @payload: bytes that follow this frame: @length for WRITE and for the reply to
 *	a READ that went well; else zero, but for control operations
 * @payload_crc: CRC32C of the payload, zero if none or not negotiated
 * @header_crc: CRC32C of this struct with this field zero, zero if not negotiated
 */
struct disagg_wire_frame {
	__le32	magic;
	__u8	op;
	__u8	flags;
	__le16	status;
	__le32	tag;
	__le32	generation;
	__le64	offset;
	__le32	length;
	__le32	payload;
	__u8	reserved[8];
	__le32	payload_crc;
	__le32	header_crc;
};

DISAGG_WIRE_SIZE(disagg_wire_frame, 48);

/**
 * struct disagg_wire_resource - one resource of a target (INVENTORY)
 * @class: DISAGG_WIRE_CLASS_*
 * @attrs: DISAGG_WIRE_ATTR_*
 * @capacity: bytes in all
 * @available: bytes that a RESERVE could get now
 * @largest: bytes of the largest single lease that could be had now
 * @leases: leases that hold part of it
 * @block_size: natural unit, bytes
 * @id: the resource's name, unique on its target
 * @model: what it is made of ("memfd", "hugetlb 2MiB", "nvme0n1"), for people
 */
struct disagg_wire_resource {
	__le32	class;
	__le32	attrs;
	__le64	capacity;
	__le64	available;
	__le64	largest;
	__le32	leases;
	__le32	block_size;
	__u8	reserved[24];
	char	id[DISAGG_WIRE_NAME_LEN];
	char	model[DISAGG_WIRE_NAME_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_resource, 128);

/**
 * struct disagg_wire_reserve - ask for part of a resource (RESERVE)
 * @txid: the client's name for this try, sealed: the same txid again gets the same grant
 * @class: DISAGG_WIRE_CLASS_*
 * @attrs: DISAGG_WIRE_ATTR_READ_ONLY or zero
 * @size: bytes; a multiple of the resource's block size
 * @ttl_ns: how long the reservation stands without a COMMIT
 * @lease_ns: how long the lease stands after COMMIT; zero: until released
 * @id: resource wanted; empty: any of the class
 * @node: node that this is for, for people
 * @device: device that this is for, for people
 * @host: compute host, for people
 */
struct disagg_wire_reserve {
	__u8	txid[DISAGG_WIRE_UUID_LEN];
	__le32	class;
	__le32	attrs;
	__le64	size;
	__le64	ttl_ns;
	__le64	lease_ns;
	__u8	reserved[16];
	char	id[DISAGG_WIRE_NAME_LEN];
	char	node[DISAGG_WIRE_NAME_LEN];
	char	device[DISAGG_WIRE_NAME_LEN];
	char	host[DISAGG_WIRE_NAME_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_reserve, 192);

/**
 * struct disagg_wire_grant - a lease as its holder sees it
 * @lease: lease id
 * @generation: the fencing token; grows with every lease the target grants
 * @size: bytes
 * @expires_ns: nanoseconds from now until it ends; zero: never by itself
 * @block_size: smallest unit of I/O, bytes
 * @attrs: DISAGG_WIRE_ATTR_*
 * @max_lanes: lanes that the lease may have
 * @token: secret for the proofs of this lease, sealed; zero but in the answer to RESERVE
 * @resource: resource that it is part of
 */
struct disagg_wire_grant {
	__u8	lease[DISAGG_WIRE_UUID_LEN];
	__le64	generation;
	__le64	size;
	__le64	expires_ns;
	__le32	block_size;
	__le32	attrs;
	__le32	max_lanes;
	__u8	reserved[12];
	__u8	token[DISAGG_WIRE_KEY_LEN];
	char	resource[DISAGG_WIRE_NAME_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_grant, 128);

/**
 * struct disagg_wire_lease_ref - act on a lease (COMMIT, RELEASE, RENEW, RESIZE)
 * @lease: lease id
 * @generation: its generation; another one is refused with E_STALE
 * @size: RESIZE: the new size in bytes, never smaller than the old; else zero
 * @lease_ns: RENEW: nanoseconds from now; else zero
 * @proof: HMAC-SHA256(token, nonce || le32 op || this struct up to @proof), with
 *	the nonce of this connection's GREETING
 */
struct disagg_wire_lease_ref {
	__u8	lease[DISAGG_WIRE_UUID_LEN];
	__le64	generation;
	__le64	size;
	__le64	lease_ns;
	__u8	reserved[24];
	__u8	proof[DISAGG_WIRE_KEY_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_lease_ref, 96);

/* disagg_wire_lease_info.state */
#define DISAGG_WIRE_LEASE_RESERVED	1
#define DISAGG_WIRE_LEASE_COMMITTED	2
#define DISAGG_WIRE_LEASE_ENDING	3	/* its capacity is not free yet */

/**
 * struct disagg_wire_lease_info - a lease as anybody may see it (LEASES)
 * @lease: lease id
 * @generation: its generation
 * @size: bytes
 * @expires_ns: nanoseconds from now until it ends; zero: never by itself
 * @read_bytes: bytes read through its lanes
 * @written_bytes: bytes written through its lanes
 * @class: DISAGG_WIRE_CLASS_*
 * @state: DISAGG_WIRE_LEASE_*
 * @lanes: lanes that are connected
 * @resource: resource that it is part of
 * @node: node that it is for
 * @device: device that it is for
 * @host: compute host
 */
struct disagg_wire_lease_info {
	__u8	lease[DISAGG_WIRE_UUID_LEN];
	__le64	generation;
	__le64	size;
	__le64	expires_ns;
	__le64	read_bytes;
	__le64	written_bytes;
	__le32	class;
	__le32	state;
	__le32	lanes;
	__u8	reserved[60];
	char	resource[DISAGG_WIRE_NAME_LEN];
	char	node[DISAGG_WIRE_NAME_LEN];
	char	device[DISAGG_WIRE_NAME_LEN];
	char	host[DISAGG_WIRE_NAME_LEN];
};

DISAGG_WIRE_SIZE(disagg_wire_lease_info, 256);

/**
 * struct disagg_wire_announce - target to hosts, a datagram of its own (UDP)
 * @magic: DISAGG_WIRE_MAGIC_ANNOUNCE
 * @version: DISAGG_WIRE_VERSION
 * @epoch: as in GREETING
 * @sequence: which occasion since the daemon was started, from zero; said again, it
 *	is the same
 */
struct disagg_wire_announce {
	__le32	magic;
	__le16	version;
	__u8	reserved[2];
	__le64	epoch;
	__le32	sequence;
	__u8	reserved2[12];
};

DISAGG_WIRE_SIZE(disagg_wire_announce, 32);

#endif /* _UAPI_LINUX_DISAGG_WIRE_H */
