/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: /sys/kernel/tracing/events/disagg. A request passes submit, send
 * (again after its lane was lost, or if it came damaged), receive and complete;
 * disk N is disaggN.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM disagg

#if !defined(_DISAGG_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _DISAGG_TRACE_H

#include <linux/timekeeping.h>
#include <linux/tracepoint.h>

#include "device.h"
#include "link.h"

#define disagg_show_op(op)						\
	__print_symbolic(op,						\
			 { DISAGG_WIRE_OP_READ, "read" },		\
			 { DISAGG_WIRE_OP_WRITE, "write" },		\
			 { DISAGG_WIRE_OP_FLUSH, "flush" },		\
			 { DISAGG_WIRE_OP_DISCARD, "discard" },		\
			 { DISAGG_WIRE_OP_WRITE_ZEROES, "write-zeroes" },	\
			 { DISAGG_WIRE_OP_PING, "ping" })

DECLARE_EVENT_CLASS(disagg_io,
	TP_PROTO(const struct disagg_lane *lane, const struct disagg_io *io),
	TP_ARGS(lane, io),
	TP_STRUCT__entry(
		__field(u32, disk)
		__field(u32, lane)
		__field(u32, tag)
		__field(u32, generation)
		__field(u64, offset)
		__field(u32, length)
		__field(u8, op)
		__field(u8, flags)
	),
	TP_fast_assign(
		__entry->disk = lane->link->id;
		__entry->lane = lane->index;
		__entry->tag = le32_to_cpu(io->frame.tag);
		__entry->generation = le32_to_cpu(io->frame.generation);
		__entry->offset = le64_to_cpu(io->frame.offset);
		__entry->length = le32_to_cpu(io->frame.length);
		__entry->op = io->frame.op;
		__entry->flags = io->frame.flags;
	),
	TP_printk("disagg%u lane=%u tag=%u generation=%u %s offset=%llu length=%u flags=%#x",
		  __entry->disk, __entry->lane, __entry->tag, __entry->generation,
		  disagg_show_op(__entry->op), __entry->offset, __entry->length,
		  __entry->flags)
);

/* The block layer hands a request over; it has no generation yet. */
DEFINE_EVENT(disagg_io, disagg_submit,
	TP_PROTO(const struct disagg_lane *lane, const struct disagg_io *io),
	TP_ARGS(lane, io)
);

/* The socket is about to take its first byte. */
DEFINE_EVENT(disagg_io, disagg_send,
	TP_PROTO(const struct disagg_lane *lane, const struct disagg_io *io),
	TP_ARGS(lane, io)
);

/* A reply's frame is there, and is about to be judged. */
TRACE_EVENT(disagg_receive,
	TP_PROTO(const struct disagg_lane *lane, const struct disagg_wire_frame *frame),
	TP_ARGS(lane, frame),
	TP_STRUCT__entry(
		__field(u32, disk)
		__field(u32, lane)
		__field(u32, tag)
		__field(u32, generation)
		__field(u32, payload)
		__field(u16, status)
		__field(u8, op)
	),
	TP_fast_assign(
		__entry->disk = lane->link->id;
		__entry->lane = lane->index;
		__entry->tag = le32_to_cpu(frame->tag);
		__entry->generation = le32_to_cpu(frame->generation);
		__entry->payload = le32_to_cpu(frame->payload);
		__entry->status = le16_to_cpu(frame->status);
		__entry->op = frame->op;
	),
	TP_printk("disagg%u lane=%u tag=%u generation=%u %s status=%u payload=%u",
		  __entry->disk, __entry->lane, __entry->tag, __entry->generation,
		  disagg_show_op(__entry->op), __entry->status, __entry->payload)
);

/* A request goes back to the block layer; @error is zero or a negative errno. */
TRACE_EVENT(disagg_complete,
	TP_PROTO(const struct disagg_lane *lane, const struct disagg_io *io, int error),
	TP_ARGS(lane, io, error),
	TP_STRUCT__entry(
		__field(u32, disk)
		__field(u32, lane)
		__field(u32, tag)
		__field(u32, length)
		__field(u64, offset)
		__field(u64, ns)
		__field(int, error)
		__field(u8, op)
	),
	TP_fast_assign(
		__entry->disk = lane->link->id;
		__entry->lane = lane->index;
		__entry->tag = le32_to_cpu(io->frame.tag);
		__entry->length = le32_to_cpu(io->frame.length);
		__entry->offset = le64_to_cpu(io->frame.offset);
		__entry->ns = ktime_get_ns() - io->submitted;
		__entry->error = error;
		__entry->op = io->frame.op;
	),
	TP_printk("disagg%u lane=%u tag=%u %s offset=%llu length=%u error=%d ns=%llu",
		  __entry->disk, __entry->lane, __entry->tag, disagg_show_op(__entry->op),
		  __entry->offset, __entry->length, __entry->error, __entry->ns)
);

/* A lane was lost, or has another socket; @generation counts them. */
TRACE_EVENT(disagg_lane_state,
	TP_PROTO(const struct disagg_lane *lane, u32 generation, bool lost),
	TP_ARGS(lane, generation, lost),
	TP_STRUCT__entry(
		__field(u32, disk)
		__field(u32, lane)
		__field(u32, generation)
		__field(bool, lost)
	),
	TP_fast_assign(
		__entry->disk = lane->link->id;
		__entry->lane = lane->index;
		__entry->generation = generation;
		__entry->lost = lost;
	),
	TP_printk("disagg%u lane=%u generation=%u %s", __entry->disk, __entry->lane,
		  __entry->generation, __entry->lost ? "lost" : "live")
);

TRACE_DEFINE_ENUM(DISAGG_DEVICE_STATE_CONNECTING);
TRACE_DEFINE_ENUM(DISAGG_DEVICE_STATE_LIVE);
TRACE_DEFINE_ENUM(DISAGG_DEVICE_STATE_LOST);
TRACE_DEFINE_ENUM(DISAGG_DEVICE_STATE_REMOVING);
TRACE_DEFINE_ENUM(DISAGG_DEVICE_STATE_DEAD);

TRACE_EVENT(disagg_device_state,
	TP_PROTO(const struct disagg_device *dev, u32 state),
	TP_ARGS(dev, state),
	TP_STRUCT__entry(
		__field(u32, disk)
		__field(u32, state)
		__array(char, node, DISAGG_NAME_MAX + 1)
		__array(char, name, DISAGG_NAME_MAX + 1)
	),
	TP_fast_assign(
		__entry->disk = dev->id;
		__entry->state = state;
		strscpy(__entry->node, dev->node_name, sizeof(__entry->node));
		strscpy(__entry->name, dev->params.name, sizeof(__entry->name));
	),
	TP_printk("disagg%u %s/%s %s", __entry->disk, __entry->node, __entry->name,
		  __print_symbolic(__entry->state,
				   { DISAGG_DEVICE_STATE_CONNECTING, "connecting" },
				   { DISAGG_DEVICE_STATE_LIVE, "live" },
				   { DISAGG_DEVICE_STATE_LOST, "lost" },
				   { DISAGG_DEVICE_STATE_REMOVING, "removing" },
				   { DISAGG_DEVICE_STATE_DEAD, "dead" }))
);

#endif /* _DISAGG_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE disagg_trace
#include <trace/define_trace.h>
