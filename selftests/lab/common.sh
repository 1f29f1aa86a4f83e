# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What every program of the lab shares: where things live, how to speak, how
# to lock, and how to get what the host lacks. Sourced, never run.

# A plain user's PATH lacks these; the lab calls mke2fs.
PATH=$PATH:/usr/sbin:/sbin

LAB_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# CHECKOUT may be given: the tests of the lab itself point it elsewhere.
CHECKOUT=${DISAGG_CHECKOUT:-$(cd "$LAB_DIR/../.." && pwd)}
# shellcheck disable=SC2034 # for those who source this
LAB_CACHE=${DISAGG_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/disagg-lab}

# The kernels that the lab knows: series, release that carries it.
LAB_KERNELS=(6.1 6.12 7.3)
LAB_BUILD_ONLY=(7.2)
# Built by the lab itself, from kernel.config and kernel-NAME.config.
LAB_OWN=(debug uml)

say()
{
	printf '%s\n' "lab: $*" >&2
}

die()
{
	printf '%s\n' "lab: error: $*" >&2
	exit 1
}

# release_of KERNEL: the Debian release whose root carries that kernel.
release_of()
{
	case $1 in
	6.1) echo bookworm ;;
	6.12 | 7.2 | 7.3 | debug | uml) echo trixie ;;
	*) die "no such kernel: $1 (known: ${LAB_KERNELS[*]} ${LAB_OWN[*]}, to build only: ${LAB_BUILD_ONLY[*]})" ;;
	esac
}

# own_kernel KERNEL: whether the lab builds it.
own_kernel()
{
	[[ " ${LAB_OWN[*]} " == *" $1 "* ]]
}

# kernel_version KERNEL DIR: its whole version; DIR is the root's, as root prints it.
kernel_version()
{
	local own

	if own_kernel "$1"; then
		own=$("$LAB_DIR/kernel" "$1") && cat "$own/version"
	else
		cat "$2/root/usr/lib/disagg-lab/kernel-$1"
	fi
}

# A key for this checkout's own build folders: its path, made safe.
checkout_key()
{
	printf '%s-%s' "$(basename "$CHECKOUT")" \
		"$(printf '%s' "$CHECKOUT" | sha256sum | cut -c1-12)"
}

# die_with_parent "$@": call first in a program of the lab. Whoever started it
# may be killed in a way that leaves no chance to tell; the kernel does.
die_with_parent()
{
	case ${LAB_PARENT:-} in
	"$$:$PPID") return 0 ;;
	# It has gone before the kernel could be asked.
	$$:*) exit 1 ;;
	esac
	LAB_PARENT=$$:$PPID exec setpriv --pdeathsig TERM "$0" "$@"
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "need root to run: $* (and there is no sudo)"
	fi
}

# In which namespaces the lab works. A plain user is root in one of its own, with
# the host's range of subordinate ids behind it.
LAB_NAMESPACES=(--mount --pid --fork --kill-child)
[ "$(id -u)" -eq 0 ] ||
	LAB_NAMESPACES=(--user --map-root-user --map-auto "${LAB_NAMESPACES[@]}")

# need_packages COMMAND:PACKAGE…: install the packages of the commands that
# are missing, and say which.
need_packages()
{
	local pair missing=()

	for pair; do
		command -v "${pair%%:*}" >/dev/null ||
			missing+=("${pair#*:}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing packages on this host: ${missing[*]}"
	# The list may be stale or, on a fresh machine, empty.
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
		--no-install-recommends "${missing[@]}" >&2 </dev/null
}

need_host()
{
	need_packages mmdebstrap:mmdebstrap mke2fs:e2fsprogs \
		unshare:util-linux setpriv:util-linux ps:procps
	[ "$(id -u)" -eq 0 ] || need_packages newuidmap:uidmap
}

# with_progress LABEL LOG COMMAND…: run COMMAND with its output in LOG, and say
# every few seconds how far it is, so that nobody has to wonder.
with_progress()
{
	local label=$1 log=$2 pid rc=0 start=$SECONDS shown=$SECONDS

	shift 2
	# In namespaces of its own: when this shell ends, so do it, all that it
	# started, and what it had mounted.
	setpriv --pdeathsig KILL unshare "${LAB_NAMESPACES[@]}" --mount-proc "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		[ $((SECONDS - shown)) -ge 10 ] || continue
		shown=$SECONDS
		say "$label: $((SECONDS - start)) s: $(tail -n1 "$log" | tr '\r' '\n' | tail -n1 | cut -c1-70)"
	done
	wait "$pid" || rc=$?
	if [ "$rc" -ne 0 ]; then
		tail -n 30 "$log" >&2
		say "$label: failed ($rc); the whole log: $log"
		return "$rc"
	fi
	say "$label: done in $((SECONDS - start)) s"
}
