#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A Debian with systemd whose node comes back by itself, with a file system that is
# mounted when it goes down, from a target that comes up late. With 6.12 the same disk
# is booted again, into 7.3; with 6.1 the units are stopped and started instead.

set -euo pipefail
LAB=$(cd "$(dirname "$0")" && pwd)/../lab
KERNEL=${KERNEL:-6.12}

# boot KERNEL OPTION… -- PART
boot()
{
	local kernel=$1

	shift
	"$LAB/vm" --kernel "$kernel" --systemd --timeout "${BOOT_TIMEOUT:-400}" "$@"
}

if [ "$KERNEL" = 6.12 ]; then
	scratch=$(mktemp -d)
	trap 'rm -rf --one-file-system "$scratch"' EXIT
	boot 6.12 --disk "$scratch/disk.qcow2" -- selftests/attach/inside/boot first
	boot 7.3 --disk "$scratch/disk.qcow2" -- selftests/attach/inside/boot second
else
	boot "$KERNEL" -- selftests/attach/inside/boot alone
fi
