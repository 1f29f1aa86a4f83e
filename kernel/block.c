// SPDX-License-Identifier: GPL-2.0
/*
 * The block front: a disk on blk-mq, one hardware queue per lane.
 *
 * The queue is a blocking one, so that a submitter may take its lane's socket
 * lock; nothing here waits for the target. A request that is not answered in half
 * its time has its lane probed; those of a lane that is lost wait for the next connection,
 * or are ended when nothing can touch their pages any more.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/part_stat.h>
#include <linux/slab.h>

#include "block.h"
#include "device.h"
#include "disagg_trace.h"
#include "netlink.h"

/* Bounds the bio_vec array that every request carries along. */
#define DISAGG_BLOCK_MAX_SEGMENTS	128

/**
 * struct disagg_request - the driver's part of a request
 * @io: what the lane sees of it
 * @vec: the request's pages, which may come from several bios
 */
struct disagg_request {
	struct disagg_io io;
	struct bio_vec vec[DISAGG_BLOCK_MAX_SEGMENTS];
};

/**
 * struct disagg_block - the disk of a device
 * @dev: its device; one reference
 * @disk: its disk
 * @tag_set: one hardware queue per lane
 * @published: add_disk() went well; free_disk() will be called
 * @sealed: may not be opened any more; guarded by disk->open_mutex
 * @errors: requests that failed
 */
struct disagg_block {
	struct disagg_device *dev;
	struct gendisk *disk;
	struct blk_mq_tag_set tag_set;
	bool published;
	bool sealed;
	atomic64_t errors;
};

static bool disagg_request_may_splice(struct request *rq)
{
	struct req_iterator iter;
	struct bio_vec bv;

	if (!DISAGG_MSG_SPLICE_PAGES)
		return false;
	rq_for_each_segment(bv, rq, iter)
		if (!sendpage_ok(bv.bv_page))
			return false;
	return true;
}

/* Point io.payload at the request's pages. */
static bool disagg_request_map(struct request *rq, struct disagg_request *req,
			       unsigned int direction)
{
	struct req_iterator iter;
	struct bio_vec bv;
	unsigned int n = 0;

	rq_for_each_bvec(bv, rq, iter) {
		if (WARN_ON_ONCE(n == DISAGG_BLOCK_MAX_SEGMENTS))
			return false;
		req->vec[n++] = bv;
	}
	iov_iter_bvec(&req->io.payload, direction, req->vec, n, blk_rq_bytes(rq));
	return true;
}

static blk_status_t disagg_request_prepare(struct request *rq, struct disagg_request *req)
{
	struct disagg_wire_frame *frame = &req->io.frame;

	*frame = (struct disagg_wire_frame) {
		.magic = cpu_to_le32(DISAGG_WIRE_MAGIC_REQUEST),
		.tag = cpu_to_le32(rq->tag),
	};
	req->io.splice = false;
	WRITE_ONCE(req->io.submitted, ktime_get_ns());

	/* The block layer only warns, and device-mapper does not ask. */
	if (op_is_write(req_op(rq)) && req_op(rq) != REQ_OP_FLUSH && get_disk_ro(rq->q->disk))
		return BLK_STS_IOERR;

	switch (req_op(rq)) {
	case REQ_OP_READ:
		frame->op = DISAGG_WIRE_OP_READ;
		if (!disagg_request_map(rq, req, ITER_DEST))
			return BLK_STS_IOERR;
		break;
	case REQ_OP_WRITE:
		frame->op = DISAGG_WIRE_OP_WRITE;
		frame->payload = cpu_to_le32(blk_rq_bytes(rq));
		if (rq->cmd_flags & REQ_FUA)
			frame->flags |= DISAGG_WIRE_FLAG_FUA;
		if (!disagg_request_map(rq, req, ITER_SOURCE))
			return BLK_STS_IOERR;
		req->io.splice = disagg_request_may_splice(rq);
		break;
	case REQ_OP_FLUSH:
		frame->op = DISAGG_WIRE_OP_FLUSH;
		return BLK_STS_OK;
	case REQ_OP_DISCARD:
		frame->op = DISAGG_WIRE_OP_DISCARD;
		break;
	case REQ_OP_WRITE_ZEROES:
		frame->op = DISAGG_WIRE_OP_WRITE_ZEROES;
		if (rq->cmd_flags & REQ_FUA)
			frame->flags |= DISAGG_WIRE_FLAG_FUA;
		if (rq->cmd_flags & REQ_NOUNMAP)
			frame->flags |= DISAGG_WIRE_FLAG_NOUNMAP;
		break;
	default:
		return BLK_STS_NOTSUPP;
	}
	frame->offset = cpu_to_le64((u64)blk_rq_pos(rq) << SECTOR_SHIFT);
	frame->length = cpu_to_le32(blk_rq_bytes(rq));
	return BLK_STS_OK;
}

