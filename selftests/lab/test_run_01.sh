#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The runner itself: what counts as passed, failed and skipped, its last line and its
# status. On a checkout that has suites made for it.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

[ "${KERNEL:-none}" = none ] || ktap_skip_all "it has to do with no kernel"
dir=$(mktemp -d)
cache=${DISAGG_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/disagg-lab}
trap 'rm -rf "$dir" "$cache/logs/check-$(basename "$dir")-"*' EXIT
mkdir "$dir/selftests"
cp -a "$TOP"/selftests/{run,lib.sh,lab} "$dir/selftests"
unset DISAGG_CHECKOUT SUITE KERNEL TEST JOBS V TIMEOUT UNTIL

# script SUITE NAME LINE…: a test that prints these; the last may be a command.
script()
{
	local suite=$1 file=$dir/selftests/$1/test_$2.sh

	shift 2
	mkdir -p "$dir/selftests/$suite"
	printf 'where=host\nkernels=none\nbuild=no\ntimeout=5\n' >"$dir/selftests/$suite/settings"
	{ echo '#!/bin/sh'; printf '%s\n' "$@"; } >"$file"
	chmod +x "$file"
}

script good two 'printf "1..2\nok 1 a\nok 2 - b\n"'
script good one 'printf "TAP version 13\nok 1 c\nok 2 d # SKIP why not\n1..2\n"'
script good none 'printf "1..0 # SKIP not here\n"; exit 4'
script bad not_ok 'printf "1..2\nok 1 a\nnot ok 2 b\n"; exit 1'
script bad no_plan 'printf "ok 1 a\n"'
script bad short 'printf "1..2\nok 1 a\n"'
script bad status 'printf "1..1\nok 1 a\n"; exit 3'
script bad hangs 'printf "1..1\nok 1 a\n"; sleep 600'
script bad says_nothing 'true'
script bad bails_out 'printf "1..1\nBail out! no memory\n"'
script waits some 'printf "1..1\nok 1 a\n"'
echo waits=yes >>"$dir/selftests/waits/settings"
for name in slow sloth; do
	script $name some 'sleep 2' 'printf "1..1\nok 1 a\n"'
done

# run VARIABLE=VALUE…: its status and last line.
run()
{
	env "$@" "$dir/selftests/run" >"$dir/out" 2>&1
	echo "$? $(tail -n 1 "$dir/out")"
}

# What is said to have failed.
failures()
{
	sed -n '/^--- failures:$/,/^--- [0-9]* s; /p' "$dir/out" | sed '1d;$d' |
		sed -n 's/^bad test_\([a-z_]*\)\.sh.*/\1/p' | sort | paste -sd' '
}

# One that is for a kernel, too, if that is there.
script built some 'printf "1..1\nok 1 a\n"'
printf 'kernels=6.12\nnamed=uml\nbuilt=uml\n' >>"$dir/selftests/built/settings"
mkdir -p "$dir/cache" "$dir/uml"
ln -s "$cache/roots" "$dir/cache/roots"
echo 1.2.3 >"$dir/uml/version"

ALL_BAD="bails_out hangs no_plan not_ok says_nothing short status"
ktap_plan 19
check_eq "a suite that passes" "$(run SUITE=good)" "0 3 passed, 0 failed, 2 skipped"
check_eq "one that does not" "$(run SUITE=bad)" "1 5 passed, 7 failed, 0 skipped"
check_eq "and what of it" "$(failures)" "$ALL_BAD"
check_eq "several at a time" "$(run SUITE=good,bad,waits)" "1 9 passed, 7 failed, 2 skipped"
check_eq "which have the same failures" "$(failures)" "$ALL_BAD"
check_eq "one test of one" "$(run SUITE=good TEST='test_t*')" "0 2 passed, 0 failed, 0 skipped"
check_eq "one that is for a kernel that is not built" \
	"$(run SUITE=built DISAGG_LAB_CACHE="$dir/cache")" "0 1 passed, 0 failed, 1 skipped"
printf '#!/bin/sh\necho "%s"\n' "$dir/uml" >"$dir/selftests/lab/kernel"
check_eq "and one that is" "$(run SUITE=built,good)" "0 5 passed, 0 failed, 2 skipped"
check_eq "but it comes last" \
	"$(sed -n 's/^\.\.\. //p' "$dir/out" | tail -n 1)" "built uml"
check_eq "and not when all else has taken too long" "$(run SUITE=built,slow,sloth UNTIL=01)" \
	"0 3 passed, 0 failed, 1 skipped"
check "which is said" grep -q "skipped  built uml (.* have passed, more than UNTIL=1" "$dir/out"
check_eq "one by one, too, but nothing else" "$(run SUITE=built,slow,sloth JOBS=1 UNTIL=1)" \
	"0 3 passed, 0 failed, 1 skipped"
check_eq "unless it may take as long as it takes" "$(run SUITE=built,slow JOBS=1 UNTIL=0)" \
	"0 3 passed, 0 failed, 0 skipped"
check_eq "or has been named" "$(run SUITE=built,slow KERNEL=6.12,uml JOBS=1 UNTIL=1)" \
	"0 3 passed, 0 failed, 0 skipped"
echo "exit 1" >>"$dir/selftests/lab/kernel"
check_eq "and one of which nobody knows" "$(run SUITE=built)" "1 1 passed, 1 failed, 0 skipped"
check_eq "no test at all" "$(run SUITE=good TEST=test_no)" "1 0 passed, 1 failed, 0 skipped"
check_fails 1 "no suite god" "a suite that is not there" env SUITE=god "$dir/selftests/run"
check_fails 1 "UNTIL=soon: not a number" "no time" env UNTIL=soon "$dir/selftests/run"
check_fails 1 "kernel 6.13" "a kernel that is not there" env KERNEL=6.13 "$dir/selftests/run"
ktap_done
