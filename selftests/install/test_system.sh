#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A Debian with systemd, from make install to make uninstall, through a node
# with a file system on it. make dkms-install has run before, natively; on 6.12 a newer
# kernel came after it, for which DKMS has built by itself, and all is done again after a
# reboot into that one: one disk, two boots.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=selftests/lib.sh
. "$HERE/../lib.sh"

[ "$KERNEL" != 7.3 ] || ktap_skip_all "7.3 is what 6.12's run reboots into"

series=("$KERNEL")
[ "$KERNEL" != 6.12 ] || series+=(7.3)
built_tree
mkdir "$SCRATCH/out"
"$LAB/ns" --ro-bind "$TREE:/src" --bind "$SCRATCH/out:/out" \
	"$("$LAB/root" "$(release)")/root" -- /src/selftests/install/inside/system compile "${series[@]}"
mv "$SCRATCH"/out/* "$TREE/"
if [ "$KERNEL" = 6.12 ]; then
	disk=$SCRATCH/disk.qcow2
	in_vm 6.12 --disk "$disk" -- selftests/install/inside/system before-reboot
	in_vm 7.3 --disk "$disk" -- selftests/install/inside/system after-reboot
else
	in_vm "$KERNEL" -- selftests/install/inside/system all
fi
