#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A shutdown with a dirty file system and swap space on devices whose target is dead ends
# all the same.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
LAB=$(cd "$(dirname "$0")" && pwd)/../lab

# Until the command has ended, and then until the machine has.
ended=$(mktemp)
trap 'rm -f "$ended"' EXIT
"$LAB/vm" --kernel "${KERNEL:-6.12}" --systemd --timeout "${BOOT_TIMEOUT:-600}" -- \
	selftests/attach/inside/boot dead | while IFS= read -r line; do
	printf '%s\n' "$line"
	date +%s >"$ended"
done
status=${PIPESTATUS[0]}
took=$(($(date +%s) - $(<"$ended")))
ktap_note "the shutdown took $took s"
KTAP_PLAN=11 KTAP_N=10
check_eq "the machine goes down within two minutes" "$status $((took <= 120))" "0 1"
ktap_done
