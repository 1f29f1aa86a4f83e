#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The whole guest is short of memory, so that the kernel's own allocations feel it, too: all of
# it is locked but for a quarter of what a program works with, and SPARE_MIB for the programs
# that are needed on the way. The link is cut as before.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/swap/apart.sh
. "$(dirname "$0")/apart.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"
# shellcheck source=selftests/swap/swap.sh
. "$(dirname "$0")/swap.sh"

SWAP_S=${FUZZ_SWAP:-20}
MIB=256
PAGES=$((MIB * 256))

ktap_plan 10
need_module
start_pool 384
start_swap_agent
swap_on 384
cgroup load

# Programs that lie in memory or not as the kernel likes, and are needed on the way.
SPARE_MIB=96
hog=$(($(awk '/^MemAvailable/ { print $2 }' /proc/meminfo) / 1024 - MIB / 4 - SPARE_MIB))
[ $hog -gt 0 ] || die "there is too little memory"
in_cgroup apart "$SUITE_BIN/swap_load" "$hog" hold >"$WORK/hog.out" 2>&1 &
HOG=$!
add_cleanup "kill -KILL $HOG"
wait_for 60 grep -q held "$WORK/hog.out" || die "hog: $(cat "$WORK/hog.out")"
ktap_note "$hog MiB are locked; $(grep -h MemAvailable /proc/meminfo)," \
	"min_free_kbytes $(cat /proc/sys/vm/min_free_kbytes)"

# Who sends must not look for memory in what is yet to be sent.
SENDERS=(disagg_lane_{transmit,kick} disagg_tcp_tx_work disagg_queue_rq)
for name in "${SENDERS[@]}"; do
	grep -qE " $name(\.|[[:space:]]|$)" /proc/kallsyms || die "the module has no $name"
done
RECLAIM=/sys/kernel/tracing/events/vmscan/mm_vmscan_direct_reclaim_begin
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
echo 'hist:keys=stacktrace:size=16384' >"$RECLAIM/trigger" || die "no histograms"

unlimited()
{
	in_cgroup load "$SUITE_BIN/swap_load" "$MIB" "$SWAP_S"
}

under_cuts unlimited
kill $HOG
cat "$RECLAIM/hist" >"$WORK/reclaim"
grep -q ^Totals "$WORK/reclaim" || die "the histogram cannot be read"
echo '!hist:keys=stacktrace:size=16384' >"$RECLAIM/trigger"
hits=$(awk '$1 == "Hits:" { print $2 }' "$WORK/reclaim")
ktap_note "direct reclaim: $hits times"
if [ "$hits" -gt 0 ]; then
	check_eq "sending reclaims nothing" \
		"$(grep -F "$(printf '%s\n' "${SENDERS[@]}")" "$WORK/reclaim")" ""
else
	ktap_skip "sending reclaims nothing" "nobody had to reclaim for himself this time"
fi
check "swapping ends" swap_off
# Where everything is scarce the target may take longer than it is waited for.
wait_for 60 "$DISAGGCTL" node delete s >/dev/null
stop_agent TERM
check "nothing is left" nothing_left pool
ktap_done