static blk_status_t disagg_queue_rq(struct blk_mq_hw_ctx *hctx,
				    const struct blk_mq_queue_data *bd)
{
	struct disagg_request *req = blk_mq_rq_to_pdu(bd->rq);
	struct disagg_block *block = bd->rq->q->disk->private_data;
	struct disagg_lane *lane = hctx->driver_data;
	blk_status_t status = BLK_STS_IOERR;

	if (!disagg_link_is_up(lane->link))
		goto refuse;
	status = BLK_STS_TRANSPORT;
	if (test_bit(DISAGG_LANE_FAIL_FAST, &lane->flags))
		goto refuse;
	if (unlikely(READ_ONCE(lane->link->nr_in_doubt)) && op_is_write(req_op(bd->rq)))
		goto refuse;
	status = disagg_request_prepare(bd->rq, req);
	if (status != BLK_STS_OK)
		goto refuse;

	blk_mq_start_request(bd->rq);
	trace_disagg_submit(lane, &req->io);
	disagg_lane_send(lane, &req->io, bd->last);
	return BLK_STS_OK;

refuse:
	atomic64_inc(&block->errors);
	/* Those before it in the batch were told that more are coming. */
	if (bd->last)
		disagg_lane_kick(lane);
	return status;
}

static void disagg_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	disagg_lane_kick(hctx->driver_data);
}

/* Half of @io_timeout, milliseconds, in jiffies: the other half is for the answer to a PING. */
static unsigned int disagg_rq_timeout(u32 io_timeout)
{
	return max(msecs_to_jiffies(io_timeout) / 2, 1UL);
}

static enum blk_eh_timer_return disagg_timeout(struct request *rq)
{
	struct disagg_request *req = blk_mq_rq_to_pdu(rq);

	disagg_lane_timeout(rq->mq_hctx->driver_data, &req->io, 2 * (unsigned long)rq->timeout);
	return BLK_EH_RESET_TIMER;
}

static int disagg_init_hctx(struct blk_mq_hw_ctx *hctx, void *data, unsigned int index)
{
	struct disagg_device *dev = data;

	hctx->driver_data = &dev->link->lanes[index];
	return 0;
}

/* In debugfs, block/disaggN/hctx*\/busy: what is in flight. */
#ifdef CONFIG_BLK_DEBUG_FS
static void disagg_show_rq(struct seq_file *m, struct request *rq)
{
	const struct disagg_request *req = blk_mq_rq_to_pdu(rq);
	const struct disagg_lane *lane = rq->mq_hctx->driver_data;
	const struct disagg_io *io = &req->io;

	/* One that a scheduler or a list of the block layer still has. */
	if (!blk_mq_request_started(rq))
		return;
	seq_printf(m, ", .lane=%u, .offset=%llu, .length=%u, .generation=%u, .sent=%u, .age_ms=%llu",
		   lane->index, le64_to_cpu(io->frame.offset), le32_to_cpu(io->frame.length),
		   le32_to_cpu(io->frame.generation), READ_ONCE(io->sent),
		   div_u64(ktime_get_ns() - io->submitted, NSEC_PER_MSEC));
}
#endif

static const struct blk_mq_ops disagg_mq_ops = {
	.queue_rq = disagg_queue_rq,
	.commit_rqs = disagg_commit_rqs,
	.timeout = disagg_timeout,
	.init_hctx = disagg_init_hctx,
#ifdef CONFIG_BLK_DEBUG_FS
	.show_rq = disagg_show_rq,
#endif
};

