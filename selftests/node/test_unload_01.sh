#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module is unloaded in every state that it can be in.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"

ktap_plan 16
need_module
start_target t1 "{id: dram, class: memory, size: 256MiB}"

unloads()
{
	local ms rc=0

	udevadm settle
	wait_for 10 module_free
	ms=$(milliseconds rmmod disagg) || rc=$?
	[ $rc -eq 0 ] || ktap_note "$(cat "$WORK/ms.out")"
	[ "$ms" -lt 2000 ] || { ktap_note "it took $ms ms"; rc=1; }
	[ ! -e /sys/module/disagg ] || rc=1
	ktap_result $rc "$1"
	modprobe disagg
}

# The records of nodes that went with the module.
forget()
{
	"$DISAGGCTL" node delete --all --force >/dev/null 2>&1
}

unloads "with nothing"

attach()
{
	"$DISAGGCTL" node create n --memory 32MiB --io-timeout 2s >/dev/null ||
		die "no node"
	disk=$(disk_of n mem0)
}

attach
unloads "with a live device"
forget

attach
dd if=/dev/urandom of="$disk" bs=1M count=16 status=none
unloads "with a device that was written to"
forget

attach
fio_up "$WORK/busy" "$disk"
check_fails any "in use" "not under I/O" rmmod disagg
check "the device is none the worse" in_state n/mem0 live
check "it can be deleted by force" "$DISAGGCTL" node delete n --force
check "fio ends" wait_for 5 gone "$(cat "$WORK/busy")"
unloads "after that"

attach
kill -9 "$(target_workers t1 | head -n1)"
check "a device is dead" wait_for 5 in_state n/mem0 dead
unloads "with a dead device"
forget

# Held open by somebody after it was deleted: the module stays until that ends.
attach
exec 9<"$disk"
"$DISAGGCTL" node delete n --force >/dev/null
check_fails any "in use" "not while a deleted disk is held open" rmmod disagg
exec 9<&-
unloads "but once it is closed"

# udev may hold the disk for a moment.
module_gone()
{
	[ ! -e /sys/module/disagg ] || rmmod disagg 2>/dev/null
}

# While a node is being made, whichever comes first.
rounds=0
for _ in 1 2 3 4 5 6 7 8; do
	"$DISAGGCTL" node create race --memory 16MiB >/dev/null 2>&1 &
	creator=$!
	until ! kill -0 $creator 2>/dev/null || rmmod disagg 2>/dev/null; do :; done
	wait $creator
	wait_for 10 module_gone && modprobe disagg && rounds=$((rounds + 1))
	forget
done
check_eq "while a node is being made" $rounds 8
unloads "and after that"
forget
check "nothing is left" nothing_left t1
check "no complaint of the kernel" bash -c \
	"! dmesg | grep -E 'disagg.*waiting for|WARNING:|BUG:'"
ktap_done
