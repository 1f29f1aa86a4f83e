#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device over TLS with certificates: restored by the agent, and then other certificates,
# of another CA, under verified I/O.

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

# trust CA…: these are whom the target trusts from now on, and this host.
trust()
{
	(cd "$KEYS" && cat "${@/%/.crt}" >trusted.new && mv trusted.new trusted.crt)
}

ktap_plan 11
need_module
authority old
authority new
issue old t1 90 "ip_address = 127.0.0.2"
issue old node1 90
trust old
mkdir -p "$WORK/target-t1"
start_tls_target t1 "{id: dram, class: memory, size: 128MiB}" -- "restart-grace: 30s" \
	"tls: {certificate: $KEYS/t1.crt, key: $KEYS/t1.key, ca: $KEYS/trusted.crt}"
T1=127.0.0.2:$(tls_port t1)
check "a target with a certificate" \
	"$D" target add t1 "$T1" --cert node1.crt --key node1.key --ca trusted.crt
# The first lane with TLS has the kernel load these, which takes an emulated processor long.
modprobe -aq tls aesni_intel gcm ghash_generic
start_agent
"$D" node create n --memory 64MiB --lanes 2 --io-timeout 6s >/dev/null || die "no node"
load_verified n "$(disk_of n mem0)" &
LOAD=$!
add_cleanup "touch $WORK/enough; kill $LOAD"
check "data moves" wait_for 20 moving "$(disk_of n mem0)"

live()
{
	in_state n/mem0 live
}

# least: how many connections each lane has had, the one with the fewest.
least()
{
	json '[.device.lanes[].connections] | min' "$D" -j device show n/mem0
}

# all_new BEFORE: every lane has had another one since.
all_new()
{
	[ "$(least)" -gt "$1" ] && live
}

before=$(least)
ss -K dst 127.0.0.2 >/dev/null 2>&1
check "a cut link comes back" wait_for 30 all_new "$before"

cp "$KEYS/node1.crt" "$KEYS/gone.crt"
cp "$KEYS/node1.key" "$KEYS/gone.key"
trust old new
issue new t1 90 "ip_address = 127.0.0.2"
issue new node1 90
before=$(least)
kill -HUP "$(<"$WORK/agent.pid")"
renewed()
{
	[ "$(grep -c 'renewed after' "$WORK/agent.log")" -ge 2 ]
}
check "every lane gets a connection with the new certificates" wait_for 60 renewed
check "and lives" wait_for 30 all_new "$before"
before=$(json '[.device.lanes[].connections] | add' "$D" -j device show n/mem0)
trust new
check_fails 9 "does not accept this host" "the old certificate is refused from then on" \
	"$D" target add again "$T1" --cert gone.crt --key gone.key --ca trusted.crt
check_eq "which ends no connection" \
	"$(json '[.device.lanes[].connections] | add' "$D" -j device show n/mem0)" "$before"
before=$(least)
ss -K dst 127.0.0.2 >/dev/null 2>&1
check "cut again, they come back with the new one" wait_for 30 all_new "$before"
touch "$WORK/enough"
wait $LOAD
check_eq "no request has failed, no byte is wrong" $? 0
[ $KTAP_FAILED -eq 0 ] || ktap_note "$(tail -n 20 "$WORK/agent.log" "$WORK/n.out" "$WORK/target-t1/log")"
check_eq "nor was one counted" "$(json .device.errors "$D" -j device show n/mem0)" 0
"$D" node delete n >/dev/null
stop_agent TERM
check "nothing is left" nothing_left t1
ktap_done
