#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A Debian with systemd, from make install to make uninstall, through a node
# with a file system on it.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"

built_tree
in_vm "$KERNEL" --memory 3G -- selftests/install/inside/system
