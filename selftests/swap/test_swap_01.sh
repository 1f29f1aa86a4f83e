#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A control group with a quarter of the memory that its program works with swaps to a
# device whose link is cut again and again: no byte is wrong, nobody is stuck. With TLS if
# POOL_TLS is tls, which test_swap_03 says.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/swap/apart.sh
. "$(dirname "$0")/apart.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"
# shellcheck source=selftests/swap/swap.sh
. "$(dirname "$0")/swap.sh"

SWAP_S=${FUZZ_SWAP:-20}
MIB=64
PAGES=$((MIB * 256))

ktap_plan 9
need_module
start_pool 128 "${POOL_TLS-}"
start_swap_agent
swap_on 128
cgroup load memory.max=$((MIB / 4))M

# Who fills memory faster than the device takes it has, in the end, all of the group's pages
# on their way to it, and the kernel, which finds none that it can free, kills him: at the
# limit of a control group that takes no more than some seconds of a busy host.
limited()
{
	in_cgroup load "$SUITE_BIN/swap_load" "$MIB" "$SWAP_S" "${SWAP_PACE:-4}"
}

under_cuts limited
check "swapping ends" swap_off
# Where everything is scarce the target may take longer than it is waited for.
wait_for 60 "$DISAGGCTL" node delete s >/dev/null
stop_agent TERM
check "nothing is left" nothing_left pool
ktap_done
