/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DISAGGD_MEMORY_H
#define DISAGGD_MEMORY_H

#include "serve.h"

/*
 * Make @len bytes at @offset read as zeroes, and give their memory back unless
 * @keep; DISAGG_WIRE_*.
 */
uint16_t memory_zero(struct serve *serve, uint64_t offset, uint64_t len, bool keep);

/* medium->run */
void memory_lane_run(struct lane *lane);

#endif
