#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A real tree on ext4: every checksum, after the caches were dropped and the file
# system was mounted anew. A mounted device is in use, and can be forced away.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"

ktap_plan 9
need_module
start_target t1 "{id: dram, class: memory, size: 512MiB}"
"$DISAGGCTL" node create n --memory 256MiB >/dev/null || die "no node"
disk=$(disk_of n mem0)
mnt=$WORK/mnt
mkdir -p "$mnt"
add_cleanup "umount -l $mnt"

check "mkfs" mkfs.ext4 -q -E lazy_itable_init=0,discard "$disk"
mount "$disk" "$mnt" || die "it cannot be mounted"
# A real tree that every root has; a part of it, for the guest is slow.
src=/usr/include/linux
check "a tree is copied" cp -a "$src" "$mnt/"
(cd "$src" && find . -type f -print0 | sort -z | xargs -0 md5sum) >"$WORK/want"
umount "$mnt"
echo 3 >/proc/sys/vm/drop_caches
mount "$disk" "$mnt" || die "it cannot be mounted again"
(cd "$mnt/linux" && find . -type f -print0 | sort -z | xargs -0 md5sum) >"$WORK/got"
check "there are files to compare" test "$(wc -l <"$WORK/want")" -gt 300
check "every checksum is right" cmp "$WORK/want" "$WORK/got"
check_fails 5 "in use" "a mounted device cannot be deleted" "$DISAGGCTL" node delete n
check "nor is it harmed by the try" touch "$mnt/alive"
check "by force it can" "$DISAGGCTL" node delete n --force
check "and the file system can be unmounted" umount "$mnt"
give_back n
check "nothing is left" nothing_left t1
ktap_done
