#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Node files: what is read, what is refused, and on which line; what is written.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/../control/cli.sh"

start_checker
D=$DISAGGCTL
FILES=$DISAGG_CONFDIR/nodes.d
mkdir -p "$FILES" "$DISAGG_STATEDIR/nodes"

# file LINE…: the lines below "spec:", which is the 4th.
file()
{
	{
		printf 'apiVersion: disagg/v1\nkind: Node\nmetadata: {name: n1}\nspec:\n'
		printf '  %s\n' "$@"
	} >"$FILES/n1.yaml"
}

# refused LINE PATTERN NAME: the present file is.
refused()
{
	check_fails 2 "n1.yaml:$1: .*$2" "$3" "$D" node attach n1
}

# accepted NAME: all that is wrong is that there is no module here.
accepted()
{
	check_fails any 'cannot load modules|not installed|no target|root' "$1" "$D" node attach n1
}

# LINE PATTERN | what comes after "spec:", lines parted by ;
REFUSED='5 no.key.mem |mem: {size: 1GiB}
5 no.key.gpus |gpus: {count: 4}
6 twice |memory: {size: 1GiB};memory: {size: 2GiB}
5 lacks.size |memory: {name: m}
5 no.key.szie |memory: {szie: 1GiB}
5 two.things |memory: {size: 1KB}
5 name |memory: {size: 1GiB, name: "../x"}
5 expected.block |memory: {size: 1GiB, use: swap}
6 called.a |memory: [{name: a, size: 1M}];storage: [{name: a, size: 1M}]
5 multiple.of.the.block |memory: {size: 6KiB}
6 512 |memory: {size: 1M};blockSize: 1000
6 1.to.64 |memory: {size: 1M};lanes: 65
6 1.to.1024 |memory: {size: 1M};depth: -1
6 yes.or.no |memory: {size: 1M};crc: maybe
6 100ms.to.1h |memory: {size: 1M};ioTimeout: 1ms
6 49.days |memory: {size: 1M};failFast: 60d
6 rollback |memory: {size: 1M};onFailure: degrade
6 expected.a.name |memory: {size: 1M};target: [a]
5 no.devices |lanes: 2
5 KEY |memory: 1GiB'

ktap_plan $(($(wc -l <<<"$REFUSED") + 19))
while IFS='|' read -r want lines; do
	IFS=';' read -ra lines <<<"$lines"
	file "${lines[@]}"
	read -r line pattern <<<"$want"
	refused "$line" "$pattern" "refused: ${lines[*]}"
done <<<"$REFUSED"

file 'memory: {size: 1GiB}' 'storage: [{name: scratch, size: 1.5TiB, use: block}, {size: 4G}]' \
	'lease: 8h' 'target: t1' 'lanes: 2' 'depth: 16' 'blockSize: 512' 'ioTimeout: 500ms' \
	'failFast: 0' 'deadAfter: never' 'readOnly: no' 'crc: true' 'onFailure: rollback'
accepted "all keys at once"
sed -i 's/name: n1/name: n2/' "$FILES/n1.yaml"
refused 3 'node n1' "another node's name"
file 'memory: {size: 1GiB}'
sed -i 's/v1$/v2/' "$FILES/n1.yaml"
refused 1 'disagg/v1' "another version"
sed -i 1d "$FILES/n1.yaml"
refused 1 apiVersion "no version"
: >"$FILES/n1.yaml"
refused 1 empty "an empty file"
file 'memory: {size: 1GiB' ; refused '[0-9]*' . "no YAML"
file 'memory: {size: 1GiB}'
printf -- '---\nmore: 1\n' >>"$FILES/n1.yaml"
refused 7 'second document' "a second document"
file 'memory: &m {size: 1M}' 'storage: *m'
accepted "an alias is what it stands for"
file "memory: [$(printf '{size: 1M},%.0s' {1..64})]"
accepted "64 devices"
file "memory: [$(printf '{size: 1M},%.0s' {1..65})]"
refused 5 'at most 64' "65 devices"
check_fails 3 'no node n9' "neither a record nor a file" "$D" node attach n9
check_fails 3 'no node \.\./n1' "no way out of the folder" "$D" node attach ../n1

# A record as node create leaves it.
device()
{
	jq -n --arg name "$1" --arg class "$2" --argjson size "$3" '{name: $name, class: $class, size: $size,
		block_size: 4096, target: "t1", host: "h", port: 1, resource: "r", step: "committed",
		txid: "00000000-0000-4000-8000-00000000000f", lease: "00000000-0000-4000-8000-00000000000e",
		generation: 1, token: ("0" * 64), max_lanes: 4, lanes: 2, depth: 128,
		io_timeout_ms: 1500, fail_fast_ms: 0, dead_after_ms: 4294967295, epoch: 0,
		lease_ns: 3600000000000, read_only: true, crc: false}'
}
jq -n --argjson a "$(device mem0 memory 1610612736)" --argjson b "$(device disk0 storage 4096)" \
	'{schema: 1, name: "n1", state: "up", pid: 0, created_ns: 1, devices: [$a, $b]}' \
	>"$DISAGG_STATEDIR/nodes/n1.json"
check "save replaces the file" "$D" node save n1
check_eq "it has what the record has" "$(grep -v '^#' "$FILES/n1.yaml" | paste -sd'|' | tr -d ' ')" \
	'apiVersion:disagg/v1|kind:Node|metadata:{name:"n1"}|spec:|memory:|-{name:"mem0",size:1536MiB}|storage:|-{name:"disk0",size:4KiB}|lanes:2|ioTimeout:1500ms|failFast:0|lease:3600s|readOnly:yes'
sed -i 's/^spec:/spec:\n  target: t1/' "$FILES/n1.yaml"
check "save again, as a document" valid node-save "$D" -j node save n1
check "keeps the target that was asked for" grep -q '^  target: "t1"$' "$FILES/n1.yaml"
rm "$DISAGG_STATEDIR/nodes/n1.json"
accepted "what was written can be read"
check_fails 3 'no node n1' "without a record there is nothing to save" "$D" node save n1
start_target t1 "{id: dram, class: memory, size: 64MiB}"
rm "$FILES/n1.yaml"
check_eq "a dry run writes nothing" \
	"$("$D" node create n1 --memory 1M --persist --dry-run >/dev/null && ls "$FILES")" ""
ktap_done
