// SPDX-License-Identifier: GPL-2.0
/* CRC32C by the CPU's own instruction where it has one, else by tables. */
#include <endian.h>
#include <pthread.h>
#include <string.h>

#include "wire.h"

#define CRC32C_POLY	0x82f63b78U	/* reflected 0x1edc6f41 */

static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t (*update)(uint32_t state, const uint8_t *p, size_t len);

static uint32_t update_table(uint32_t state, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t low, high;

		memcpy(&low, p, 4);
		memcpy(&high, p + 4, 4);
		low = le32toh(low) ^ state;
		high = le32toh(high);
		state = table[7][low & 255] ^ table[6][low >> 8 & 255] ^
			table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
			table[3][high & 255] ^ table[2][high >> 8 & 255] ^
			table[1][high >> 16 & 255] ^ table[0][high >> 24];
	}
	while (len--)
		state = state >> 8 ^ table[0][(state ^ *p++) & 255];
	return state;
}

#ifdef __x86_64__
__attribute__((target("sse4.2")))
static uint32_t update_sse42(uint32_t state, const uint8_t *p, size_t len)
{
	uint64_t wide = state;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		wide = __builtin_ia32_crc32di(wide, v);
	}
	state = (uint32_t)wide;
	while (len--)
		state = __builtin_ia32_crc32qi(state, *p++);
	return state;
}
#endif

static void crc32c_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLY : 0);
		table[0][i] = crc;
	}
	for (int i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			table[t][i] = table[t - 1][i] >> 8 ^
				      table[0][table[t - 1][i] & 255];
	update = update_table;
#ifdef __x86_64__
	__builtin_cpu_init();
	if (__builtin_cpu_supports("sse4.2"))
		update = update_sse42;
#endif
}

uint32_t dsg_crc32c_update(uint32_t state, const void *data, size_t len)
{
	pthread_once(&once, crc32c_init);
	return update(state, data, len);
}

uint32_t dsg_crc32c(const void *data, size_t len)
{
	return ~dsg_crc32c_update(~0U, data, len);
}
