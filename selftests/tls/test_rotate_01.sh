#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device over TLS: attached, cut, restored by the agent, and its keys changed, all
# under verified I/O; where the target's kernel encrypts, and where a relay does.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/block/fio.sh
. "$(dirname "$0")/../block/fio.sh"
# shellcheck source=selftests/tlsd/keys.sh
. "$(dirname "$0")/../tlsd/keys.sh"

D=$DISAGGCTL

ktap_plan 28
need_module
mkdir -p "$WORK/target-t1" "$WORK/target-t2"
for t in t1 t2; do
	psk_file "$WORK/target-$t/psk" node1 11
	psk_file "$KEYS/$t.psk" node1 11
	psk_file "$KEYS/old-$t.psk" node1 11
done
TENANTS="tenants: [{name: red, identities: [node1]}, {name: blue, identities: [node9], max-leases: 1}]"
start_tls_target t1 "{id: dram, class: memory, size: 128MiB}" -- "restart-grace: 30s" "$TENANTS"
start_tls_target t2 "{id: dram, class: memory, size: 128MiB}" -- "restart-grace: 30s" "$TENANTS" \
	"tls: {psk-file: $WORK/target-t2/psk, ktls: no}"

# keyed TARGET IDENTITY [FILE]: reach it so from now on.
keyed()
{
	"$D" target add "$1" "127.0.0.2:$(tls_port "$1")" --psk-identity "$2" \
		--psk-file "${3:-$1.psk}" >/dev/null
}

for t in t1 t2; do
	keyed $t node1 || die "target $t is not to be had"
done

#
# A host whose kernel can't encrypt.
#
modprobe -r tls 2>/dev/null
echo "install tls /bin/false" >/etc/modprobe.d/no-tls.conf
if grep -qw tls /proc/sys/net/ipv4/tcp_available_ulp 2>/dev/null; then
	ktap_result 0 "without kTLS a device is refused # SKIP this kernel has it built in"
else
	check_fails 6 "modprobe tls" "without kTLS a device is refused, and the remedy named" \
		"$D" node create n0 --memory 16MiB --target t1
fi
rm /etc/modprobe.d/no-tls.conf
check "nothing is left of it" nothing_left t1 t2

start_agent
for t in t1 t2; do
	check "a device over TLS of $t" "$D" node create "n-$t" --memory 64MiB --lanes 2 \
		--io-timeout 6s --target $t
done

live()
{
	in_state n-t1/mem0 live && in_state n-t2/mem0 live
}

cut_all()
{
	ss -K dst 127.0.0.2 >/dev/null 2>&1
}

connections()
{
	json '[.device.lanes[].connections] | add' "$D" -j device show "$1/mem0"
}

LOADS=()
for t in t1 t2; do
	load_verified $t "$(disk_of n-$t mem0)" &
	LOADS+=($!)
done
add_cleanup "touch $WORK/enough; kill ${LOADS[*]}"
check "data moves" wait_for 20 moving "$(disk_of n-t1 mem0)"

#
# Cuts.
#
trace_agent
for _ in 1 2 3 4 5; do
	before=$(connections n-t1)
	cut_all
	wait_for 30 live || break
done
check "cut links come back over TLS" wait_for 30 live
check_eq "and the agent has asked for no memory meanwhile" "$(traced)" connect
check "by new connections" test "$(connections n-t1)" -gt 3 -a "$(connections n-t2)" -gt 3

#
# Other keys, while data moves.
#
for t in t1 t2; do
	psk_file "$WORK/target-$t/psk" node1 11 node1+2 22
	psk_file "$KEYS/$t.psk" node1 11 node1+2 22
	wait_for 30 keyed $t node1+2 || die "$t has no new key: $(keyed $t node1+2 2>&1)"
done
kill -HUP "$(<"$WORK/agent.pid")"
renewed()
{
	[ "$(grep -c 'renewed after' "$WORK/agent.log")" -ge "$1" ]
}
check "every lane gets a connection with the new key" wait_for 60 renewed 4
check "and lives" wait_for 30 live
for t in t1 t2; do
	psk_file "$WORK/target-$t/psk" node1+2 22
	check_fails 9 "does not accept|TLS" "$t refuses the old key from then on" \
		"$D" target add old-$t "127.0.0.2:$(tls_port $t)" --psk-identity node1 \
		--psk-file old-$t.psk
