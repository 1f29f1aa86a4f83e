#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# disaggctl and targets with TLS: keys that are named, checked, changed and wrong.

set -u
# shellcheck source=selftests/lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=selftests/common.sh
. "$(dirname "$0")/../common.sh"
# shellcheck source=selftests/control/cli.sh
. "$(dirname "$0")/../control/cli.sh"
start_checker
# shellcheck source=selftests/tlsd/keys.sh
. "$(dirname "$0")/keys.sh"

D=$DISAGGCTL
mkdir -p "$WORK/target-t1"
psk_file "$WORK/target-t1/psk" node1 11 node1+2 22 other 33
start_tls_target t1 "{id: dram, class: memory, size: 64MiB}"
TLS=127.0.0.2:$(tls_port t1)
PLAIN=127.0.0.1:$(target_port t1)
psk_file "$KEYS/t1.psk" node1 11 node1+2 22
psk_file "$KEYS/bad.psk" node1 44

# security: what the record has
security()
{
	json '.targets[] | "\(.security) \(.identity) \(.reachable)"' "$D" -j target list
}

has_no_secret()
{
	! grep -rq 1111 "$DISAGG_CONFDIR/targets.d"
}

ktap_plan 27

check_fails 8 "want TLS" "without keys a target with TLS does not answer" \
	"$D" target add t1 "$TLS"
check_fails 9 "does not accept|TLS" "a wrong key is refused" \
	"$D" target add t1 "$TLS" --psk-identity node1 --psk-file bad.psk
check_fails 1 "no key for nobody" "an identity that the file lacks" \
	"$D" target add t1 "$TLS" --psk-identity nobody --psk-file t1.psk
check_fails 8 "does not speak TLS" "a target without TLS is not talked to with keys" \
	"$D" target add t1 "$PLAIN" --psk-identity node1 --psk-file t1.psk
check_fails 2 "identity and a file" "half of what a key is" \
	"$D" target add t1 "$TLS" --psk-identity node1
check_fails 2 "not both" "a key and a certificate" "$D" target add t1 "$TLS" \
	--psk-identity node1 --psk-file t1.psk --cert a --key b --ca c
check_fails 1 "No such file" "a file that is not there" \
	"$D" target add t1 "$TLS" --psk-identity node1 --psk-file none.psk
check_eq "none of them was added" "$(security)" ""

check "the right key" "$D" target add t1 "$TLS" --psk-identity node1 --psk-file t1.psk
check_eq "is shown" "$(security)" "psk node1 true"
check "in the table too" grep -q " psk " <("$D" target list)
check "the record has no secret" has_no_secret
check_eq "resources are there" "$(json '.resources | length' "$D" -j resource list)" 1
check "the same again" "$D" target add t1 "$TLS" --psk-identity node1 --psk-file "$KEYS/t1.psk"
check_fails 5 "has keys" "TLS is not given up by the way" "$D" target add t1 "$TLS" --no-check
check "other keys" "$D" target add t1 "$TLS" --psk-identity node1+2 --psk-file t1.psk
check_eq "are the ones from now on" "$(security)" "psk node1+2 true"

finding()
{
	"$D" -j doctor >"$WORK/document" 2>/dev/null
	documented doctor "$WORK/document" || return
	jq -e --arg c "$1" --arg r "$2" --arg t "$3" \
		'.checks[] | select(.check == $c and .result == $r and (.finding | test($t)))' \
		"$WORK/document" >/dev/null
}

check "doctor: the key" finding keys ok 'the key of node1\+2'
chmod 640 "$KEYS/t1.psk"
check "doctor: a key that others can read" finding keys failed 'others than its owner.*chmod 600'
check_fails 9 "others than its owner" "which is not used" "$D" node create n1 --memory 1M \
	--dry-run --target t1
chmod 600 "$KEYS/t1.psk"
chown 65534 "$KEYS/t1.psk"
check "doctor: a key of somebody else's" finding keys failed 'another user'
chown 0 "$KEYS/t1.psk"

#
# Certificates.
#
"$D" target remove t1 >/dev/null
authority ca
issue ca t2 90 "ip_address = 127.0.0.2"
issue ca node1 90
issue ca node2 3
mkdir -p "$WORK/target-t2"
start_tls_target t2 "{id: dram, class: memory, size: 64MiB}" -- \
	"tls: {certificate: $KEYS/t2.crt, key: $KEYS/t2.key, ca: $KEYS/ca.crt}"
T2=127.0.0.2:$(tls_port t2)
check "a certificate" "$D" target add t2 "$T2" --cert node1.crt --key node1.key --ca ca.crt
check_eq "is shown" "$(security)" "x509 null true"
check "doctor: its end" finding keys ok 'node1.crt expires in (89|90) days'
check_fails 9 "does not match|name in the certificate" "another name than the target's" \
	"$D" target add t3 "127.2:$(tls_port t2)" --cert node1.crt --key node1.key --ca ca.crt
"$D" target add t2 "$T2" --cert node2.crt --key node2.key --ca ca.crt >/dev/null
check "doctor: one that ends soon" finding keys warning 'node2.crt expires in [23] days'
if "$D" -j doctor 2>/dev/null | jq -e '.checks[] | select(.check == "tls" and .result == "ok")' >/dev/null; then
	check "doctor: the kernel can encrypt" finding tls ok 'can encrypt'
else
	check "doctor: the kernel can't encrypt" finding tls failed "can't encrypt"
fi
ktap_done
