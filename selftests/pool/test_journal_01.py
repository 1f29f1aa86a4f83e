#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Journal first: what was acknowledged survives SIGKILL, and is given to nobody else."""
import os
import signal
import stat
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

from ktap import main, test
from wire import *

BOTH = """resources:
- {{id: mem, class: memory, size: 64MiB}}
- {{id: disk, class: storage, path: {0}/disk, size: 64MiB, direct: no}}
"""


@test
def reservation(folder):
    """an acknowledged reservation survives SIGKILL, with its token."""
    with Daemon(folder) as d:
        txid = os.urandom(16)
        g = d.control().reserve(40 * MIB, txid=txid)
        d.kill()
        d.restart()
        c = d.control()
        assert g.lease in c.leases()
        refused(E_NO_SPACE, c.reserve, 40 * MIB)
        same = c.reserve(40 * MIB, txid=txid)
        assert (same.lease, same.generation, same.token) == (g.lease, g.generation, g.token)
        c.commit(g)
        assert d.lane(g).read(0, 4096) == bytes(4096)


@test
def memory_ends(folder):
    """a memory lease ends with the daemon; its generation is never used again."""
    with Daemon(folder) as d:
        g = d.control().lease(8 * MIB)
        lane, workers = d.lane(g), d.workers()
        d.kill()
        closed(lane.read, 0, 4096)
        d.restart()
        assert all(gone(p) for p in workers)
        c = d.control()
        assert c.leases() == {} and c.inventory()["mem"]["available"] == 64 * MIB
        refused(E_STALE, d.lane, g)
        refused(E_STALE, c.commit, g)
        assert c.lease(8 * MIB).generation > g.generation


@test
def hung_worker(folder):
    """a worker that hangs dies with the daemon and does not keep the next one out."""
    with Daemon(folder) as d:
        d.control().lease(MIB)
        worker = d.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        d.kill()
        d.restart()
        assert gone(worker)
        d.control().lease(MIB)


@test
def storage_stays(folder):
    """a storage lease survives SIGKILL with its data, size and fencing."""
    with Daemon(folder, BOTH.format(folder)) as d:
        c = d.control()
        g = c.lease(8 * MIB, cls=STORAGE)
        c.act(RESIZE, g, size=16 * MIB)
        lane = d.lane(g, features=F_FUA)
        lane.write(12 * MIB, pattern(1, 65536), flags=FUA)
        d.kill()
        d.restart()
        c = d.control()
        lane = d.lane(g, features=F_FUA)
        assert lane.capacity == 16 * MIB
        assert lane.read(12 * MIB, 65536) == pattern(1, 65536)
        refused(E_STALE, d.lane, g, generation=g.generation + 1)
        c.release(g)
        d.kill()
        d.restart()
        assert d.control().leases() == {}
        refused(E_STALE, d.lane, g)


@test
def between(folder):
    """killed at any moment: nothing is given twice, and every retry is answered."""
    with Daemon(folder, BOTH.format(folder)) as d:
        highest, held = 0, {}
        for i in range(12):
            c = d.control()
            txid = os.urandom(16)
            c.sock.sendall(c.frame(RESERVE, RESERVE_S.pack(
                c.sealed(txid), STORAGE, 0, MIB, 0, 0, bytes(16), b"", b"n", b"d", b"h")))
            if i % 3 == 0:
                c.reply()
            elif i % 3 == 1:
                d.process.send_signal(signal.SIGSTOP)
                d.process.send_signal(signal.SIGCONT)
            d.kill()
            d.restart()
            c = d.control()
            g = c.reserve(MIB, cls=STORAGE, txid=txid, host=b"h")
            assert g.lease not in held and g.generation > highest
            highest, held[g.lease] = g.generation, g
            assert set(c.leases()) == set(held)
            c.commit(g)
            d.lane(g, features=0).write(0, pattern(i, 4096))
        for i, g in enumerate(held.values()):
            assert d.lane(g, features=0).read(0, 4096) == pattern(i, 4096)
        assert c.inventory()["disk"]["available"] == (64 - len(held)) * MIB


@test
def release_stays(folder):
    """acknowledged releases and renewals survive SIGKILL; an expiry goes on over a restart."""
    with Daemon(folder, BOTH.format(folder)) as d:
        c = d.control()
        g = c.lease(MIB, cls=STORAGE)
        short = c.lease(MIB, cls=STORAGE, lease_ns=3 * 10 ** 9)
        renewed = c.lease(MIB, cls=STORAGE, lease_ns=20 * 10 ** 9)
        endless = c.lease(MIB, cls=STORAGE, lease_ns=20 * 10 ** 9)
        c.act(RENEW, renewed, lease_ns=3600 * 10 ** 9)
        c.act(RENEW, endless)
        c.release(g)
        d.kill()
        d.restart()
        assert g.lease not in d.control().leases()
        eventually(lambda: short.lease not in d.control().leases(), 20)
        left = d.control().leases()
        assert 3000 * 10 ** 9 < left[renewed.lease]["expires_ns"] < 3600 * 10 ** 9
        assert left[endless.lease]["expires_ns"] == 0


@test
def forgotten(folder):
    """what is forgotten first is what ended first, not what was granted first."""
    import sqlite3
    with Daemon(folder, BOTH.format(folder)) as d:
        c = d.control()
        gone, old = c.lease(MIB, cls=STORAGE), c.lease(MIB, cls=STORAGE)
        c.release(gone)
        d.stop()
        with sqlite3.connect(os.path.join(d.state, "journal.sqlite")) as db:
            db.execute("UPDATE meta SET value = value + 10001 WHERE key = 'generation'")
        d.restart()
        c = d.control()
        c.release(old)
        c.lease(MIB, cls=STORAGE)
        refused(E_STALE, c.release, old)
        refused(E_NOT_FOUND, c.release, gone)


@test
def private(folder):
    """the journal and its folder are for their owner only; ended leases lose tokens."""
    with Daemon(folder) as d:
        c = d.control()
        g = c.lease(MIB)
        for name in os.listdir(d.state):
            mode = os.stat(os.path.join(d.state, name)).st_mode
            assert stat.S_IMODE(mode) & 0o077 == 0, (name, oct(mode))
        assert stat.S_IMODE(os.stat(d.state).st_mode) == 0o700
        c.release(g)
        d.stop()
        for name in os.listdir(d.state):
            with open(os.path.join(d.state, name), "rb") as f:
                assert g.token not in f.read(), name


@test
def alone(folder):
    """a second daemon on the same state is refused."""
    with Daemon(folder) as d:
        second = subprocess.run([d.binary, "--config", d.conf], capture_output=True,
                                text=True, timeout=60)
        assert second.returncode == 1 and "in use" in second.stderr, second
        d.control().inventory()


@test
def newer(folder):
    """a journal of an unknown schema, or no journal at all, stops the daemon."""
    import sqlite3
    with Daemon(folder) as d:
        d.stop()
        path = os.path.join(d.state, "journal.sqlite")
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        r = subprocess.run([d.binary, "--config", d.conf], capture_output=True, text=True,
                           timeout=60)
        assert r.returncode == 1 and "schema" in r.stderr, r
        with open(path, "wb") as f:
            f.write(b"no journal" * 1000)
        for extra in ("-wal", "-shm"):
            if os.path.exists(path + extra):
                os.unlink(path + extra)
        r = subprocess.run([d.binary, "--config", d.conf], capture_output=True, text=True,
                           timeout=60)
        assert r.returncode == 1 and "journal" in r.stderr, r


main()
