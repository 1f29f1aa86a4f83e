#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# 200 times: a node is made, used, and deleted by force with I/O running. Nothing piles up.
# On the oldest and the newest kernel 60 times, which shows whether they differ. With
# FUZZ_CYCLES=500 as often as that, and some of them are not deleted by force but between two
# programs that read, or the module is unloaded under them.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"

# In turn.
WAYS=(by_force by_force by_itself by_force by_force by_force by_unloading by_force)
CYCLES=${FUZZ_CYCLES:-}
if [ -z "$CYCLES" ]; then
	WAYS=(by_force)
	CYCLES=60
	[ "${KERNEL:-6.12}" != 6.12 ] || CYCLES=200
fi
ktap_plan 8
need_module
start_target t1 "{id: dram, class: memory, size: 64MiB}"

no_worker()
{
	[ -z "$(target_workers t1)" ]
}

# KiB of slab and vmalloc that is in use for good; and of what is neither free nor
# anybody's, pages of requests for example. The free pages that processors keep for
# themselves, up to 36 MiB of them, are not in MemFree, but in /proc/zoneinfo.
kernel_memory()
{
	wait_for 10 no_worker
	udevadm settle
	sync
	echo 3 >/proc/sys/vm/drop_caches
	awk -v page="$(getconf PAGESIZE)" '
		/^(SUnreclaim|VmallocUsed):/ { slab += $2 }
		/^MemTotal:/ { pages += $2 }
		/^(MemFree|Buffers|Cached|AnonPages|SReclaimable):/ { pages -= $2 }
		$1 == "count:" { pages -= $2 * page / 1024 }
		END { print slab, pages }' /proc/meminfo /proc/zoneinfo
}

# Between two programs that read, nobody has the disk open.
by_itself()
{
	wait_for 30 "$DISAGGCTL" node delete c
}

by_force()
{
	"$DISAGGCTL" node delete c --force && { give_back c || true; }
}

by_unloading()
{
	wait_for 30 rmmod disagg && modprobe disagg && "$DISAGGCTL" node delete c --force &&
		{ give_back c || true; }
}

# cycle WAY: WAY is how the node goes while a program reads again and again.
cycle()
{
	local disk pid

	"$DISAGGCTL" node create c --memory 8MiB --lanes 2 >/dev/null || return 1
	disk=$(echo /sys/block/disagg*)
	disk=/dev/${disk##*/}
	rm -f "$WORK/read"
	while dd if="$disk" of=/dev/null bs=64k count=32 iflag=direct 2>/dev/null; do : >"$WORK/read"; done &
	pid=$!
	dd if=/dev/zero of="$disk" bs=256k count=4 oflag=direct status=none || return 1
	wait_for 10 test -e "$WORK/read" || { kill $pid; return 1; }
	"$1" >/dev/null 2>&1 || { kill $pid; return 1; }
	wait $pid
	return 0
}

declare -A went=([by_force]=0 [by_itself]=0 [by_unloading]=0)
for ((i = 0; i < 8; i++)); do cycle "${WAYS[i % ${#WAYS[@]}]}"; done
read -r slab_before pages_before < <(kernel_memory)
fds=$(find "/proc/$(target_pid t1)/fd" -type l | wc -l)
done=0
for ((i = 0; i < CYCLES; i++)); do
	way=${WAYS[i % ${#WAYS[@]}]}
	cycle "$way" && done=$((done + 1)) went[$way]=$((went[$way] + 1))
	[ $(((i + 1) % 100)) -ne 0 ] || ktap_note "$((i + 1)) cycles after $SECONDS s"
done
check_eq "cycles that went well" $done "$CYCLES"
ktap_note "by force ${went[by_force]}, by itself ${went[by_itself]}, by unloading ${went[by_unloading]}"
every_way()
{
	local way

	for way in "${WAYS[@]}"; do
		[ "${went[$way]}" -gt 0 ] || { echo "none $way"; return 1; }
	done
}
check "in every way" every_way
read -r slab pages < <(kernel_memory)
ktap_note "unreclaimable slab: $slab_before KiB before, $slab KiB after; pages: $pages_before, $pages"
# A device has some 25 KiB of slab, and over 500 KiB of requests. The number of pages
# goes up and down by less than 1 MiB by itself.
if [ -e /sys/kernel/debug/kmemleak ]; then
	ktap_skip "the kernel's slab has not grown" \
		"KASAN keeps what is freed for a while; kmemleak knows what is lost"
	# Which is in pages, too: those that are not the slab's count.
	pages=$((pages - slab)) pages_before=$((pages_before - slab_before))
else
	check "the kernel's slab has not grown" \
		test $((slab - slab_before)) -lt $((512 + CYCLES * 8))
fi
check "nor its pages" test $((pages - pages_before)) -lt $((2048 + CYCLES * 16))
check_eq "nor disaggd's descriptors" "$(find "/proc/$(target_pid t1)/fd" -type l | wc -l)" "$fds"
check_eq "no worker is left" "$(target_workers t1 | wc -l)" 0
check "nothing is left" nothing_left t1
check "the module unloads" rmmod disagg
ktap_done
