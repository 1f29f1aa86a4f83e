#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A VM that is interrupted leaves no process and no mount behind; whether it is QEMU or
# User-Mode Linux.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
VM=$TOP/selftests/lab/vm
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

kernel=${KERNEL:-none}
[ "$kernel" != debug ] || ktap_skip_all "it is as the stock kernels"
[ "$kernel" != none ] || kernel=6.12
ktap_plan 10

# The processes of the VM are all in one namespace, the emulator too; NAMESPACE is its name.
of_vm()
{
	find /proc/[0-9]*/ns/pid -maxdepth 0 -printf '%l\n' 2>/dev/null | grep -cxF "$NAMESPACE"
}

none_left()
{
	[ "$(of_vm)" -eq 0 ]
}

# How the VM is ended, and of whom: the program itself, or the one who started it.
interrupted()
{
	local how=$1 whom=$2 name=$3 mounts pid victim

	mounts=$(sort /proc/mounts)
	: >"$dir/console"
	: >"$dir/out"
	# A parent of its own, so that it can be killed; what a script starts in
	# the background would ignore SIGINT.
	# shellcheck disable=SC2016 # that shell expands it
	bash -c 'env --default-signal=INT "$@" & echo $! >"$0/pid"; wait' "$dir" \
		"$VM" --kernel "$kernel" --no-build --log "$dir/console" -- sh -c 'echo up; sleep 600' \
		>"$dir/out" 2>&1 </dev/null &
	pid=$!
	wait_for 90 grep -q up "$dir/out" || ktap_note "the VM did not come up: $(cat "$dir/out")"
	NAMESPACE=$(readlink "/proc/$(pgrep -f -- "vm-inside .*$dir/console" | tail -n 1)/ns/pid")
	# Were it not found now, its absence later would mean nothing.
	if [ "$NAMESPACE" = "$(readlink /proc/self/ns/pid)" ] || [ "$(of_vm)" -lt 2 ]; then
		die "the VM's processes are not found while it runs"
	fi
	if [ "$whom" = parent ]; then victim=$pid; else victim=$(cat "$dir/pid"); fi
	kill "-$how" "$victim"
	wait "$pid" 2>/dev/null
	check "$name: no process stays" wait_for 5 none_left
	check_eq "$name: no mount stays" "$(sort /proc/mounts)" "$mounts"
}

# A suite of its own, of one test that does not end.
suite_ended()
{
	local pid

	mkdir -p "$dir/suite"
	printf '#!/bin/sh\necho up\nsleep 600\n' >"$dir/suite/test_$1"
	chmod +x "$dir/suite/test_$1"
	: >"$dir/out"
	"$TOP/selftests/lab/run-scripts" "../../../../../../../../$dir/suite" 100 "test_$1" \
		>"$dir/out" 2>&1 </dev/null &
	pid=$!
	wait_for 30 grep -qx up "$dir/out" || ktap_note "the test did not start: $(cat "$dir/out")"
	pgrep -f "suite/test_$1" >/dev/null || die "its process is not found while it runs"
	kill "-$1" "$pid"
	wait "$pid" 2>/dev/null
	wait_for 10 none_of "suite/test_$1"
}

none_of()
{
	! pgrep -f "$1" >/dev/null
}

check "a runner that is terminated leaves no test behind" suite_ended TERM
check "nor one that is killed" suite_ended KILL
interrupted INT itself "$kernel, interrupted"
interrupted TERM itself "$kernel, terminated"
interrupted KILL itself "$kernel, killed"
interrupted KILL parent "$kernel, parent killed"
ktap_done
