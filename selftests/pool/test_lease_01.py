#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The life of a lease: reserve, commit, renew, resize, release, expire."""
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

from ktap import main, test
from wire import *

SEC = 10 ** 9


@test
def life(folder):
    """reserve, commit and release account for every byte."""
    with Daemon(folder) as d:
        c = d.control()
        g = c.reserve(8 * MIB, node=b"n1", device=b"mem0", host=b"h1")
        assert g.size == 8 * MIB and g.resource == "mem" and g.block_size == 4096
        assert g.token != bytes(32) and 0 < g.expires_ns <= 60 * SEC
        info = c.leases()[g.lease]
        assert info["state"] == 1 and info["node"] == "n1" and info["device"] == "mem0"
        assert info["host"] == "h1" and info["size"] == 8 * MIB
        mem = c.inventory()["mem"]
        assert mem["available"] == 56 * MIB and mem["leases"] == 1
        assert c.commit(g).expires_ns == 0
        assert c.leases()[g.lease]["state"] == 2
        c.release(g)
        assert c.leases() == {} and c.inventory()["mem"]["available"] == 64 * MIB
        refused(E_STALE, c.release, g)
        refused(E_STALE, c.commit, g)
        refused(E_STALE, d.lane, g)


@test
def again(folder):
    """RESERVE and COMMIT may be said again, and mean the same lease."""
    with Daemon(folder) as d:
        c = d.control()
        txid = os.urandom(16)
        a = c.reserve(MIB, txid=txid)
        b = d.control().reserve(MIB, txid=txid)
        assert (a.lease, a.generation, a.token) == (b.lease, b.generation, b.token)
        refused(E_INVALID, c.reserve, 2 * MIB, txid=txid)
        refused(E_INVALID, c.reserve, MIB, txid=txid, attrs=1)
        refused(E_INVALID, c.reserve, MIB, txid=txid, lease_ns=10**9)
        assert c.inventory()["mem"]["available"] == 63 * MIB
        c.commit(a)
        workers = d.workers()
        c.commit(b)
        assert d.workers() == workers and len(workers) == 1
        assert c.reserve(MIB, txid=txid).lease == a.lease
        c.release(a)
        refused(E_STALE, c.reserve, MIB, txid=txid)
        assert c.reserve(MIB).generation > a.generation


@test
def wrong(folder):
    """requests that make no sense are refused and change nothing."""
    with Daemon(folder) as d:
        c = d.control()
        before = c.inventory()
        for size in (0, 1, 4095, 4097, 1 << 63):
            refused(E_INVALID, c.reserve, size)
        refused(E_NO_SPACE, c.reserve, 65 * MIB)
        refused(E_NOT_FOUND, c.reserve, MIB, id=b"nope")
        refused(E_NOT_FOUND, c.reserve, MIB, cls=STORAGE)
        refused(E_NOT_FOUND, c.reserve, MIB, cls=9)
        refused(E_INVALID, c.reserve, MIB, node=b"x" * 32)
        refused(E_INVALID, c.reserve, MIB, host=b"\x1b[2J")
        for op in (INVENTORY, RESERVE, RELEASE):
            refused(E_PROTO, d.control().call, op, length=1)
            refused(E_PROTO, d.control().call, op, flags=1)
        refused(E_PROTO, d.control().call, RELEASE, offset=1)
        assert c.inventory() == before and c.leases() == {}


@test
def proofs(folder):
    """acts on a lease need its token, its generation and the right op."""
    with Daemon(folder) as d:
        c = d.control()
        g, other = c.reserve(MIB), c.reserve(MIB)
        refused(E_DENIED, c.act, COMMIT, g, proof=bytes(32))
        refused(E_DENIED, c.call, RELEASE, c.ref(COMMIT, g))
        refused(E_STALE, c.act, COMMIT, g, generation=g.generation + 1)
        refused(E_INVALID, c.act, COMMIT, g, size=MIB)
        refused(E_INVALID, c.act, RELEASE, g, lease_ns=1)
        refused(E_INVALID, c.act, RELEASE, g, reserved=b"\1" * 24)
        g.token, saved = other.token, g.token
        refused(E_DENIED, c.commit, g)
        g.token = saved
        ref = c.ref(COMMIT, g)
        refused(E_DENIED, d.control().call, COMMIT, ref)
        c.commit(g)
        g.lease = os.urandom(16)
        refused(E_NOT_FOUND, c.release, g)


@test
def times(folder):
    """reservations and leases end by themselves; RENEW moves the end."""
    with Daemon(folder) as d:
        c = d.control()
        late = c.reserve(MIB, ttl=SEC)
        g = c.lease(MIB, lease_ns=2 * SEC)
        kept = c.lease(MIB, lease_ns=2 * SEC)
        lane = d.lane(g)
        lane.read(0, 4096)
        assert 0 < c.leases()[g.lease]["expires_ns"] <= 2 * SEC
        assert c.act(RENEW, kept, lease_ns=3600 * SEC).expires_ns > 3000 * SEC
        eventually(lambda: set(c.leases()) == {kept.lease}, 20)
        refused(E_STALE, c.commit, late)
        closed(lane.read, 0, 4096)
        refused(E_STALE, d.lane, g)
        assert c.act(RENEW, kept).expires_ns == 0
        eventually(lambda: len(d.workers()) == 1)


