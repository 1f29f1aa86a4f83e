#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Asks the compiler what this kernel has, and writes the answers as a header:
#
#   probe.sh OUTPUT KERNELRELEASE COMPILER [FLAGS...]
#
# Called by Kbuild. Versions alone lie (distributions backport), so each probe
# compiles a few lines; the note says which release of mainline brought it.

set -eu

out=$1
release=$2
shift 2

stamp="/* $release, $(cksum <"$0") */"
if [ -e "$out" ] && [ "$(head -n 1 "$out")" = "$stamp" ]; then
	exit 0
fi

dir=$(dirname "$out")
work=$dir/probe.$$
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

# probe NAME INCLUDES STATEMENT, run side by side: each writes its own answer.
probe() {
	{
		printf '%s\n' '#include <linux/module.h>'
		for header in $2; do
			printf '#include <%s>\n' "$header"
		done
		printf 'void disagg_probe(void);\nvoid disagg_probe(void)\n{\n%s\n}\n' "$3"
	} >"$work/$1.c"
	{
		if $compile "$work/$1.c" >"$work/$1.log" 2>&1; then
			echo "#define DISAGG_HAVE_$1 1" >"$work/$1.def"
		else
			echo "/* DISAGG_HAVE_$1 is not set */" >"$work/$1.def"
		fi
	} &
}

compile="$* -DKBUILD_MODNAME=\"disagg\" -DKBUILD_BASENAME=\"probe\" -DMODULE -Wno-unused -Wno-error
	-Werror=implicit-function-declaration -Werror=incompatible-pointer-types
	-Werror=int-conversion -fsyntax-only"

# What every kernel compiles: if this fails the flags are wrong, not the kernel.
probe COMPILER "linux/types.h" "u32 x = 0; (void)x;"

# 6.2: commands carry their do and dump halves apart, with a policy each.
probe GENL_SPLIT_OPS "net/genetlink.h" \
	"struct genl_family f; (void)f.n_split_ops;"

# 6.11: blk_mq_alloc_disk() takes queue_limits, which carry features.
probe QUEUE_LIMITS_FEATURES "linux/blk-mq.h" \
	"struct queue_limits l = { .features = BLK_FEAT_WRITE_CACHE };
	struct blk_mq_tag_set *s = NULL;
	(void)blk_mq_alloc_disk(s, &l, NULL);"

# 6.5: sockets take pages by reference with MSG_SPLICE_PAGES. Debian's 6.1
# defines the flag but does nothing with it, so ask for what honours it.
probe SPLICE_PAGES "linux/skbuff.h linux/socket.h" \
	"(void)skb_splice_from_iter; (void)MSG_SPLICE_PAGES;"

# Until 6.14 a tag set had to ask for merging.
probe SHOULD_MERGE "linux/blk-mq.h" \
	"(void)BLK_MQ_F_SHOULD_MERGE;"

# 6.5: open() of a disk is given the disk.
probe OPEN_GENDISK "linux/blkdev.h" \
	"struct block_device_operations o;
	int (*open)(struct gendisk *, blk_mode_t) = o.open; (void)open;"

# 6.2: a socket can be told not to use the task's page fragment.
probe SK_USE_TASK_FRAG "net/sock.h" \
	"struct sock *sk = NULL; sk->sk_use_task_frag = false;"

# Until 6.2 it is a queue, not a set of tags, whose quiescing is waited for.
probe QUIESCE_OF_QUEUE "linux/blk-mq.h" \
	"void (*done)(struct request_queue *q) = blk_mq_wait_quiesce_done; (void)done;"

wait

if ! grep -q 1 "$work/COMPILER.def"; then
	echo "disagg: the compile probes cannot compile anything:" >&2
	cat "$work/COMPILER.log" >&2
	exit 1
fi

{
	echo "$stamp"
	cat "$work"/*.def
} >"$work/config"
mv "$work/config" "$out"
