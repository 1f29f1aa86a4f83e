#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A target that dies, and one that stops answering, in mid-I/O: EIO within the
# device's timeout, no task stuck, and removal that needs nobody's help.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"

ktap_plan 32
need_module
start_target t1 "{id: dram, class: memory, size: 512MiB}"

# From six seconds on the block layer's coarse timers leave room for the PING within it.
TIMEOUT_MS=6000
# For fio to end once its sockets are closed, on a slow machine, too.
BOUND_S=10
# Of a deletion by force, disaggctl and all, or of rmmod: neither waits for TIMEOUT_MS.
LIMIT_S=2
# Kernels that look at themselves are slower.
[[ ! ${KERNEL:-} =~ ^(uml|debug)$ ]] || { TIMEOUT_MS=15000; LIMIT_S=7; }
MANY=16MiB,16MiB,16MiB,16MiB,16MiB,16MiB,16MiB,16MiB

attach()
{
	"$DISAGGCTL" node create "$1" --memory "$2" --lanes 2 --io-timeout "${TIMEOUT_MS}ms" \
		>/dev/null || die "node $1 cannot be made"
}

errors()
{
	json .device.errors "$DISAGGCTL" -j device show killed/mem0
}

failed_with_eio()
{
	grep -qE "error=Input/output error|err= *5" "$1"
}

in_time()
{
	[ "$1" -ge $((TIMEOUT_MS * 3 / 4)) ] && [ "$1" -lt $((TIMEOUT_MS * 5 / 4)) ]
}

# Nobody looks at the new disks any more.
quiet()
{
	udevadm settle
	wait_for 10 module_free || die "the disks are looked at for too long"
}

fast_and_clean()
{
	local what=$1 node=$2 ms rc=0

	ms=$(milliseconds "$DISAGGCTL" node delete "$node" --force) || rc=$?
	ktap_note "$what: node delete --force took $ms ms"
	[ $rc -eq 0 ] || ktap_note "$(cat "$WORK/ms.out")"
	ktap_result $rc "$what: the node is deleted by force"
	check "$what: within $LIMIT_S seconds" test "$ms" -lt ${LIMIT_S}000
}

#
# Killed: the sockets close at once. A worker, of which the daemon hears, or the daemon, with
# which its workers go.
#
killed()
{
	local what=$1 disk counted

	attach killed 32MiB
	disk=$(disk_of killed mem0)
	fio_up "$WORK/killed" "$disk"
	if [ "$what" = worker ]; then
		kill -9 "$(target_workers t1 | head -n1)"
	else
		stop_target t1 KILL
	fi
	check "$what killed: fio ends" wait_for $BOUND_S gone "$(cat "$WORK/killed")"
	check "$what killed: with an I/O error" failed_with_eio "$WORK/killed.out"
	check "$what killed: the device is dead" wait_for 5 in_state killed/mem0 dead
	udevadm settle
	counted=$(errors)
	check_fails any "Input/output error" "$what killed: new I/O fails at once" \
		timeout 5 dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct
	check "$what killed: and counts as failed" test "$(errors)" -gt "$counted"
	check "$what killed: no task is stuck" none_stuck
	fast_and_clean "$what killed" killed
	if [ "$what" = daemon ]; then
		run_target t1
		# Now it can be told.
		"$DISAGGCTL" node delete killed >/dev/null
	fi
	check "$what killed: the target serves others" \
		"$DISAGGCTL" node create other --memory 32MiB
	"$DISAGGCTL" node delete other >/dev/null
}
killed worker
killed daemon

#
# Stopped: nothing closes; only the timeout tells. There are more devices, which nobody
# reads: they are live until they are removed.
#
attach stopped "$MANY"
quiet
disk=$(disk_of stopped mem0)
fio_up "$WORK/stopped" "$disk"
daemon=$(target_pid t1)
workers=$(target_workers t1)
# shellcheck disable=SC2086 # a list of process ids
kill -STOP $workers "$daemon"
ms=$(milliseconds dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct)
ktap_note "a read has failed after $ms ms"
check "stopped: a read fails with EIO" grep -q "Input/output error" "$WORK/ms.out"
check "stopped: within the timeout, and a slow machine's time" \
	in_time "$ms"
check "stopped: fio ends" wait_for 5 gone "$(cat "$WORK/stopped")"
check "stopped: with an I/O error" failed_with_eio "$WORK/stopped.out"
check "stopped: the device is dead" wait_for 5 in_state stopped/mem0 dead
check "stopped: and says why" grep -q "no answer within .* ms, nor to a PING" \
	<(json .device.reason "$DISAGGCTL" -j device show stopped/mem0)
check "stopped: no task is stuck" none_stuck
check "stopped: the others live, which nobody reads" in_state stopped/mem7 live
fast_and_clean stopped stopped

# Nor does unloading need it, with as many devices.
# shellcheck disable=SC2086
kill -CONT "$daemon" $workers
"$DISAGGCTL" node delete stopped >/dev/null
attach gone "$MANY"
quiet
workers=$(target_workers t1)
# shellcheck disable=SC2086
kill -STOP $workers "$daemon"
check "gone: the devices live" in_state gone/mem7 live
ms=$(milliseconds modprobe -r disagg)
ktap_note "rmmod took $ms ms"
check "the module unloads" test ! -e /sys/module/disagg
check "within $LIMIT_S seconds" test "$ms" -lt ${LIMIT_S}000
# shellcheck disable=SC2086
kill -CONT "$daemon" $workers
"$DISAGGCTL" node delete gone >/dev/null
check "the target is well again" nothing_left t1
ktap_done
