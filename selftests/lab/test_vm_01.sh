#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What comes out of a VM: its command's status and both its outputs, whole; from QEMU and
# from User-Mode Linux.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
VM="$TOP/selftests/lab/vm --no-build --timeout 120"

[ "$KERNEL" != none ] || KERNEL=6.12
[ "$KERNEL" != debug ] || ktap_skip_all "it is as the stock kernels"
case $KERNEL in
uml) ktap_plan 14 ;;
*) ktap_plan 16 ;;
esac

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# The guest's own words are single-quoted.
# shellcheck disable=SC2016
script='echo to-out; echo to-err >&2; echo "args: $*"; echo "env: $COLOUR"
	uname -r; seq 1 20000; [ "$(ls /src/COPYING)" ] || exit 1; exit 7'

# KERNEL VERSION: a pattern of what uname says there.
channels()
{
	local rc=0

	# shellcheck disable=SC2086 # several words
	$VM --kernel "$1" --log "$dir/first" --env "COLOUR=light blue" -- bash -c "$script" bash 'one  two' '*' \
		>"$dir/out" 2>"$dir/err" || rc=$?

	check_eq "$1: the command's status is passed on" $rc 7
	check "$1: standard output comes out" grep -qx to-out "$dir/out"
	check "$1: standard error comes out apart" grep -qx to-err "$dir/err"
	check "$1: arguments arrive as they were" grep -qFx 'args: one  two *' "$dir/out"
	check "$1: the environment arrives" grep -qx 'env: light blue' "$dir/out"
	check "$1: the kernel is the one asked for" grep -q "$2" "$dir/out"
	check_eq "$1: long output is whole" "$(grep -cE '^[0-9]+$' "$dir/out")" 20000
	check "$1: the guest says that its system begins" \
		grep -aq "lab: the system begins" "$dir/first"
}

# What one wrote to its disk another finds there.
keeps()
{
	local disk

	# shellcheck disable=SC2086 # several words
	$VM --keep -- sh -c 'echo kept >/root/kept && sync' >"$dir/out" 2>"$dir/err"
	disk=$(sed -n 's/^lab: the disk is kept: .*--disk //p' "$dir/err")
	check "--keep says where the disk is" test -f "$disk"
	# shellcheck disable=SC2086
	check_eq "what was written is on it" "$($VM --disk "$disk" -- cat /root/kept 2>"$dir/err")" kept
	rm -f "$disk"
}

case $KERNEL in
uml) channels uml '^7\.3\..*-disagg-uml$' ;;
*)
	channels 6.12 '^6\.12\..*-amd64$'
	keeps
	;;
esac

# early LINES: a guest that has a second to boot; its console begins with LINES.
early()
{
	local planter rc=0

	rm -f "$dir/console"
	(until [ -e "$dir/console" ]; do sleep 0.02; done; echo "$1" >>"$dir/console") \
		>/dev/null 2>&1 &
	planter=$!
	# shellcheck disable=SC2086 # several words
	$VM --boot 1 --log "$dir/console" -- echo up >"$dir/out" 2>"$dir/err" || rc=$?
	kill $planter 2>/dev/null
	wait $planter 2>/dev/null
	return $rc
}

stall="[    3.000000] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks: (planted)"
early "$stall"
check_eq "a guest that does not boot is started again" "$? $(<"$dir/out")" "0 up"
check "and that is said" grep -q "has not booted in .*started again" "$dir/err"
check "what its kernel said until then is kept" grep -q planted "$dir/console"
early "lab: the system begins
lab: started again
$stall"
check_eq "then it is not started again, and its complaints count" "$? $(<"$dir/out")" "99 up"
check "and are shown" grep -q "planted" "$dir/err"
check_fails 1 "" "nor is that said" grep "started again" "$dir/err"
ktap_done
