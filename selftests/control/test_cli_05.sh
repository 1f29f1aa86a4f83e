#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A create that is interrupted, or killed, at any point.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/cli.sh"

D=$DISAGGCTL
need_module
start_target real "{id: dram, class: memory, size: 128MiB}"
port=$(target_port real)
"$D" target remove real >/dev/null

# stuck_create EVENT: a create of two devices that has come to EVENT and waits there.
stuck_create()
{
	start_fake t1 proxy "$port" "$1=stall"
	"$D" node create n1 --memory 16M,16M >"$WORK/out" 2>&1 &
	create=$!
	wait_for 20 fake_saw t1 "$1" || die "the create did not come to $1"
}

# healed: the target without the proxy, under the same name and address in records.
leases_on_real()
{
	"$D" target add real "127.0.0.1:$port" >/dev/null
	leases_of real
	"$D" target remove real >/dev/null
}

# A connection of somebody else's, which disaggctl is started with.
python3 -c 'import socket
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
c = s.accept()[0]
while c.send(c.recv(1)): pass' >"$WORK/echo" &
add_cleanup "kill $!"
wait_for 10 test -s "$WORK/echo"
exec 7<>"/dev/tcp/127.0.0.1/$(<"$WORK/echo")"

echoes()
{
	local said

	printf x >&7 && read -r -t 10 -N 1 -u 7 said && [ "$said" = x ]
}

ktap_plan 32

for point in 'lane#1' 'lane#4' 'commit#2' 'reserve#2'; do
	for signal in INT TERM; do
		stuck_create "$point"
		kill -s $signal $create
		rc=0
		within 3 wait $create || rc=$?
		check_eq "SIG$signal at $point: rolled back" "$rc" 6
		check_eq "SIG$signal at $point: no node, no record, no lease" \
			"$(nothing_left)$(leases_on_real)" 0
		stop_fake t1
	done
done

check "a connection that is not disaggctl's own goes on" echoes
exec 7<&-
for point in 'reserve#1' 'reserve#2' 'commit#1' 'lane#1' 'lane#3'; do
	stuck_create "$point"
	kill -KILL $create
	wait $create 2>/dev/null
	check_eq "SIGKILL at $point: the node is incomplete" \
		"$(json '.nodes[0].state' "$D" -j node list)" incomplete
	check_fails 5 'node delete n1' "SIGKILL at $point: create says what to do" \
		"$D" node create n1 --memory 1M
	# The record names the proxy's address: go on through it, unhindered.
	check_eq "SIGKILL at $point: delete cleans up" \
		"$("$D" node delete n1 2>&1)$(nothing_left)$(leases_on_real)" "node n1 deleted0"
	stop_fake t1
done
ktap_done
