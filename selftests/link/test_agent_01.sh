#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The agent brings links back: under verified I/O the network is cut in every way
# there is, the target and the agent are stopped, killed and started again, and no
# request fails and no byte is wrong. FUZZ_CUTS=1000 for longer, FUZZ_SEED for the same
# choices again.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"

CUTS=${FUZZ_CUTS:-24}
SEED=${FUZZ_SEED:-$RANDOM}
RANDOM=$SEED
# How long a restored link may take. The figure that users are promised is 1000: after a kill,
# and after a long absence, one has to be as quick; in make check, beside another VM, the others
# may be slower.
RESTORE_MS=${FUZZ_RESTORE_MS:-5000}
PROMISED_MS=1000
# Kernels that look at themselves are slower.
[[ ! ${KERNEL:-} =~ ^(uml|debug)$ ]] || PROMISED_MS=$RESTORE_MS
RETURNS=${FUZZ_RETURNS:-3}

# The first bytes of a request, as the network has them.
REQUEST=0x44475251

ktap_plan 42
need_module
start_target t1 "{id: dram, class: memory, size: 256MiB}" \
	"{id: disk, class: storage, path: $WORK/disk, size: 256MiB, direct: no}" \
	-- "restart-grace: 2m"
PORT=$(target_port t1)

# timers NODE/DEVICE: fail-fast and dead-after, as JSON has them
timers()
{
	json '"\(.device.fail_fast_ns) \(.device.dead_after_ns)"' "$DISAGGCTL" -j device show "$1"
}

#
# Without an agent nobody is waited for.
#
"$DISAGGCTL" node create n0 --memory 16MiB >/dev/null
check_eq "without an agent a lost device is given up at once" "$(timers n0/mem0)" "null 0"
"$DISAGGCTL" node delete n0 >/dev/null
start_agent
"$DISAGGCTL" node create n1 --memory 64MiB --storage 64MiB --lanes 2 --io-timeout 2s >/dev/null ||
	die "no node"
#
# What it needs when memory is short it has.
#
# flags: of the process, as the kernel has them
flags()
{
	awk '{ print $9 }' "/proc/$(<"$WORK/agent.pid")/stat"
}
PF_MEMALLOC_NOIO=0x80000
check "the agent's memory is locked, and its heap taken" \
	test "$(awk '/^VmLck/ { print $2 }' "/proc/$(<"$WORK/agent.pid")/status")" -gt 8192
check "the kernel lets it wait for no disk when it needs memory" \
	test $(($(flags) & PF_MEMALLOC_NOIO)) -ne 0
check_eq "with one it is waited for" "$(timers n1/mem0)" "null null"
check_eq "timers can be set at any time" \
	"$("$DISAGGCTL" device set n1/mem0 --fail-fast 90s --dead-after 1h)" \
	"n1/mem0: I/O timeout 2s, fail-fast 1.5m, dead after 1h"
check_eq "and are shown" "$(timers n1/mem0)" "90000000000 3600000000000"

#
# It restores a link without asking the kernel for memory.
#
# renewed NODE/DEVICE: every lane has had another connection than its first.
renewed()
{
	[ "$(json '[.device.lanes[].connections] | min' "$DISAGGCTL" -j device show "$1")" -gt 1 ]
}
trace_agent
ss -K "dport = :$PORT" >/dev/null 2>&1
check "a link that is reset is restored" wait_for 10 renewed n1/mem0
check "and the log has why it was lost" grep -q "n1/mem0 lane [01]: lost: [a-z]" "$WORK/agent.log"
check_eq "and the agent has connected, and not asked for memory" "$(traced)" connect

#
# Cuts under load.
#
MEM=$(disk_of n1 mem0)
DISK=$(disk_of n1 disk0)

lanes_of_target()
{
	ss -Htn state established "dport = :$PORT" | awk '{ n = split($3, a, ":"); print a[n] }'
}

reset_all()
{
	ss -K "dport = :$PORT" >/dev/null 2>&1
}

