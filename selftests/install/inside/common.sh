# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the half of the install tests that runs in a root or a VM: a writable copy
# of the checkout in /root/disagg, and what is on the disk.

# shellcheck source=selftests/lib.sh
. /src/selftests/lib.sh

TREE=/root/disagg
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# compile_once FOLDER: what the compiler made of the same files before is in FOLDER, by
# ccache. Under emulation a build takes five minutes without, and tests the compiler.
compile_once()
{
	PATH=/usr/lib/ccache:$PATH
	export CCACHE_DIR=$1 CCACHE_SLOPPINESS=file_stat_matches,file_stat_matches_ctime,include_file_mtime,include_file_ctime
}

# Times are kept, so that what is built counts as built.
copy_tree()
{
	rm -rf "$TREE"
	cp -a /src "$TREE"
	cd "$TREE" || exit 1
	# shellcheck disable=SC2034 # for those who source this
	VERSION=$(sed -n 's/^VERSION := //p' Makefile)
}

# Every path on the disk but those that live by themselves: logs, caches, what
# systemd and DKMS keep of their own, and this test's copy of the tree.
paths()
{
	find / -xdev \( -path "$TREE" -o -path /src -o -path /proc -o -path /sys \
		-o -path /dev -o -path /run -o -path /tmp -o -path /lab \
		-o -path /var/log -o -path /var/tmp -o -path /var/lib/systemd \
		-o -path /var/cache -o -path '/var/lib/dkms/mok.*' \
		-o -path /etc/machine-id -o -path '/root/.*' -o -path /var/spool \) \
		-prune -o -print | sort
}

# without STATE…: paths less what a running disagg has written and keeps.
without_state()
{
	paths | grep -vE '^(/var/lib/disaggd?|/etc/disagg)(/|$)'
}

# same BEFORE AFTER: two lists of paths; says what differs.
same()
{
	diff "$1" "$2" | sed -n 's/^</gone:/p; s/^>/left:/p'
	cmp -s "$1" "$2"
}

# warnings_in LOG: compiler and kbuild warnings.
warnings_in()
{
	grep -niE 'warning|error:|\*\*\*|deprecated|undefined!' "$1"
}