static void disagg_complete_batch(struct io_comp_batch *batch)
{
	blk_mq_end_request_batch(batch);
}

static void disagg_block_done(struct disagg_io *io, int error,
			      struct io_comp_batch *batch)
{
	struct disagg_request *req = container_of(io, struct disagg_request, io);
	struct request *rq = blk_mq_rq_from_pdu(req);
	struct disagg_block *block = rq->q->disk->private_data;

	trace_disagg_complete(rq->mq_hctx->driver_data, io, error);
	/* A flush may be ended late: the link's end must not end it again. */
	blk_mq_set_request_complete(rq);
	if (error)
		atomic64_inc(&block->errors);
	else if (blk_mq_add_to_batch(rq, batch, 0, disagg_complete_batch))
		return;
	blk_mq_end_request(rq, errno_to_blk_status(error));
}

static void disagg_block_link_stop(struct disagg_link *link)
{
	struct disagg_device *dev = link->owner;

	blk_mq_quiesce_queue(dev->block->disk->queue);
}

/* struct disagg_failing - requests that a link's end gives back */
struct disagg_failing {
	struct disagg_block *block;
	struct llist_node *flushes;
};

static void disagg_fail_request(struct disagg_block *block, struct request *rq)
{
	struct disagg_request *req = blk_mq_rq_to_pdu(rq);

	trace_disagg_complete(rq->mq_hctx->driver_data, &req->io, -EIO);
	atomic64_inc(&block->errors);
	blk_mq_end_request(rq, BLK_STS_IOERR);
}

static bool disagg_fail_started(struct request *rq, void *data)
{
	struct disagg_failing *failing = data;
	struct disagg_request *req = blk_mq_rq_to_pdu(rq);

	if (!blk_mq_request_started(rq) || blk_mq_request_completed(rq))
		return true;
	if (req_op(rq) == REQ_OP_FLUSH) {
		/* Ended in here, the iterator's reference would end it again, as a success. */
		req->io.node.next = failing->flushes;
		failing->flushes = &req->io.node;
	} else {
		disagg_fail_request(failing->block, rq);
	}
	return true;
}

static void disagg_block_link_down(struct disagg_link *link)
{
	struct disagg_device *dev = link->owner;
	struct disagg_block *block = dev->block;
	struct disagg_failing failing = { .block = block };
	struct disagg_request *req, *next;

	disagg_device_dead(dev);
	blk_mq_tagset_busy_iter(&block->tag_set, disagg_fail_started, &failing);
	llist_for_each_entry_safe(req, next, failing.flushes, io.node)
		disagg_fail_request(block, blk_mq_rq_from_pdu(req));
	disagg_compat_unquiesce(block->disk->queue);
	/* Telling takes memory, which may take the end of these requests. */
	disagg_device_tell(dev);
}

static void disagg_block_link_changed(struct disagg_link *link)
{
	disagg_device_link_changed(link->owner);
}

const struct disagg_link_ops disagg_block_link_ops = {
	.done = disagg_block_done,
	.stop = disagg_block_link_stop,
	.down = disagg_block_link_down,
	.changed = disagg_block_link_changed,
};

DISAGG_DISK_OPEN(disagg_open)
{
	struct disagg_block *block = disk->private_data;

	return block->sealed ? -ENXIO : 0;
}

/* The last user has let go, of a disk that was published. */
static void disagg_free_disk(struct gendisk *disk)
{
	struct disagg_block *block = disk->private_data;
	struct disagg_device *dev = block->dev;

	blk_mq_free_tag_set(&block->tag_set);
	kfree(block);
	disagg_device_put(dev);
}

static const struct block_device_operations disagg_fops = {
	.owner = THIS_MODULE,
	.open = disagg_open,
	.free_disk = disagg_free_disk,
};

static struct disagg_device *disagg_device_of(struct device *d)
{
	struct disagg_block *block = dev_to_disk(d)->private_data;

	return block->dev;
}

static ssize_t node_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", disagg_device_of(d)->node_name);
}
static DEVICE_ATTR_RO(node);

