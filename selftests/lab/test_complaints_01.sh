#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What kernels say when something is wrong is found, and what they say otherwise is not:
# first lines of reports as they were seen, one after the other.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
PATTERN=$(<"$TOP/selftests/lab/complaints.re")

BAD=(
	'BUG: KASAN: slab-use-after-free in disagg_block_get_stats+0x9b/0x120 [disagg]'
	'BUG: KASAN: slab-out-of-bounds in disagg_lane_reply+0x1/0x2 [disagg]'
	'UBSAN: array-index-out-of-bounds in kernel/link.c:12:3'
	'UBSAN: shift-out-of-bounds in kernel/block.c:12:3'
	'BUG: sleeping function called from invalid context at kernel/locking/mutex.c:591'
	'BUG: scheduling while atomic: kworker/u8:1/32/0x00000002'
	'WARNING: possible circular locking dependency detected'
	'WARNING: possible recursive locking detected'
	'WARNING: possible irq lock inversion dependency detected'
	'WARNING: inconsistent lock state'
	'WARNING: suspicious RCU usage'
	'WARNING: bad unlock balance detected!'
	'WARNING: held lock freed!'
	'WARNING: lock held when returning to user space!'
	'[ BUG: Invalid wait context ]'
	'INFO: trying to register non-static key.'
	'turning off the locking correctness validator.'
	'DEBUG_LOCKS_WARN_ON(lock->magic != lock)'
	'ODEBUG: free active (active state 0) object: 00000000deadbeef object type: timer_list hint: x'
	'kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)'
	'kmemleak: Kernel memory leak detector disabled'
	'list_add corruption. next->prev should be prev (x), but was y. (next=z).'
	'refcount_t: underflow; use-after-free.'
	'INFO: task kworker/0:1:12 blocked for more than 60 seconds.'
	'rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:'
	'WARNING: CPU: 1 PID: 99 at kernel/workqueue.c:2318 __queue_work+0x1/0x2'
	'WARNING: kernel/workqueue.c:2318 at __queue_work+0x1/0x2, CPU#1: sh/99'
	'------------[ cut here ]------------'
	'Oops: general protection fault, probably for non-canonical address: 0000 [#1] SMP'
)
GOOD=(
	'disagg: n/d: link lost, I/O waits'
	'disagg: loading out-of-tree module taints kernel.'
	'FAULT_INJECTION: forcing a failure.'
	'kmemleak: Kernel memory leak detector initialized (mem pool available: 39000)'
	'Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar'
	'lockdep: fixing up alternatives.'
	'kasan: KernelAddressSanitizer initialized (generic)'
	'Buffer I/O error on dev disagg0, logical block 0, async page read'
	'EXT4-fs (vda): mounted filesystem r/w with ordered data mode.'
)

# A line of the serial console, and of dmesg.
found()
{
	grep -qaE -- "$PATTERN" <<<"[   12.345678][   T42] $1" &&
		grep -qaE -- "$PATTERN" <<<"[   12.345678] $1"
}

unnoticed()
{
	! found "$1"
}

ktap_plan $((${#BAD[@]} + ${#GOOD[@]}))
for line in "${BAD[@]}"; do
	check "found: $line" found "$line"
done
for line in "${GOOD[@]}"; do
	check "not found: $line" unnoticed "$line"
done
ktap_done
