#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What make install puts, and that make uninstall takes exactly that away.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=selftests/lib.sh
. "$HERE/../lib.sh"

[ "$KERNEL" != 7.3 ] || ktap_skip_all "the same root as 6.12"

built_tree
in_root selftests/install/inside/files
