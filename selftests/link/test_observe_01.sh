#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What can be seen of a link: tracepoints, what is in flight, latencies.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"

TRACE=/sys/kernel/tracing
DEBUG=/sys/kernel/debug

ktap_plan 15
need_module
mountpoint -q $TRACE || mount -t tracefs tracefs $TRACE
mountpoint -q $DEBUG || mount -t debugfs debugfs $DEBUG
start_target t1 "{id: dram, class: memory, size: 64MiB}"
start_agent
"$DISAGGCTL" node create n --memory 32MiB --lanes 1 --io-timeout 20s >/dev/null || die "no node"
DISK=$(disk_of n mem0)
udevadm settle 2>/dev/null

# traced [WORD…]: the events of the last minute with all of these words.
traced()
{
	local word lines

	lines=$(<$TRACE/trace)
	for word in "$@"; do
		lines=$(grep -F -- "$word" <<<"$lines")
	done
	[ -n "$lines" ] && echo "$lines"
}

# Where in the trace the first event is that has these words.
place()
{
	traced "$@" | head -n 1 | awk '{ sub(":", "", $4); printf "%.0f\n", $4 * 1000000 }'
}

#
# A request on its way.
#
echo 1 >$TRACE/events/disagg/enable
add_cleanup "echo 0 >$TRACE/events/disagg/enable"
dd if=/dev/zero of="$DISK" bs=8k seek=3 count=1 oflag=direct status=none
dd if="$DISK" of=/dev/null bs=4k skip=9 count=1 iflag=direct status=none
request="write offset=24576 length=8192"
check "a write is submitted" traced disagg_submit "${DISK#/dev/} lane=0" "$request"
tag=$(traced disagg_submit "$request" | grep -o "tag=[0-9]*")
check "it is sent" traced disagg_send "$tag " "$request"
generation=$(traced disagg_send "$request" | grep -o "generation=[0-9]*")
check "answered" traced disagg_receive "$tag $generation write status=0 payload=0"
check "and complete" traced disagg_complete "$tag " "$request error=0 ns="
check "in this order" test "$(place disagg_submit "$request")" -le \
	"$(place disagg_send "$request")" -a "$(place disagg_send "$request")" -le \
	"$(place disagg_receive "$tag $generation")" -a \
	"$(place disagg_receive "$tag $generation")" -le "$(place disagg_complete "$request")"
check "a read brings its payload" traced disagg_receive "read status=0 payload=4096"

#
# One that waits.
#
read_stats='.devices[0].lanes[0].operations[] | select(.operation == "read")'
long_reads()
{
	json "$read_stats | .buckets[20:] | add" "$DISAGGCTL" -j device stats n/mem0
}
udevadm settle
before=$(long_reads)
stopped="$(target_pid t1) $(target_workers t1)"
# shellcheck disable=SC2086 # several
kill -STOP $stopped
dd if="$DISK" of=/dev/null bs=4k skip=21 count=1 iflag=direct status=none &
reader=$!
busy()
{
	cat "$DEBUG/block/${DISK#/dev/}"/hctx*/busy
}
waiting()
{
	busy | grep -q "lane=0, .offset=86016, .length=4096, .generation=[0-9]*, .sent=48, .age_ms=[1-9][0-9][0-9][0-9]}"
}
check "what is in flight is to be seen, with its age" wait_for 5 waiting
[ -n "$(busy)" ] && ktap_note "$(busy | head -n 1)"
# shellcheck disable=SC2086
kill -CONT $stopped
wait $reader
check_eq "and is gone when it is done" "$(busy)" ""
check_eq "its time is the longest" \
	"$(json "$read_stats | .longest_ns >= 1e9 and .longest_ns < 6e9" \
		"$DISAGGCTL" -j device stats n/mem0)" true
check_eq "it is counted among those of half a second and more" "$(long_reads)" $((before + 1))
check_eq "and in the mean" \
	"$(json "$read_stats | .total_ns > .longest_ns" "$DISAGGCTL" -j device stats n/mem0)" true

#
# A lane that is lost.
#
ss -K "dport = :$(target_port t1)" >/dev/null 2>&1
restored()
{
	traced disagg_lane_state "lane=0 generation=2 live"
}
check "a lane is restored" wait_for 10 restored
check "after it was lost" traced disagg_lane_state "lane=0 generation=1 lost"
check "and the device with it" traced disagg_device_state "n/mem0 lost"
echo 0 >$TRACE/events/disagg/enable
"$DISAGGCTL" node delete n >/dev/null
stop_agent TERM
check "nothing is left" nothing_left t1
ktap_done
