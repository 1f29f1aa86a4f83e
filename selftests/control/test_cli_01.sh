#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every command's JSON is what Documentation/json.rst says.

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
modprobe -r disagg	# what needs it loads it
configure_target t1 "{id: dram, class: memory, size: 256MiB}" \
	"{id: disk, class: storage, size: 64MiB, path: $WORK/disk.img, direct: no}"
truncate -s 64M "$WORK/disk.img"
run_target t1

ktap_plan 66

check "version without the module" valid version "$D" -j version
check_eq "the module is said not to be loaded" "$(document '.module_loaded, .module, .api')" \
	$'false\nnull\nnull'
check "target list without targets" valid target-list "$D" -j target list
check "target add" valid target-add "$D" -j target add t1 "127.0.0.1:$(target_port t1)"
check_eq "target add tells what is free" "$(document .target.memory.available)" $((256 << 20))
check "target add without asking" valid target-add "$D" -j target add gone 127.0.0.1:1 --no-check
check_eq "who was not asked is neither there nor away" "$(document .target.reachable)" null
check "target list with an unreachable target" valid target-list "$D" -j target list
check_eq "target list tells who answers" "$(document '[.targets[].reachable] | join(" ")')" \
	"false true"
check "target list without asking" valid target-list "$D" -j target list --no-check
check "target remove" valid target-remove "$D" -j target remove gone
check "resource list" valid resource-list "$D" -j resource list
check_eq "resource list has both classes" "$(document '[.resources[].class] | sort | join(" ")')" \
	"memory storage"
check "resource list of a class" valid resource-list "$D" -j resource list --class storage
check_eq "a class's resources only" "$(document '[.resources[].id] | join(" ")')" disk
check "lease list without leases" valid lease-list "$D" -j lease list
check "node list without nodes" valid node-list "$D" -j node list
check "device list without devices" valid device-list "$D" -j device list
check "node create --dry-run" valid node-create-dry-run \
	"$D" -j node create n1 --memory 64MiB,16MiB --storage 32MiB --dry-run
check_eq "a dry run does not load the module" "$(ls -d /sys/module/disagg 2>/dev/null)" ""

# Without a capability, for private().
setpriv --bounding-set=-sys_ptrace "$D" -j monitor >"$WORK/events" 2>"$WORK/events.err" &
monitor=$!
wait_for 20 grep -q ready "$WORK/events"
# Who loads the module is quicker than who then listens.
"$D" node create first --memory 4M >/dev/null
wait_for 20 grep -q '"module-loaded"' "$WORK/events"
"$D" node delete first >/dev/null

check "node create" valid node-create \
	"$D" -j node create n1 --memory 64MiB,16MiB --storage 32MiB --io-timeout 10s --lease 1h
check_eq "the node is up" "$(document .node.state)" up
check_eq "its devices are live" "$(document '[.node.devices[] | .name + "=" + .state] | join(" ")')" \
	"disk0=live mem0=live mem1=live"
check_eq "sizes are bytes" "$(document '.node.devices[1].size')" $((64 << 20))
check_eq "times are nanoseconds" "$(document '.node.devices[0].io_timeout_ns')" 10000000000
LONG=a123456789b123456789c1234567890
"$D" node create $LONG --memory 4M >/dev/null
for list in "node list" "node show n1" "node show $LONG" "device list" "device show $LONG/mem0"; do
	# shellcheck disable=SC2086 # several words
	check "$list fits 100 columns" narrow "$D" $list
done
"$D" node delete $LONG >/dev/null
check "version with the module" valid version "$D" -j version
check_eq "the module's version is told" "$(document '.module | length > 0')" true
check "node list" valid node-list "$D" -j node list
check "node show" valid node-show "$D" -j node show n1
check "device list" valid device-list "$D" -j device list
check "device show" valid device-show "$D" -j device show n1/mem0
check "lease list" valid lease-list "$D" -j lease list
check_eq "the leases end" "$(document '[.leases[].expires_in_ns] | all(. > 3.5e12 and . <= 3.6e12)')" true
check "device set" valid device-set "$D" -j device set n1/mem1 --fail-fast 1m
check_eq "it tells the new timer" "$(document .device.fail_fast_ns)" 60000000000
check_eq "traffic is counted" "$(disk=$(disk_of n1 mem1)
	dd if=/dev/zero of="$disk" bs=1M count=2 oflag=direct status=none
	json .device.write_bytes "$D" -j device show n1/mem1)" $((2 << 20))
