# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the half of the install tests that runs in a root or a VM: a writable copy
# of the checkout in /root/disagg, and what is on the disk.

# shellcheck source=selftests/lib.sh
. /src/selftests/lib.sh

TREE=/root/disagg
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

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

# no_warnings LOG: there is one, and no compiler or kbuild has warned in it.
no_warnings()
{
	[ -s "$1" ] || { echo "there is no build log"; return 1; }
	! grep -niE 'warning|error:|\*\*\*|deprecated|undefined!' "$1"
}
