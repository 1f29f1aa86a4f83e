#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What make install puts, and that make uninstall takes exactly that away.

set -euo pipefail
# shellcheck source=selftests/install/common.sh
. "$(dirname "$0")/common.sh"

built_tree
in_root selftests/install/inside/files