udevadm settle	# which has read what was written
check "device stats" valid device-stats "$D" -j device stats n1/mem1
check_eq "they count what was answered" "$(document '[.devices[].lanes[].operations[].replies] | add')" \
	"$(json '[.device.lanes[].replies] | add' "$D" -j device show n1/mem1)"
check_eq "in the histogram too" "$(document '[.devices[].lanes[].operations[].buckets[]] | add')" \
	"$(document '[.devices[].lanes[].operations[].replies] | add')"
check "device stats fits 100 columns" narrow "$D" device stats
check "3: stats of no device" valid_error 3 "$D" -j device stats n1/mem9
check "device stats --watch" timeout --preserve-status -s INT 3 "$D" device stats --watch
timeout -s INT 3 "$D" -jp device stats --watch >"$WORK/lines"
check "it prints a document a line" "$CONTROL/schema/check" device-stats --lines <"$WORK/lines"

# A device that goes between two looks, and another one that has its number and names.
"$D" node create w --memory 4MiB >/dev/null
dd if="$(disk_of w mem0)" of=/dev/null bs=4k count=300 iflag=direct status=none
"$D" device stats --watch >"$WORK/watched" &
watch=$!
wait_for 10 test -s "$WORK/watched"
kill -STOP $watch
seen=$(wc -l <"$WORK/watched")
watched_anew()
{
	tail -n "+$((seen + 1))" "$WORK/watched" | grep -q ^w/mem0
}
"$D" node delete w >/dev/null
"$D" node create w --memory 4MiB >/dev/null
dd if="$(disk_of w mem0)" of=/dev/null bs=4k count=3 iflag=direct status=none
kill -CONT $watch
check "another device of the same names is watched" wait_for 10 watched_anew
kill -INT $watch
wait $watch
check_eq "from its own beginning" \
	"$(awk '$1 == "w/mem0" && ($3 < 1 || $3 > 299)' "$WORK/watched")" ""
"$D" device stats w/mem0 --watch >/dev/null 2>"$WORK/watched.err" &
watch=$!
sleep 1.5	# it has looked once more
"$D" node delete w >/dev/null
wait $watch
check_eq "device stats --watch ends when the device goes" \
	"$? $(grep -c "no device w/mem0" "$WORK/watched.err")" "3 1"
check "pretty documents are the same" valid node-show "$D" -jp node show n1
check "node resize" valid node-resize "$D" -j node resize n1 mem0 96MiB
check_eq "the device has grown" "$(document .device.size) $(blockdev --getsize64 "$(disk_of n1 mem0)")" \
	"$((96 << 20)) $((96 << 20))"
check "node delete" valid node-delete "$D" -j node delete n1
check_eq "its leases are released" "$(document '.deleted[0].leases_released')" true

wait_for 10 grep -q '"node-delete".*"n1"' "$WORK/events"
"$D" node create dies --memory 1MiB >/dev/null || die "no node"
# shellcheck disable=SC2046 # a list of process ids
kill -KILL $(target_workers t1)
check "a link that breaks is an event" wait_for 10 grep -q '"link-change".*"dies"' "$WORK/events"
"$D" node delete dies --force >/dev/null
give_back dies
unloaded()
{
	rmmod disagg 2>/dev/null || [ ! -e /sys/module/disagg ]
}
wait_for 10 unloaded
check "so is the module's going" wait_for 10 grep -q '"module-unloaded"' "$WORK/events"
modprobe disagg
loaded_again()
{
	[ "$(grep -c '"module-loaded"' "$WORK/events")" = 2 ]
}
wait_for 10 loaded_again
check "its memory nobody reads who may not trace it" private $monitor
kill -INT $monitor
wait $monitor
check_eq "monitor ends with 0 on SIGINT" $? 0
check "monitor prints a document a line" "$CONTROL/schema/check" monitor --lines <"$WORK/events"
check_eq "monitor has seen everything" \
	"$(jq -r 'select(.node != "first") | .event' "$WORK/events" | sort | uniq -c | awk '{ print $2 "=" $1 }' |
		grep -E 'new|node-delete|device-delete|loaded' | tr '\n' ' ')" \
	"device-delete=7 device-new=7 module-loaded=2 module-unloaded=1 node-delete=5 node-new=5 "
check_eq "a device that is deleted is first shown as being removed" \
	"$(jq -r 'select(.event == "device-change" and .device.state == "removing" and
		.node != "first") | .event' \
		"$WORK/events" | wc -l)" 7
check "monitor is silent on stderr" test ! -s "$WORK/events.err"
check "json.rst is made from the schema" "$CONTROL/schema/tables" --check
check "nothing is left" nothing_left t1
ktap_done