static ssize_t device_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", disagg_device_of(d)->params.name);
}
static DEVICE_ATTR_RO(device);

static ssize_t class_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", disagg_class_name(disagg_device_of(d)->params.class));
}
static DEVICE_ATTR_RO(class);

static ssize_t state_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", disagg_state_name(disagg_device_state(disagg_device_of(d))));
}
static DEVICE_ATTR_RO(state);

static ssize_t target_show(struct device *d, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", disagg_device_of(d)->params.target);
}
static DEVICE_ATTR_RO(target);

static struct attribute *disagg_disk_attrs[] = {
	&dev_attr_node.attr,
	&dev_attr_device.attr,
	&dev_attr_class.attr,
	&dev_attr_state.attr,
	&dev_attr_target.attr,
	NULL
};

static const struct attribute_group disagg_disk_group = {
	.name = "disagg",
	.attrs = disagg_disk_attrs,
};

static const struct attribute_group *disagg_disk_groups[] = {
	&disagg_disk_group,
	NULL
};

static struct gendisk *disagg_block_alloc_disk(struct disagg_device *dev,
					       struct disagg_block *block)
{
	const struct disagg_device_params *params = &dev->params;
	struct disagg_queue_features features = {
		.write_cache = params->features & DISAGG_WIRE_F_FLUSH,
		.fua = (params->features & DISAGG_WIRE_F_FLUSH) &&
		       (params->features & DISAGG_WIRE_F_FUA),
		.stable_writes = params->features & DISAGG_WIRE_F_CRC32C,
		.rotational = params->flags & DISAGG_DEVICE_FLAGS_ROTATIONAL,
	};
	struct queue_limits limits = {
		.logical_block_size = params->block_size,
		.physical_block_size = params->block_size,
		.io_min = params->block_size,
		.max_hw_sectors = dev->link->max_payload >> SECTOR_SHIFT,
		.max_segments = DISAGG_BLOCK_MAX_SEGMENTS,
		.max_segment_size = UINT_MAX,
	};
	u32 max_discard = round_down(params->max_discard, params->block_size);

	if (params->features & DISAGG_WIRE_F_DISCARD) {
		limits.max_hw_discard_sectors = max_discard >> SECTOR_SHIFT;
		limits.discard_granularity = params->block_size;
	}
	if (params->features & DISAGG_WIRE_F_WRITE_ZEROES)
		limits.max_write_zeroes_sectors = max_discard >> SECTOR_SHIFT;

	return disagg_compat_alloc_disk(&block->tag_set, &limits, &features, block);
}

/**
 * disagg_block_create - make a device's disk, which nobody sees yet
 * @dev: a device with a link that is not started
 *
 * Return: 0 or negative errno; then there is nothing to undo.
 */
int disagg_block_create(struct disagg_device *dev)
{
	struct disagg_block *block;
	struct gendisk *disk;
	int err;

	block = kzalloc_obj(*block, GFP_KERNEL);
	if (!block)
		return -ENOMEM;
	block->dev = dev;
	block->tag_set.ops = &disagg_mq_ops;
	block->tag_set.nr_hw_queues = dev->link->nr_lanes;
	block->tag_set.queue_depth = dev->link->depth;
	block->tag_set.numa_node = NUMA_NO_NODE;
	block->tag_set.cmd_size = sizeof(struct disagg_request);
	/* STACKING: a processor that goes offline does not wait for requests of its lane. */
	block->tag_set.flags = DISAGG_MQ_F_MERGE | BLK_MQ_F_BLOCKING | BLK_MQ_F_STACKING |
			       BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	block->tag_set.timeout = disagg_rq_timeout(dev->params.io_timeout);
	block->tag_set.driver_data = dev;
	err = blk_mq_alloc_tag_set(&block->tag_set);
	if (err)
		goto err_free;

	disk = disagg_block_alloc_disk(dev, block);
	if (IS_ERR(disk)) {
		err = PTR_ERR(disk);
		goto err_tag_set;
	}
	snprintf(disk->disk_name, sizeof(disk->disk_name), "disagg%u", dev->id);
	disk->fops = &disagg_fops;
	disk->private_data = block;
	if (!(dev->params.flags & DISAGG_DEVICE_FLAGS_PARTSCAN))
		disk->flags |= GENHD_FL_NO_PART;
	set_capacity(disk, dev->params.size >> SECTOR_SHIFT);
	set_disk_ro(disk, dev->params.flags & DISAGG_DEVICE_FLAGS_READ_ONLY);
	block->disk = disk;
	disagg_device_get(dev);
	smp_store_release(&dev->block, block);	/* a dump may look at it */
	return 0;

err_tag_set:
	blk_mq_free_tag_set(&block->tag_set);
err_free:
	kfree(block);
	return err;
}

