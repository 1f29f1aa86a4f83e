// SPDX-License-Identifier: GPL-2.0
/* The codec: names, checksums, proofs, frames. Nothing here touches a socket. */
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "wire.h"

uint64_t dsg_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * DSG_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t dsg_deadline(uint64_t ns)
{
	uint64_t now = dsg_now_ns();

	return ns > UINT64_MAX - now ? DSG_NO_DEADLINE : now + ns;
}

int dsg_random(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

bool dsg_equal(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t diff = 0;

	for (size_t i = 0; i < len; i++)
		diff |= x[i] ^ y[i];
	return diff == 0;
}

bool dsg_is_zero(const void *p, size_t len)
{
	const uint8_t *x = p;

	for (size_t i = 0; i < len; i++)
		if (x[i])
			return false;
	return true;
}

bool dsg_string_ok(const char *s, size_t size)
{
	size_t len = strnlen(s, size);

	if (len == size)
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	return dsg_is_zero(s + len, size - len);
}

bool dsg_name_ok(const char *s)
{
	size_t len = strlen(s);

	if (!len || len >= DISAGG_WIRE_NAME_LEN || !isalnum((unsigned char)s[0]))
		return false;
	return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			 "0123456789._-") == len;
}

int dsg_string_set(char *dst, size_t size, const char *src)
{
	size_t len = strlen(src);

	if (len >= size)
		return -ENAMETOOLONG;
	memset(dst, 0, size);
	memcpy(dst, src, len);
	return 0;
}

