/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that disagg.ko builds on. The code is
 * written for the newest; this file, included before every other, lends the
 * older ones what they lack. Nothing else asks which kernel it is.
 */
#ifndef _DISAGG_COMPAT_H
#define _DISAGG_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <net/genetlink.h>
#include <net/sock.h>

#include "disagg_probes.h"

#ifndef __counted_by
#define __counted_by(member)
#endif

#ifndef kzalloc_obj
#define kzalloc_obj(obj, gfp)	kzalloc(sizeof(obj), gfp)
#endif

/* Without it the task's fragment is used only by those who may reclaim. */
static inline void disagg_compat_no_task_frag(struct sock *sk)
{
#ifdef DISAGG_HAVE_SK_USE_TASK_FRAG
	sk->sk_use_task_frag = false;
#endif
}

/*
 * Before 6.2 a command's do and dump halves share one entry: take the split
 * table as a table of whole entries, and fold the halves together at load.
 */
#ifndef DISAGG_HAVE_GENL_SPLIT_OPS
#define genl_split_ops	genl_ops
#define split_ops	ops
#define n_split_ops	n_ops

static inline void disagg_compat_genl_fold(struct genl_family *family,
					   struct genl_ops *folded)
{
	unsigned int i, n = 0;

	for (i = 0; i < family->n_ops; i++) {
		const struct genl_ops *op = &family->ops[i];

		if (n && folded[n - 1].cmd == op->cmd) {
			folded[n - 1].start = op->start;
			folded[n - 1].dumpit = op->dumpit;
			continue;
		}
		folded[n++] = *op;
	}
	family->ops = folded;
	family->n_ops = n;
}
#else
static inline void disagg_compat_genl_fold(struct genl_family *family,
					   const struct genl_split_ops *unused)
{
}
#endif

/* Without it the payload is copied into the socket. */
#ifdef DISAGG_HAVE_SPLICE_PAGES
#define DISAGG_MSG_SPLICE_PAGES	MSG_SPLICE_PAGES
#else
#define DISAGG_MSG_SPLICE_PAGES	0
#endif

#ifdef DISAGG_HAVE_SHOULD_MERGE
#define DISAGG_MQ_F_MERGE	BLK_MQ_F_SHOULD_MERGE
#else
#define DISAGG_MQ_F_MERGE	0
#endif

/*
 * 6.1 lays down a request that finds the queue quiesced without a word, also when the
 * queue is let go before it lies there: nobody would ever take it up. Who saw the queue
 * quiesced is in a section that can be waited for.
 */
static inline void disagg_compat_unquiesce(struct request_queue *q)
{
	blk_mq_unquiesce_queue(q);
#ifdef DISAGG_HAVE_QUIESCE_OF_QUEUE
	blk_mq_wait_quiesce_done(q);
	blk_mq_run_hw_queues(q, true);
#endif
}

/* The head of an open() that is given its disk, as "disk". */
#ifdef DISAGG_HAVE_OPEN_GENDISK
#define DISAGG_DISK_OPEN(name) \
	static int name(struct gendisk *disk, blk_mode_t mode)
#else
#define DISAGG_DISK_OPEN(name)						\
	static int name##_disk(struct gendisk *disk);			\
	static int name(struct block_device *bdev, fmode_t mode)	\
	{								\
		return name##_disk(bdev->bd_disk);			\
	}								\
	static int name##_disk(struct gendisk *disk)
#endif

/* Properties of a queue that have moved from setters into queue_limits. */
struct disagg_queue_features {
	bool write_cache;
	bool fua;
	bool stable_writes;
	bool rotational;
};

static inline struct gendisk *
disagg_compat_alloc_disk(struct blk_mq_tag_set *set, struct queue_limits *lim,
			 const struct disagg_queue_features *feat, void *data)
{
#ifdef DISAGG_HAVE_QUEUE_LIMITS_FEATURES
	if (feat->write_cache)
		lim->features |= BLK_FEAT_WRITE_CACHE;
	if (feat->fua)
		lim->features |= BLK_FEAT_FUA;
	if (feat->stable_writes)
		lim->features |= BLK_FEAT_STABLE_WRITES;
	if (feat->rotational)
		lim->features |= BLK_FEAT_ROTATIONAL;
	return blk_mq_alloc_disk(set, lim, data);
#else
	struct gendisk *disk = blk_mq_alloc_disk(set, data);
	struct request_queue *q;

	if (IS_ERR(disk))
		return disk;
	q = disk->queue;
	blk_queue_logical_block_size(q, lim->logical_block_size);
	blk_queue_physical_block_size(q, lim->physical_block_size);
	blk_queue_io_min(q, lim->io_min);
	blk_queue_max_hw_sectors(q, lim->max_hw_sectors);
	blk_queue_max_segments(q, lim->max_segments);
	blk_queue_max_segment_size(q, lim->max_segment_size);
	blk_queue_max_discard_sectors(q, lim->max_hw_discard_sectors);
	q->limits.discard_granularity = lim->discard_granularity;
	blk_queue_max_write_zeroes_sectors(q, lim->max_write_zeroes_sectors);
	blk_queue_write_cache(q, feat->write_cache, feat->fua);
	if (feat->stable_writes)
		blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, q);
	if (!feat->rotational)
		blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	return disk;
#endif
}

#endif /* _DISAGG_COMPAT_H */
