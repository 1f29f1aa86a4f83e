#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every harness over its corpus, and then on for some seconds: disaggd's and
# libdisagg's parsers find nothing in hostile bytes that address and undefined-
# behaviour sanitizers, leak detection or the harnesses' own rules forbid. And a
# tenth of a million malformed frames for each kind of lane; FUZZ_FRAMES=1000000
# FUZZ_TIME=60 for more (see make soak).

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
time=${FUZZ_TIME:-7} frames=${FUZZ_FRAMES:-100000}
work=$(mktemp -d)
unset FUZZ_FRAMES

make -s -C "$here" -j2 O="$work/build" >"$work/build.log" 2>&1 || {
	ktap_note "$(tail -n 20 "$work/build.log")"
	die "the harnesses do not build"
}
mapfile -t names < <(find "$here" -name 'fuzz_*.c' -printf '%f\n' |
	sed 's/^fuzz_//; s/\.c$//' | sort)

# one NAME: in the background; its report in NAME.out, its status in NAME.rc.
one()
{
	{
		"$here/run-harness" "$work/build/$1" "$work/kept/$1" -runs=1000000 \
			-max_total_time="$time"
		echo $? >"$work/$1.rc"
	} >"$work/$1.out" 2>&1
}

# As long as there is something to count: base64 of what broke it, to keep.
show_found()
{
	local file

	for file in "$work/kept/$1"/found-*; do
		[ -f "$file" ] || continue
		ktap_note "$(basename "$file"): $(head -c 3000 "$file" | base64 -w0)"
	done
}

ktap_plan $((${#names[@]} + 2))
for name in "${names[@]}"; do
	[ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
	one "$name" &
done
wait
for name in "${names[@]}"; do
	rc=$(cat "$work/$name.rc")
	[ "$rc" = 0 ] || { ktap_note "$(cat "$work/$name.out")"; show_found "$name"; }
	ktap_result "$rc" "$(head -n 1 "$work/$name.out")"
done

for name in memory storage; do
	out=$(FUZZ_FRAMES=$frames "$work/build/$name" 2>&1)
	rc=$?
	[ $rc -eq 0 ] || ktap_note "$out"
	ktap_note "$name: $(head -n 1 <<<"$out")"
	ktap_result $rc "$name: $(tail -n 1 <<<"$out")"
done
ktap_done
