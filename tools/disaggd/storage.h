/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DISAGGD_STORAGE_H
#define DISAGGD_STORAGE_H

#include "serve.h"

#define STORAGE_ALIGN	4096U	/* of buffers, for O_DIRECT */

#define STORAGE_ZEROES	(1U << 20)

/* Zeroes to write, for media that know no other way; aligned. */
extern uint8_t storage_zeroes[STORAGE_ZEROES];

/* medium->run */
void storage_lane_run(struct lane *lane);

#endif
