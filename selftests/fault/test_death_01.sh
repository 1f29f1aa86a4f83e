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

ktap_plan 18
need_module
start_target t1 "{id: dram, class: memory, size: 256MiB}"

# Time for a request to fail: the timeout, blk-mq's granularity, a slow machine.
TIMEOUT_MS=2000
BOUND_S=8

attach()
{
	"$DISAGGCTL" node create "$1" --memory 32MiB --lanes 2 --io-timeout "${TIMEOUT_MS}ms" \
		>/dev/null || die "node $1 cannot be made"
}

failed_with_eio()
{
	grep -qE "error=Input/output error|err= *5|No such device" "$1"
}

fast_and_clean()
{
	local what=$1 node=$2 ms rc=0

	ms=$(milliseconds "$DISAGGCTL" node delete "$node" --force) || rc=$?
	ktap_note "$what: node delete --force took $ms ms"
	[ $rc -eq 0 ] || ktap_note "$(cat "$WORK/ms.out")"
	ktap_result $rc "$what: the node is deleted by force"
	check "$what: within 2 seconds" test "$ms" -lt 2000
}

#
# Killed: the worker's sockets close at once.
#
attach killed
disk=$(disk_of killed mem0)
fio_up "$WORK/killed" "$disk"
worker=$(target_workers t1 | head -n1)
kill -9 "$worker"
check "killed: fio ends" wait_for $BOUND_S gone "$(cat "$WORK/killed")"
check "killed: with an I/O error" failed_with_eio "$WORK/killed.out"
check "killed: the device is dead" wait_for 5 in_state killed/mem0 dead
check_fails any "Input/output error" "killed: new I/O fails at once" \
	timeout 2 dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct
check "killed: no task is stuck" none_stuck
fast_and_clean killed killed
check "killed: the target serves others" "$DISAGGCTL" node create other --memory 32MiB
"$DISAGGCTL" node delete other >/dev/null

#
# Stopped: nothing closes; only the timeout tells.
#
attach stopped
disk=$(disk_of stopped mem0)
fio_up "$WORK/stopped" "$disk"
daemon=$(target_pid t1)
workers=$(target_workers t1)
# shellcheck disable=SC2086 # a list of process ids
kill -STOP $workers "$daemon"
check "stopped: fio ends" wait_for $BOUND_S gone "$(cat "$WORK/stopped")"
check "stopped: with an I/O error" failed_with_eio "$WORK/stopped.out"
check "stopped: the device is dead" wait_for 5 in_state stopped/mem0 dead
check "stopped: and says why" grep -q "no answer within" \
	<(json .device.reason "$DISAGGCTL" -j device show stopped/mem0)
check "stopped: no task is stuck" none_stuck
fast_and_clean stopped stopped

wait_for 10 module_free
ms=$(milliseconds modprobe -r disagg)
ktap_note "rmmod took $ms ms"
check "the module unloads" test ! -e /sys/module/disagg
check "within 2 seconds" test "$ms" -lt 2000
# shellcheck disable=SC2086
kill -CONT "$daemon" $workers
check "the target is well again" "$DISAGGCTL" resource list
ktap_done
