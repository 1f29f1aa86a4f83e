#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make dkms-install and dkms-remove, natively: builds for the kernels of the
# root, refusals, nothing left.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"

built_tree
in_root selftests/install/inside/dkms "$KERNEL"
