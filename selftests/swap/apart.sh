# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# After lib.sh, before all else: what mends a cut must not wait for what it is to mend, so the
# script runs in a control group that is not swapped. Memory belongs to the group in which it
# was first used: the script begins anew in there.

APART=/sys/fs/cgroup/apart
case $(</proc/self/cgroup) in
*:/apart) ;;
*)
	{ echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir -p "$APART" &&
		echo 0 >"$APART/memory.swap.max" && echo $$ >"$APART/cgroup.procs"; } ||
		die "no memory controller"
	exec "$0" "$@"
	;;
esac
