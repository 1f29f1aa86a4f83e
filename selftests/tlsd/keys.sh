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

# start_tls_target NAME RESOURCE… [-- LINE…]: with $WORK/target-NAME/psk as its keys,
# which must be there; it is not added to this host.
start_tls_target()
{
	local dir=$WORK/target-$1

	configure_target "$@"
	sed -i "s|^listen:.*|listen:\n- 127.0.0.1:0\n- {address: 127.0.0.2:0, tls: yes}|" \
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
