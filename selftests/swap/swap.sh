# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For tests of swap, after apart.sh and common.sh: a pool in the other VM, a device of it as
# swap, and ways to cut the two off from each other.

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

# start_pool MEBIBYTES [tls]
start_pool()
{
	local dir=/tmp/pool keys=() access="plaintext: [10.99.0.1]" address="$POOL:7420" key

	add_cleanup "echo $$ >$CGROUP/cgroup.procs; rmdir $APART"
	wait_for 200 on_peer true || die "the other VM is not there"
	if [ "${2-}" = tls ]; then
		# What the kernel tests of its ciphers at the first use takes long here.
		modprobe -a tls aesni_intel
		on_peer modprobe -a tls aesni_intel
		psk_file "$KEYS/pool.psk" node1 11
		key=$(cat "$KEYS/pool.psk")
		address="{address: \"$POOL:7420\", tls: yes}"
		access="tls: {psk-file: $dir/psk}
			tenants: [{name: red, identities: [node1]}]"
		access=${access//$'\t'/}
		keys=(--psk-identity node1 --psk-file pool.psk)
	fi
	# shellcheck disable=SC2016 # for the other shell
	on_peer bash -c 'mkdir -p "$0" && cd "$0" && printf "%s" "$1" >disaggd.yaml &&
			umask 077 && printf "%s\n" "$2" >psk &&
			{ "$3" -c "$0/disaggd.yaml" </dev/null >log 2>&1 & echo $! >pid; }' \
		"$dir" "listen: [$address]
$access
state-dir: $dir/state
restart-grace: 0s
resources:
  - {id: dram, class: memory, size: ${1}MiB, prealloc: yes}
" "${key-}" "$DISAGGD" || die "the pool cannot be made"
	add_cleanup "on_peer pkill -KILL disaggd; on_peer rm -r $dir"
	wait_for 20 on_peer grep -q listening $dir/log || die "disaggd: $(on_peer cat $dir/log)"
	"$DISAGGCTL" target add pool $POOL ${keys[@]+"${keys[@]}"} >/dev/null || die "no target"
}

# The agent as its unit has it; it may be swapped out, had it not locked its memory. Its
# log goes to a reader, as journald is: a file in memory is swapped, and waited for.
start_swap_agent()
{
	mkfifo "$WORK/agent.fifo"
	cat "$WORK/agent.fifo" >"$WORK/agent.log" &
	add_cleanup "kill $!"
	cat >"$WORK/agent" <<-END
		#!/bin/sh
		echo \$\$ >$CGROUP/cgroup.procs
		exec "$AGENT" 2>"$WORK/agent.fifo"
	END
	chmod +x "$WORK/agent"
	AGENT=$WORK/agent start_agent
	echo -1000 >"/proc/$(cat "$WORK/agent.pid")/oom_score_adj"
}

# swap_on MEBIBYTES: swap on a device of the pool; its disk is then in $SWAP. An emulated
# processor encrypts slowly: with TLS a second is no sign of a lost link.
swap_on()
{
	local timeout=1s

	[ -z "${POOL_TLS-}" ] || timeout=2s
	"$DISAGGCTL" node create s --memory "${1}MiB" --lanes 2 --io-timeout $timeout >/dev/null ||
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
	ip link set eth0 down
	sleep 1.$((RANDOM % 10))
	ip link set eth0 up
}

# The target stands still, and is there again before the lane would be lost, or not.
cut_freeze()
{
	# shellcheck disable=SC2016 # for the other shell
	on_peer sh -c 'pkill -STOP -P "$(cat /tmp/pool/pid)"; sleep $0; pkill -CONT -P "$(cat /tmp/pool/pid)"' \
		$((RANDOM % 3)).$((RANDOM % 10))
}

# cut_while PID: again and again until it has ended; how often is then in $CUTS.
cut_while()
{
	local ways=(cut_reset cut_black_hole cut_cable cut_freeze)

	CUTS=0
	# The load has had its time, and looked at each byte; nobody waits for ever.
	local deadline=$((SECONDS + SWAP_S + ${SWAP_MORE:-240}))

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
	check "it was swapped, out and in" \
		test $out -ge $((PAGES * 3 / 4)) -a $in -ge $((PAGES * 3 / 4))
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
