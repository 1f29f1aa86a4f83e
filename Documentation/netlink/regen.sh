#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Generates from specs/disagg.yaml what is committed, by the kernel's own
# generator:
#
#   regen.sh [--check] [LINUX]
#
# LINUX is a kernel tree, or the part of one that holds tools/net/ynl and
# Documentation/netlink (default: /usr/src/linux-extract). With --check nothing
# is written; a difference is shown, and is a failure.

set -euo pipefail

check=
if [[ ${1-} == --check ]]; then
	check=1
	shift
fi
linux=${1:-/usr/src/linux-extract}
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

if [[ ! -e $linux/tools/net/ynl/pyynl/ynl_gen_c.py ]]; then
	echo "$0: $linux holds no tools/net/ynl: name a Linux 7.x tree" >&2
	exit 2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The generator looks for the schema beside the spec's folder, and for a file
# MAINTAINERS above it.
mkdir -p "$work/tree/Documentation/netlink/specs" "$work/out"
touch "$work/tree/MAINTAINERS"
cp "$linux"/Documentation/netlink/*.yaml "$work/tree/Documentation/netlink/"
cp "$here/specs/disagg.yaml" "$work/tree/Documentation/netlink/specs/"

gen() {
	(cd "$work/tree" &&
		PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$linux/tools/net/ynl/pyynl/ynl_gen_c.py" \
			--spec Documentation/netlink/specs/disagg.yaml "$@")
}

gen --mode uapi --header -o "$work/out/disagg_netlink.h"
gen --mode kernel --header -o "$work/out/netlink_gen.h"
gen --mode kernel --source -o "$work/out/netlink_gen.c"

place() {
	if [[ $check ]]; then
		diff -u "$top/$2" "$work/out/$1"
	else
		cp "$work/out/$1" "$top/$2"
	fi
}

status=0
place disagg_netlink.h uapi/linux/disagg_netlink.h || status=1
place netlink_gen.h kernel/netlink_gen.h || status=1
place netlink_gen.c kernel/netlink_gen.c || status=1
if [[ $status != 0 ]]; then
	echo "generated files are out of date: run Documentation/netlink/regen.sh" >&2
fi
exit $status
