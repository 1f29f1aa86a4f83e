#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# disaggctl doctor: a healthy host, and one ailment after the other.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/cli.sh"

D=$DISAGGCTL

ktap_plan 35
start_checker

# finding CHECK RESULT WORDS [REMEDY]: there is such a finding.
finding()
{
	"$D" -j doctor >"$WORK/doctor" 2>/dev/null
	jq -e --arg c "$1" --arg r "$2" --arg w "$3" --arg m "${4:-}" '.checks | any(
		.check == $c and .result == $r and (.finding | contains($w)) and
		(if $m == "" then .remedy == null else .remedy // "" | contains($m) end))' \
		"$WORK/doctor" >/dev/null && return
	jq -c '.checks[]' "$WORK/doctor"
	return 1
}

check "no target is known" finding target warning "none is known" "target add"
check "the module is not loaded yet" finding module ok "installed"
need_module
start_target t1 "{id: dram, class: memory, size: 64MiB}"
check "no agent" finding agent warning "given up at once" "systemctl enable"
"$D" node create n0 --memory 8MiB --lanes 1 >/dev/null || die "no node"
"$D" node create n9 --memory 8MiB --lanes 1 --dead-after 0 >/dev/null || die "no node"
start_agent
check "a device that nobody meant to be given up at once" \
	finding agent warning "n0/mem0 is given up" "device set n0/mem0 --dead-after never"
check_eq "one that somebody meant to" "$(jq '[.checks[] | select(.finding | contains("n9/mem0 is given up"))] |
	length' "$WORK/doctor")" 0
"$D" device set n0/mem0 --dead-after never >/dev/null
"$D" -j doctor >"$WORK/doctor"
check_eq "the remedy helps" "$(jq -r '[.checks[] | select(.check == "agent") | .result] | join(" ")' "$WORK/doctor")" ok
"$D" node delete n0 >/dev/null
"$D" node delete n9 >/dev/null
"$D" node create n1 --memory 16MiB --lanes 1 --io-timeout 2s >/dev/null || die "no node"
wait_for 10 test -b /dev/disagg/n1/mem0
check "all is well" "$D" doctor
check "in a document, too" valid doctor "$D" -j doctor
check_eq "nothing has failed" "$(document '[.checks[] | select(.result == "failed")] | length')" 0
check "the module" finding module ok "is loaded"
check "the agent" finding agent ok "runs"
check "the node" finding node ok "1 of 1"
check "the device" finding device ok "/dev/disagg/n1/mem0"
check "the target" finding target ok "t1 answers in"
check "the secrets" finding keys ok "only root"

chmod 644 "$DISAGG_STATEDIR/nodes/n1.json"
check "secrets that others can read" finding keys failed "n1.json" "chmod"
chmod 600 "$DISAGG_STATEDIR/nodes/n1.json"
long=$WORK/$(printf 'x%.0s' {1..200})/$(printf 'y%.0s' {1..200})
mkdir -p "$long"
cp -r "$DISAGG_STATEDIR/nodes" "$long/"
chmod 644 "$long/nodes/n1.json"
check "the remedy is not cut off, whatever the folder" \
	env DISAGG_STATEDIR="$long" bash -c "$(declare -f finding); D=$D WORK=$WORK
		finding keys failed n1.json 'chmod -R go-rwx $long/nodes'"

mkswap "$(disk_of n1 mem0)" >/dev/null
swapon "$(disk_of n1 mem0)"
check "swap, with an agent that may be killed" finding swap warning "OOM killer" "by its unit"
echo -1000 >"/proc/$(<"$WORK/agent.pid")/oom_score_adj"
check "swap, with the agent" finding swap ok "/dev/disagg"
stop_agent KILL
# shellcheck disable=SC2016 # for the other shell
setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock bash -c 'ulimit -l 64; echo -1000 >/proc/self/oom_score_adj; exec "$0"' "$AGENT" 2>/dev/null &
echo $! >"$WORK/agent.pid"
wait_for 10 agent_runs
check "swap, with an agent whose memory is not locked" \
	finding swap warning "not locked" "by its unit"
stop_agent KILL
check "swap, without it" finding swap failed "no agent" "systemctl enable"
swapoff "$(disk_of n1 mem0)"
check "a device that waits for an agent that does not run" \
	finding agent failed "n1/mem0 would wait" "systemctl enable"

check "few open files" prlimit --nofile=512 bash -c "$(declare -f finding); D=$D WORK=$WORK
	finding limits warning '512 open files' 'ulimit -n'"
check "enough of them" prlimit --nofile=4096 bash -c "$(declare -f finding); D=$D WORK=$WORK
	finding limits ok '4096 open files'"
check "a clock that nobody keeps right" finding clock warning "nobody keeps" "NTP"

stop_target t1 KILL
pkill -KILL -f '^disaggd --worker dram$'
check "a device is lost" wait_for 10 finding device failed "n1/mem0 is lost" "fail-fast 0"
check "its target is not there" finding target failed "t1" "disaggd running"
check "its node is degraded" finding node warning "n1 is degraded"
check_fails 1 "checks failed" "the exit code tells" "$D" doctor
check "the remedy is shown" grep -q "> disaggctl\|> bring target" <("$D" doctor 2>/dev/null)
"$D" device set n1/mem0 --dead-after 0 >/dev/null
check "a device is dead" wait_for 10 finding device failed "n1/mem0 is dead" "node delete n1 --force"
run_target t1
"$D" node delete n1 --force >/dev/null
give_back n1
check "when it is gone, so is the finding" wait_for 10 "$D" doctor

"$D" node create n2 --memory 4MiB,4MiB --lanes 1 >/dev/null || die "no node"
wait_for 10 "$SUITE_DIR/delete_device.py" n2 mem1	# udev may have it open
check "a device that somebody has deleted" \
	finding device failed "n2/mem1 is not there" "node delete n2"
"$D" node delete n2 >/dev/null

echo nonsense >"$DISAGG_STATEDIR/nodes/n2.json"
chmod 600 "$DISAGG_STATEDIR/nodes/n2.json"
check "a record that can't be read" finding node failed "n2 is damaged" "backup"
rm "$DISAGG_STATEDIR/nodes/n2.json"
check "nothing is left" nothing_left t1
ktap_done
