#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""flood_events.py NODE DEVICE COUNT: change a device COUNT times, an event each."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../control"))
from nl import C, Netlink, text, u32  # noqa: E402

node, device, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
nl = Netlink()
for i in range(count):
    nl.call(C["DISAGG_CMD_DEVICE_SET"], text(C["DISAGG_A_DEVICE_NODE"], node) +
           text(C["DISAGG_A_DEVICE_NAME"], device) +
           u32(C["DISAGG_A_DEVICE_IO_TIMEOUT"], 30000 + i % 2))
