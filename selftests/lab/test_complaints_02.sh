#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernels of the lab's own see the mistakes of a module that is made for them, each in
# the script that makes it; and allocations fail where they are told to.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
kernel=${KERNEL:-none}
[ "$kernel" != none ] || ktap_skip_all "stock kernels see no such thing; name KERNEL=uml or debug"
lab=$TOP/selftests/lab

# What is made, and a word of what is said about it. The leak is the last script's, after
# which there is no other.
declare -A SAID=(
	[freed]='BUG: KASAN: slab-use-after-free in plant_freed'
	[order]='possible circular locking dependency'
	[sleep]='sleeping function called from invalid context'
	[shift]='UBSAN: shift-out-of-bounds'
	[timer]='ODEBUG: free active'
	[leak]='unreferenced object'
)
# KASAN's complaint ends lockdep's work.
MISTAKES=(order sleep shift timer freed leak)

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

build_module()
{
	local root files arch=()

	root=$("$lab/root" trixie) && files=$("$lab/kernel" "$kernel") || return
	[ "$kernel" != uml ] || arch=(ARCH=um)
	cp -a "$lab/plant" "$dir/module"
	"$lab/ns" --bind "$dir/module:/build" --ro-bind "$files/headers:/usr/src/linux" \
		"$root/root" -- make -C /usr/src/linux "${arch[@]}" M=/build modules
}

# A checkout that has nothing but the lab, the module, and a suite.
make_checkout()
{
	local mistake suite=$dir/selftests/plant

	mkdir -p "$suite"
	cp -a "$lab" "$TOP/selftests/lib.sh" "$dir/selftests/"
	for mistake in none "${MISTAKES[@]}"; do
		cat >"$suite/test_$mistake" <<-EOS
		#!/bin/sh
		[ -e /sys/module/plant ] || insmod /src/module/plant.ko
		echo $mistake >/sys/module/plant/parameters/make
		EOS
	done
	# The allocation of "none", and those on the way there.
	cat >"$suite/test_fault" <<-'EOS'
	#!/bin/bash
	echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
	exec 3>/sys/module/plant/parameters/make
	for nth in {1..8}; do
		echo "$nth" >/proc/self/fail-nth
		echo none >&3 || echo "failed: $nth"
	done
	EOS
	chmod +x "$suite"/*
}

# said_by MISTAKE: the lines of its script.
said_by()
{
	sed -n "/^#lab begin test_$1\$/,/^#lab end test_$1 /p" "$dir/out"
}

complaint_of()
{
	said_by "$1" | grep '^#lab complaint'
}

no_complaint()
{
	! complaint_of "$1"
}

ktap_plan $((${#MISTAKES[@]} + 5))
check "a module for the $kernel kernel is built" build_module
make_checkout
DISAGG_CHECKOUT=$dir "$lab/vm" --kernel "$kernel" --no-build --timeout 280 \
	--env LAB_WHERE=vm -- /src/selftests/lab/run-scripts plant 60 test_none test_fault \
	"${MISTAKES[@]/#/test_}" >"$dir/out" 2>"$dir/err"
check_eq "the run fails, as its kernel complained" $? 99
check "nothing is said of what is no mistake" no_complaint none
check "allocations fail when told to" grep -q "^failed: " "$dir/out"
check "which is no complaint" no_complaint fault
for mistake in "${MISTAKES[@]}"; do
	check "${SAID[$mistake]}" grep -q "${SAID[$mistake]}" <(complaint_of "$mistake")
done
ktap_done
