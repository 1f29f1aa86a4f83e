# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For tests of swap, after common.sh: a pool in a network namespace, so that it can be
# cut off as one at the end of a cable, and in a control group whose memory is never
# swapped, as it would wait for itself; a device of it as swap; and those cuts.
#
#	 this host 10.99.0.1 --- veth --- 10.99.0.2 "pool": disaggd

# shellcheck source=selftests/tlsd/keys.sh
. "$(dirname "$0")/../tlsd/keys.sh"

CGROUP=/sys/fs/cgroup
POOL=10.99.0.2

# cgroup NAME [FILE=VALUE…]: make one.
cgroup()
{
	local dir=$CGROUP/$1 word

	shift
	mkdir -p "$dir"
	for word; do
		echo "${word#*=}" >"$dir/${word%%=*}" || die "$dir/$word cannot be set"
	done
	add_cleanup "rmdir $dir"
}

# in_cgroup NAME COMMAND…: become it, in there.
in_cgroup()
{
	local name=$1

	shift
	exec sh -c "echo \$\$ >$CGROUP/$name/cgroup.procs && exec \"\$@\"" sh "$@"
}

# start_pool MEBIBYTES [tls]: disaggd, its memory allocated before it is needed.
start_pool()
{
	local dir=$WORK/pool keys=() access="plaintext: [10.99.0.1]" address="$POOL:7420"

	echo +memory >$CGROUP/cgroup.subtree_control || die "no memory controller"
	cgroup apart memory.swap.max=0
	# This script, too: it must be able to mend what it has cut.
	echo $$ >$CGROUP/apart/cgroup.procs
	add_cleanup "echo $$ >$CGROUP/cgroup.procs"
	ip netns add pool || die "no network namespace"
	add_cleanup "ip netns delete pool"
	ip link add cable type veth peer name eth0 netns pool || die "no veth"
	add_cleanup "ip link delete cable"
	ip address add 10.99.0.1/24 dev cable
	ip link set cable up
	ip -n pool address add $POOL/24 dev eth0
	ip -n pool link set eth0 up
	ip -n pool link set lo up
	mkdir -p "$dir"
	if [ "${2-}" = tls ]; then
		psk_file "$dir/psk" node1 11
		psk_file "$KEYS/pool.psk" node1 11
		address="{address: \"$POOL:7420\", tls: yes}"
		access="tls: {psk-file: $dir/psk}
			tenants: [{name: red, identities: [node1]}]"
		access=${access//$'\t'/}
		keys=(--psk-identity node1 --psk-file pool.psk)
	fi
	cat >"$dir/disaggd.yaml" <<-END
		listen: [$address]
		$access
		state-dir: $dir/state
		restart-grace: 0s
		resources:
		  - {id: dram, class: memory, size: ${1}MiB, prealloc: yes}
	END
	ip netns exec pool "$DISAGGD" -c "$dir/disaggd.yaml" 2>"$dir/log" &
	echo $! >"$dir/pid"
	add_cleanup "kill -KILL $!"
	wait_for 20 grep -q listening "$dir/log" || die "disaggd: $(cat "$dir/log")"
	"$DISAGGCTL" target add pool $POOL ${keys[@]+"${keys[@]}"} >/dev/null || die "no target"
}

# swap_on MEBIBYTES: swap on a device of the pool; its disk is then in $SWAP.
swap_on()
{
	"$DISAGGCTL" node create s --memory "${1}MiB" --lanes 2 --io-timeout 1s >/dev/null ||
		die "no node"
	[ "$(json '[.device.lanes[].security] | unique[]' "$DISAGGCTL" -j device show s/mem0)" = \
		"${POOL_TLS:-none}" ] || die "the lanes are not as they should be"
	SWAP=$(disk_of s mem0)
	mkswap "$SWAP" >/dev/null || die "mkswap"
	swapon "$SWAP" || die "swapon"
	add_cleanup "swapoff $SWAP"
}

swap_off()
{
	timeout -s KILL 60 swapoff "$SWAP"
}

vmstat_of()
{
	awk -v name="$1" '$1 == name { print $2 }' /proc/vmstat
}

# One cut, and its end. What ends it stands before it in the same process.
cut_reset()
{
	ss -K dst $POOL >/dev/null 2>&1
}

cut_black_hole()
{
	nft -f - <<-END
		table inet cut {
			chain in { type filter hook input priority 0; ip saddr $POOL drop; }
			chain out { type filter hook output priority 0; ip daddr $POOL drop; }
		}
	END
	sleep 2.$((RANDOM % 10))
	nft delete table inet cut
}

cut_cable()
{
	ip link set cable down
	sleep 1.$((RANDOM % 10))
	ip link set cable up
}

# The target stands still, and is there again before the lane would be lost, or not.
cut_freeze()
{
	local pids

	pids=$(pgrep -P "$(cat "$WORK/pool/pid")")
	# shellcheck disable=SC2086 # several
	kill -STOP $pids
	sleep $((RANDOM % 3)).$((RANDOM % 10))
	# shellcheck disable=SC2086
	kill -CONT $pids
}

# cut_while PID: again and again until it has ended; how often is then in $CUTS.
cut_while()
{
	local ways=(cut_reset cut_black_hole cut_cable cut_freeze)

	CUTS=0
	# The load has had its time, and nobody waits for ever.
	local deadline=$((SECONDS + SWAP_S + 120))

	while ! gone "$1"; do
		[ $SECONDS -lt $deadline ] || { ktap_note "it does not end"; return 1; }
		sleep $((1 + RANDOM % 3)).$((RANDOM % 10))
		"${ways[$((CUTS % 4))]}"
		CUTS=$((CUTS + 1))
	done
}

# under_cuts COMMAND…: run it (not in this script's control group), with cuts, and see
# what has come of it. Seven results.
under_cuts()
{
	local out in rc pid

	out=$(vmstat_of pswpout)
	in=$(vmstat_of pswpin)
	dmesg >"$WORK/dmesg.before"
	"$@" >"$WORK/load.out" 2>&1 &
	pid=$!
	add_cleanup "kill -KILL $pid"
	wait_for 90 grep -q filled "$WORK/load.out" || ktap_note "not filled yet"
	rc=0
	cut_while $pid || rc=1
	ktap_result $rc "cuts end, and so does the load"
	wait $pid
	rc=$?
	ktap_note "$(cat "$WORK/load.out")"
	check_eq "no byte is wrong" $rc 0
	out=$(($(vmstat_of pswpout) - out))
	in=$(($(vmstat_of pswpin) - in))
	ktap_note "$CUTS cuts; $out pages out, $in pages in;" \
		"$(json '[.device.lanes[] | .connections] | add' "$DISAGGCTL" -j device show s/mem0)" \
		"connections, $(json '[.device.lanes[].replays] | add' "$DISAGGCTL" -j device show s/mem0)" \
		"requests sent again"
	check "it was swapped, out and in" test $out -gt $((PAGES / 2)) -a $in -gt $((PAGES / 2))
	check "the link was cut, and came back" test "$CUTS" -ge 3 -a \
		"$(json '[.device.lanes[].connections] | add' "$DISAGGCTL" -j device show s/mem0)" -gt 3
	check "nobody was killed for memory, no page was lost" quiet
	check_eq "no request has failed" "$(json .device.errors "$DISAGGCTL" -j device show s/mem0)" 0
	check "the agent is there" kill -0 "$(cat "$WORK/agent.pid")"
}

quiet()
{
	! dmesg | grep -vxFf "$WORK/dmesg.before" |
		grep -E "Out of memory|oom-kill|swap-device|I/O error|blocked for more"
}
