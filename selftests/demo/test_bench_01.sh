#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The bench measures something of every contestant in every row, by turns. How much is
# not a test's business. In one round each comes first at least once.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

ktap_plan 8
check_eq "a short round" \
	"$("$TOP/selftests/bench/bench" --runs 1 --ms 100 >"$dir/out" 2>"$dir/err"; echo $?)" 0
[ $KTAP_FAILED -eq 0 ] || ktap_note "$(cat "$dir/err" "$dir/out")"
raw=$(sed -n 's/^lab: every run: //p' "$dir/err")
# Round, row, contestant, requests per second, …
runs=$(tail -n +2 "$raw")
check_eq "six rows" "$(cut -f2 <<<"$runs" | sort -u | wc -l)" 6
check_eq "of five contestants" "$(cut -f3 <<<"$runs" | sort -u | paste -sd,)" \
	"disagg,disagg TLS,nbd,nvme-tcp,raw TCP"
check_eq "all of whom did something" "$(awk -F'\t' '$4 > 0 && $5 > 0' <<<"$runs" | wc -l)" 30
check_eq "each of them once in each row" "$(cut -f1-3 <<<"$runs" | sort -u | wc -l)" 30
# Rows, contestants, round.
check_eq "one row after the other, so that rivals run next to each other" \
	"$(cut -f1,2 <<<"$runs" | uniq -c | awk '{ print $1, $2 }' | uniq -c |
		awk '{ print $1, $2, $3 }' | paste -sd,)" "6 5 1"
check_eq "and each comes first at times" \
	"$(awk -F'\t' 'NR % 5 == 1 { print $3 }' <<<"$runs" | sort -u | wc -l)" 5
# Twice: what was done, and how many times what the others did.
check_eq "are in the table" "$(grep -cE '^(4|128) KiB (read|write), depth [0-9]+ .*[0-9]' "$dir/out")" 12
rm -f "$raw"
ktap_done