reset_one()
{
	local n=$RANDOM ports

	mapfile -t ports < <(lanes_of_target)
	[ ${#ports[@]} -eq 0 ] ||
		ss -K "sport = :${ports[n % ${#ports[@]}]}" "dport = :$PORT" >/dev/null 2>&1
}

# Packets of both directions vanish, for longer than the I/O timeout.
black_hole()
{
	nft -f - <<-END
		table inet cut {
			chain in {
				type filter hook input priority 0;
				tcp dport $PORT drop
				tcp sport $PORT drop
			}
		}
	END
	sleep "${1:-$((3 + RANDOM % 3)).$((RANDOM % 10))}"
	nft delete table inet cut
}
add_cleanup "nft delete table inet cut"

# Those of memory outlive the daemon that started them.
workers()
{
	pgrep -f '^disaggd --worker'
}

# The target's end of one lane sends no more.
half_close()
{
	"$SUITE_DIR/half_close.py" "$RANDOM"
}

# restart SIGNAL: of the daemon; its storage is away meanwhile, its memory is not.
restart()
{
	stop_target t1 "$1"
	sleep 0.$((RANDOM % 10))
	run_target t1
}

# The target stands still, for longer than the I/O timeout.
freeze()
{
	local pids

	pids="$(target_pid t1) $(workers)"
	# shellcheck disable=SC2086 # several
	kill -STOP $pids
	sleep $((3 + RANDOM % 3)).$((RANDOM % 10))
	# shellcheck disable=SC2086
	kill -CONT $pids
}

live()
{
	in_state n1/mem0 live && in_state n1/disk0 live
}

load_verified mem "$MEM" &
MEM_LOAD=$!
load_verified disk "$DISK" &
DISK_LOAD=$!
add_cleanup "touch $WORK/enough; kill $MEM_LOAD $DISK_LOAD"
wait_for 20 moving "$MEM"

WAYS=(reset_all reset_one reset_one half_close half_close freeze black_hole
	"restart KILL" "restart TERM")
ktap_note "FUZZ_SEED=$SEED"
failed=''
declare -A went=()
# Each way comes once, and then what chance brings.
for ((i = 0; i < CUTS; i++)); do
	way=${WAYS[i < ${#WAYS[@]} ? i : RANDOM % ${#WAYS[@]}]}
	$way || failed+="$way; "
	went[$way]=$((${went[$way]:-0} + 1))
	sleep 0.$((RANDOM % 8))
done
check_eq "each way to cut links works" "$failed" ""
for way in "${!went[@]}"; do ktap_note "$way: ${went[$way]}"; done
check "after $CUTS cuts both devices live" wait_for 20 live
replays=$(json '[.device.lanes[].replays] | add' "$DISAGGCTL" -j device show n1/mem0)
connections=$(json '[.device.lanes[].connections] | add' "$DISAGGCTL" -j device show n1/mem0)
ktap_note "mem0: $connections connections, $replays requests sent again"
check "connections were replaced" test "$connections" -gt $((2 + CUTS / 4))
check "requests were sent again" test "$replays" -gt 0

#
# Connections that come about and break at the first request are no success.
#
nft -f - <<-END
	table inet tries {
		chain in {
			type filter hook input priority 0;
			tcp dport $PORT tcp flags syn / syn,ack counter
			tcp dport $PORT @th,256,32 $REQUEST reject with tcp reset
		}
	}
END
add_cleanup "nft delete table inet tries"
sleep 3
tries=$(nft list table inet tries | awk '/counter/ { print $(NF - 2) }')
nft delete table inet tries
ktap_note "$tries connections of 4 lanes in 3 s"
check "lanes that break at once are tried again, but not without a pause" \
	test "$tries" -ge 4 -a "$tries" -le 100
check "and live when they can" wait_for 10 live

#
# The agent, and then the target, go and come back.
#
stop_agent KILL
reset_all
sleep 0.5
check "without the agent the device stays lost" in_state n1/mem0 lost
start_agent
check "an agent that comes back restores it" wait_for 10 live
stop_agent
reset_one
{ cat "$AGENT"; echo another; } >"$WORK/another"
chmod +x "$WORK/another"
cat >"$WORK/agent" <<EOF
#!/bin/sh
exec setpriv --bounding-set=-sys_ptrace "$WORK/another"
EOF
chmod +x "$WORK/agent"
AGENT=$WORK/agent
start_agent
check "so does one of another build" wait_for 10 live
check "whose memory nobody reads who may not trace it" private "$(<"$WORK/agent.pid")"
connections=$(json '[.device.lanes[].connections] | add' "$DISAGGCTL" -j device show n1/mem0)

#
# Enough: what was written must be what is read.
#
touch "$WORK/enough"
wait $MEM_LOAD
check_eq "no request of mem0 has failed, no byte is wrong" $? 0
[ -e "$WORK/mem.rounds" ] || ktap_note "$(tail -n 5 "$WORK/mem.out")"
wait $DISK_LOAD
check_eq "nor of disk0" $? 0
[ -e "$WORK/disk.rounds" ] || ktap_note "$(tail -n 5 "$WORK/disk.out")"
ktap_note "rounds: $(cat "$WORK"/*.rounds | tr '\n' ' ')"
check_eq "nor was one counted" \
	"$(json '[.devices[].errors] | add' "$DISAGGCTL" -j device list)" 0

#
# A target that is started again: storage goes on, and memory has not even noticed.
#
printf 'kept' | dd of="$DISK" bs=4k conv=sync oflag=direct status=none
dd if="$DISK" of="$WORK/read" bs=4k count=1 iflag=direct status=none
stop_target t1 KILL
check "the target's death is noticed" wait_for 10 in_state n1/disk0 lost
#
# Whatever else answers there says nothing about the device.
#
python3 - "$PORT" <<-END
	import socket, sys
	listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
	listener.settimeout(20)
	for _ in range(4):
	    peer = listener.accept()[0]
	    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n".ljust(64, b"."))
	    peer.recv(128)
END
check_eq "another program at its port is not a target: the wait goes on" \
	"$? $(state_of n1/disk0)" "0 lost"
# Each waits for 200 ms, and up to half of that less or more.
python3 - "$PORT" <<-END
	import socket, statistics, sys, time
	listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
	listener.settimeout(20)
	times = []
	for _ in range(70):
	    listener.accept()[0].close()
	    times.append(time.monotonic())
	turns = [b - a for a, b in zip(times[10:], times[12:])]
	median = statistics.median(turns)
	early = sum(turn < median - 0.03 for turn in turns)
	print(f"# of {len(turns)} turns of two lanes, {median:.3f} s, {early} are shorter by 30 ms")
	sys.exit(early < len(turns) / 10)
END
ktap_result $? "lanes do not come in step"
{ dd if="$DISK" of="$WORK/waits" bs=4k count=1 iflag=direct status=none
	date +%s%3N >"$WORK/restored"; } &
READER=$!
sleep 3
nft "add table inet tries; add chain inet tries in { type filter hook input priority 0; }
	add rule inet tries in tcp dport $PORT tcp flags syn / syn,ack counter"
add_cleanup "nft delete table inet tries"
sleep 3
tries=$(nft list table inet tries | awk '/counter/ { print $(NF - 2) }')
nft delete table inet tries
ktap_note "$tries tries of 2 lanes in 3 s"
check "each lane is tried again at least every second" test "$tries" -ge 6
start=$(date +%s%3N)
run_target t1
wait $READER
took=$(($(<"$WORK/restored") - start))
ktap_note "restored $took ms after disaggd was started"
check "its storage is back soon" test $took -lt "$RESTORE_MS"
check "and who waited has read it" cmp "$WORK/read" "$WORK/waits"
check_eq "its memory never was away" "$(state_of n1/mem0) $(json \
	'[.device.lanes[].connections] | add' "$DISAGGCTL" -j device show n1/mem0)" \
	"live $connections"
pkill -KILL -f '^disaggd --worker dram$'
check "memory whose worker has died is gone: the device is dead" \
	wait_for 10 in_state n1/mem0 dead

#
# A target whose host was started again has lost what it had not flushed.
#
BOOT_ID=/proc/sys/kernel/random/boot_id
cat /proc/sys/kernel/random/uuid >"$WORK/boot_id"
stop_target t1 KILL
mount --bind "$WORK/boot_id" $BOOT_ID
add_cleanup "umount $BOOT_ID"
run_target t1
check "another host's storage is not taken for the same: the device is dead" \
	wait_for 10 in_state n1/disk0 dead
check "the agent says why" wait_for 5 grep -q "n1/disk0: .*not flushed" "$WORK/agent.log"
"$DISAGGCTL" node delete n1 --force >/dev/null
give_back n1

#
# More events than there is room for: what was missed is found out.
#
"$DISAGGCTL" node create n2 --memory 16MiB --lanes 2 >/dev/null || die "no node"
kill -STOP "$(<"$WORK/agent.pid")"
start=$(date +%s%3N)
"$SUITE_DIR/flood_events.py" n2 mem0 16000
ktap_note "16000 events in $(($(date +%s%3N) - start)) ms"
reset_all
check "with the agent stopped the device is lost" wait_for 10 in_state n2/mem0 lost
kill -CONT "$(<"$WORK/agent.pid")"
check "the agent has missed events" wait_for 10 grep -q "events were lost" "$WORK/agent.log"
check "and restores the device" wait_for 10 in_state n2/mem0 live

#
# A network that swallows packets for less than the I/O timeout of 30 s: the link is not
# lost, and TCP goes on soon, though it has tried in vain for long.
#
swallowed()
{
	local start took

	"$DISAGGCTL" node create n4 --memory 16MiB --lanes 1 >/dev/null || return
	{ wait_for 5 nft list table inet cut
		dd if="$(disk_of n4 mem0)" of=/dev/null bs=4k count=1 iflag=direct status=none
		date +%s%3N >"$WORK/read-at"; } &
	black_hole 14
	start=$(date +%s%3N)
	wait $!
	took=$(($(<"$WORK/read-at") - start))
	echo "the read ends $took ms after packets go through again"
	[ "$(json '.device.lanes[].connections' "$DISAGGCTL" -j device show n4/mem0)" = 1 ] &&
		"$DISAGGCTL" node delete n4 >/dev/null && [ "$took" -lt "$RESTORE_MS" ] &&
		[ "$took" -gt -5000 ]
}
case ${KERNEL:-} in
6.1 | 6.12)
	ktap_skip "a network that comes back: a link that was not lost goes on soon" \
		"kernels of before 6.15 let TCP wait as long as the network was away" ;;
*) check "a network that comes back: a link that was not lost goes on soon" swallowed ;;
esac

#
# At default settings: a target that was killed, and one whose host says nothing.
#
leaves()
{
	case $1 in
	killed) stop_target t1 KILL ;;
	vanished)
		nft "add table inet cut; add chain inet cut in { type filter hook input priority 0; }
			add rule inet cut in tcp dport $PORT drop; add rule inet cut in tcp sport $PORT drop"
		reset_all ;;
	esac
}

returns()
{
	case $1 in
	killed) run_target t1 ;;
	vanished) nft delete table inet cut ;;
	esac
}

