#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What `make bench` runs: disagg beside nbd, nvme-tcp and bare TCP, in one guest,
# in turns. The table goes to the terminal, every single run to a file.
#
#	KERNEL=6.12 RUNS=5 RUN_MS=2000 make bench

set -euo pipefail
# shellcheck source=selftests/lab/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lab/common.sh"
die_with_parent "$@"

raw=$LAB_CACHE/bench/$(date +%Y%m%d-%H%M%S)-${KERNEL:-6.12}.tsv
mkdir -p "${raw%/*}"
printf 'round\trow\tcontestant\trequests per second\n' >"$raw"

"$LAB_DIR/vm" --kernel "${KERNEL:-6.12}" --memory 4G --timeout 3600 \
	--env RUNS="${RUNS:-5}" --env RUN_MS="${RUN_MS:-2000}" -- \
	selftests/bench/inside.py |
	awk -v raw="$raw" '/^RAW\t/ { sub(/^RAW\t/, ""); print >>raw; next } { print; fflush() }'
echo
echo "every run: $raw"
