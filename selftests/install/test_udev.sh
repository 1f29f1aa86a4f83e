#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The names, group and mode that udev gives a disk, while it lives and after its
# link has ended.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"

exec "$LAB/vm" --kernel "$KERNEL" -- selftests/install/inside/udev
