#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Each exit code, and the error's document with it.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/cli.sh"

D=$DISAGGCTL
need_module
start_checker
start_target t1 "{id: dram, class: memory, size: 128MiB}"
address=127.0.0.1:$(target_port t1)

# as_nobody COMMAND…: without root's rights, and without access to its files.
as_nobody()
{
	setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"
}

ktap_plan 30
check "0: a node" "$D" node create n1 --memory 16MiB
chmod 755 "$WORK"
chmod -R a+rX "$DISAGG_CONFDIR" "$DISAGG_RUNDIR"

printf 'address: [\n' >"$DISAGG_CONFDIR/targets.d/broken.yaml"
check "1: a record that is no YAML" valid_error 1 "$D" -j target list
check_fails 1 'broken\.yaml:2:' "it names file and line" "$D" target list
printf 'address: a\nadress: b\n' >"$DISAGG_CONFDIR/targets.d/broken.yaml"
check_fails 1 'broken\.yaml:2: unknown setting' "a setting that does not exist" "$D" target list
rm "$DISAGG_CONFDIR/targets.d/broken.yaml"

check "2: usage" valid_error 2 "$D" -j node create n2 --memory 0
check "3: no such node" valid_error 3 "$D" -j node show nosuch
check "3: no such node to delete" valid_error 3 "$D" -j node delete nosuch
check "3: no such device" valid_error 3 "$D" -j device show n1/mem7
check "3: no such target" valid_error 3 "$D" -j node create n2 --memory 1M --target nosuch
check "3: no such target to remove" valid_error 3 "$D" -j target remove nosuch
check "3: no such class on offer" valid_error 3 "$D" -j node create n2 --storage 1M
check "3: no such device to resize" valid_error 3 "$D" -j node resize n1 mem9 1G
check "4: too much" valid_error 4 "$D" -j node create n2 --memory 1GiB
check_fails 4 'asked 1 GiB .* available 112 MiB, largest single lease 112 MiB' "4 comes with the figures" \
	"$D" node create n2 --memory 1GiB
check "4: too much to grow" valid_error 4 "$D" -j node resize n1 mem0 1GiB
check "5: a name that is taken" valid_error 5 "$D" -j node create n1 --memory 1M
check "5: a target's name that is taken" valid_error 5 "$D" -j target add t1 127.0.0.1:1 --no-check
check "0: the same target again" "$D" target add t1 "$address"
check "5: a target in use" valid_error 5 "$D" -j target remove t1
check_fails 5 'node n1 uses target t1' "5 names the node" "$D" target remove t1
check "8: nobody listens" valid_error 8 "$D" -j target add t9 127.0.0.1:1
check_eq "it was not added" "$(ls "$DISAGG_CONFDIR/targets.d")" t1.yaml
"$D" target add dead 127.0.0.1:1 --no-check >/dev/null
check_fails 8 'connect' "8: a list that is not whole" "$D" resource list
check_eq "what is known is listed all the same" \
	"$("$D" -j resource list 2>/dev/null | jq -r '.resources[].id')" dram
check "8: the only target asked for" valid_error 8 "$D" -j node create n2 --memory 1M --target dead
"$D" target remove dead >/dev/null
check "9: not root" valid_error 9 as_nobody "$D" -j device list
check "9: not root, and records are secret" valid_error 9 as_nobody "$D" -j node list
check "9: not root, and events are for root" within 5 valid_error 9 as_nobody "$D" -j monitor
check_eq "records are for root only" "$(stat -c '%a' "$DISAGG_STATEDIR/nodes/n1.json" \
	"$DISAGG_CONFDIR/targets.d/t1.yaml" | tr '\n' ' ')" "600 644 "
"$D" node delete n1 >/dev/null
check "nothing is left" nothing_left t1
ktap_done
