#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A target whose storage stands still for several times the I/O timeout, with as many
# requests as it takes: it answers PINGs, and no lane is lost. One that stands still
# itself has lost its lanes.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"

ktap_plan 8
need_module
modprobe dm_mod || die "no device-mapper"
command -v dmsetup >/dev/null || die "no dmsetup"
truncate -s 64M "$WORK/file"
LOOP=$(losetup --find --show "$WORK/file") || die "no loop device"
add_cleanup "losetup -d $LOOP"
dmsetup create slow --table "0 $(blockdev --getsz "$LOOP") linear $LOOP 0" || die "no dm device"
add_cleanup "dmsetup resume slow; dmsetup remove --retry slow"
start_target t1 "{id: disk, class: storage, path: /dev/mapper/slow, size: 32MiB}"
start_agent
"$DISAGGCTL" node create n --storage 32MiB --lanes 1 --depth 4 --io-timeout 4s >/dev/null ||
	die "no node"
disk=$(disk_of n disk0)

lane()
{
	json ".device.lanes[0].$1" "$DISAGGCTL" -j device show n/disk0
}

stuck()
{
	[ "$(json .device.inflight "$DISAGGCTL" -j device show n/disk0)" -ge 4 ]
}

# Before fio begins, so that it does not meet the end of a phase, where fio waits for what is
# under way before it goes on.
dmsetup suspend --noflush slow || die "not suspended"
fio --filename="$disk" "${FIO_VERIFY[@]}" --name=slow --rw=randwrite --bs=4k --iodepth=16 \
	--size=2M >"$WORK/fio.out" 2>&1 &
FIO=$!
add_cleanup "kill -KILL $FIO"
check "storage stands still, and all that the lane may have waits" wait_for 30 stuck
sleep 20	# the time that this is about
check_eq "after five times the I/O timeout the lane is where it was" \
	"$(lane state) $(lane connections)" "live 1"
[ $KTAP_FAILED -eq 0 ] || ktap_note "$("$DISAGGCTL" device show n/disk0; cat "$WORK/agent.log")"
dmsetup resume slow
wait $FIO
check_eq "and when it moves again, no request has failed" $? 0
check_eq "nor was one sent again" "$(lane connections) $(lane replays)" "1 0"
check_eq "nor counted" "$(json .device.errors "$DISAGGCTL" -j device show n/disk0)" 0

workers=$(target_workers t1)
# shellcheck disable=SC2086 # several
kill -STOP $workers
dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
READER=$!
check "a target that stands still itself has lost the lane" wait_for 10 in_state n/disk0 lost
# shellcheck disable=SC2086
kill -CONT $workers
wait $READER
check_eq "and when it moves again, who waited has read" "$?" 0
"$DISAGGCTL" node delete n >/dev/null
stop_agent TERM
check "nothing is left" nothing_left t1
ktap_done
