#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Handshakes after which the kernel encrypts, on disaggd's side and on the client's."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tlsd"))

from tlsd import *
from ktap import main, test


@test
def no_process(folder):
    """where the kernel encrypts no process is left of a handshake, where it may not one is."""
    psk_file(f"{folder}/psk", host1=0x11)
    for ktls, left in (("yes", 0), ("no", 1)):
        with TlsDaemon(folder, tls=f"{{psk-file: {folder}/psk, ktls: {ktls}}}") as d:
            c = d.psk("host1")
            assert c.inventory()["mem"]["capacity"] == 64 * MIB
            eventually(lambda: len(d.workers()) == left)


@test
def kernel_lanes(folder):
    """a lane that the client's kernel encrypts gets on with either side of the target."""
    psk_file(f"{folder}/psk", host1=0x11)
    for ktls in ("yes", "no"):
        with TlsDaemon(folder, tls=f"{{psk-file: {folder}/psk, ktls: {ktls}}}") as d:
            g = d.psk("host1").lease(8 * MIB)
            a = lane(pipe(d.tls_port, "kernel", "psk", "host1", f"{folder}/psk"), g)
            for i in range(4):
                big = pattern((ktls, i), 2 * MIB)
                a.write(2 * MIB * i, big)
                assert a.read(2 * MIB * i, 2 * MIB) == big
            # Many small requests at once, whose replies come in few records.
            for i in range(100):
                a.sock.sendall(a.frame(READ, offset=4096 * i, length=4096))
            for i in range(100):
                assert a.reply()[3] == pattern((ktls, 0), 2 * MIB)[4096 * i:][:4096]


main()