/*
 * Show the disk to the world. Partitions are looked for by whoever opens it
 * first, which is udev: that is I/O, and all of generic netlink might wait with
 * us for it. Return: 0 or negative errno.
 */
int disagg_block_publish(struct disagg_device *dev)
{
	struct disagg_block *block = dev->block;
	struct gendisk *disk = block->disk;
	int err;

	set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	err = device_add_disk(NULL, disk, disagg_disk_groups);
	if (err)
		return err;
	block->published = true;
	clear_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	if (!(disk->flags & GENHD_FL_NO_PART)) {
		set_bit(GD_NEED_PART_SCAN, &disk->state);
		/* For a udev that was faster. */
		kobject_uevent(&disk_to_dev(disk)->kobj, KOBJ_CHANGE);
	}
	return 0;
}

/**
 * disagg_block_seal - let nobody open the disk any more
 * @dev: the device, attached
 * @force: although it is open
 *
 * Who is just opening or closing the disk may wait for I/O, and that may wait for
 * a lane that is lost, unless the link has failed: only force waits for them.
 * Return: whether it is sealed.
 */
bool disagg_block_seal(struct disagg_device *dev, bool force)
{
	struct disagg_block *block = dev->block;

	if (force)
		mutex_lock(&block->disk->open_mutex);
	else if (!mutex_trylock(&block->disk->open_mutex))
		return false;
	if (force || !disk_openers(block->disk))
		block->sealed = true;
	mutex_unlock(&block->disk->open_mutex);
	return block->sealed;
}

/* The link is down for good: tell those who have the disk open. */
void disagg_block_kill(struct disagg_device *dev)
{
	blk_mark_disk_dead(dev->block->disk);
}

/* Take the disk from the world; what is dirty is written while the link lives. */
void disagg_block_remove(struct disagg_device *dev)
{
	del_gendisk(dev->block->disk);
	/* A submitter whose request is done may still be on its way out of queue_rq. */
	blk_mq_quiesce_queue(dev->block->disk->queue);
}

/* Let go of the disk; it lives on until its last user has closed it. */
void disagg_block_destroy(struct disagg_device *dev)
{
	struct disagg_block *block = dev->block;
	struct gendisk *disk = block->disk;
	bool published = block->published;

	dev->block = NULL;
	put_disk(disk);
	if (!published) {
		blk_mq_free_tag_set(&block->tag_set);
		kfree(block);
		disagg_device_put(dev);
	}
}

void disagg_block_resize(struct disagg_device *dev, u64 size)
{
	set_capacity_and_notify(dev->block->disk, size >> SECTOR_SHIFT);
}

/* For requests that start from now on. */
void disagg_block_set_timeout(struct disagg_device *dev, u32 io_timeout)
{
	blk_queue_rq_timeout(dev->block->disk->queue, disagg_rq_timeout(io_timeout));
}

u32 disagg_block_openers(const struct disagg_device *dev)
{
	return disk_openers(dev->block->disk);
}

void disagg_block_get_stats(const struct disagg_device *dev,
			    struct disagg_block_stats *stats)
{
	struct block_device *part = dev->block->disk->part0;

	stats->read_bytes = (u64)part_stat_read(part, sectors[STAT_READ]) << SECTOR_SHIFT;
	stats->write_bytes = (u64)part_stat_read(part, sectors[STAT_WRITE]) << SECTOR_SHIFT;
	stats->errors = atomic64_read(&dev->block->errors);
}
