#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# As test_swap_01, with lanes that have TLS: what is swapped out is first encrypted. Not
# as test_swap_02: without memory to decrypt a record in, TLS gives its connection up, again
# and again (Documentation/operations.rst), and an emulated guest gets nowhere.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

[ -n "${FUZZ_SWAP-}" ] ||
	ktap_skip_all "two emulated VMs beside others are too slow for TLS: make soak has it (FUZZ_SWAP)"
POOL_TLS=tls
# shellcheck source=selftests/swap/test_swap_01.sh
. "$(dirname "$0")/test_swap_01.sh"