done
check "which ends no connection" live
before=$(connections n-t1)
cut_all
again()
{
	live && [ "$(connections n-t1)" -gt "$before" ]
}
check "cut again, they come back with the new key, as other connections" wait_for 30 again

#
# A key that the target no longer has: the wait goes on until there is one that it has.
#
for t in t1 t2; do
	psk_file "$WORK/target-$t/psk" node1+3 33
done
# The first failure is in the log if the link had lived for more than a second.
sleep 1.5
cut_all
check "the agent says why" wait_for 20 grep -q "does not accept this host" "$WORK/agent.log"
check "without a key that is accepted devices stay lost" in_state n-t1/mem0 lost
# Each lane: one try a second at the most, and now and then one with keys that were read again.
refusals=$(grep -c refused "$WORK/target-t1/log")
sleep 6
refusals=$(($(grep -c refused "$WORK/target-t1/log") - refusals))
ktap_note "$refusals refusals of two lanes in 6 s"
check "and their target has little work with that" test "$refusals" -ge 1 -a "$refusals" -le 20
for t in t1 t2; do
	psk_file "$KEYS/$t.psk" node1+3 33
	wait_for 30 keyed $t node1+3 || die "$t has no new key: $(keyed $t node1+3 2>&1)"
done
check "with another they come back, without being told" wait_for 60 live
# A key of another tenant's opens nothing, and costs nothing that lives.
psk_file "$WORK/target-t1/psk" node1+3 33 node9 44
psk_file "$KEYS/t1.psk" node1+3 33 node9 44
wait_for 30 keyed t1 node9 || die "t1 has no new key: $(keyed t1 node9 2>&1)"
kill -HUP "$(<"$WORK/agent.pid")"
check "a key of another tenant is refused" wait_for 60 grep -q "n-t1/mem0 lane .*no such lease" \
	"$WORK/agent.log"
check "and the device lives" in_state n-t1/mem0 live
wait_for 30 keyed t1 node1+3 || die "t1 has no new key: $(keyed t1 node1+3 2>&1)"
kill -HUP "$(<"$WORK/agent.pid")"

#
# The daemon is started anew.
#
stop_target t2 KILL
run_target t2
check "a daemon that comes back is a target as before" wait_for 30 live
touch "$WORK/enough"
wait "${LOADS[0]}"
check_eq "no request has failed, no byte is wrong where the kernel encrypts" $? 0
wait "${LOADS[1]}"
check_eq "nor where a relay does" $? 0
ktap_note "rounds: $(cat "$WORK"/*.rounds | tr '\n' ' ')"
for t in t1 t2; do
	"$D" node delete n-$t >/dev/null
done
stop_agent TERM
check "nothing is left" nothing_left t1 t2

#
# One target under two names, as two tenants.
#
"$D" target remove t1 >/dev/null
"$D" target remove t2 >/dev/null
mkdir -p "$WORK/target-t3"
psk_file "$WORK/target-t3/psk" node1 11 node9 44
psk_file "$KEYS/t3.psk" node1 11
psk_file "$KEYS/t4.psk" node9 44
start_tls_target t3 "{id: dram, class: memory, size: 128MiB}" -- \
	"tenants: [{name: red, identities: [node1], max-leases: 1}, {name: blue, identities: [node9], max-leases: 1}]"
keyed t3 node1
"$D" target add t4 "127.0.0.2:$(tls_port t3)" --psk-identity node9 --psk-file t4.psk >/dev/null
check "what one tenant may not have another gives" "$D" node create two --memory 16M,16M
check_eq "a device from each" \
	"$(json '[.node.devices[].target] | sort | join(" ")' "$D" -j node show two)" "t3 t4"
check "it is deleted" "$D" node delete two
check "and each lease with its own key" nothing_left t3 t4
ktap_done
