#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device grows while it is written to and verified.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/fio.sh"

ktap_plan 9
need_module
start_target t1 "{id: dram, class: memory, size: 256MiB}"
"$DISAGGCTL" node create n --memory 32MiB >/dev/null || die "no node"
disk=$(disk_of n mem0)

udevadm monitor --kernel --property --subsystem-match=block >"$WORK/events" 2>&1 &
monitor=$!
add_cleanup "kill $monitor"
wait_for 10 grep -q KERNEL "$WORK/events" || die "udevadm does not listen"

fio --name=load --filename="$disk" --direct=1 --ioengine=io_uring --iodepth=8 --rw=randwrite \
	--bs=4k --size=6m --loops=2 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --output-format=terse \
	--eta=never >"$WORK/fio.out" 2>&1 &
load=$!
wait_for 20 moving "$disk"

rc=0
for size in 48MiB 64MiB 96MiB 128MiB; do
	"$DISAGGCTL" node resize n mem0 $size >"$WORK/resize.out" 2>&1 || rc=$?
done
[ $rc -eq 0 ] || ktap_note "$(cat "$WORK/resize.out")"
ktap_result $rc "it grows four times"
check "I/O went on meanwhile" kill -0 $load
rc=0
wait $load || rc=$?
[ $rc -eq 0 ] || ktap_note "$(cat "$WORK/fio.out")"
ktap_result $rc "what was written meanwhile is right"
check_eq "the disk has its new size" "$(blockdev --getsize64 "$disk")" $((128 << 20))
check_eq "disaggctl shows it" "$(json .device.size "$DISAGGCTL" -j device show n/mem0)" $((128 << 20))
head -c 8M /dev/urandom >"$WORK/random"
dd if="$WORK/random" of="$disk" bs=1M seek=112 oflag=direct status=none
check "the new part can be used" cmp "$WORK/random" \
	<(dd if="$disk" bs=1M skip=112 count=8 iflag=direct status=none)
check "udev was told" wait_for 10 grep -q '^RESIZE=1' "$WORK/events"
check_fails any "shrink|smaller|grow" "it cannot shrink" "$DISAGGCTL" node resize n mem0 64MiB
"$DISAGGCTL" node delete n >/dev/null
check "nothing is left" nothing_left t1
ktap_done
