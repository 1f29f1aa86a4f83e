# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For tests of block devices, after common.sh.

FIO_VERIFY=(--direct=1 --ioengine=io_uring --verify=crc32c --verify_fatal=1
	--verify_state_save=0 --do_verify=1 --group_reporting --output-format=terse)

# verified DISK OPTION…: write with fio, read back, and compare checksums.
verified()
{
	local disk=$1

	shift
	fio --filename="$disk" "${FIO_VERIFY[@]}" --name=verify "$@"
}

# verified_each DISK: the same for each line "NAME|OPTION…" of standard input, with a
# result for each; in one fio, since it takes long to start under emulation.
verified_each()
{
	local disk=$1 args=() names=() name options out

	while IFS='|' read -r name options; do
		names+=("$name")
		# shellcheck disable=SC2206 # several words
		args+=(--name="$name" --stonewall $options)
	done
	out=$(fio --filename="$disk" "${FIO_VERIFY[@]}" "${args[@]}" 2>&1)
	for name in "${names[@]}"; do
		# version; program; job; group; error
		check "$name" grep -qE "^[0-9]+;[^;]*;$name;[0-9]+;0;" <<<"$out"
	done
	[ "$KTAP_FAILED" -eq 0 ] || ktap_note "$out"
}

# load_verified NAME DISK: write and verify 16 MiB, again and again, until $WORK/enough is
# there. Then the number of rounds is in $WORK/NAME.rounds. Not as fast as can be: links are
# cut meanwhile, and emulated processors have other things to do.
load_verified()
{
	local rounds=0

	while [ ! -e "$WORK/enough" ]; do
		fio --filename="$2" "${FIO_VERIFY[@]}" --name="$1" --rw=randwrite --bs=16k \
			--iodepth=8 --size=8M --numjobs=2 --offset_increment=16M \
			--rate_iops=200 --randrepeat=0 >"$WORK/$1.out" 2>&1 || return 1
		rounds=$((rounds + 1))
	done
	echo $rounds >"$WORK/$1.rounds"
}

# fio_up PIDFILE DISK OPTION…: I/O in the background, until the time is up or the
# disk is gone. Returns once requests have been answered.
fio_up()
{
	local pidfile=$1 disk=$2

	shift 2
	fio --name=load --filename="$disk" --direct=1 --ioengine=io_uring --iodepth=8 \
		--rw=randrw --bs=4k --time_based --runtime=60 --output-format=terse \
		--eta=never "$@" >"$pidfile.out" 2>&1 &
	echo $! >"$pidfile"
	add_cleanup "kill -9 \$(cat $pidfile)"
	wait_for 20 moving "$disk"
}

# moving DISK: true when it has answered writes since it was asked last (udev
# only reads).
moving()
{
	local now last stat=$WORK/moving-${1##*/}

	now=$(awk '{ print $5 }' "/sys/block/${1##*/}/stat")
	last=$(cat "$stat" 2>/dev/null || echo "$now")
	echo "$now" >"$stat"
	[ "$now" -gt "$last" ]
}

# state_of NODE/DEVICE
state_of()
{
	json .device.state "$DISAGGCTL" -j device show "$1"
}

in_state()
{
	[ "$(state_of "$1")" = "$2" ]
}

# milliseconds COMMAND…: how long it takes; its status is passed on.
milliseconds()
{
	local start status=0

	start=$(date +%s%3N)
	"$@" >"$WORK/ms.out" 2>&1 || status=$?
	echo $(($(date +%s%3N) - start))
	return $status
}

nobody_waits()
{
	[ "$(ps -eo state= | tr -dc D)" = "" ]
}

# none_stuck: no task waits uninterruptibly for longer than passing reasons take.
none_stuck()
{
	wait_for 3 nobody_waits || { ps -eo state=,pid=,comm= --sort=state; return 1; }
}
