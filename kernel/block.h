/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DISAGG_BLOCK_H
#define _DISAGG_BLOCK_H

#include <linux/types.h>

#include "link.h"

struct disagg_block;
struct disagg_device;

extern const struct disagg_link_ops disagg_block_link_ops;

struct disagg_block_stats {
	u64 read_bytes;
	u64 write_bytes;
	u64 errors;
};

int disagg_block_create(struct disagg_device *dev);
int disagg_block_publish(struct disagg_device *dev);
bool disagg_block_seal(struct disagg_device *dev, bool force);
void disagg_block_kill(struct disagg_device *dev);
void disagg_block_remove(struct disagg_device *dev);
void disagg_block_destroy(struct disagg_device *dev);
void disagg_block_resize(struct disagg_device *dev, u64 size);
void disagg_block_set_timeout(struct disagg_device *dev, u32 io_timeout);
u32 disagg_block_openers(const struct disagg_device *dev);
void disagg_block_get_stats(const struct disagg_device *dev,
			    struct disagg_block_stats *stats);

#endif /* _DISAGG_BLOCK_H */
