#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two nodes on one target: what happens to one does not happen to the other.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"

ktap_plan 8
need_module
start_target t1 "{id: dram, class: memory, size: 128MiB}"
"$DISAGGCTL" node create a --memory 32MiB --io-timeout 2s >/dev/null || die "no node a"
first=$(target_workers t1)
"$DISAGGCTL" node create b --memory 32MiB --memory 16MiB >/dev/null || die "no node b"
a=$(disk_of a mem0)
b=$(disk_of b mem0)

dd if=/dev/zero bs=1M count=16 status=none | tr '\0' A | dd of="$a" bs=1M iflag=fullblock oflag=direct status=none
dd if=/dev/zero bs=1M count=16 status=none | tr '\0' B | dd of="$b" bs=1M iflag=fullblock oflag=direct status=none

# holds DISK LETTER
holds()
{
	[ "$(dd if="$1" bs=1M count=16 iflag=direct status=none | tr -d "$2" | wc -c)" -eq 0 ]
}

check "each holds its own" bash -c "$(declare -f holds); holds $a A && holds $b B"
fio --name=load --filename="$b" --direct=1 --ioengine=io_uring --iodepth=8 --rw=randwrite \
	--bs=4k --offset=16m --size=4m --loops=3 --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
	--output-format=terse --eta=never >"$WORK/fio.out" 2>&1 &
load=$!
wait_for 20 moving "$b"
kill -9 "$first"
check "one worker's end ends its device" wait_for 5 in_state a/mem0 dead
check "the other node stays live" in_state b/mem0 live
rc=0
wait $load || rc=$?
[ $rc -eq 0 ] || ktap_note "$(cat "$WORK/fio.out")"
ktap_result $rc "its load goes on, verified"
check "and it holds what it held" holds "$b" B
check "the dead node can be deleted" "$DISAGGCTL" node delete a
check "so can the other" "$DISAGGCTL" node delete b
check "nothing is left" nothing_left t1
ktap_done
