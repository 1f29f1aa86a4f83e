# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# bash completion for disaggctl(8)

# Names of targets and nodes come from the records: nobody is asked anything.
_disaggctl_names()
{
	local file

	for file in "$1"/*"$2"; do
		[[ -e $file ]] || continue
		file=${file##*/}
		echo "${file%"$2"}"
	done
}

_disaggctl_nodes()
{
	_disaggctl_names "${DISAGG_STATEDIR:-/var/lib/disagg}/nodes" .json
	_disaggctl_names /dev/disagg ''
}

_disaggctl_devices()
{
	local path

	for path in /dev/disagg/*/*; do
		[[ -e $path && $path != *-part* ]] && echo "${path#/dev/disagg/}"
	done
}

_disaggctl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local word words=() choices='' help=

	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
		if [[ $word == help && ${#words[@]} -eq 0 && -z $help ]]; then
			help=1
		elif [[ $word != -* ]]; then
			words+=("$word")
		fi
	done

	case $prev in
	--target) choices=$(_disaggctl_names "${DISAGG_CONFDIR:-/etc/disagg}/targets.d" .yaml) ;;
	--class) choices='memory storage gpu' ;;
	--block-size) choices='512 1024 2048 4096' ;;
	--lanes) choices='1 2 4 8' ;;
	--io-timeout) choices='1s 10s 30s 60s' ;;
	--fail-fast | --dead-after) choices='0 10s 60s 1h never' ;;
	--lease) choices='1h 8h 1d' ;;
	--wait) choices='30s 5m 1h' ;;
	--psk-file | --cert | --key | --ca)
		choices=$(_disaggctl_names "${DISAGG_CONFDIR:-/etc/disagg}/keys" '') ;;
	--memory | --storage | --depth | --psk-identity) return ;;
	*)
		case ${words[*]:0:2} in
		'')
			choices='target resource lease node device monitor doctor version'
			[[ $help ]] || choices+=' help'
			;;
		target) choices='add list remove' ;;
		resource | lease) choices=list ;;
		node) choices='create list show delete attach detach save resize' ;;
		device) choices='list show stats set' ;;
		'target remove')
			[[ ${#words[@]} -gt 2 ]] || choices=$(_disaggctl_names \
				"${DISAGG_CONFDIR:-/etc/disagg}/targets.d" .yaml)
			;;
		'node show' | 'node delete' | 'node detach' | 'node save')
			[[ ${#words[@]} -gt 2 ]] || choices=$(_disaggctl_nodes)
			;;
		'node attach')
			[[ ${#words[@]} -gt 2 ]] || choices=$(
				_disaggctl_nodes
				_disaggctl_names "${DISAGG_CONFDIR:-/etc/disagg}/nodes.d" .yaml
			)
			;;
		'node resize')
			case ${#words[@]} in
			2) choices=$(_disaggctl_nodes) ;;
			3) choices=$(_disaggctl_names "/dev/disagg/${words[2]}" '') ;;
			esac
			;;
		'device show' | 'device stats' | 'device set')
			[[ ${#words[@]} -gt 2 ]] || choices=$(_disaggctl_devices)
			;;
		esac
		if [[ $help && ${#words[@]} -gt 1 ]]; then
			choices=
		fi
		if [[ $cur == -* ]]; then
			choices='--json --pretty --help'
			case ${words[*]:0:2} in
			'target add') choices+=' --no-check --psk-identity --psk-file --cert --key --ca' ;;
			'target list') choices+=' --no-check' ;;
			'resource list') choices+=' --target --class' ;;
			'lease list') choices+=' --target' ;;
			'node create')
				choices+=' --memory --storage --target --lanes --depth --block-size'
				choices+=' --io-timeout --fail-fast --dead-after --lease --read-only'
				choices+=' --crc --dry-run --persist'
				;;
			'node delete') choices+=' --force --all --boot' ;;
			'node attach') choices+=' --wait --boot --replace-lost' ;;
			'node detach') choices+=' --force --missing-ok' ;;
			'device stats') choices+=' --watch' ;;
			'device set') choices+=' --io-timeout --fail-fast --dead-after' ;;
			esac
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur" | sort -u)
}

complete -F _disaggctl disaggctl