/* Where the dashes go: before these bytes. */
static bool uuid_dash_before(int byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

char *dsg_uuid_format(const uint8_t uuid[DISAGG_WIRE_UUID_LEN],
		      char buf[DSG_UUID_STRLEN])
{
	static const char digits[] = "0123456789abcdef";
	char *p = buf;

	for (int i = 0; i < DISAGG_WIRE_UUID_LEN; i++) {
		if (uuid_dash_before(i))
			*p++ = '-';
		*p++ = digits[uuid[i] >> 4];
		*p++ = digits[uuid[i] & 15];
	}
	*p = '\0';
	return buf;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int dsg_uuid_parse(const char *s, uint8_t uuid[DISAGG_WIRE_UUID_LEN])
{
	for (int i = 0; i < DISAGG_WIRE_UUID_LEN; i++) {
		int high, low;

		if (uuid_dash_before(i) && *s++ != '-')
			return -EINVAL;
		high = hex_digit(s[0]);
		low = high < 0 ? -1 : hex_digit(s[1]);
		if (low < 0)
			return -EINVAL;
		uuid[i] = (uint8_t)(high << 4 | low);
		s += 2;
	}
	return *s ? -EINVAL : 0;
}

int dsg_uuid_random(uint8_t uuid[DISAGG_WIRE_UUID_LEN])
{
	int err = dsg_random(uuid, DISAGG_WIRE_UUID_LEN);

	if (err)
		return err;
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

static const struct {
	const char *text;
	int err;
} statuses[] = {
	[DISAGG_WIRE_OK]		= { "ok", 0 },
	[DISAGG_WIRE_E_PROTO]		= { "malformed message", EPROTO },
	[DISAGG_WIRE_E_VERSION]		= { "no common protocol version", EPROTONOSUPPORT },
	[DISAGG_WIRE_E_DENIED]		= { "denied", EACCES },
	[DISAGG_WIRE_E_NOT_FOUND]	= { "no such resource or lease", ENOENT },
	[DISAGG_WIRE_E_NO_SPACE]	= { "not enough capacity", ENOSPC },
	[DISAGG_WIRE_E_STALE]		= { "the lease has ended", ESTALE },
	[DISAGG_WIRE_E_BUSY]		= { "busy", EBUSY },
	[DISAGG_WIRE_E_INVALID]		= { "invalid request", EINVAL },
	[DISAGG_WIRE_E_IO]		= { "input/output error", EIO },
	[DISAGG_WIRE_E_CRC]		= { "checksum mismatch", EBADMSG },
	[DISAGG_WIRE_E_NOT_SUPPORTED]	= { "not supported", EOPNOTSUPP },
	[DISAGG_WIRE_E_READ_ONLY]	= { "read-only", EROFS },
	[DISAGG_WIRE_E_INTERNAL]	= { "the target failed", EREMOTEIO },
};

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

const char *dsg_status_text(unsigned int status)
{
	return status < ARRAY_SIZE(statuses) ? statuses[status].text : "unknown status";
}

int dsg_status_errno(unsigned int status)
{
	return status < ARRAY_SIZE(statuses) ? statuses[status].err : EREMOTEIO;
}

const char *dsg_op_text(unsigned int op)
{
	switch (op) {
	case DISAGG_WIRE_OP_READ:		return "read";
	case DISAGG_WIRE_OP_WRITE:		return "write";
	case DISAGG_WIRE_OP_FLUSH:		return "flush";
	case DISAGG_WIRE_OP_DISCARD:		return "discard";
	case DISAGG_WIRE_OP_WRITE_ZEROES:	return "write-zeroes";
	case DISAGG_WIRE_OP_PING:		return "ping";
	case DISAGG_WIRE_OP_INVENTORY:		return "inventory";
	case DISAGG_WIRE_OP_RESERVE:		return "reserve";
	case DISAGG_WIRE_OP_COMMIT:		return "commit";
	case DISAGG_WIRE_OP_RELEASE:		return "release";
	case DISAGG_WIRE_OP_RENEW:		return "renew";
	case DISAGG_WIRE_OP_RESIZE:		return "resize";
	case DISAGG_WIRE_OP_LEASES:		return "leases";
	}
	return "unknown";
}

const char *dsg_class_text(unsigned int class)
{
	switch (class) {
	case DISAGG_WIRE_CLASS_MEMORY:	return "memory";
	case DISAGG_WIRE_CLASS_STORAGE:	return "storage";
	case DISAGG_WIRE_CLASS_GPU:	return "gpu";
	}
	return "unknown";
}

int dsg_hmac(const uint8_t key[DISAGG_WIRE_KEY_LEN], const void *data, size_t len,
	     uint8_t mac[DISAGG_WIRE_KEY_LEN])
{
	return gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, DISAGG_WIRE_KEY_LEN,
				data, len, mac) < 0 ? -EIO : 0;
}

int dsg_hello_proof(const uint8_t token[DISAGG_WIRE_KEY_LEN],
		    const uint8_t nonce[DISAGG_WIRE_KEY_LEN],
		    const struct disagg_wire_hello *hello,
		    uint8_t proof[DISAGG_WIRE_KEY_LEN])
{
	const size_t body = offsetof(struct disagg_wire_hello, proof);
	uint8_t buf[DISAGG_WIRE_KEY_LEN + sizeof(*hello)];

	memcpy(buf, nonce, DISAGG_WIRE_KEY_LEN);
	memcpy(buf + DISAGG_WIRE_KEY_LEN, hello, body);
	return dsg_hmac(token, buf, DISAGG_WIRE_KEY_LEN + body, proof);
}

int dsg_lease_ref_proof(const uint8_t token[DISAGG_WIRE_KEY_LEN],
			const uint8_t nonce[DISAGG_WIRE_KEY_LEN], uint32_t op,
			const struct disagg_wire_lease_ref *ref,
			uint8_t proof[DISAGG_WIRE_KEY_LEN])
{
	const size_t body = offsetof(struct disagg_wire_lease_ref, proof);
	const size_t head = DISAGG_WIRE_KEY_LEN + sizeof(uint32_t);
	uint8_t buf[DISAGG_WIRE_KEY_LEN + sizeof(uint32_t) + sizeof(*ref)];
	uint32_t op_le = htole32(op);

	memcpy(buf, nonce, DISAGG_WIRE_KEY_LEN);
	memcpy(buf + DISAGG_WIRE_KEY_LEN, &op_le, sizeof(op_le));
	memcpy(buf + head, ref, body);
	return dsg_hmac(token, buf, head + body, proof);
}

/* The CRC is taken with header_crc as zero, without changing the frame. */
static uint32_t frame_crc(const struct disagg_wire_frame *frame)
{
	struct disagg_wire_frame copy = *frame;

	copy.header_crc = 0;
	return dsg_crc32c(&copy, sizeof(copy));
}

void dsg_frame_seal(struct disagg_wire_frame *frame, const void *payload,
		    uint32_t len, bool crc)
{
	frame->payload = htole32(len);
	frame->payload_crc = 0;
	frame->header_crc = 0;
	if (!crc)
		return;
	if (len)
		frame->payload_crc = htole32(dsg_crc32c(payload, len));
	frame->header_crc = htole32(frame_crc(frame));
}

uint16_t dsg_frame_check(const struct disagg_wire_frame *frame, uint32_t magic,
			 bool crc)
{
	if (le32toh(frame->magic) != magic ||
	    !dsg_is_zero(frame->reserved, sizeof(frame->reserved)))
		return DISAGG_WIRE_E_PROTO;
	if (crc) {
		if (le32toh(frame->header_crc) != frame_crc(frame))
			return DISAGG_WIRE_E_PROTO;
	} else if (frame->header_crc || frame->payload_crc) {
		return DISAGG_WIRE_E_PROTO;
	}
	if (magic == DISAGG_WIRE_MAGIC_REQUEST ? frame->status : frame->flags)
		return DISAGG_WIRE_E_PROTO;
	return DISAGG_WIRE_OK;
}

bool dsg_payload_ok(const struct disagg_wire_frame *frame, const void *payload,
		    uint32_t len)
{
	uint32_t crc = len ? dsg_crc32c(payload, len) : 0;

	return le32toh(frame->payload_crc) == crc;
}
