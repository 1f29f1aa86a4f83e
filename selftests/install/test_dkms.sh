#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make dkms-install and dkms-remove, natively: builds for the kernels of the
# root, refusals, nothing left.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=selftests/lib.sh
. "$HERE/../lib.sh"

# That leaves out dkms-install by 7.3's name, and what a failed build of 7.3's says; that DKMS
# builds for it, without warnings, and that this module works, test_system has.
[ "$KERNEL" != 7.3 ] ||
	ktap_skip_all "trixie's DKMS is tried with 6.12; for 7.3 it builds in 6.12's test_system"

built_tree
in_root selftests/install/inside/dkms "$KERNEL"
