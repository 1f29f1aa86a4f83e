# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For tests written in shell: results in KTAP, and bounded waiting. Usage:
#
#	. "$(dirname "$0")/../lib.sh"
#	ktap_plan 2
#	check "the module loads" modprobe disagg
#	check "it can be unloaded" modprobe -r disagg
#	ktap_done
#
# A script that ends before ktap_done leaves its plan unfulfilled, which the
# runner counts as a failure; so plain `set -e` works, and `die` too.

KTAP_N=0
KTAP_PLAN=0
KTAP_FAILED=0

# ktap_plan COUNT: first, how many results will follow.
ktap_plan()
{
	KTAP_PLAN=$1
	echo "TAP version 13"
	echo "1..$1"
}

# ktap_note TEXT…: a line of diagnosis.
ktap_note()
{
	printf '%s\n' "$*" | sed 's/^/# /'
}

ktap_ok()
{
	KTAP_N=$((KTAP_N + 1))
	echo "ok $KTAP_N $*"
}

ktap_not_ok()
{
	KTAP_N=$((KTAP_N + 1))
	KTAP_FAILED=$((KTAP_FAILED + 1))
	echo "not ok $KTAP_N $*"
}

# ktap_skip NAME REASON: one result that cannot be had here.
ktap_skip()
{
	KTAP_N=$((KTAP_N + 1))
	echo "ok $KTAP_N $1 # SKIP $2"
}

# ktap_skip_all REASON: nothing of this script can be tested here.
ktap_skip_all()
{
	[ "$KTAP_PLAN" -gt 0 ] || echo "TAP version 13"
	echo "1..0 # SKIP $*"
	exit 4
}

# ktap_result STATUS NAME: ok if STATUS is 0.
ktap_result()
{
	local status=$1

	shift
	if [ "$status" -eq 0 ]; then ktap_ok "$@"; else ktap_not_ok "$@"; fi
}

# check NAME COMMAND…: ok if COMMAND succeeds; its output is shown if not.
check()
{
	local name=$1 out rc=0

	shift
	out=$("$@" 2>&1) || rc=$?
	if [ $rc -ne 0 ]; then
		ktap_note "status $rc from: $*"
		[ -z "$out" ] || ktap_note "$out"
	fi
	ktap_result $rc "$name"
}

# check_fails STATUS PATTERN NAME COMMAND…: ok if COMMAND exits with STATUS
# ("any" for any but 0) and its output matches the extended regex PATTERN.
check_fails()
{
	local want=$1 pattern=$2 name=$3 out rc=0 bad=0

	shift 3
	out=$("$@" 2>&1) || rc=$?
	if [ "$want" = any ]; then
		[ $rc -ne 0 ] || bad=1
	else
		[ $rc -eq "$want" ] || bad=1
	fi
	grep -qE -- "$pattern" <<<"$out" || bad=1
	if [ $bad -ne 0 ]; then
		ktap_note "status $rc (want $want) from: $*"
		ktap_note "output (want /$pattern/): $out"
	fi
	ktap_result $bad "$name"
}

# check_eq NAME GOT WANT
check_eq()
{
	[ "$2" = "$3" ] || ktap_note "got '$2', want '$3'"
	if [ "$2" = "$3" ]; then ktap_ok "$1"; else ktap_not_ok "$1"; fi
}

# ktap_done: last; the exit status says whether all went well.
ktap_done()
{
	[ "$KTAP_N" -eq "$KTAP_PLAN" ] || {
		ktap_note "$KTAP_N results, $KTAP_PLAN planned"
		exit 1
	}
	[ "$KTAP_FAILED" -eq 0 ] || exit 1
	exit 0
}

# die TEXT…: what the test stands on is missing.
die()
{
	echo "Bail out! $*"
	exit 1
}

# wait_for SECONDS COMMAND…: until COMMAND succeeds; fails when time is up.
wait_for()
{
	local deadline=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || return 1
		sleep 0.1
	done
}

# on_peer COMMAND…: run it in the other VM, if the suite has one; its output and exit
# status are this one's. What it leaves running keeps nothing of this connection open.
on_peer()
{
	local out

	out=$(printf '%q ' "$@" |
		socat -t 600 - TCP:10.99.0.2:99,connect-timeout=10) || return 255
	# The last word is the status.
	case ${out##* } in '' | *[!0-9]*) printf '%s' "$out"; return 255 ;; esac
	printf '%s' "${out% *}"
	return "${out##* }"
}

# gone PID: true when the process has ended (a zombie has).
gone()
{
	local state

	state=$(ps -o state= -p "$1" 2>/dev/null) || return 0
	[ "$state" = Z ]
}
