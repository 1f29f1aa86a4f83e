#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Announcements: who gets them, what is in them, and when there are none."""
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True

from tlsd import *
from ktap import main, test

SO_TIMESTAMPNS = 35
MEMORY_RES = "{id: mem, class: memory, size: 64MiB}"


class Host:
    """Who is announced to: a socket of its own. The kernel notes when a datagram comes,
    which may be long before it is read."""

    def __init__(self, family=socket.AF_INET, address="127.0.0.1"):
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.bind((address, 0))
        self.port = self.sock.getsockname()[1]

    def config(self):
        host = self.sock.getsockname()[0]
        return f"'[{host}]:{self.port}'" if ":" in host else f"'{host}:{self.port}'"

    def next(self, seconds):
        """(time, sequence) of the next, or None; all else in it is checked."""
        self.sock.settimeout(seconds)
        try:
            data, ancillary, _, self.source = self.sock.recvmsg(1000, 100)
        except TimeoutError:
            return None
        seconds, ns = struct.unpack("qq", ancillary[0][2])
        at = seconds + ns / 1e9
        magic, version, zero, self.epoch, sequence, zeroes = ANNOUNCE_S.unpack(data)
        assert magic == ANNOUNCE and version == 1 and not any(zero + zeroes), data
        return at, sequence

    def all(self, seconds):
        """What comes until nothing has for that long, or there are too many."""
        out = []
        while len(out) < 40 and (got := self.next(seconds)) is not None:
            out.append(got)
        return out


def config(*hosts, extra=""):
    return (f"announce: [{', '.join(h.config() for h in hosts)}]\n"
            f"resources:\n- {MEMORY_RES}\n{extra}")


@test
def start(folder):
    """a start is said at once, and again after 1, 2, 4 and 8 s."""
    host = Host()
    with Daemon(folder, config(host)) as d:
        with socket.create_connection(("127.0.0.1", d.port), 10) as s:
            greeting = GREETING_S.unpack(s.recv(64, socket.MSG_WAITALL))
        got = host.all(9.5)
        assert got and host.epoch == int.from_bytes(greeting[6], "little"), "not the GREETING's epoch"
        assert host.source[0] == "127.0.0.1"
        gaps = [round(b[0] - a[0]) for a, b in zip(got, got[1:])]
        assert gaps == [1, 2, 4, 8] and {s for _, s in got} == {0}, (gaps, got)


@test
def end(folder):
    """the sixth is the last."""
    host = Host()
    with Daemon(folder, config(host)):
        got = host.all(20)
        assert len(got) == 6 and host.next(5) is None, got


@test
def freed(folder):
    """a lease that has ended is said, as another occasion."""
    host = Host()
    with Daemon(folder, config(host)) as d:
        c = d.control()
        grant = c.lease(MIB)
        assert host.next(5)[1] == 0
        c.release(grant)
        at = time.time()
        got = host.next(5)
        while got[1] == 0:
            got = host.next(5)
        assert got[1] == 1 and got[0] - at < 1.5, got


@test
def expired(folder):
    """so is one that has expired."""
    host = Host()
    with Daemon(folder, config(host)) as d:
        d.control().lease(MIB, lease_ns=3 * 10 ** 8)
        assert 1 in (host.next(5)[1], host.next(5)[1], host.next(5)[1])


@test
def tries(folder):
    """what was never committed is nobody's news."""
    host = Host()
    with Daemon(folder, config(host)) as d:
        c = d.control()
        for _ in range(3):
            c.release(c.reserve(MIB))
        c.reserve(MIB, ttl=10 ** 8)
        assert {s for _, s in host.all(4.5)} == {0}


@test
def coalesced(folder):
    """many that end at once are few announcements, a second apart."""
    host = Host()
    with Daemon(folder, config(host)) as d:
        c = d.control()
        grants = [c.lease(MIB) for _ in range(12)]
        before = time.monotonic()
        for g in grants:
            c.release(g)
        took = time.monotonic() - before
        got = host.all(2.5)
        gaps = [b[0] - a[0] for a, b in zip(got, got[1:])]
        assert min(gaps) > 0.9, gaps
        assert 1 <= got[-1][1] <= 2 + took, (got, took)


@test
def families(folder):
    """hosts get it from listeners of their family; two ports of one address say it once."""
    v4, v6 = Host(), Host(socket.AF_INET6, "::1")
    d = Daemon(folder, config(v4, v6))
    d.configure("listen: ['127.0.0.1:0']", "listen: ['127.0.0.1:0', '127.0.0.1:0', '[::1]:0']")
    with d:
        assert len({host.next(5)[1] for host in (v4, v6)}) == 1
        assert v6.source[0] == "::1" and v4.source[0] == "127.0.0.1"
        assert v4.next(0.5) is None, "said twice"


@test
def unreachable(folder):
    """an address that cannot be reached is said once, and keeps nobody else from it."""
    host = Host()
    d = Daemon(folder, config(host))
    d.configure("announce: [", "announce: ['fd00::1', 'ff02::1%nowhere', ")
    with d:
        assert len([host.next(5) for _ in range(3)]) == 3
        assert d.log().count("cannot announce to fd00::1 port 7420") == 1, d.log()
        assert d.log().count("cannot announce to ff02::1%nowhere") == 1, d.log()


@test
def silent(folder):
    """without the key nothing is sent, and a daemon that stops says nothing."""
    host = Host()
    with Daemon(folder):
        assert host.next(1.5) is None
    with Daemon(folder, config(host)) as d:
        grant = d.control().lease(MIB)
        assert grant and host.next(5)
        d.stop()
        assert {s for _, s in host.all(1.5)} <= {0}


main()
