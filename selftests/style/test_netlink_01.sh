#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The generated netlink files are what the spec generates now.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

ktap_plan 1
check "regenerating changes nothing" "$TOP/Documentation/netlink/regen.sh" --check
ktap_done
