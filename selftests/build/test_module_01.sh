#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module builds from a clean tree without a word from the compiler, with
# the kernel's extra warnings on, nor from sparse.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

ktap_plan 5

tree=$(mktemp -d)
log=$tree.log
rsync -a --exclude=/.git --filter=':- .gitignore' "$TOP/" "$tree/"
cd "$tree" || die "no copy of the tree"

# What the kernel's own headers draw from sparse is not ours; nor that it cannot
# compute the string length that 7.x asserts in MODULE_LICENSE() and its like.
complaints()
{
	local line at

	grep -E '(warning|error): |^(WARNING|ERROR): ' "$log" |
		grep -vE '^[^ ]*/?(include|arch)/|/usr/src/linux-headers|compiler differs' |
		while IFS= read -r line; do
			if [[ $line == *:1:\ error:\ bad\ constant\ expression* ]]; then
				at=${line#*:}
				sed -n "${at%%:*}p" "${line%%:*}" | grep -q '^MODULE_' && continue
			fi
			printf '%s\n' "$line"
		done
}

# Debian's headers of 7.2 and later lack the script by which the kernel's Makefile
# asks whether sparse works, and sparse is then left out without a failure. This
# root is ours to write to.
asks=/usr/src/linux-headers-${KVER%-amd64}-common/scripts/checker-valid.sh
if [ -d "$(dirname "$asks")" ] && [ ! -e "$asks" ]; then
	printf '#!/bin/sh\necho 1\n' >"$asks"
	chmod +x "$asks"
fi

# Debian's sparse is older than the operator that these kernels' headers use.
rc=0
make -j"$(nproc)" module KVER="$KVER" KDIR="$KDIR" W=1 C=2 \
	CF='-D__typeof_unqual__=__typeof__' >"$log" 2>&1 || rc=$?
[ $rc -eq 0 ] || ktap_note "$(tail -n 20 "$log")"
ktap_result $rc "the module builds for $KVER"
[ -z "$(complaints)" ] || ktap_note "$(complaints | head -n 30)"
check_eq "no warning of gcc (W=1) or sparse" "$(complaints | wc -l)" 0
check "sparse looked at every file" test "$(grep -c '^ *CHECK' "$log")" -ge \
	"$(find kernel -maxdepth 1 -name '*.c' ! -name '*.mod.c' | wc -l)"
check "it is a module for this kernel" \
	grep -q "vermagic:.*$KVER " <(modinfo ./disagg.ko)

# This root is thrown away.
installed()
{
	local file=/lib/modules/$KVER/updates/disagg.ko found

	make module_install KVER="$KVER" KDIR="$KDIR" || return 1
	found=$(modinfo -k "$KVER" -n disagg)
	[ "$found" = "$file" ] || { echo "found: '$found'"; return 1; }
	make module_uninstall KVER="$KVER" KDIR="$KDIR" || return 1
	! modinfo -k "$KVER" -n disagg && [ ! -e "$file" ]
}
check "module_install has depmod find it, module_uninstall takes it away" installed
ktap_done
