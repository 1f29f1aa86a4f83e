#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Where a root would come from: however this host's apt names Debian's archive, and
# whatever it knows of it yet.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"

[ "${KERNEL:-none}" = none ] || ktap_skip_all "it has to do with no kernel"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# apt_of URI: the settings of an apt that has its archive from there, and has read nothing.
apt_of()
{
	rm -rf "$dir/apt"
	mkdir -p "$dir"/apt/{lists/partial,parts}
	# Whoever reads them may be apt's own user.
	chmod 755 "$dir"
	cat >"$dir/apt/conf" <<-EOS
	Dir::State::Lists "$dir/apt/lists";
	Dir::Etc::SourceList "$dir/apt/sources.list";
	Dir::Etc::SourceParts "$dir/apt/parts";
	Acquire::Languages "none";
	APT::Sandbox::User "root";
	EOS
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $1 bookworm main" \
		>"$dir/apt/sources.list"
}

mirror()
{
	APT_CONFIG=$dir/apt/conf "$TOP/selftests/lab/root" --mirror 2>"$dir/said"
}

own=$("$TOP/selftests/lab/root" --mirror)
apt_of "$own"
APT_CONFIG=$dir/apt/conf apt-get -q update >"$dir/said" 2>&1 ||
	ktap_skip_all "the archive cannot be read: $(tail -n 1 "$dir/said")"
ktap_plan 5
check "this host has an archive" test -n "$own"
apt_of "$own"
check_eq "apt's lists are read where there are none" "$(mirror)" "$own"
check_eq "once" "$(mirror; cat "$dir/said")" "$own"
printf '# of mirrors\n\n%s\tpriority:1\n' "$own" >"$dir/mirrors"
apt_of "mirror+file:$dir/mirrors"
check_eq "a list of mirrors is looked into" "$(mirror)" "$own"
: >"$dir/apt/sources.list"
rm -rf "$dir"/apt/lists/*
check_fails 1 "no Debian archive configured" "none at all is refused" \
	env APT_CONFIG="$dir/apt/conf" "$TOP/selftests/lab/root" --mirror
ktap_done
