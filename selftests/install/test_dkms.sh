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

[ "$KERNEL" != 7.3 ] || ktap_skip_all "trixie's DKMS is tried with 6.12, where test_system has it build for 7.3"

built_tree
in_root selftests/install/inside/dkms "$KERNEL"
