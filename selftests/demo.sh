#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The main job, once, on real data; what `make demo` runs. A VM with a stock
# kernel plays both hosts: disaggd lends memory, a node is composed from it, a
# file system on it takes in part of /usr, and every file's SHA-256 is checked
# after the caches were dropped. Ends with figures; fails if anything does not
# match.

set -euo pipefail

KERNEL=${KERNEL:-6.12}
LEND=1536MiB SIZE=1GiB
# Of /usr: the compiler, Python's library, the system's programs.
PARTS=(/usr/lib/gcc /usr/libexec /usr/lib/python3.[0-9]* /usr/sbin)
MOUNT=/mnt/demo
DISK=/dev/disagg/demo/mem0

step()
{
	printf '\n== %s\n' "$*"
}

# show COMMAND…: as one would type it, with its output.
show()
{
	printf '$ %s\n' "$*"
	"$@"
}

fail()
{
	printf '\ndemo: FAILED: %s\n' "$*" >&2
	[ ! -s /tmp/disaggd.log ] || { echo "disaggd said last:"; tail -n 15 /tmp/disaggd.log; } >&2
	exit 1
}

now()
{
	date +%s%N
}

# rate BYTES NANOSECONDS: "123 MB in 4.5 s, 27 MB/s"
rate()
{
	awk -v b="$1" -v n="$2" 'BEGIN {
		printf "%.0f MB in %.1f s, %.0f MB/s", b / 1e6, n / 1e9, b / 1e6 / (n / 1e9) }'
}

# progress LABEL TOTAL COUNTER PID: every few seconds, COUNTER's output of TOTAL.
progress()
{
	local label=$1 total=$2 counter=$3 pid=$4 ticks=0

	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.25
		ticks=$((ticks + 1))
		[ $((ticks % 16)) -ne 0 ] ||
			printf '   %s: %s of %s\n' "$label" "$($counter)" "$total"
	done
	wait "$pid"
}

until_true()
{
	local tries=$1

	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}

files_there()
{
	find $MOUNT/usr -type f 2>/dev/null | wc -l
}

sums_checked()
{
	wc -l </tmp/checked
}

leases()
{
	disaggctl -j resource list | jq '[.. | objects | .leases? | numbers] | add // 0'
}

listening()
{
	(exec 3<>/dev/tcp/127.0.0.1/7420) 2>/dev/null
}

lend()
{
	mkdir -p /etc/disagg
	cat >/etc/disagg/disaggd.yaml <<-EOY
	resources:
	  - id: dram
	    class: memory
	    size: $LEND
	EOY
	disaggd >/tmp/disaggd.log 2>&1 &
	DAEMON=$!
	until_true 100 listening || fail "disaggd does not listen"
}

copy()
{
	local start

	find "${PARTS[@]#/}" -type f -print0 | sort -z >/tmp/files
	FILES=$(tr -cd '\0' </tmp/files | wc -c)
	BYTES=$(du -cb --files0-from=/tmp/files | tail -n1 | cut -f1)
	xargs -0 sha256sum </tmp/files >/tmp/sums
	printf '   %s files, %s bytes in %s; SHA-256 of each is noted\n' \
		"$FILES" "$BYTES" "${PARTS[*]}"
	start=$(now)
	{ tar -c --no-recursion --null -T /tmp/files | tar -x -C $MOUNT && sync -f $MOUNT; } &
	progress copied "$FILES files" files_there $! || fail "copying"
	COPY_NS=$(($(now) - start))
	printf '   copied and synced: %s\n' "$(rate "$BYTES" $COPY_NS)"
}

verify()
{
	local start bad

	umount $MOUNT
	mount $DISK $MOUNT
	sync
	echo 3 >/proc/sys/vm/drop_caches
	: >/tmp/checked
	start=$(now)
	# Several at a time: a disk behind a network likes company.
	(cd $MOUNT && xargs -0 -n 64 -P 4 sha256sum </tmp/files >/tmp/checked 2>&1) &
	progress checked "$FILES files" sums_checked $! || true
	VERIFY_NS=$(($(now) - start))
	sort /tmp/checked >/tmp/checked.sorted
	GOOD=$(sort /tmp/sums | comm -12 - /tmp/checked.sorted | wc -l)
	bad=$(sort /tmp/sums | comm -13 - /tmp/checked.sorted | head -n 10)
	if [ "$GOOD" -ne "$FILES" ] || [ -n "$bad" ]; then
		fail "only $GOOD of $FILES files came back as they were"$'\n'"$bad"
	fi
	printf '   all %s checksums match; read back: %s\n' "$FILES" "$(rate "$BYTES" $VERIFY_NS)"
}

inside()
{
	local disk

	cd /
	step "A stock kernel: $(uname -sr), disagg.ko $(modinfo -F version disagg)"

	step "Lend $LEND of this machine's memory"
	lend
	show disaggctl target add pool 127.0.0.1
	show disaggctl resource list

	step "Compose a node with $SIZE of it"
	show disaggctl node create demo --memory $SIZE
	until_true 100 test -b $DISK || fail "$DISK did not appear"
	disk=$(basename "$(readlink -f $DISK)")
	show ls -l $DISK

	step "A file system on it, and real data"
	show mkfs.ext4 -q $DISK
	mkdir -p $MOUNT
	show mount $DISK $MOUNT
	copy
	show df -h $MOUNT

	step "Drop every cache and check every file"
	verify

	step "The node, its device, its traffic"
	show disaggctl node show demo
	show disaggctl device show demo/mem0
	show iostat -dk "/dev/$disk"

	step "Take it apart"
	umount $MOUNT
	show disaggctl node delete demo
	until_true 50 test ! -e $DISK || fail "$DISK is still there"
	[ "$(leases)" = 0 ] || fail "the target still counts $(leases) leases"
	show disaggctl resource list
	modprobe -r disagg || fail "the module cannot be unloaded"
	kill "$DAEMON"
	wait "$DAEMON" || fail "disaggd ended with status $?"

	step "What happened"
	cat <<-EOS
	$SIZE of another host's memory was a local disk, on $(uname -r), without a patch.
	Written:  $FILES files, $(rate "$BYTES" $COPY_NS) (ext4, small files, synced).
	Read:     the same after dropping the caches, $(rate "$BYTES" $VERIFY_NS); $GOOD of $FILES SHA-256 match.
	Released: the node, its lease and the module are gone.
	(An emulated processor is some ten times slower than a real one.)
	EOS
}

main()
{
	local here start=$SECONDS

	here=$(cd "$(dirname "$0")" && pwd)
	echo "demo: a VM with a stock $KERNEL kernel; what is missing is built first"
	"$here/lab/vm" --kernel "$KERNEL" --memory 4G --timeout 400 -- \
		/src/selftests/demo.sh --inside ||
		{ echo "demo: FAILED ($?)" >&2; exit 1; }
	printf '\ndemo: done in %s s\n' $((SECONDS - start))
}

if [ "${1:-}" = --inside ]; then inside; else main; fi
