#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""One lease knows nothing of another, alive or dead."""
import os
import signal
import time

from ktap import main, test
from wire import *


@test
def two(folder):
    """two leases are two memories."""
    with Daemon(folder) as d:
        c = d.control()
        a, b = c.lease(4 * MIB), c.lease(4 * MIB)
        la, lb = d.lane(a, features=0), d.lane(b, features=0)
        la.write(0, pattern("a", 4 * MIB))
        assert lb.read(0, 4 * MIB) == bytes(4 * MIB)
        lb.write(0, pattern("b", 4 * MIB))
        assert la.read(0, 4 * MIB) == pattern("a", 4 * MIB)
        refused(E_DENIED, d.lane, a, token=b.token)


@test
def zeroed_memory(folder):
    """memory is zero when the next lease gets it."""
    with Daemon(folder) as d:
        c = d.control()
        for i in range(3):
            g = c.lease(64 * MIB)
            lane = d.lane(g, features=0)
            for offset in range(0, 64 * MIB, 4 * MIB):
                assert lane.read(offset, 4 * MIB) == bytes(4 * MIB)
                lane.write(offset, b"\xa5" * (4 * MIB))
            c.release(g)


@test
def zeroed_storage(folder):
    """storage is zero when the next lease gets it, also after a crash and a RESIZE."""
    with Daemon(folder, f"resources:\n- {{id: disk, class: storage, path: {folder}/disk, "
                        "size: 16MiB, direct: no}") as d:
        c = d.control()
        g = c.lease(16 * MIB, cls=STORAGE)
        lane = d.lane(g, features=0)
        for i in range(4):
            lane.write(i * 4 * MIB, b"\xa5" * (4 * MIB))
        c.release(g)
        with open(f"{folder}/disk", "rb") as f:
            assert b"\xa5" * 4096 in f.read(), "nothing was stored: this proves nothing"
        g = c.reserve(8 * MIB, cls=STORAGE)
        d.kill()
        d.restart()
        c = d.control()
        c.commit(g)
        lane = d.lane(g, features=0)
        for i in range(2):
            assert lane.read(i * 4 * MIB, 4 * MIB) == bytes(4 * MIB)
        c.act(RESIZE, g, size=16 * MIB)
        for i in range(4):
            assert lane.read(i * 4 * MIB, 4 * MIB) == bytes(4 * MIB)


@test
def killed(folder):
    """a worker that is killed takes its lease with it, and nothing else."""
    with Daemon(folder) as d:
        c = d.control()
        a, b = c.lease(4 * MIB), c.lease(4 * MIB)
        la, lb = d.lane(a, features=0), d.lane(b, features=0)
        lb.write(0, pattern(1, 4096))
        os.kill(d.workers()[0] if a.generation < b.generation else d.workers()[1],
                signal.SIGKILL)
        eventually(lambda: len(c.leases()) == 1)
        left = b if b.lease in c.leases() else a
        lane, dead = (lb, la) if left is b else (la, lb)
        closed(dead.read, 0, 4096)
        lane.read(0, 4096)
        refused(E_STALE, d.lane, a if left is b else b)
        assert c.inventory()["mem"]["available"] == 60 * MIB
        assert "killed by signal 9" in d.log()
        c.lease(60 * MIB)


@test
def killed_storage(folder):
    """a storage lease survives its worker: the next lane starts another."""
    with Daemon(folder, f"resources:\n- {{id: disk, class: storage, path: {folder}/disk, "
                        "size: 16MiB, direct: no}") as d:
        c = d.control()
        g = c.lease(4 * MIB, cls=STORAGE)
        lane = d.lane(g, features=0)
        lane.write(0, pattern(1, 65536))
        os.kill(d.workers()[0], signal.SIGKILL)
        closed(lane.read, 0, 4096)
        eventually(lambda: not d.workers())
        assert g.lease in c.leases()
        assert d.lane(g, features=0).read(0, 65536) == pattern(1, 65536)


@test
def stopped(folder):
    """a worker that hangs holds up neither its neighbours nor its own release."""
    with Daemon(folder) as d:
        c = d.control()
        a = c.lease(4 * MIB)
        hung = d.workers()[0]
        b = c.lease(4 * MIB)
        lane = d.lane(b)
        os.kill(hung, signal.SIGSTOP)
        start = time.monotonic()
        lane.read(0, 4096)
        d.control().inventory()
        assert time.monotonic() - start < 4     # it would be 5, and killed then
        c.sock.settimeout(30)
        c.release(a)
        assert time.monotonic() - start < 12
        assert gone(hung)
        lane.read(0, 4096)


@test
def closed_files(folder):
    """a worker holds no file of the journal, the listeners or another lease."""
    with Daemon(folder) as d:
        c = d.control()
        a, b = c.lease(MIB), c.lease(MIB)
        lanes = [d.lane(a), d.lane(b)]
        time.sleep(0.2)
        for pid in d.workers():
            links = [os.readlink(f"/proc/{pid}/fd/{fd}")
                     for fd in os.listdir(f"/proc/{pid}/fd")]
            assert not [x for x in links if "journal" in x], links
            assert len([x for x in links if "memfd:disaggd-lease" in x]) == 1, links
            # Its lane and its line to the parent.
            assert len([x for x in links if x.startswith("socket:")]) <= 2, links
            with open(f"/proc/{pid}/status") as f:
                assert "NoNewPrivs:\t1" in f.read()
        del lanes


main()
