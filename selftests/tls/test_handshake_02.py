#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Handshakes after which the kernel encrypts, on disaggd's side and on the client's."""
import os
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tlsd"))

from tlsd import *
from ktap import main, test


@test
def no_process(folder):
    """a lane that the kernel decrypts leaves no process, one that it may not does."""
    psk_file(f"{folder}/psk", host1=0x11)
    for ktls, left in (("yes", 0), ("no", 1)):
        with TlsDaemon(folder, tls=f"{{psk-file: {folder}/psk, ktls: {ktls}}}") as d:
            c = d.psk("host1")
            g = c.lease(MIB)
            before = len(d.workers())       # the lease's, and that of c
            assert before == 2
            a = d.tls_lane(g, "host1")
            a.write(0, pattern(1, 4096))
            eventually(lambda: len(d.workers()) == before + left)


@test
def one_record(folder):
    """a lane's HELLO may share its record with the first request."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder) as d:
        c = d.psk("host1")
        g = c.lease(MIB)
        a = Connection(pipe(d.tls_port, "psk", "host1", f"{folder}/psk"))
        data = a.hello(LANE, lease=g.lease, generation=g.generation, lanes=1, features=0,
                       token=g.token, send=False)
        a.sock.sendall(data + a.frame(READ, length=4096))
        a.welcome()
        assert a.reply()[3] == bytes(4096)


@test
def flood(folder):
    """a control connection with records that are empty holds nobody up."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder) as d:
        c = d.psk("host1")
        mine, its = socket.socketpair()
        with its, subprocess.Popen(
                [PIPE, str(its.fileno()), "127.0.0.1", str(d.tls_port), "flood", "psk", "host1",
                 f"{folder}/psk"], pass_fds=[its.fileno()], stdout=subprocess.PIPE,
                text=True) as p, mine:
            assert [p.stdout.readline() for _ in range(2)] == ["ok\n", "flooding\n"]
            # Records are on their way, or were a moment ago.
            start = time.monotonic()
            assert c.inventory()["mem"]["capacity"] == 64 * MIB
            took = time.monotonic() - start
            print(f"# answered after {took:.2f} s")
            assert took < 4, f"the parent was held up for {took:.2f} s"
            # Its own process has had enough of it; nobody else ends the connection.
            eventually(lambda: len(d.workers()) == 1)
            assert "too many records with nothing in them" in d.log()


@test
def kernel_lanes(folder):
    """a lane that the client's kernel encrypts gets on with either side of the target."""
    psk_file(f"{folder}/psk", host1=0x11)
    for ktls in ("yes", "no"):
        with TlsDaemon(folder, tls=f"{{psk-file: {folder}/psk, ktls: {ktls}}}") as d:
            g = d.psk("host1").lease(8 * MIB)
            a = lane(pipe(d.tls_port, "kernel", "psk", "host1", f"{folder}/psk"), g)
            data = pattern(ktls, 2 * MIB)
            a.write(0, data)
            assert a.read(0, 2 * MIB) == data
            # Many small requests at once, whose replies come in few records.
            for i in range(100):
                a.sock.sendall(a.frame(READ, offset=4096 * i, length=4096))
            for i in range(100):
                assert a.reply()[3] == data[4096 * i:][:4096]


main()
