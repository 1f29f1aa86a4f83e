#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# 200 times: a node is made, used, and deleted with I/O running. Nothing piles up.
# On the oldest and the newest kernel 120 times, which shows whether they differ.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"

CYCLES=120
[ "${KERNEL:-6.12}" != 6.12 ] || CYCLES=200
ktap_plan 7
need_module
start_target t1 "{id: dram, class: memory, size: 64MiB}"

no_worker()
{
	[ -z "$(target_workers t1)" ]
}

# KiB of slab and vmalloc that is in use for good; and of what is neither free nor
# anybody's, pages of requests for example. Free pages that processors keep for
# themselves are given back by a compaction.
kernel_memory()
{
	wait_for 10 no_worker
	udevadm settle
	sync
	echo 3 >/proc/sys/vm/drop_caches
	echo 1 >/proc/sys/vm/compact_memory
	awk '/^(SUnreclaim|VmallocUsed):/ { slab += $2 }
		/^MemTotal:/ { pages += $2 }
		/^(MemFree|Buffers|Cached|AnonPages|SReclaimable):/ { pages -= $2 }
		END { print slab, pages }' /proc/meminfo
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
read -r slab_before pages_before < <(kernel_memory)
fds=$(find "/proc/$(target_pid t1)/fd" -type l | wc -l)
done=0
for ((i = 0; i < CYCLES; i++)); do
	cycle && done=$((done + 1))
done
check_eq "cycles that went well" $done $CYCLES
read -r slab pages < <(kernel_memory)
ktap_note "unreclaimable slab: $slab_before KiB before, $slab KiB after; pages: $pages_before, $pages"
# A device has some 25 KiB of slab, and over 500 KiB of requests. The number of pages
# goes up and down by 23 MiB by itself.
check "the kernel's slab has not grown" test $((slab - slab_before)) -lt $((1024 + CYCLES * 8))
check "nor its pages" test $((pages - pages_before)) -lt $((24576 + CYCLES * 50))
check_eq "nor disaggd's descriptors" "$(find "/proc/$(target_pid t1)/fd" -type l | wc -l)" "$fds"
check_eq "no worker is left" "$(target_workers t1 | wc -l)" 0
check "nothing is left" nothing_left t1
check "the module unloads" rmmod disagg
ktap_done
