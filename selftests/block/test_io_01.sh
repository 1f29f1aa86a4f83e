#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is written is what is read: across request sizes, depths, numbers of lanes,
# logical block sizes, with checksums on the wire and without.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/fio.sh"

ktap_plan 16
need_module
start_target t1 "{id: dram, class: memory, size: 512MiB, block-size: 512}"

# attach NAME OPTION…
attach()
{
	"$DISAGGCTL" node create "$@" >/dev/null || die "node $1 cannot be made"
}

detach()
{
	"$DISAGGCTL" node delete "$1" >/dev/null
}

attach two --memory 64MiB --lanes 2 --block-size 512
disk=$(disk_of two mem0)
verified_each "$disk" <<'EOJ'
512 B at depth 1|--bs=512 --rw=randwrite --iodepth=1 --size=128k
4 KiB at depth 1|--bs=4k --rw=randwrite --iodepth=1 --size=1m
4 KiB at depth 64|--bs=4k --rw=randwrite --iodepth=64 --size=2m
64 KiB at depth 16|--bs=64k --rw=randwrite --iodepth=16 --size=2m
1 MiB at depth 4|--bs=1m --rw=write --iodepth=4 --size=4m
4 MiB at depth 2|--bs=4m --rw=write --iodepth=2 --size=8m
mixed sizes at depth 32|--rw=randwrite --iodepth=32 --size=2m --bssplit=512/20:4k/40:12k/20:100k/20 --bs_unaligned=0
four jobs on their own parts|--bs=4k --rw=randwrite --iodepth=8 --numjobs=4 --size=256k --offset_increment=16m
EOJ
check "through the page cache, with merges" fio --name=buffered --filename="$disk" --rw=write \
	--bs=512 --size=512k --verify=crc32c --verify_state_save=0 --end_fsync=1 --output-format=terse
queues=("/sys/block/${disk##*/}"/mq/*/)
check_eq "one lane per hardware queue" "${#queues[@]} $(json '.device.lanes | length' \
	"$DISAGGCTL" -j device show two/mem0)" "2 2"
check "both lanes were used" test "$(json '[.device.lanes[] | select(.requests > 0)] | length' \
	"$DISAGGCTL" -j device show two/mem0)" -eq 2
detach two

attach one --memory 64MiB --lanes 1
check "one lane at depth 32" verified "$(disk_of one mem0)" --bs=4k --rw=randwrite \
	--iodepth=32 --size=1m
detach one

attach crc --memory 64MiB --lanes 2 --crc
disk=$(disk_of crc mem0)
check "CRC32C on the wire" verified "$disk" --bssplit=4k/50:64k/50 --rw=randwrite \
	--iodepth=16 --size=1m
check_eq "and the device says so" "$(json '.device.features | index("crc32c") != null' \
	"$DISAGGCTL" -j device show crc/mem0)" true
detach crc

sizes=0
for size in 512 1024 2048 4096; do
	attach bs --memory 32MiB --block-size $size
	disk=$(disk_of bs mem0)
	[ "$(cat "/sys/block/${disk##*/}/queue/logical_block_size")" = $size ] &&
		verified "$disk" --bs=$size --rw=randwrite --iodepth=8 --size=256k >/dev/null &&
		sizes=$((sizes + 1))
	detach bs
done
check_eq "logical blocks of 512, 1024, 2048 and 4096 bytes" $sizes 4
check "nothing is left" nothing_left t1
ktap_done
