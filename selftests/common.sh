# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What tests of disagg share: targets on loopback, the module, disaggctl with
# folders of its own, and a cleanup that takes all of it away again. After lib.sh:
#
#	. "$(dirname "$0")/../lib.sh"
#	. "$(dirname "$0")/../common.sh"
#	need_module
#	start_target t1 "{id: dram, class: memory, size: 256MiB}"
#	$DISAGGCTL node create n1 --memory 64MiB
#
# Everything that was started ends with the script, however it ends. A script
# with a cleanup of its own calls add_cleanup COMMAND…, last added first run.

WORK=$(mktemp -d "${TMPDIR:-/tmp}/disagg-test.XXXXXX")
CLEANUPS=()

# The programs: what DISAGGCTL and DISAGGD say, else the installed ones, else
# those that were built in this checkout.
_tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tools" && pwd)
# program NAME [FOLDER]: where it is.
_program()
{
	if ! command -v "$1" && [ -x "$_tools/${2:-$1}/$1" ]; then
		echo "$_tools/${2:-$1}/$1"
	fi
}
DISAGGCTL=${DISAGGCTL:-$(_program disaggctl)}
DISAGGD=${DISAGGD:-$(_program disaggd)}
AGENT=${AGENT:-$(_program disagg-agent agent)}
if [ -z "$DISAGGCTL" ] || [ -z "$DISAGGD" ]; then
	die "disaggctl and disaggd are not built"
fi

# disaggctl must not see, or change, the machine's own records.
export DISAGG_CONFDIR=$WORK/etc DISAGG_STATEDIR=$WORK/lib DISAGG_RUNDIR=$WORK/run

add_cleanup()
{
	CLEANUPS=("$*" "${CLEANUPS[@]}")
}

# Runs on exit; a status that the script had stays its status.
_cleanup()
{
	local status=$? command

	trap - EXIT
	set +e
	for command in "${CLEANUPS[@]}"; do
		eval "$command" >/dev/null 2>&1
	done
	if [ -e /sys/module/disagg ]; then
		timeout 20 "$DISAGGCTL" node delete --all --force >/dev/null 2>&1
	fi
	for command in "$WORK"/target-*/pid; do
		[ -e "$command" ] || continue
		kill -CONT "$(<"$command")" 2>/dev/null
		kill -KILL "$(<"$command")" 2>/dev/null
		wait "$(<"$command")" 2>/dev/null
	done
	[ -z "${MODULE_LOADED:-}" ] || timeout 20 modprobe -r disagg 2>/dev/null
	rm -rf "$WORK"
	exit $status
}
trap _cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# need_module: load the module, or skip the whole script where that can't be.
need_module()
{
	[ "$(id -u)" -eq 0 ] || ktap_skip_all "needs root"
	[ -e /proc/modules ] || ktap_skip_all "this kernel cannot load modules"
	modprobe disagg || die "the module cannot be loaded"
	MODULE_LOADED=1
}

# target_port NAME: the port that it listens on.
target_port()
{
	sed -n 's/.*listening on 127\.0\.0\.1 port \([0-9]*\)$/\1/p' \
		"$WORK/target-$1/log" 2>/dev/null | tail -n 1
}

_target_ready()
{
	[ -n "$(target_port "$1")" ]
}

# run_target NAME: (re)start the disaggd of a target that has a configuration.
run_target()
{
	local dir=$WORK/target-$1

	: >"$dir/log"
	"$DISAGGD" -c "$dir/disaggd.yaml" 2>>"$dir/log" &
	echo $! >"$dir/pid"
	wait_for 20 _target_ready "$1" || {
		cat "$dir/log" >&2
		die "disaggd $1 does not start"
	}
	# Once it has a port, it keeps it.
	sed -i "s/127\.0\.0\.1:0/127.0.0.1:$(target_port "$1")/" "$dir/disaggd.yaml"
}

