#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What this host does at the wrong moment: a processor goes while its requests wait
# for a silent target, a program reads into one buffer twice, device-mapper writes to
# a disk that is read-only.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"

ktap_plan 13
need_module
start_target t1 "{id: dram, class: memory, size: 256MiB}"

#
# A processor goes.
#
CPU=/sys/devices/system/cpu/cpu1/online
# goes_offline NAME: on every kernel but User-Mode Linux's.
goes_offline()
{
	if [ -e $CPU ]; then
		check "$1" timeout -s KILL 15 bash -c "echo 0 >$CPU"
	else
		ktap_skip "$1" "this kernel's processors stay"
	fi
}

goes_online()
{
	[ ! -e $CPU ] || echo 1 >$CPU
}

"$DISAGGCTL" node create n --memory 32MiB --lanes 2 --io-timeout 6s --dead-after 0 >/dev/null ||
	die "no node"
disk=$(disk_of n mem0)
stopped="$(target_workers t1) $(target_pid t1)"
# shellcheck disable=SC2086 # several
kill -STOP $stopped
for cpu in 0 1; do
	taskset -c $cpu dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
done
waiting()
{
	[ "$(json .device.inflight "$DISAGGCTL" -j device show n/mem0)" -ge 2 ]
}
add_cleanup goes_online
check "a read waits on each" wait_for 5 waiting
goes_offline "a processor goes offline while the target is silent"
check "the device is dead in time" wait_for 12 in_state n/mem0 dead
goes_online
check "no task is stuck" none_stuck
# shellcheck disable=SC2086
kill -CONT $stopped
"$DISAGGCTL" node delete n --force >/dev/null
give_back n

#
# And while they wait for as long as it takes.
#
"$DISAGGCTL" node create n --memory 32MiB --lanes 2 --io-timeout 1s --dead-after never \
	>/dev/null || die "no node"
disk=$(disk_of n mem0)
stopped="$(target_workers t1) $(target_pid t1)"
# shellcheck disable=SC2086 # several
kill -STOP $stopped
for cpu in 0 1; do
	taskset -c $cpu dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null &
done
check "a device is lost" wait_for 10 in_state n/mem0 lost
goes_offline "a processor goes offline while requests wait for a lost lane"
check "and the device goes, by force" "$DISAGGCTL" node delete n --force
goes_online
# shellcheck disable=SC2086
kill -CONT $stopped
# The lease, too, now that its target can hear it.
give_back n

#
# One buffer twice: what counts is what came, not what is there in the end.
#
"$DISAGGCTL" node create crc --memory 16MiB --crc --dead-after 0 >/dev/null || die "no node"
disk=$(disk_of crc mem0)
head -c 8192 /dev/urandom | dd of="$disk" bs=8k oflag=direct status=none
check "a read into one buffer twice" python3 - "$disk" <<-'END'
	import mmap, os, sys
	fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
	buf = mmap.mmap(-1, 4096)
	assert os.preadv(fd, [buf, buf], 0) == 8192
	want = os.pread(os.open(sys.argv[1], os.O_RDONLY), 8192, 0)
	assert buf[:] == want[4096:]
END
check "does the link no harm" in_state crc/mem0 live
"$DISAGGCTL" node delete crc >/dev/null

#
# Read-only by the disk alone: its lease could be written to.
#
"$DISAGGCTL" node create w --memory 16MiB --dead-after 0 >/dev/null || die "no node"
disk=$(disk_of w mem0)
blockdev --setro "$disk"
if modprobe dm_mod 2>/dev/null && command -v dmsetup >/dev/null &&
	dmsetup create disagg-test --table "0 $(blockdev --getsz "$disk") linear $disk 0" 2>/dev/null; then
	add_cleanup "dmsetup remove --retry disagg-test"
	check_fails any . "a read-only disk refuses what device-mapper writes" \
		dd if=/dev/urandom of=/dev/mapper/disagg-test bs=4k count=1 oflag=direct status=none
	dmsetup remove --retry disagg-test
else
	check_fails any . "a read-only disk refuses writes" \
		dd if=/dev/urandom of="$disk" bs=4k count=1 oflag=direct status=none
fi
check "and is as it was" cmp <(dd if="$disk" bs=4k count=1 iflag=direct status=none) \
	<(head -c 4096 /dev/zero)
"$DISAGGCTL" node delete w --force >/dev/null
give_back w
check "nothing is left" nothing_left t1
check "nobody holds the module" wait_for 10 module_free
ktap_done
