#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# node create --persist, save, attach, detach, and delete --all: leases, files,
# data and the registry of who attached what.

set -euo pipefail
LAB=$(cd "$(dirname "$0")" && pwd)/../lab

exec "$LAB/vm" --kernel "${KERNEL:-6.12}" -- selftests/attach/inside/verbs
