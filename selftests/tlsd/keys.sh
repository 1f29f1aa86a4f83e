# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Targets with TLS, and keys for them, after lib.sh and common.sh. A target has TLS at
# 127.0.0.2 and plaintext at 127.0.0.1.

KEYS=$DISAGG_CONFDIR/keys
mkdir -p "$KEYS"

# psk_line IDENTITY BYTE: a key of 32 such bytes.
psk_line()
{
	printf '%s:' "$1"
	printf "$2%.0s" {1..32}
	echo
}

# psk_file FILE IDENTITY BYTE…: a file of these keys.
psk_file()
{
	local file=$1

	shift
	: >"$file.new"
	chmod 600 "$file.new"
	while [ $# -gt 0 ]; do
		psk_line "$1" "$2" >>"$file.new"
		shift 2
	done
	mv "$file.new" "$file"
}

# private_key NAME: in $KEYS/NAME.key.
private_key()
{
	certtool --generate-privkey --key-type ecdsa --curve secp256r1 --outfile "$KEYS/$1.key" \
		2>>"$WORK/certtool.log" && chmod 600 "$KEYS/$1.key"
}

# authority NAME: a CA of that name, in $KEYS/NAME.crt and .key.
authority()
{
	printf '%s\n' "cn = $1" "expiration_days = 90" ca cert_signing_key >"$WORK/cfg"
	private_key "$1" && certtool --generate-self-signed --template "$WORK/cfg" \
		--load-privkey "$KEYS/$1.key" --outfile "$KEYS/$1.crt" 2>>"$WORK/certtool.log"
}

# issue CA NAME DAYS LINE…: $KEYS/NAME.crt and .key of that CA, with these LINEs in certtool's
# template.
issue()
{
	local ca=$1 name=$2 days=$3

	shift 3
	printf '%s\n' "cn = $name" "expiration_days = $days" "$@" >"$WORK/cfg"
	private_key "$name" && certtool --generate-certificate --template "$WORK/cfg" \
		--load-privkey "$KEYS/$name.key" --load-ca-certificate "$KEYS/$ca.crt" \
		--load-ca-privkey "$KEYS/$ca.key" --outfile "$KEYS/$name.crt" 2>>"$WORK/certtool.log"
}

# start_tls_target NAME RESOURCE… [-- LINE…]: with $WORK/target-NAME/psk as its keys,
# which must be there; it is not added to this host.
start_tls_target()
{
	local dir=$WORK/target-$1

	configure_target "$@"
	sed -i "s|^listen:.*|listen:\n- {address: 127.0.0.2:0, tls: yes}\n- 127.0.0.1:0|" \
		"$dir/disaggd.yaml"
	grep -q '^tls:' "$dir/disaggd.yaml" || echo "tls: {psk-file: $dir/psk}" >>"$dir/disaggd.yaml"
	run_target "$1"
	sed -i "s/127\.0\.0\.2:0/127.0.0.2:$(tls_port "$1")/" "$dir/disaggd.yaml"
}

tls_port()
{
	sed -n 's/.*listening for TLS on 127\.0\.0\.2 port \([0-9]*\)$/\1/p' \
		"$WORK/target-$1/log" | tail -n 1
}
