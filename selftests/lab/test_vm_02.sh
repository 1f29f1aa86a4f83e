#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A VM whose kernel complains fails, whatever its command says; QEMU's or User-Mode Linux's.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
vm()
{
	"$TOP/selftests/lab/vm" --kernel "$kernel" --no-build --timeout 120 "$@"
}

kernel=${KERNEL:-none}
[ "$kernel" != debug ] || ktap_skip_all "it is as the stock kernels"
[ "$kernel" != none ] || kernel=6.12
# A task that waits for a file system that stands still, uninterruptibly.
# shellcheck disable=SC2016 # the guest expands it
hung='truncate -s 16M /tmp/fs && mkfs.ext4 -q /tmp/fs && mkdir /tmp/mnt &&
	mount -o loop /tmp/fs /tmp/mnt && fsfreeze -f /tmp/mnt || exit 1
	echo 4 >/proc/sys/kernel/hung_task_timeout_secs
	touch /tmp/mnt/waits &
	sleep 14; fsfreeze -u /tmp/mnt; wait; umount /tmp/mnt'

case $kernel in
uml) ktap_plan 5 ;;
*) ktap_plan 6 ;;
esac
check_fails 99 'lkdtm_WARNING' "$kernel: a warning fails the run and is shown" \
	vm -- sh -c 'modprobe lkdtm 2>/dev/null &&
		echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT ||
		echo "WARNING: CPU: 0 PID: 1 at lkdtm_WARNING" >/dev/kmsg; exit 0'
check_fails 99 'sysrq triggered crash' "$kernel: a panic fails the run and is shown" \
	vm -- sh -c 'echo c >/proc/sysrq-trigger; sleep 60'
[ "$kernel" = uml ] || check_fails 99 'task touch:[0-9]* blocked for more than' \
	"$kernel: a hung task fails the run and is shown" vm -- sh -c "$hung"
check_fails 98 'died before its command ended' "$kernel: a VM that goes away fails the run" \
	vm -- sh -c 'busybox reboot -f; sleep 60'
check_fails 124 'time was up' "$kernel: a VM that takes too long is ended" \
	vm --timeout 20 -- sleep 600
check "$kernel: one that says nothing passes" vm -- true
ktap_done
