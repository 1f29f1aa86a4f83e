#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Events come in the order of what they tell; dumps survive concurrent change."""

import subprocess
import sys
import threading
import time

from nl import C, Netlink, Results, Target, attr, flag, string, text, u32, u64

D = {k[len("DISAGG_A_DEVICE_"):]: v for k, v in C.items() if k.startswith("DISAGG_A_DEVICE_")}
CMD = {k[len("DISAGG_CMD_"):]: v for k, v in C.items() if k.startswith("DISAGG_CMD_")}
NAME = C["DISAGG_A_NODE_NAME"]
FORCE = C["DISAGG_A_NODE_FORCE"]
MIB = 1 << 20


def add_device(nl, target, node, name, more=b""):
    sock = target.lane()
    lane = u32(C["DISAGG_A_LANE_INDEX"], 0) + u32(C["DISAGG_A_LANE_FD"], sock.fileno())
    nl.call(CMD["DEVICE_NEW"], text(D["NODE"], node) + text(D["NAME"], name) +
            u32(D["KIND"], 0) + u32(D["CLASS"], 0) + u64(D["SIZE"], 16 * MIB) +
            u32(D["BLOCK_SIZE"], 4096) + u64(D["FEATURES"], 0) + attr(D["LEASE"], f"{node}/{name}".encode().ljust(16)[:16]) +
            u64(D["GENERATION"], 1) + u32(D["MAX_PAYLOAD"], MIB) + u32(D["DEPTH"], 16) +
            attr(D["LANE"] | 0x8000, lane) + more)
    sock.close()


def events(t, nl, target):
    """Each change has its event, and in order."""
    ears = Netlink()
    ears.join("events")
    node, name = text(D["NODE"], "e"), text(D["NAME"], "mem0")
    nl.call(CMD["NODE_NEW"], text(NAME, "e"))
    add_device(nl, target, "e", "mem0")
    nl.call(CMD["DEVICE_SET"], node + name + u64(D["SIZE"], 32 * MIB))
    subprocess.run(["udevadm", "settle"], check=False)
    nl.call(CMD["DEVICE_SET"], node + name + u32(D["FAIL_FAST"], 5000))
    # The target goes: nothing was asked for, the event comes by itself.
    target.accepted[-1].shutdown(2)
    want = [("NODE_NEW_NTF", {NAME: b"e\0"}), ("DEVICE_NEW_NTF", {D["NAME"]: b"mem0\0"}),
            ("DEVICE_CHANGE_NTF", {D["SIZE"]: (32 * MIB).to_bytes(8, "little")}),
            ("DEVICE_CHANGE_NTF", {D["FAIL_FAST"]: (5000).to_bytes(4, "little")}),
            ("LINK_CHANGE_NTF", {D["STATE"]: C["DISAGG_DEVICE_STATE_DEAD"].to_bytes(4, "little")}),
            ("DEVICE_CHANGE_NTF",
             {D["STATE"]: C["DISAGG_DEVICE_STATE_REMOVING"].to_bytes(4, "little")}),
            ("DEVICE_DEL_NTF", {D["NAME"]: b"mem0\0"}), ("NODE_DEL_NTF", {NAME: b"e\0"})]
    for i, (command, members) in enumerate(want):
        if i == 5:
            nl.call(CMD["NODE_DEL"], text(NAME, "e") + flag(FORCE))
        got, said = ears.event()
        said = dict(said)
        t.check(f"event {command}", got == CMD[command] and
                all(said.get(k) == v for k, v in members.items()), (got, said))


def lost_and_found(t, nl, target):
    """A link that is kept: it breaks, and has another connection."""
    ears = Netlink()
    nl.call(CMD["NODE_NEW"], text(NAME, "k"))
    add_device(nl, target, "k", "mem0", u32(D["DEAD_AFTER"], 0xffffffff))
    subprocess.run(["udevadm", "settle"], check=False)
    ears.join("events")
    target.accepted[-1].shutdown(2)
    for state in ("LOST", "LIVE"):
        if state == "LIVE":
            sock = target.lane()
            lane = (u32(C["DISAGG_A_LANE_INDEX"], 0) + u32(C["DISAGG_A_LANE_GENERATION"], 1) +
                    u32(C["DISAGG_A_LANE_FD"], sock.fileno()))
            nl.call(CMD["DEVICE_SET"], text(D["NODE"], "k") + text(D["NAME"], "mem0") +
                    attr(D["LANE"] | 0x8000, lane))
            sock.close()
        got, said = ears.event()
        number = C["DISAGG_DEVICE_STATE_" + state].to_bytes(4, "little")
        t.check(f"event LINK_CHANGE_NTF, {state.lower()}", got == CMD["LINK_CHANGE_NTF"] and
                dict(said)[D["STATE"]] == number, (got, said))
    nl.call(CMD["NODE_DEL"], text(NAME, "k") + flag(FORCE))


def dumps(t, target):
    """While nodes and devices come and go, those that stay are in every whole dump."""
    nl = Netlink()
    stay = [f"stay{i:02}" for i in range(40)]
    for name in stay:
        nl.call(CMD["NODE_NEW"], text(NAME, name))
    add_device(nl, target, "stay00", "mem0")
    stop = threading.Event()
    changes = [0]

    def churn():
        mine = Netlink()
        while not stop.is_set():
            mine.call(CMD["NODE_NEW"], text(NAME, "comes-and-goes"))
            add_device(mine, target, "comes-and-goes", "mem0")
            mine.call(CMD["NODE_DEL"], text(NAME, "comes-and-goes") + flag(FORCE))
            changes[0] += 1

    thread = threading.Thread(target=churn)
    thread.start()
    whole = wrong = interrupted = 0
    devices = True
    end = time.monotonic() + 60
    while whole < 100 or changes[0] <= 5 and time.monotonic() < end:
        nodes = [string(dict(m)[NAME]) for m in nl.call(CMD["NODE_GET"], dump=True)]
        interrupted += nl.interrupted
        whole += 1
        kept = [n for n in nodes if n != "comes-and-goes"]
        wrong += sorted(kept) != stay
        found = [string(dict(m)[D["NODE"]]) for m in nl.call(CMD["DEVICE_GET"], dump=True)]
        devices &= found.count("stay00") == 1
    stop.set()
    thread.join()
    t.check("nodes came and went meanwhile", changes[0] > 5, changes)
    t.check("each dump has every node that stayed, once", wrong == 0, wrong)
    t.check("and the device that stayed", devices)
    print(f"# {changes[0]} changes, {interrupted} of {whole} dumps were marked as interrupted")
    for name in stay:
        nl.call(CMD["NODE_DEL"], text(NAME, name) + flag(FORCE))
    t.check("nothing is left", not nl.call(CMD["NODE_GET"], dump=True) and
            not nl.call(CMD["DEVICE_GET"], dump=True))


def main():
    t = Results()
    target = Target()
    events(t, Netlink(), target)
    lost_and_found(t, Netlink(), target)
    dumps(t, target)
    return t.done()


if __name__ == "__main__":
    subprocess.run(["modprobe", "disagg"], check=True)
    try:
        STATUS = main()
    finally:
        subprocess.run(["rmmod", "disagg"], check=False)
    sys.exit(STATUS)