@test
def ttl_cap(folder):
    """reserve-ttl is the most that a reservation can ask for."""
    with Daemon(folder, "resources:\n- {id: m, class: memory, size: 64MiB}\n"
                        "reserve-ttl: 1s") as d:
        c = d.control()
        c.reserve(MIB, ttl=3600 * SEC)
        c.reserve(MIB)
        eventually(lambda: not c.leases(), 10)


@test
def full(folder):
    """a full target says so, and serves again when there is room."""
    with Daemon(folder) as d:
        c = d.control()
        g = c.lease(60 * MIB)
        refused(E_NO_SPACE, c.reserve, 8 * MIB)
        c.reserve(4 * MIB)
        refused(E_NO_SPACE, c.reserve, 4096)
        c.release(g)
        c.lease(60 * MIB)


@test
def quotas(folder):
    """quotas hold per lease, in number, and per host."""
    with Daemon(folder, """
resources:
- {id: m, class: memory, size: 64MiB}
quota:
  max-lease-size: 16MiB
  max-leases: 5
  max-leases-per-host: 2
  max-size-per-host: 20MiB
""") as d:
        c = d.control()
        refused(E_NO_SPACE, c.reserve, 17 * MIB)
        g = c.lease(16 * MIB, host=b"a")
        refused(E_NO_SPACE, c.reserve, 5 * MIB, host=b"a")
        refused(E_NO_SPACE, c.act, RESIZE, g, size=18 * MIB)
        c.reserve(4 * MIB, host=b"a")
        refused(E_NO_SPACE, c.reserve, 4096, host=b"a")
        c.reserve(MIB, host=b"b")
        c.reserve(MIB, host=b"b")
        refused(E_NO_SPACE, c.reserve, MIB, host=b"b")
        c.reserve(MIB, host=b"c")
        refused(E_NO_SPACE, c.reserve, MIB, host=b"d")


@test
def resize(folder):
    """RESIZE grows under a live lane, with zeroes; it never shrinks."""
    with Daemon(folder) as d:
        c = d.control()
        g = c.reserve(MIB)
        refused(E_INVALID, c.act, RESIZE, g, size=2 * MIB)
        c.commit(g)
        lane = d.lane(g, features=0)
        lane.write(MIB - 4096, pattern(1, 4096))
        refused(E_INVALID, lane.read, MIB, 4096)
        assert c.act(RESIZE, g, size=4 * MIB).size == 4 * MIB
        assert lane.read(MIB - 4096, 8192) == pattern(1, 4096) + bytes(4096)
        lane.write(4 * MIB - 4096, pattern(2, 4096))
        refused(E_INVALID, lane.read, 4 * MIB, 4096)
        refused(E_INVALID, c.act, RESIZE, g, size=2 * MIB)
        refused(E_INVALID, c.act, RESIZE, g, size=4 * MIB + 1)
        refused(E_NO_SPACE, c.act, RESIZE, g, size=65 * MIB)
        assert c.act(RESIZE, g, size=4 * MIB).size == 4 * MIB
        assert c.inventory()["mem"]["available"] == 60 * MIB
        assert d.lane(g, features=0).capacity == 4 * MIB


@test
def many(folder):
    """lists of more than one message are complete."""
    with Daemon(folder) as d:
        c = d.control()
        ids = {c.reserve(4096).lease for _ in range(300)}
        assert set(c.leases()) == ids


@test
def small_messages(folder):
    """lists come in pieces as small as the client asked for."""
    with Daemon(folder) as d:
        c = Control(d.port, max_payload=2 * INFO.size + 1)
        assert c.max_payload == 2 * INFO.size + 1
        for _ in range(5):
            c.reserve(MIB)
        assert len(c.call(LEASES)) == 2 * INFO.size
        assert len(c.leases()) == 5
        refused(E_INVALID, Control, d.port, max_payload=INFO.size - 1)


@test
def placement(folder):
    """without a name the tightest fit is chosen, by name the named one."""
    with Daemon(folder, """
resources:
- {id: big, class: memory, size: 64MiB}
- {id: small, class: memory, size: 16MiB}
- {id: tiny, class: memory, size: 1MiB, block-size: 512}
""") as d:
        c = d.control()
        assert c.reserve(8 * MIB).resource == "small"
        assert c.reserve(8 * MIB, id=b"big").resource == "big"
        assert c.reserve(16 * MIB).resource == "big"
        g = c.reserve(512)
        assert g.resource == "tiny" and g.block_size == 512
        refused(E_NO_SPACE, c.reserve, 60 * MIB)


main()
