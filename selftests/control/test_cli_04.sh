#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All or nothing: whatever a create fails on, everything is given back.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/cli.sh"

D=$DISAGGCTL
start_checker
need_module
start_target t1 "{id: dram, class: memory, size: 128MiB}" -- "max-lanes: 2"
start_target t2 "{id: dram, class: memory, size: 128MiB}"
port2=$(target_port t2)

# broken_second NAME RULE STATUS PATTERN: t2 is reached through a proxy with the
# rule, and the node needs both targets; t1 comes first.
broken_second()
{
	"$D" target remove t2 >/dev/null
	start_fake t2 proxy "$port2" "$2"
	check_fails "$3" "$4" "$1" within 15 "$D" node create n1 --memory 100M,100M
	stop_fake t2
	"$D" target add t2 "127.0.0.1:$port2" >/dev/null
	check "$1: nothing is left" nothing_left t1 t2
}

# node_is NAME STATE
node_is()
{
	[ "$(json '.node.state' "$D" -j node show "$1")" = "$2" ]
}

ktap_plan 65

"$D" node create full --memory 128MiB --target t1 >/dev/null || die "no node"
check_fails 4 'not enough memory: asked 4 KiB' "a full target" \
	"$D" node create n1 --memory 4K --target t1
check_eq "a full target: the other node is untouched" \
	"$(json '[.nodes[] | .name + "=" + .state] | join(" ")' "$D" -j node list)" "full=up"
check_eq "a full target: no record" "$(ls "$DISAGG_STATEDIR/nodes")" full.json
check_eq "a full target: one lease" "$(leases_of t1) $(leases_of t2)" "1 0"
"$D" node delete full >/dev/null

broken_second "the second target drops the RESERVE" reserve=close 6 'rolled back'
broken_second "its answer to the RESERVE is lost" 'reserve#1=eat' 6 'rolled back'
broken_second "the second target drops the COMMIT" 'commit=close' 6 'rolled back'
broken_second "its answer to the COMMIT is lost" commit=eat 6 'rolled back'
broken_second "its first lane is dropped" 'lane#1=close' 6 'rolled back'
broken_second "its second lane is dropped" 'lane#2=close' 6 'rolled back'
broken_second "its WELCOME to a lane is lost" 'lane#1=eat' 6 'rolled back'
broken_second "its answer to the COMMIT makes no sense" commit=garble 6 'rolled back'
broken_second "its WELCOME to a lane makes no sense" 'lane#1=garble' 6 'rolled back'
broken_second "a lane gets no answer" 'lane#1=stall' 6 'still connecting mem. to target t2 \([345] s\)'

# What there is room for, and what a client may have, are two things: the second RESERVE
# is refused, after the first lease was granted.
start_target q "{id: dram, class: memory, size: 64MiB}" -- "quota: {max-leases: 1}"
check_fails 4 'rolled back' "a quota that is used up in the midst" \
	"$D" node create n1 --memory 16M,16M --target q
check "a quota that is used up in the midst: nothing is left" nothing_left q
check_eq "it is asked twice again, since it may have been a race" \
	"$(grep -c reserved "$WORK/target-q/log")" 3
start_fake q2 proxy "$(target_port q)" 'inventory#2=close'
check_fails 6 'node n1 was rolled back' "a target that is gone after the first try" \
	"$D" node create n1 --memory 16M,16M --target q2
stop_fake q2
check "what it has room for is granted" "$D" node create n1 --memory 16M --target q
"$D" node delete n1 >/dev/null
check "the rest is had elsewhere" "$D" node create n1 --memory 16M,16M
check_eq "not all of it where one is refused" \
	"$(json '[.node.devices[].target] | unique | join(" ")' "$D" -j node show n1)" t1
"$D" node delete n1 >/dev/null
"$D" target remove q >/dev/null
stop_target q

# A worker that hangs is killed after five seconds, and its lease has ended then.
"$D" node create n1 --memory 16M,16M --target t1 >/dev/null || die "no node"
for pid in $(target_workers t1); do kill -STOP "$pid"; done
check "workers that hang cost a delete time only" within 20 "$D" node delete n1
check "nothing is left of them" nothing_left t1
"$D" target remove t2 >/dev/null
start_fake t2 proxy "$port2" 'release#1=delay:40'
"$D" node create n1 --memory 16M --target t2 >/dev/null || die "no node"
"$D" node delete n1 >/dev/null 2>&1 &
delete=$!
wait_for 30 node_is n1 releasing
wait_for 30 fake_saw t2 'release#1'
kill -TERM $delete
wait $delete
check_eq "a delete is cut off" $? 143
check "and says what is left to do" node_is n1 releasing
check "which the next one does" "$D" node delete n1
stop_fake t2
"$D" target add t2 "127.0.0.1:$port2" >/dev/null
check "and nothing is left" nothing_left t2
# Among several that fail the first one's reason is the command's.
"$D" node create n1 --memory 1M --target t1 >/dev/null
"$D" target remove t2 >/dev/null
start_fake t2 proxy "$port2" 'release#1=close' 'release#2=close'
"$D" node create n2 --memory 1M --target t2 >/dev/null
exec 9<"$(disk_of n1 mem0)"
check_fails 5 'warning: .*n2 is gone from this host, but' "the first failure of many is the command's" \
	"$D" node delete --all
