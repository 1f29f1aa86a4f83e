#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# 200 times: a node is made, used, and deleted with I/O running. Nothing piles up.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"

CYCLES=200
ktap_plan 6
need_module
start_target t1 "{id: dram, class: memory, size: 64MiB}"

# Bytes of unreclaimable slab and vmalloc.
kernel_memory()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^(SUnreclaim|VmallocUsed):/ { n += $2 } END { print n }' /proc/meminfo
}


cycle()
{
	local disk pid

	"$DISAGGCTL" node create c --memory 8MiB --lanes 2 >/dev/null || return 1
	disk=$(echo /sys/block/disagg*)
	disk=/dev/${disk##*/}
	while :; do dd if="$disk" of=/dev/null bs=64k iflag=direct 2>/dev/null || break; done &
	pid=$!
	dd if=/dev/zero of="$disk" bs=256k count=4 oflag=direct status=none || return 1
	"$DISAGGCTL" node delete c --force >/dev/null || return 1
	wait $pid
	return 0
}

for _ in 1 2 3 4 5; do cycle; done
before=$(kernel_memory)
fds=$(find "/proc/$(target_pid t1)/fd" -type l | wc -l)
done=0
for ((i = 0; i < CYCLES; i++)); do
	cycle && done=$((done + 1))
done
check_eq "cycles that went well" $done $CYCLES
after=$(kernel_memory)
ktap_note "unreclaimable kernel memory: $before KiB before, $after KiB after"
# A device leaked in each cycle would be tens of megabytes.
check "the kernel's memory has not grown" test $((after - before)) -lt 8192
check_eq "nor disaggd's descriptors" "$(find "/proc/$(target_pid t1)/fd" -type l | wc -l)" "$fds"
check_eq "no worker is left" "$(target_workers t1 | wc -l)" 0
check "nothing is left" nothing_left t1
check "the module unloads" rmmod disagg
ktap_done
