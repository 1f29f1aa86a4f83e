#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Targets that answer wrongly: a clear error, in bounded time, and nothing left.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/../control/cli.sh"

D=$DISAGGCTL

# Without the module only a dry run comes so far as to ask targets; it asks them the
# same. What a create leaves behind is in suite control.
create()
{
	"$D" node create n1 --dry-run "$@"
}

# MODE PATTERN: what the error has to say.
MODES='bad-magic no.disagg.target
wrong-version versions.7.to.9
no-key agree.on.a.key
silence in.time
silence-after-hello in.time
closes closed.the.connection
half-greeting closed.the.connection
closes-after-hello closed.the.connection
half-welcome closed.the.connection
bad-welcome malformed
greedy-welcome not.offered
bad-inventory malformed
nameless malformed
huge-reply length
trickle in.time'

ktap_plan $(($(wc -l <<<"$MODES") * 2 + 13))

while read -r mode pattern; do
	start_fake bad "$mode"
	check_fails 8 "$pattern" "$mode: create" within 6 create --memory 1M --target bad
	check_fails 8 "$pattern" "$mode: resource list" within 6 "$D" resource list
	stop_fake bad
done <<<"$MODES"

start_fake bad refuses
check_fails 9 'not for you' "a target that refuses says why" create --memory 1M --target bad
stop_fake bad

start_fake slow slow-inventory
check "a slow target is waited for" within 5 create --memory 1M --target slow
stop_fake slow

# One that is silent does not keep the others from being used.
start_target good "{id: dram, class: memory, size: 64MiB}"
start_fake bad silence
check "target list with a silent one takes 3 s at most" within 5 "$D" target list
check_eq "it tells them apart" \
	"$("$D" -j target list | jq -r '[.targets[] | .name + "=" + (.reachable | tostring)] | join(" ")')" \
	"bad=false good=true"
check_fails 0 'warning.*1 of 2 targets' "a node comes from the others, with a warning" \
	within 8 create --memory 16M
check_eq "nothing on stderr under -j" "$("$D" -j target list 2>&1 >/dev/null)" ""
stop_fake bad

# A name that nobody knows, a port where nobody is.
"$D" target add nowhere no-such-host.invalid --no-check >/dev/null
check_fails 8 'no-such-host' "a host that does not exist" within 6 create --memory 1M --target nowhere
"$D" target remove nowhere >/dev/null

# What could be written but not read again.
check_fails 2 'no IPv6 address' "brackets around one colon" \
	"$D" target add odd '[a:]:1' --no-check
check_fails 2 'characters' "a bracket in a host's name" "$D" target add odd '::]' --no-check

# Many silent ones at once take no longer than one.
for i in 1 2 3 4 5 6 7 8; do
	start_fake "s$i" silence
done
check "eight silent targets take 3 s too" within 6 "$D" target list
for i in 1 2 3 4 5 6 7 8; do
	stop_fake "s$i"
done

# A target that dies while it is asked; and comes back.
stop_target good KILL
check_fails 8 'connect' "a dead target" within 6 create --memory 1M --target good
run_target good
check "it is back" create --memory 1M --target good
check_eq "no temporary files" \
	"$(find "$DISAGG_STATEDIR" "$DISAGG_CONFDIR" -type f ! -name '*.yaml' 2>/dev/null)" ""
ktap_done
