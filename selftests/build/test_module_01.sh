#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module builds from a clean tree without a word from the compiler, with
# the kernel's extra warnings on, nor from sparse.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

ktap_plan 4

tree=$(mktemp -d)
log=$tree.log
rsync -a --exclude=/.git --filter=':- /.gitignore' "$TOP/" "$tree/"
cd "$tree" || die "no copy of the tree"

# What the kernel's own headers draw from sparse is not ours.
complaints()
{
	grep -E 'warning|error' "$log" |
		grep -vE '^[^ ]*/?(include|arch)/|/usr/src/linux-headers|Skipping BTF|compiler differs|cc1: warning'
}

rc=0
make -j"$(nproc)" module KVER="$KVER" KDIR="$KDIR" W=1 C=2 >"$log" 2>&1 || rc=$?
[ $rc -eq 0 ] || ktap_note "$(tail -n 20 "$log")"
ktap_result $rc "the module builds for $KVER"
[ -z "$(complaints)" ] || ktap_note "$(complaints | head -n 30)"
check_eq "no warning of gcc (W=1) or sparse" "$(complaints | wc -l)" 0
check "sparse looked at every file" test "$(grep -c '^ *CHECK' "$log")" -ge \
	"$(find kernel -maxdepth 1 -name '*.c' ! -name '*.mod.c' | wc -l)"
check "it is a module for this kernel" \
	grep -q "vermagic:.*$KVER " <(modinfo ./disagg.ko)
ktap_done
