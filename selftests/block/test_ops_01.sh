#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Everything but plain reads and writes: discard, write-zeroes, flush, FUA,
# read-only devices, and the counters that iostat reads.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/fio.sh"

ktap_plan 18
need_module
truncate -s 64M "$WORK/store"
start_target t1 "{id: dram, class: memory, size: 128MiB}" \
	"{id: file, class: storage, path: $WORK/store, direct: no}"

"$DISAGGCTL" node create n --memory 32MiB --storage 32MiB >/dev/null || die "no node"
mem=$(disk_of n mem0)
store=$(disk_of n disk0)

# zero DISK OFFSET LENGTH: in MiB
zero()
{
	cmp <(dd if="$1" bs=1M skip="$2" count="$3" iflag=direct status=none) \
		<(head -c "$(($3 << 20))" /dev/zero)
}

fill()
{
	head -c 12M /dev/urandom >"$WORK/random"
	dd if="$WORK/random" of="$1" bs=1M oflag=direct conv=fsync status=none
}

same_tail()
{
	cmp <(dd if="$1" bs=1M skip=8 count=4 iflag=direct status=none) \
		<(dd if="$WORK/random" bs=1M skip=8 status=none)
}

for disk in "$mem" "$store"; do
	name=memory
	[ "$disk" = "$mem" ] || name=storage
	fill "$disk"
	check "$name: discard" blkdiscard -o 0 -l 4M "$disk"
	check "$name: what was discarded reads as zeros" zero "$disk" 0 4
	check "$name: write-zeroes" blkdiscard -z -o 4M -l 4M "$disk"
	check "$name: what was zeroed reads as zeros" zero "$disk" 4 4
	check "$name: the rest is as it was" same_tail "$disk"
done

queue=/sys/block/${store##*/}/queue
check_eq "storage has a volatile cache" "$(cat "$queue/write_cache")" "write back"
check_eq "memory has none" "$(cat "/sys/block/${mem##*/}/queue/write_cache")" "write through"

flushes()
{
	awk '{ print $16 }' "/sys/block/${store##*/}/stat"
}
before=$(flushes)
check "storage: writes with fdatasync and O_DSYNC" bash -c "
	fio --name=sync --filename=$store --rw=randwrite --bs=4k --size=256k --fdatasync=4 \
		--ioengine=psync --direct=1 --verify=crc32c --output-format=terse &&
	dd if=/dev/urandom of=$store bs=4k count=8 oflag=direct,dsync status=none"
check "storage: flushes went to the target" test "$(flushes)" -gt "$before"

# 1 MiB each way, seen by the counters to the byte.
stat=/sys/block/${mem##*/}/stat
udevadm settle
read -r _ _ _ _ _ _ w0 _ <"$stat"
dd if=/dev/zero of="$mem" bs=64k count=16 oflag=direct status=none
read -r _ _ _ _ _ _ w1 _ <"$stat"
# A disk that was written to is looked at by udev.
udevadm settle
read -r _ _ r0 _ <"$stat"
dd if="$mem" of=/dev/null bs=64k count=16 iflag=direct status=none
read -r _ _ r1 _ <"$stat"
check_eq "iostat's counters are exact" "$((r1 - r0)) $((w1 - w0))" "2048 2048"
"$DISAGGCTL" node delete n >/dev/null

"$DISAGGCTL" node create ro --memory 16MiB --read-only >/dev/null || die "no read-only node"
ro=$(disk_of ro mem0)
check_fails any "Operation not permitted|Read-only|not permitted" "a read-only device refuses writes" \
	dd if=/dev/zero of="$ro" bs=4k count=1 oflag=direct
check "and can be read" zero "$ro" 0 1
"$DISAGGCTL" node delete ro >/dev/null
check "nothing is left" nothing_left t1
ktap_done
