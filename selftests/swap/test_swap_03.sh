#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# As test_swap_01, with lanes that have TLS: what is swapped out is first encrypted. Not
# as test_swap_02: this pool decrypts in the same kernel, whose memory it would wait for.

POOL_TLS=tls
FUZZ_SWAP=${FUZZ_SWAP:-30}
# shellcheck source=selftests/swap/test_swap_01.sh
. "$(dirname "$0")/test_swap_01.sh"
