#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What comes out of a VM: its command's status and both its outputs, whole.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
VM="$TOP/selftests/lab/vm --no-build --timeout 120"

ktap_plan 9

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# The guest's own words are single-quoted.
# shellcheck disable=SC2016
script='echo to-out; echo to-err >&2; echo "args: $*"; echo "env: $COLOUR"
	uname -r; seq 1 20000; [ "$(ls /src/COPYING)" ] || exit 1; exit 7'
rc=0
# shellcheck disable=SC2086 # several words
$VM --env "COLOUR=light blue" -- bash -c "$script" bash 'one  two' '*' \
	>"$dir/out" 2>"$dir/err" || rc=$?

check_eq "the command's status is passed on" $rc 7
check "standard output comes out" grep -qx to-out "$dir/out"
check "standard error comes out apart" grep -qx to-err "$dir/err"
check "arguments arrive as they were" grep -qFx 'args: one  two *' "$dir/out"
check "the environment arrives" grep -qx 'env: light blue' "$dir/out"
check "the kernel is the stock one" grep -q '^6\.12\..*-amd64$' "$dir/out"
check_eq "long output is whole" "$(grep -cE '^[0-9]+$' "$dir/out")" 20000

# Killed long before its kernel is there, and started again.
# shellcheck disable=SC2086
$VM --boot 0.3 -- echo up >"$dir/out" 2>"$dir/err"
check_eq "a guest that does not boot is started again" "$? $(<"$dir/out")" "0 up"
check "and that is said" grep -q "has not booted in .*started again" "$dir/err"
ktap_done