# configure_target NAME RESOURCE… [-- LINE…]: resources in YAML's flow style, such
# as "{id: dram, class: memory, size: 1GiB}"; LINEs are added at the top level.
configure_target()
{
	local dir=$WORK/target-$1

	shift
	mkdir -p "$dir"
	{
		echo 'listen: ["127.0.0.1:0"]'
		echo "state-dir: $dir/state"
		echo 'resources:'
		while [ $# -gt 0 ] && [ "$1" != -- ]; do
			echo "  - $1"
			shift
		done
		[ $# -eq 0 ] || shift
		# Unless a test is about that, what a daemon had goes with it.
		[[ $* == *restart-grace* ]] || echo "restart-grace: 0s"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >"$dir/disaggd.yaml"
}

# start_target NAME RESOURCE… [-- LINE…]: configure, run and add it to this host.
start_target()
{
	configure_target "$@"
	run_target "$1"
	"$DISAGGCTL" target add "$1" "127.0.0.1:$(target_port "$1")" >/dev/null ||
		die "target $1 cannot be added"
}

# start_agent: what restores links; its log is in $WORK/agent.log.
start_agent()
{
	"$AGENT" 2>>"$WORK/agent.log" &
	echo $! >"$WORK/agent.pid"
	add_cleanup "kill -9 \$(cat $WORK/agent.pid)"
	wait_for 10 agent_runs || die "the agent does not start: $(cat "$WORK/agent.log")"
}

agent_runs()
{
	[ -e "$DISAGG_RUNDIR/agent.lock" ] && ! flock -n "$DISAGG_RUNDIR/agent.lock" true
}

stop_agent()
{
	local pid

	pid=$(cat "$WORK/agent.pid")
	kill -s "${1:-TERM}" "$pid"
	wait "$pid" 2>/dev/null
}

# trace_agent: from now on, what it asks the kernel for of memory, and its connections.
trace_agent()
{
	strace -qq -f -e trace=memory,connect -p "$(<"$WORK/agent.pid")" -o "$WORK/strace" &
	STRACE=$!
	add_cleanup "kill $STRACE"
	wait_for 10 grep -q "^TracerPid:.[1-9]" "/proc/$(<"$WORK/agent.pid")/status"
}

# traced: which calls they were, each once.
traced()
{
	kill "$STRACE"
	wait_for 10 gone "$STRACE"
	sed 's/^[0-9]* *//; s/(.*//' "$WORK/strace" | sort -u
}

target_pid()
{
	cat "$WORK/target-$1/pid"
}

# target_workers NAME: the process ids of its workers.
target_workers()
{
	pgrep -P "$(target_pid "$1")" || true
}

# stop_target NAME [SIGNAL]: end it (default SIGTERM) and wait for that.
stop_target()
{
	local pid

	pid=$(target_pid "$1")
	kill -s "${2:-TERM}" "$pid"
	wait "$pid" 2>/dev/null
	rm -f "$WORK/target-$1/pid"
}

# may_read PID: whether its memory can be, without CAP_SYS_PTRACE.
may_read()
{
	setpriv --bounding-set=-sys_ptrace sh -c ": </proc/$1/mem" 2>/dev/null
}

# private PID: who has no more capabilities than that process cannot, but could others'.
# It must have been started without CAP_SYS_PTRACE, too.
private()
{
	local other err

	setpriv --bounding-set=-sys_ptrace sleep 60 &
	other=$!
	wait_for 10 may_read "$other"
	err=$?
	kill "$other"
	[ "$err" -eq 0 ] && ! may_read "$1"
}

# json FILTER COMMAND…: what jq's FILTER makes of the JSON that COMMAND prints.
json()
{
	local filter=$1

	shift
	"$@" | jq -r "$filter"
}

# leases_of TARGET: how many leases it has granted.
leases_of()
{
	json '.leases | length' "$DISAGGCTL" -j lease list --target "$1"
}

# node_count: nodes of this host, whether in the module or recorded only.
node_count()
{
	json '.nodes | length' "$DISAGGCTL" -j node list
}

# disk_of NODE DEVICE: the path of its disk, /dev/disaggN.
disk_of()
{
	json '"/dev/" + .device.disk' "$DISAGGCTL" -j device show "$1/$2"
}

# Nobody holds the module: udev may for a moment, after a deletion by force.
module_free()
{
	grep -qx 0 /sys/module/disagg/refcnt
}

# give_back NODE: what a deletion by force has left, which gives its target half a second.
give_back()
{
	"$DISAGGCTL" node delete "$1" >/dev/null 2>&1
}

# nothing_left TARGET…: no node, no record, no device; no lease on the targets.
nothing_left()
{
	local target left

	left=$(ls "$DISAGG_STATEDIR/nodes" 2>/dev/null)
	[ -z "$left" ] || { echo "records are left: $left"; return 1; }
	left=$(node_count)
	[ "$left" = 0 ] || { echo "$left nodes are left"; return 1; }
	left=$(json '.devices | length' "$DISAGGCTL" -j device list)
	[ "$left" = 0 ] || { echo "$left devices are left"; return 1; }
	for target; do
		left=$(leases_of "$target")
		[ "$left" = 0 ] || { echo "$left leases are left on $target"; return 1; }
	done
}
