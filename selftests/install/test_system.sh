#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A Debian with systemd, from make install to make uninstall, through a node
# with a file system on it. With 6.1 make dkms-install runs there. With 6.12 it has run
# before, natively, since it takes minutes under emulation; a newer kernel comes meanwhile,
# for which DKMS builds by itself, and all is done again after a reboot into that one: one
# disk, two boots.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=selftests/lib.sh
. "$HERE/../lib.sh"

[ "$KERNEL" != 7.3 ] || ktap_skip_all "7.3 is what 6.12's run reboots into"

built_tree
if [ "$KERNEL" = 6.12 ]; then
	disk=$SCRATCH/disk.qcow2
	mkdir "$SCRATCH/out"
	root=$("$LAB/root" "$(release)")/root
	"$LAB/ns" --ro-bind "$TREE:/src" --bind "$SCRATCH/out:/out" "$root" -- \
		/src/selftests/install/inside/system build \
		"$(cat "$root/usr/lib/disagg-lab/kernel-6.12")"
	mv "$SCRATCH/out/dkms.tar" "$TREE/"
	in_vm 6.12 --disk "$disk" -- selftests/install/inside/system before-reboot
	in_vm 7.3 --disk "$disk" -- selftests/install/inside/system after-reboot
else
	in_vm "$KERNEL" -- selftests/install/inside/system all
fi
