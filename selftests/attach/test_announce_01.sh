#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A Debian with systemd whose nodes had been given up, and come when their target
# announces itself, or when there is room again.

set -euo pipefail
LAB=$(cd "$(dirname "$0")" && pwd)/../lab

exec "$LAB/vm" --kernel "${KERNEL:-6.12}" --systemd --timeout "${BOOT_TIMEOUT:-400}" -- \
	selftests/attach/inside/announce
