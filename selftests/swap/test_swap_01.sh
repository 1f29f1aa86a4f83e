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

ktap_plan 10
need_module
start_pool 128 "${POOL_TLS-}"
start_swap_agent
swap_on 128
# At memory.max alone the kernel kills who fills memory while the device stands still: it waits
# for none of the pages that are on their way there. At memory.high he is slowed down.
cgroup load memory.high=$((MIB / 4))M memory.max=$((MIB / 2))M

limited()
{
	in_cgroup load "$SUITE_BIN/swap_load" "$MIB" "$SWAP_S"
}

# event NAME: how often that was so.
event()
{
	awk -v name="$1" '$1 == name { print $2 }' $CGROUP/load/memory.events
}

under_cuts limited
ktap_note "at its quarter $(event high) times, at the half $(event max)"
check "it had a quarter of the memory that it works with" \
	test "$(event high)" -gt 0 -a "$(event max)" -eq 0
check "swapping ends" swap_off
# Where everything is scarce the target may take longer than it is waited for.
wait_for 60 "$DISAGGCTL" node delete s >/dev/null
stop_agent TERM
check "nothing is left" nothing_left pool
ktap_done
