#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tools build without a warning, by gcc and (where the root has it) clang.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

ktap_plan 2

builds_with()
{
	local cc=$1 tree log

	tree=$(mktemp -d)
	log=$tree.log
	rsync -a --exclude=/.git --filter=':- .gitignore' "$TOP/" "$tree/"
	# clang cannot know that this one macro is json-c's.
	make -C "$tree" -j"$(nproc)" tools CC="$cc" \
		CFLAGS='-O1 -Werror -Wno-gnu-statement-expression-from-macro-expansion' \
		>"$log" 2>&1 || { grep -E '(error|warning): ' "$log" | head -n 20; tail -n 3 "$log"; return 1; }
}

# The tools know nothing of the kernel: once per release is enough.
case $KERNEL in
6.1 | 6.12) ;;
*)
	ktap_skip "gcc" "the tools were built with another kernel of this root"
	ktap_skip "clang" "the tools were built with another kernel of this root"
	ktap_done
	;;
esac
check "gcc" builds_with gcc
if command -v clang >/dev/null; then
	check "clang" builds_with clang
else
	ktap_skip "clang" "not in this root"
fi
ktap_done
