#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Deleting what is in use: who uses it is named; --force does not wait for anybody.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/cli.sh"

D=$DISAGGCTL
need_module
start_checker
start_target t1 "{id: dram, class: memory, size: 256MiB}"

# Of a deletion by force, disaggctl and all, of which half a second is for the target.
LIMIT_S=2
# Kernels that look at themselves are slower; one that isn't by force gives a target 3 s.
[[ ! ${KERNEL:-} =~ ^(uml|debug)$ ]] || LIMIT_S=3

state_of()
{
	json ".nodes[] | select(.name == \"$1\") | .state" "$D" -j node list
}

ktap_plan 38

"$D" node create n1 --memory 64MiB,64MiB >/dev/null || die "no node"
disk=$(disk_of n1 mem1)

sh -c "exec sleep 600 5<$disk" &
user=$!
wait_for 5 grep -qx sleep /proc/$user/comm
check_fails 5 "opened by process $user \(sleep\)" "an open device: the process is named" \
	"$D" node delete n1
check_fails 5 "${disk##*/} is opened" "the disk is named" "$D" node delete n1
check_fails 5 'hint: .*--force' "what to do is said" "$D" node delete n1
check "as JSON too" valid_error 5 "$D" -j node delete n1
check_eq "with the process's id" "$(jq '.error.holders[0].pid' "$WORK/document")" $user
check_eq "the node is as it was" "$(state_of n1)" up
check "it can be used" dd if=/dev/zero of="$disk" bs=4k count=1 oflag=direct status=none
kill $user
wait $user 2>/dev/null

mkdir "$WORK/mnt"
mkfs.ext4 -q "$disk" || die "no file system"
mount "$disk" "$WORK/mnt" || die "it cannot be mounted"
check_fails 5 "mounted at $WORK/mnt" "a mounted device: the place is named" "$D" node delete n1
check_fails 5 "hint: umount $WORK/mnt" "and what to do" "$D" node delete n1
umount "$WORK/mnt"
mkfs.btrfs -qfM "$disk" >/dev/null || die "no btrfs"
mount -t btrfs "$disk" "$WORK/mnt" || die "btrfs cannot be mounted"
check_fails 5 "hint: umount $WORK/mnt" "a mounted btrfs, which has numbers of its own" \
	"$D" node delete n1
umount "$WORK/mnt"
mkfs.ext4 -qF "$disk" || die "no file system"
odd=$WORK/$(printf 'a\033b\377')
mkdir "$odd"
mount "$disk" "$odd" || die "it cannot be mounted"
check "a place with an odd name is shown as text" valid_error 5 "$D" -j node delete n1
umount "$odd"
unshare -m sh -c "mount $disk $WORK/mnt && exec sleep 600" &
user=$!
wait_for 10 grep -q "$WORK/mnt" /proc/$user/mountinfo
check_fails 5 "mounted at $WORK/mnt" "a mount in another namespace" "$D" node delete n1
kill $user
wait $user 2>/dev/null

mkswap -q "$disk" 2>/dev/null || mkswap "$disk" >/dev/null
if swapon "$disk" 2>/dev/null; then
	check_fails 5 "hint: swapoff" "swap space" "$D" node delete n1
	swapoff "$disk"
else
	ktap_skip "swap space" "this kernel has no swap"
fi
if command -v losetup >/dev/null && loop=$(losetup -f --show "$disk" 2>/dev/null); then
	check_fails 5 "in use" "a loop device on top" "$D" node delete n1
	losetup -d "$loop"
else
	ktap_skip "a loop device on top" "no loop devices"
fi
check "unused, it goes" "$D" node delete n1
check "nothing is left" nothing_left t1

# --force on a device in use.
"$D" node create n1 --memory 64MiB >/dev/null
disk=$(disk_of n1 mem0)
exec 5<"$disk"
check "--force on an open device" within $LIMIT_S "$D" node delete --force n1
check_eq "the open file gives errors" "$(dd bs=4k count=1 iflag=fullblock <&5 2>/dev/null | wc -c)" 0
exec 5<&-
give_back n1
check "nothing is left of it" nothing_left t1

# The target has half a second to answer, which may be too little once on a slow machine.
gives_back()
{
	"$D" node create n1 --memory 4MiB >/dev/null || return
	"$D" -j node delete --force n1 >"$WORK/forced" 2>&1
	grep -q '"leases_released": *true' "$WORK/forced" && return
	give_back n1
	return 1
}
check "--force gives back leases, too" wait_for 30 gives_back
[ $KTAP_FAILED -eq 0 ] || ktap_note "$(<"$WORK/forced")"

# A target that has stopped, in the middle of I/O.
"$D" node create n1 --memory 64MiB --io-timeout 60s >/dev/null
disk=$(disk_of n1 mem0)
kill -STOP "$(target_pid t1)"
for worker in $(target_workers t1); do
	kill -STOP "$worker"
done
dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null &
reader=$!
reads()
{
	[ "$(json .device.inflight "$D" -j device show n1/mem0)" -ge 1 ]
}
wait_for 10 reads
check_fails 5 'is in use' "a stopped target, in use: refused at once" within 3 "$D" node delete n1
check_fails 0 'not all of its leases' "a stopped target: --force does not wait for it" \
	within $LIMIT_S "$D" node delete --force n1
check "the reader has got its error" wait_for 10 gone $reader
wait $reader
check_eq "it failed" $? 1
check_eq "the node is releasing" "$(state_of n1)" releasing
check_eq "the record is kept" "$(ls "$DISAGG_STATEDIR/nodes")" n1.json
check_eq "the module has nothing" "$(json '.devices | length' "$D" -j device list)" 0
check_fails 7 'once the target answers' "delete without --force says that leases remain" \
	within 6 "$D" node delete n1
check_fails 5 'still has leases' "so does create of the same name" within 8 \
	"$D" node create n1 --memory 1M
check_fails 0 'releasing' "node list shows it" "$D" node list
check "node show is documented for it" valid node-show "$D" -j node show n1
for worker in $(target_workers t1); do
	kill -CONT "$worker"
done
kill -CONT "$(target_pid t1)"
check "once it goes on, delete finishes it" "$D" node delete n1
check "nothing is left then" nothing_left t1

# The same with a target that is dead for good; then create finishes it.
"$D" node create n1 --memory 64MiB >/dev/null
stop_target t1 KILL
check_fails 0 'warning' "a dead target: --force does not wait for it" \
	within $LIMIT_S "$D" node delete --force n1
run_target t1
check "create of the same name releases it first" "$D" node create n1 --memory 256MiB
touch "$DISAGG_STATEDIR/nodes/n1.json.new"	# as a killed disaggctl leaves it
check "and the node can be deleted" "$D" node delete n1
check_fails 3 'no node n1' "a second delete says that there is none" "$D" node delete n1
check "nothing is left at the end" nothing_left t1
ktap_done
