#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Nothing to say for shellcheck, in any shell script of the tree.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

cd "$TOP" || die "no checkout"
# By what they are, not by name: programs have no suffix.
mapfile -t files < <(find . -name .git -prune -o -type f -size -200k \
	! -name '*.[cho]' -print0 |
	xargs -0 grep -lIE -m1 '^#!/bin/(ba)?sh|^#!/usr/bin/env bash|^# shellcheck shell=' |
	sed 's|^\./||' | sort)

ktap_plan ${#files[@]}
for file in "${files[@]}"; do
	check "$file" shellcheck -x -P . "$file"
done
ktap_done
