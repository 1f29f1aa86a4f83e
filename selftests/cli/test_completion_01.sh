#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Completion in bash and zsh; the manual.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"

TOOLS=$(dirname "$0")/../../tools
MANUAL=$(dirname "$0")/../../Documentation/man/disaggctl.8
mkdir -p "$DISAGG_CONFDIR/targets.d" "$DISAGG_STATEDIR/nodes"
touch "$DISAGG_CONFDIR/targets.d/pool1.yaml" "$DISAGG_CONFDIR/targets.d/pool2.yaml" \
	"$DISAGG_STATEDIR/nodes/demo.json"

# complete WORD…: what bash offers for the last word.
complete_words()
{
	bash -c '
		. "$1/completion/disaggctl.bash" || exit
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_disaggctl
		echo "${COMPREPLY[*]}"' - "$TOOLS" "$@"
}

ktap_plan 18
check_eq "objects" "$(complete_words disaggctl '')" \
	"device doctor help lease monitor node resource target version"
check_eq "objects by their beginning" "$(complete_words disaggctl no)" node
check_eq "verbs" "$(complete_words disaggctl node '')" "attach create delete detach list resize save show"
check_eq "verbs after an option" "$(complete_words disaggctl -j target '')" "add list remove"
check_eq "words after help" "$(complete_words disaggctl help node s)" "save show"
check_eq "targets" "$(complete_words disaggctl target remove '')" "pool1 pool2"
check_eq "targets of an option" "$(complete_words disaggctl node create x --target p)" "pool1 pool2"
check_eq "nodes" "$(complete_words disaggctl node show d)" demo
check_eq "one node is enough" "$(complete_words disaggctl node show demo '')" ""
check_eq "options" "$(complete_words disaggctl node create x --m)" --memory
check_eq "options of delete" "$(complete_words disaggctl node delete --)" "--all --boot --force --help --json --pretty"
check_eq "classes" "$(complete_words disaggctl resource list --class '')" "gpu memory storage"

# Every option of every command is offered, in both shells.
options_offered()
{
	local command option commands=0

	while read -r command; do
		# shellcheck disable=SC2086 # two words
		for option in $("$DISAGGCTL" help $command | grep -oE -- '^ +--[a-z-]+') --help --json; do
			[[ " $(complete_words disaggctl $command --) " == *" $option "* ]] ||
				{ echo "bash: $command $option"; return 1; }
			grep -qF -- "$option" "$TOOLS/completion/_disaggctl" ||
				{ echo "zsh: $command $option"; return 1; }
		done
		commands=$((commands + 1))
	done < <("$DISAGGCTL" help | sed -nE 's/^  ([a-z]+( [a-z]+)?) .*/\1/p')
	[ "$commands" -eq 20 ] || { echo "$commands commands"; return 1; }
}
check "every option is offered" options_offered

# zsh_complete LINE: what zsh makes of the line when the tabulator is pressed behind it.
zsh_complete()
{
	rm -f "$WORK/line"
	# shellcheck disable=SC2016 # they are zsh's variables
	timeout 60 zsh -fc '
		zmodload zsh/zpty
		zpty z zsh -fi
		zpty -w z "said() { print -r -- \"\$BUFFER\" >$2/line; exit }; zle -N said"
		zpty -w z "bindkey \"^X\" said; bindkey \"^I\" complete-word; fpath=($1/completion \$fpath)"
		zpty -w z "autoload -Uz compinit; compinit -u -d $2/zcompdump; PS1=\"rea\"\"dy>\""
		zpty -r -m z seen "*ready>*"
		zpty -wn z "$3"$'"'\\t\\x18'"'
		while zpty -r z seen; do :; done' - "$TOOLS" "$WORK" "$1" >/dev/null 2>&1
	cat "$WORK/line"
}

zsh_completes()
{
	check_same "$(zsh_complete 'disaggctl node sho')" "disaggctl node show " &&
		check_same "$(zsh_complete 'disaggctl node show d')" "disaggctl node show demo " &&
		check_same "$(zsh_complete 'disaggctl -j node delete --force d')" \
			"disaggctl -j node delete --force demo " &&
		check_same "$(zsh_complete 'disaggctl node create x --tar')" \
			"disaggctl node create x --target "
}

check_same()
{
	[ "$1" = "$2" ] || { echo "'$1', not '$2'"; return 1; }
}

if command -v zsh >/dev/null; then
	check "zsh completes objects, names and options" zsh_completes
	check "zsh takes the script" zsh -n "$TOOLS/completion/_disaggctl"
	check "zsh loads it as a completion" zsh -fc "
		fpath=($TOOLS/completion \$fpath)
		autoload -Uz compinit && compinit -u -d $WORK/zcompdump
		[[ \${_comps[disaggctl]} == _disaggctl ]] && autoload -U +X _disaggctl"
else
	ktap_skip "zsh completes objects, names and options" "no zsh here"
	ktap_skip "zsh takes the script" "no zsh here"
	ktap_skip "zsh loads it as a completion" "no zsh here"
fi
if command -v mandoc >/dev/null; then
	check "the manual has no mistakes" mandoc -T lint -W warning "$MANUAL"
else
	ktap_skip "the manual has no mistakes" "no mandoc here"
fi
commands_in_manual()
{
	local command commands

	mapfile -t commands < <("$DISAGGCTL" help | sed -En 's/^  ([a-z]+( [a-z]+)?) .*/\1/p')
	[ ${#commands[@]} -ge 20 ] || { echo "only: ${commands[*]}"; return 1; }
	for command in "${commands[@]}"; do
		grep -qE "^\.It Cm $command( |$)" "$MANUAL" || { echo "$command is missing"; return 1; }
	done
}
check "every command is in the manual" commands_in_manual
ktap_done
