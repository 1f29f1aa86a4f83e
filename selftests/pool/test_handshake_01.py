#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Who gets in: GREETING, HELLO, WELCOME, and every way to say HELLO wrongly."""
import os
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

from ktap import main, test
from wire import *


@test
def good(folder):
    """a control connection and a lane are welcomed."""
    with Daemon(folder) as d:
        c = d.control()
        version_min, version_max, features = c.greeting[1:4]
        assert version_min == version_max == 1 and features == F_ALL | F_EPOCH
        assert c.greeting[4] == 4 * MIB and c.greeting[5] == 1024
        assert c.features == F_CRC32C and c.capacity == 0
        g = c.lease(MIB)
        w = d.lane(g, 1, 2, max_payload=65536, depth=7)
        assert w.capacity == MIB and w.block_size == 4096
        assert w.max_payload == 65536 and w.depth == 7 and w.attrs == 0
        assert w.features == F_CRC32C | F_DISCARD | F_WRITE_ZEROES
        assert w.max_discard > 0
        assert d.lane(g, features=0).features == 0
        assert Connection(d.port).nonce != Connection(d.port).nonce
        # Who takes all that is offered gets what there is to agree on.
        assert d.lane(g, features=features).features == F_CRC32C | F_DISCARD | F_WRITE_ZEROES


@test
def epoch(folder):
    """the epoch is that of the host: another daemon has the same."""
    with Daemon(folder) as d:
        first = Connection(d.port).greeting[6]
        assert first != bytes(8) and Connection(d.port).greeting[6] == first
        d.kill()
        d.restart()
        assert Connection(d.port).greeting[6] == first


@test
def bad_hello(folder):
    """a malformed HELLO is refused with the reason, and the connection closed."""
    with Daemon(folder) as d:
        for fields, status in (
                ({"magic": WELCOME}, E_PROTO), ({"version": 2}, E_VERSION),
                ({"version": 0}, E_VERSION), ({"mode": 3}, E_PROTO), ({"mode": 0}, E_PROTO),
                ({"reserved": b"\0\0\0\1\0\0\0\0"}, E_PROTO),
                ({"host": b"x" * 32}, E_PROTO), ({"host": b"a\0b"}, E_PROTO),
                ({"host": b"a\nb"}, E_PROTO), ({"features": 1 << 40}, E_INVALID),
                ({"max_payload": 0}, E_INVALID), ({"max_payload": 5 * MIB}, E_INVALID),
                ({"depth": 0}, E_INVALID), ({"depth": 1025}, E_INVALID),
                ({"lanes": 1}, E_PROTO), ({"generation": 1}, E_PROTO)):
            c = Connection(d.port)
            fields.setdefault("mode", CONTROL)
            e = refused(status, c.hello, **fields)
            assert e.reason, fields
            closed(c.recv, 1)
        d.control().inventory()


@test
def bad_lane(folder):
    """a lane needs the right lease, proof, generation and number."""
    with Daemon(folder, "resources:\n- {id: m, class: memory, size: 64MiB}\n"
                        "max-lanes: 4") as d:
        c = d.control()
        g, other = c.lease(MIB), c.lease(MIB)
        refused(E_DENIED, d.lane, g, token=other.token)
        refused(E_DENIED, d.lane, g, token=None)
        refused(E_DENIED, d.lane, g, proof=bytes([7]) * 32)
        refused(E_STALE, d.lane, g, generation=g.generation + 1)
        refused(E_STALE, d.lane, g, generation=g.generation - 1)
        refused(E_INVALID, d.lane, g, 2, 2)
        refused(E_INVALID, d.lane, g, 0, 0)
        refused(E_INVALID, d.lane, g, 0, 5)
        refused(E_INVALID, d.lane, g, max_payload=512)
        saved, g.lease = g.lease, os.urandom(16)
        refused(E_NOT_FOUND, d.lane, g)
        g.lease = saved
        refused(E_INVALID, d.lane, c.reserve(MIB))
        d.lane(g, 3, 4)


@test
def replayed(folder):
    """a HELLO that was overheard is worth nothing on another connection."""
    with Daemon(folder) as d:
        g = d.control().lease(MIB)
        a, b = Connection(d.port), Connection(d.port)
        data = a.hello(LANE, lease=g.lease, generation=g.generation, lanes=1,
                       token=g.token, send=False)
        b.sock.sendall(data)
        refused(E_DENIED, b.welcome)
        a.sock.sendall(data)
        a.welcome()


@test
def sealed(folder):
    """no byte of a token is on the wire in clear, nor what it could be asked for with."""
    with Daemon(folder) as d:
        c, other, thief = d.control(), d.control(), d.control()
        txid, said, asked = os.urandom(16), [], []
        c.call = lambda op, payload=b"", call=c.call: asked.append(payload) or call(op, payload)
        for connection in (c, other):
            receive = connection.recv
            connection.recv = lambda n, r=receive: said.append(r(n)) or said[-1]
        grant = c.reserve(MIB, txid=txid)
        again = other.reserve(MIB, txid=txid)
        assert again.token == grant.token and again.lease == grant.lease
        c.commit(grant)
        d.lane(grant)
        first, second = [x for x in said if len(x) == GRANT.size and x[:16] == grant.lease][:2]
        assert first[64:96] != second[64:96]
        assert not any(grant.token[i:i + 4] in x for x in said for i in range(29))
        assert not any(txid[i:i + 4] in x for x in asked for i in range(13))
        # What was overheard is another request to who says it: another lease.
        stolen = Grant(thief.call(RESERVE, asked[0]), seal=thief.seal)
        assert stolen.lease != grant.lease and stolen.token != grant.token
        # A key with which everybody could take the seal off.
        for point in (bytes(32), bytes([1]) + bytes(31), (P - 1).to_bytes(32, "little"),
                      P.to_bytes(32, "little")):
            refused(E_PROTO, Connection(d.port).hello, CONTROL, proof=point)


@test
def bytewise(folder):
    """a HELLO may arrive byte by byte, with the first request right behind it."""
    with Daemon(folder) as d:
        g = d.control().lease(MIB)
        c = Connection(d.port)
        data = c.hello(LANE, lease=g.lease, generation=g.generation, lanes=1, features=0,
                       token=g.token, send=False)
        for i in range(len(data)):
            c.sock.sendall(data[i:i + 1])
        c.welcome()
        c = Connection(d.port)
        data = c.hello(LANE, lease=g.lease, generation=g.generation, lanes=1, features=0,
                       token=g.token, send=False)
        c.sock.sendall(data + c.frame(READ, length=4096))
        c.welcome()
        assert c.reply()[3] == bytes(4096)


@test
def silence(folder):
    """half a HELLO and then silence is closed after 5 seconds, and holds nobody up."""
    with Daemon(folder) as d:
        c = Connection(d.port)
        c.sock.sendall(c.hello(CONTROL, send=False)[:64])
        start = time.monotonic()
        d.control().inventory()
        assert time.monotonic() - start < 2
        closed(c.recv, 1)
        assert 4 < time.monotonic() - start < 9


@test
def crowd(folder):
    """a crowd of silent connections is bounded: the oldest go, newcomers get in."""
    with Daemon(folder) as d:
        crowd = [socket.create_connection(("127.0.0.1", d.port)) for _ in range(150)]
        d.control().inventory()
        fds = len(os.listdir(f"/proc/{d.process.pid}/fd"))
        assert fds < 100, fds
        for s in crowd:
            s.close()


main()
