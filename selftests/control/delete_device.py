#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""delete_device.py NODE DEVICE: by netlink, past disaggctl and its records."""
import sys

from nl import C, Netlink, text

Netlink().call(C["DISAGG_CMD_DEVICE_DEL"], text(C["DISAGG_A_DEVICE_NODE"], sys.argv[1]) +
               text(C["DISAGG_A_DEVICE_NAME"], sys.argv[2]))
