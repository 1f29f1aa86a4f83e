#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The grammar: help, words that are almost right, tables that fit.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/../control/cli.sh"

D=$DISAGGCTL
LONG=a123456789b123456789c1234567890
start_checker
start_target $LONG "{id: $LONG, class: memory, size: 512MiB}"
start_fake t2 inventory $LONG:memory:1023 $LONG:storage:99999

ktap_plan 42

# Help for everything, on stdout, and it names every option that the manual has.
check "help" narrow "$D" help
check "--help" narrow "$D" --help
for object in target resource lease node device; do
	check "help $object" narrow "$D" help $object
done
commands_of_help()
{
	"$D" help | sed -nE 's/^  ([a-z]+( [a-z]+)?) .*/\1/p'
}
options_documented()
{
	local command option

	while read -r command; do
		# shellcheck disable=SC2086 # two words
		for option in $("$D" help $command | grep -oE -- '^ +--[a-z-]+'); do
			grep -qF -- "Fl -${option#--}" "$(dirname "$0")/../../Documentation/man/disaggctl.8" ||
				{ echo "$command: $option is not in the manual"; return 1; }
		done
	done < <(commands_of_help)
}
check_eq "help names every command" "$(commands_of_help | wc -l)" 20
check "options of every command are in the manual" options_documented
check_eq "--help after a command is that command's" "$("$D" node create --help)" \
	"$("$D" help node create)"

check_fails 2 'did you mean node\?' "a word almost right" "$D" nod list
check_fails 2 'did you mean resource\?' "a plural" "$D" resources list
check_fails 2 'did you mean list\?' "a verb almost right" "$D" node lsit
check_fails 2 'did you mean create\?' "the beginning of a verb" "$D" node cre
check_fails 2 'did you mean memory\?' "an option almost right" "$D" node create x --memroy 1G
check_fails 2 'unknown command: frobnicate' "a word far off" "$D" frobnicate
check_fails 2 'One of: add, list, remove' "no verb" "$D" target
check_fails 2 'disaggctl help' "nothing at all" "$D"
check_fails 2 'missing: NAME' "no argument" "$D" node show
check_fails 2 'one argument too many: b' "an argument too many" "$D" node show a b
check_fails 2 '--memory needs its SIZE' "an option without its value" "$D" node create x --memory
check_fails 2 '--crc takes no value' "a flag with a value" "$D" node create x --crc=1
check_fails 2 'unknown option: -z' "an unknown letter" "$D" -z node list
check_fails 2 '-V is a command by itself' "-V twice" "$D" -V -V
check "an error under -j is a document" valid_error 2 "$D" -j nod list
check "whatever bytes it is about" valid_error 2 "$D" -j $'nod\xffé' list
check "in UTF-8" grep -q 'nod?é' <(iconv -f UTF-8 -t UTF-8 "$WORK/document")
check "also if -j comes last" valid_error 2 "$D" node lsit -j

check_fails 2 'size of zero' "a size of zero" "$D" node create x --memory 0
check_fails 2 'too large' "a size beyond 64 bits" "$D" node create x --memory 99999999999G
check_fails 2 'multiple of the block size' "a size that is no multiple" "$D" node create x --memory 4097
check_fails 2 'KiB' "an ambiguous unit" "$D" node create x --memory 1GB
check_fails 2 'no devices' "a node without devices" "$D" node create x
check_fails 2 'no name' "a bad name" "$D" node create ../x --memory 1M
check_fails 2 '512, 1024' "a block size that is no power of two" "$D" node create x --memory 3M --block-size 1536
check_fails 2 '1 to 64' "too many lanes" "$D" node create x --memory 1M --lanes 65
check_fails 2 '100ms to 1h' "a timeout too short" "$D" node create x --memory 1M --io-timeout 1ms

# Names of 31 characters everywhere. Nodes and devices: suite control.
for list in "target list" "resource list" "lease list --target $LONG" \
	"node create $LONG --memory 64MiB,9MiB --storage 1GiB --dry-run"; do
	# shellcheck disable=SC2086 # several words
	check "${list%% "$LONG"*} fits 100 columns" narrow "$D" $list
done
check "no colour, no control characters" \
	bash -c "! { $D help; $D target list; $D resource list; } | grep -qP '[^\\x20-\\x7e]'"
ktap_done
