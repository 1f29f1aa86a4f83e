#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Man pages and reStructuredText are well formed.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

cd "$TOP" || die "no checkout"
mapfile -t pages < <(find Documentation -name '*.[1-9]' | sort)
mapfile -t texts < <(find . -name .git -prune -o -name '*.rst' -print | sed 's|^\./||' | sort)
[ $((${#pages[@]} + ${#texts[@]})) -gt 0 ] || ktap_skip_all "no documents yet"

# Kernel documents use Sphinx's own directives and roles; those are not errors.
rst_clean()
{
	local out

	out=$(rst2html --halt=5 --report=2 "$1" 2>&1 >/dev/null |
		grep -vE 'Unknown (directive type|interpreted text role)|No (directive|role) entry|Trying "' |
		grep -E '\((WARNING|ERROR|SEVERE)/')
	printf '%s' "$out"
	[ -z "$out" ]
}

ktap_plan $((${#pages[@]} + ${#texts[@]}))
for page in "${pages[@]}"; do
	check "$page" mandoc -T lint -W warning "$page"
done
for text in "${texts[@]}"; do
	check "$text" rst_clean "$text"
done
ktap_done
