#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Installed under 6.12; a newer kernel comes; after a reboot into that one the
# module is there and the daemon is up. One disk, two boots.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=selftests/lib.sh
. "$HERE/../lib.sh"

# Only the newest root has two kernels; one run of this tells all.
[ "$KERNEL" = 6.12 ] || ktap_skip_all "boots 6.12, then 7.3: runs with 6.12"

built_tree
# The second boot's results follow the first one's: together one test.
in_vm 6.12 --disk "$SCRATCH/disk.qcow2" -- selftests/install/inside/reboot before
in_vm 7.3 --disk "$SCRATCH/disk.qcow2" -- selftests/install/inside/reboot after
