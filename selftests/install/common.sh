# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For the host's half of the install tests. Each test_NAME.sh takes inside/NAME
# into a root or a VM, which has not seen disagg before, and passes on what it
# reports. TREE is a copy of the checkout in which the tools are built, as after
# `make tools`: compiling these under emulation would test the compiler.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=$HERE/../lab
KERNEL=${KERNEL:-6.12}

release()
{
	case $KERNEL in
	6.1) echo bookworm ;;
	*) echo trixie ;;
	esac
}

# built_tree: make TREE; it is gone when the test ends.
built_tree()
{
	local tar

	tar=$("$LAB/build" "$KERNEL")
	SCRATCH=$(mktemp -d)
	TREE=$SCRATCH/tree
	trap 'rm -rf --one-file-system "$SCRATCH"' EXIT
	# The folder that the lab builds the tools in is such a copy.
	cp -a "$(dirname "$tar")/tools" "$TREE"
}

# in_root COMMAND…: natively, in the root of KERNEL's release, as a chroot.
in_root()
{
	"$LAB/ns" --ro-bind "$TREE:/src" --chdir /src \
		"$("$LAB/root" "$(release)")/root" -- "$@"
}

# in_vm KERNEL OPTION… -- COMMAND…: on a stock system with systemd.
in_vm()
{
	local kernel=$1

	shift
	DISAGG_CHECKOUT=$TREE "$LAB/vm" --kernel "$kernel" --systemd --no-build \
		--memory 3G --timeout 2000 "$@"
}