exec 9<&-
check_fails 5 'node n1 is in use' "and the others are warnings" bash -c \
	"exec 9<'$(disk_of n1 mem0)'; exec '$D' node delete --all"
"$D" node delete --all >/dev/null
stop_fake t2
"$D" target add t2 "127.0.0.1:$port2" >/dev/null
check "nothing is left of the many" nothing_left t1 t2

# Nor can it be undone, until the target is heard again.
"$D" target remove t2 >/dev/null
start_fake t2 proxy "$port2" commit=close 'release#1=close'
check "what cannot be undone is said" \
	within 20 valid_error 7 "$D" -j node create n1 --memory 100M,100M
check "and what to do about it" grep -q "disaggctl node delete n1" "$WORK/document"
check "and node delete finishes it" "$D" node delete n1
stop_fake t2
start_fake t3 proxy "$port2" reserve=close
check "what was undone is a document too" \
	within 20 valid_error 6 "$D" -j node create n2 --memory 10M --target t3
stop_fake t3
"$D" target add t2 "127.0.0.1:$port2" >/dev/null
check "what could not be undone: nothing is left" nothing_left t1 t2

# Who was never asked isn't asked to give back.
before=$(grep -c reserved "$WORK/target-t2/log")
"$D" target remove t1 >/dev/null
start_fake t1 proxy "$(target_port t1)" reserve=close
check_fails 6 'rolled back' "the first target drops the RESERVE" \
	"$D" node create n1 --memory 100M,100M
stop_fake t1
"$D" target add t1 "127.0.0.1:$(target_port t1)" >/dev/null
check_eq "the second was not asked for anything" \
	"$(grep -c reserved "$WORK/target-t2/log")" "$before"

# Zeroing takes its time, here 6 s for each of two devices, which are zeroed at
# the same time. Nobody reads what is said about that.
"$D" target remove t2 >/dev/null
start_fake t2 proxy "$port2" commit=delay:6
within 13 "$D" node create n1 --memory 60M,60M --target t2 2>&1 >"$WORK/out" | true
check_eq "a target may need longer than other answers take" "${PIPESTATUS[0]}" 0
check "the node is shown" grep -q 'mem1.*live' "$WORK/out"
"$D" node delete n1 >/dev/null
stop_fake t2
start_fake t2 proxy "$port2" resize=delay:6
"$D" node create n1 --memory 4M --target t2 >/dev/null
check_fails 0 'has 104 MiB' "growing may take as long" "$D" node resize n1 mem0 104M
"$D" node delete n1 >/dev/null
stop_fake t2
"$D" target add t2 "127.0.0.1:$port2" >/dev/null
check "nothing is left of what was slow" nothing_left t1 t2
"$D" node create n1 --memory 1M --target t1 | true
check_eq "who writes to nobody ends as usual" "${PIPESTATUS[0]}" 141
check_eq "and its node is whole" "$(json '.node.state' "$D" -j node show n1)" up
"$D" node delete n1 >/dev/null

# A signal that comes while a race that was lost is undone is not forgotten.
"$D" target remove t2 >/dev/null
start_fake t2 proxy "$port2" 'reserve#2=delay' release=delay
start_fake t3 proxy "$port2"
"$D" node create n1 --memory 60M,60M --target t2 >"$WORK/out" 2>&1 &
create=$!
wait_for 20 fake_saw t2 'reserve#2'
"$D" node create n2 --memory 60M --target t3 >/dev/null || die "the other is not faster"
wait_for 20 fake_saw t2 'release#1'
kill -INT $create
rc=0
wait $create || rc=$?
check_eq "interrupted while undoing: no other try" "$rc $(grep -c interrupted "$WORK/out")" "6 1"
check_eq "only the other node is there" \
	"$(json '[.nodes[] | .name + "=" + .state] | join(" ")' "$D" -j node list)" "n2=up"
"$D" node delete n2 >/dev/null
stop_fake t3
stop_fake t2
"$D" target add t2 "127.0.0.1:$port2" >/dev/null

# What is free is told by one target and refused by it: a race that was lost.
"$D" target remove t2 >/dev/null
start_fake t2 inventory dram:memory:128
check_fails 6 'rolled back' "a target whose RESERVE never works" \
	"$D" node create n1 --memory 100M,100M
stop_fake t2
"$D" target add t2 "127.0.0.1:$port2" >/dev/null
check "nothing is left of it" nothing_left t1 t2

check_fails 6 'may have 2 lanes, not 3' "more lanes than the target allows" \
	"$D" node create n1 --memory 1M --lanes 3 --target t1
check "more lanes than the target allows: nothing is left" nothing_left t1 t2

# The name is taken in the module, by somebody else than disaggctl.
"$D" node create n1 --memory 1M >/dev/null
mv "$DISAGG_STATEDIR/nodes/n1.json" "$WORK/n1.json"
before=$(leases_of t1)
check_fails 5 'has a node n1 already' "a name that the module has" "$D" node create n1 --memory 1M
check_eq "nothing was asked for" "$(leases_of t1)" "$before"
check_eq "such a node is unmanaged" "$(json '.node.state' "$D" -j node show n1)" unmanaged
check_fails 0 'was not made by disaggctl' "--all leaves it alone" "$D" node delete --all
check_eq "it is still there" "$(node_count)" 1
mv "$WORK/n1.json" "$DISAGG_STATEDIR/nodes/n1.json"
"$D" node delete n1 >/dev/null
check "nothing is left in the end" nothing_left t1 t2
ktap_done
