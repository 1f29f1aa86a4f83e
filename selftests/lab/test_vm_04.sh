#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two VMs with a network between them.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

case ${KERNEL:-none} in
none) ;;
*) ktap_skip_all "it is as the stock kernels" ;;
esac

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# What the first one says of the second; the guest expands it.
# shellcheck disable=SC2016
asks='. selftests/lib.sh
wait_for 200 on_peer true
on_peer ip -o -4 address show dev eth0 | grep -o "10[0-9./]*"
ip -o -4 address show dev eth0 | grep -o "10[0-9./]*"
on_peer sh -c "exit 7"; echo "status $?"
on_peer echo "one  two" "*"
on_peer echo -n no newline; echo
on_peer seq 1 20000 | wc -l
echo -n "by TCP: "; on_peer sh -c "sleep 5 </dev/null >/dev/null 2>&1 & echo at once"
on_peer sh -c "echo WARNING: CPU: 0 PID: 1 at planted >/dev/kmsg"
on_peer cat /sys/class/net/eth0/address'

ktap_plan 5
"$TOP/selftests/lab/vm" --no-build --timeout 400 --peer 512M --log "$dir/console" -- bash -c "$asks" \
	>"$dir/out" 2>"$dir/err"
check_eq "a complaint of the other one's kernel fails the run" $? 99
check "and is shown" grep -q "the other guest's kernel .* complained" "$dir/err"
check_eq "they have addresses, and commands have outputs and statuses" "$(paste -sd, "$dir/out")" \
	"10.99.0.2/24,10.99.0.1/24,status 7,one  two *,no newline,20000,by TCP: at once,52:54:00:00:00:02"
check "the other one's console is kept" grep -q planted "$dir/console.peer"
check_fails 1 "uml can't have a peer" "User-Mode Linux has none" \
	"$TOP/selftests/lab/vm" --kernel uml --peer 512M -- true
ktap_done
