#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own checkpatch, strict, over what the kernel's rules are for.
# Generated files follow their generator.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
CHECKPATCH=/usr/src/linux-extract/scripts/checkpatch.pl
# Rules about the place in a kernel tree, and about not looking at the version:
# this one is built outside, for several.
IGNORE=FILE_PATH_CHANGES,LINUX_VERSION_CODE,CONFIG_DESCRIPTION

# ignored FILE: what does not hold for it. BIT() is not for headers that userspace
# reads, static_assert there stands for itself; and compat.h stands in for
# functions by macros, types among their arguments. Tracepoints have a form of their own.
ignored()
{
	case $1 in
	uapi/*) echo "$IGNORE,BIT_MACRO,CAMELCASE,LINE_SPACING" ;;
	kernel/*_trace.h) echo "$IGNORE,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT" ;;
	kernel/compat/*) echo "$IGNORE,MACRO_ARG_REUSE,MACRO_ARG_PRECEDENCE" ;;
	*) echo "$IGNORE" ;;
	esac
}

[ -f $CHECKPATCH ] || die "no checkpatch.pl in this root"
cd "$TOP" || die "no checkout"
mapfile -t files < <(find kernel uapi -name '*.[ch]' ! -name '*_gen.[ch]' \
	! -name '*.mod.c' ! -path '*/generated/*' -print0 |
	xargs -0 grep -LE 'YNL-GEN|Do not edit directly' | sort)

ktap_plan ${#files[@]}
for file in "${files[@]}"; do
	check "$file" perl $CHECKPATCH --no-tree --strict --terse --quiet \
		--no-summary --ignore "$(ignored "$file")" --file "$file"
done
ktap_done