restores()
{
	local way kind round reader start took slow=0
	local -A best

	"$DISAGGCTL" node create n5 --storage 16MiB >/dev/null || return
	for ((round = 0; round < RETURNS; round++)); do
		for way in killed vanished; do
			kind=$way
			# Long enough, twice, for tries that last longer, see LONG_EVERY.
			[ $way$((round / 2)) != vanished0 ] || kind="vanished for long"
			leaves $way
			wait_for 10 in_state n5/disk0 lost || return
			{ dd if="$(disk_of n5 disk0)" of=/dev/null bs=4k count=1 iflag=direct status=none &&
				date +%s%3N >"$WORK/read-at"; } &
			reader=$!
			case $kind in
			*long) sleep 12.$((RANDOM % 10)) ;;
			*) sleep 2.$((RANDOM % 10)) ;;
			esac
			start=$(date +%s%3N)
			returns $way
			wait $reader || return
			took=$(($(<"$WORK/read-at") - start))
			ktap_note "$kind: restored $took ms after it was back"
			[ $took -ge 0 ] && [ $took -lt "$RESTORE_MS" ] || slow=$((slow + 1))
			[ $took -ge "${best[$kind]:-$RESTORE_MS}" ] || best[$kind]=$took
		done
	done
	late=
	for kind in killed "vanished for long"; do
		[ "${best[$kind]:-$RESTORE_MS}" -lt "$PROMISED_MS" ] || late+="$kind; "
	done
	"$DISAGGCTL" node delete n5 >/dev/null && [ $slow -eq 0 ]
}
late="not measured"
restores
ktap_result $? "at default settings, too, the link is back soon after the target"
check_eq "after a kill, and a long absence, once within $PROMISED_MS ms" "$late" ""

#
# The sockets that it has handed over are not its business any more.
#
agent_ticks()
{
	awk '{ print $14 + $15 }' "/proc/$(<"$WORK/agent.pid")/stat"
}

exec 9<"$(disk_of n2 mem0)"
"$DISAGGCTL" node delete n2 --force >/dev/null
give_back n2
ticks=$(agent_ticks)
sleep 2
ticks=$(($(agent_ticks) - ticks))
exec 9<&-
ktap_note "$ticks ticks in 2 s"
check "a link's end leaves it idle" test $ticks -lt 50

#
# The module goes and comes.
#
wait_for 10 module_free
check "the module can go" rmmod disagg
"$DISAGGCTL" node create n3 --memory 16MiB --lanes 2 >/dev/null || die "no node"
reset_all
check "and is watched again when it is back" wait_for 10 renewed n3/mem0
"$DISAGGCTL" node delete n3 >/dev/null
stop_agent
check "nothing is left" nothing_left t1
tail -n 5 "$WORK/agent.log" | while read -r line; do ktap_note "$line"; done
ktap_done
