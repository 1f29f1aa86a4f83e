# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of disaggctl share, after lib.sh and common.sh.

CONTROL=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# start_checker: before the first use of valid and valid_error.
start_checker()
{
	coproc CHECKER { exec "$CONTROL/schema/check" --serve 2>&1; }
	add_cleanup "kill $CHECKER_PID"
}

# documented NAME FILE: whether the document in FILE is what json.rst says.
documented()
{
	local line bad=0

	echo "$1 $2" >&"${CHECKER[1]}"
	while read -r line <&"${CHECKER[0]}"; do
		[ "$line" != . ] || return $bad
		echo "$line"
		bad=1
	done
	echo "the checker has ended"
	return 1
}

# valid NAME COMMAND…: COMMAND succeeds, says nothing on stderr, and prints what
# json.rst documents under NAME. The document stays in $WORK/document.
valid()
{
	local name=$1 rc=0

	shift
	"$@" >"$WORK/document" 2>"$WORK/stderr" || rc=$?
	[ $rc -eq 0 ] || { echo "status $rc"; cat "$WORK/stderr"; return 1; }
	[ ! -s "$WORK/stderr" ] || { echo "on stderr:"; cat "$WORK/stderr"; return 1; }
	documented "$name" "$WORK/document"
}

# document FILTER: what jq's FILTER makes of the last document.
document()
{
	jq -r "$1" "$WORK/document"
}

# valid_error STATUS COMMAND…: COMMAND fails with STATUS, prints nothing on stdout
# and a documented error with that code on stderr, which stays in $WORK/document.
valid_error()
{
	local want=$1 rc=0 out

	shift
	out=$("$@" 2>"$WORK/document") || rc=$?
	[ $rc -eq "$want" ] || { echo "status $rc, want $want"; cat "$WORK/document"; return 1; }
	[ -z "$out" ] || { echo "on stdout: $out"; return 1; }
	documented error "$WORK/document" || return 1
	[ "$(jq .error.code "$WORK/document")" = "$want" ] || { cat "$WORK/document"; return 1; }
}

# narrow COMMAND…: COMMAND succeeds and no line it prints is wider than 100 columns.
narrow()
{
	local out

	out=$("$@" 2>&1) || return 1
	out=$(awk 'length > 100' <<<"$out")
	[ -z "$out" ] || { echo "too wide:"; echo "$out"; return 1; }
}

# within SECONDS COMMAND…: COMMAND's status, or 99 if it took longer.
within()
{
	local limit=$1 start rc=0 took

	shift
	start=$(date +%s%N)
	"$@" || rc=$?
	took=$((($(date +%s%N) - start) / 1000000))
	[ $took -le $((limit * 1000)) ] || { echo "took $took ms"; return 99; }
	return $rc
}

# start_fake NAME ARGUMENT…: a fake_target.py, added as target NAME unasked.
start_fake()
{
	local name=$1

	shift
	rm -f "$WORK/fake-$name"
	"$CONTROL/fake_target.py" "$@" >"$WORK/fake-$name" 2>&1 &
	echo $! >"$WORK/fake-$name.pid"
	add_cleanup "kill $(cat "$WORK/fake-$name.pid")"
	wait_for 20 test -s "$WORK/fake-$name" || die "fake_target.py does not start"
	"$DISAGGCTL" target add "$name" "127.0.0.1:$(head -n 1 "$WORK/fake-$name")" \
		--no-check >/dev/null
}

# stop_fake NAME: end it and forget the target.
stop_fake()
{
	kill "$(cat "$WORK/fake-$1.pid")" 2>/dev/null
	wait "$(cat "$WORK/fake-$1.pid")" 2>/dev/null
	rm -f "$DISAGG_CONFDIR/targets.d/$1.yaml"
}

# fake_saw NAME EVENT: whether the proxy has met it, such as lane#2.
fake_saw()
{
	grep -qx "$2" "$WORK/fake-$1"
}
