/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DISAGGD_STORAGE_H
#define DISAGGD_STORAGE_H

#include "serve.h"

#define STORAGE_ALIGN	4096U	/* of buffers, for O_DIRECT */

/* Make @len bytes at @offset of the file zero; waits. 0 or -errno. */
int storage_zero(int fd, uint64_t offset, uint64_t len);

/* medium->run */
void storage_lane_run(struct lane *lane);

#endif
