#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make demo, as it is.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

shown=$(mktemp)
trap 'rm -f "$shown"' EXIT

# said PATTERN
said()
{
	grep -qE -- "$1" "$shown"
}

ktap_plan 6
check_eq "make demo" "$(make -C "$TOP" --no-print-directory demo >"$shown" 2>&1; echo $?)" 0
[ $KTAP_FAILED -eq 0 ] || ktap_note "$(<"$shown")"
check "every checksum matches" said '^   all [0-9]+ checksums match'
check "long steps show how far they are" said '^   copied: [0-9]+ of [0-9]+ files$'
check "the node, its device and its traffic are shown" said '^\$ iostat .*disagg'
check "it is on a stock kernel" said '^== A stock kernel: Linux 6\.12\.[^ ]*-amd64, disagg\.ko '
check "it ends with what happened" said '^demo: done in [0-9]+ s$'
ktap_done
