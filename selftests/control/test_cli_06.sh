#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Several nodes on one target; a dry run changes nothing and tells the truth.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/cli.sh"

D=$DISAGGCTL
need_module
start_target t1 "{id: a, class: memory, size: 96MiB}" "{id: b, class: memory, size: 48MiB}"
start_target t2 "{id: a, class: memory, size: 96MiB}"

# What there is on this host and on the targets, but for what changes by itself.
everything()
{
	find "$DISAGG_CONFDIR" "$DISAGG_STATEDIR" -type f -exec sha256sum {} + 2>/dev/null | sort
	"$D" -j resource list
	"$D" -j node list
	json '[.devices[] | {node, name, disk, size}]' "$D" -j device list
}

# places: device=target/resource of each device of the plan or node on stdin.
places()
{
	jq -r '(.plan // .node).devices | map("\(.name)=\(.target)/\(.resource)") | sort | join(" ")'
}

ktap_plan 22

before=$(everything)
check "dry run" "$D" node create n1 --memory 32M --dry-run
check "dry run as JSON" "$D" -j node create n1 --memory 32M --dry-run
check_fails 4 'not enough' "dry run of too much" "$D" node create n1 --memory 1G --dry-run
check_eq "a dry run changes nothing" "$(everything)" "$before"

# What a dry run says is what comes out.
for ask in "--memory 48M" "--memory 64M,64M,32M" "--memory 96M,96M" "--memory 16M,16M,16M"; do
	# shellcheck disable=SC2086 # several words
	plan=$("$D" -j node create n1 $ask --dry-run | places)
	# shellcheck disable=SC2086
	made=$("$D" -j node create n1 $ask | places)
	check_eq "dry run and create agree: $ask" "$made" "$plan"
	"$D" node delete n1 >/dev/null
done
check_eq "the best fit is taken" "$("$D" -j node create n1 --memory 48M --dry-run | places)" "mem0=t1/b"
check_eq "one target if one is enough" \
	"$("$D" -j node create n1 --memory 90M,40M --dry-run | places)" "mem0=t1/a mem1=t1/b"

# Two nodes share a target, and each has its own bytes.
check "a node" "$D" node create n1 --memory 32M --target t1
check "a second node on the same target" "$D" node create n2 --memory 32M --target t1
check_eq "two leases" "$(leases_of t1)" 2
d1=$(disk_of n1 mem0) d2=$(disk_of n2 mem0)
yes one | head -c 1M | dd of="$d1" bs=1M oflag=direct status=none
yes two | head -c 1M | dd of="$d2" bs=1M oflag=direct status=none
check_eq "the first has its own bytes" "$(dd if="$d1" bs=1M count=1 iflag=direct status=none | head -c 3)" one
check_eq "the second too" "$(dd if="$d2" bs=1M count=1 iflag=direct status=none | head -c 3)" two
check "the first goes" "$D" node delete n1
check_eq "the second still has its bytes" \
	"$(dd if="$d2" bs=1M count=1 iflag=direct status=none | head -c 3)" two
check_eq "what it was given reads as zeroes to the next" \
	"$("$D" node create n3 --memory 32M --target t1 >/dev/null
	dd if="$(disk_of n3 mem0)" bs=1M count=1 iflag=direct status=none | tr -d '\0' | wc -c)" 0
check "all of them go at once" "$D" node delete --all

# Two at the same time. The first has planned and is on its way to reserve what
# the second takes meanwhile: it looks again.
start_fake t3 proxy "$(target_port t1)" 'reserve#1=delay'
"$D" node create p1 --memory 40M --target t3 >"$WORK/p1" 2>&1 &
slow=$!
wait_for 20 fake_saw t3 'reserve#1'
check_eq "a create that is faster" "$("$D" -j node create p2 --memory 40M --target t1 | places)" "mem0=t1/b"
wait $slow
check_eq "the one that lost looks again" "$? $("$D" -j node show p1 | places)" "0 mem0=t3/a"
"$D" node delete --all >/dev/null
stop_fake t3
check "nothing is left" nothing_left t1 t2
ktap_done
