#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A lane of class memory: what good clients do, and what hostile ones try."""
import random
import socket
import time

from ktap import main, test
from wire import *


@test
def verify(folder):
    """random writes read back, with CRCs and without."""
    with Daemon(folder) as d:
        g = d.control().lease(8 * MIB)
        for features, longest in ((F_ALL, 65536), (0, MIB)):
            lane = d.lane(g, features=features)
            model = bytearray(lane.read(0, 2 * MIB) if not features else b"")
            if features:
                for i in range(0, 2 * MIB, 65536):
                    model += bytes(65536)
            rng = random.Random(features)
            for i in range(40 if features else 150):
                length = rng.randrange(1, longest // 4096 + 1) * 4096
                offset = rng.randrange(0, (2 * MIB - length) // 4096 + 1) * 4096
                data = pattern((features, i), length)
                lane.write(offset, data)
                model[offset:offset + length] = data
                offset = rng.randrange(0, (2 * MIB - length) // 4096 + 1) * 4096
                assert lane.read(offset, length) == model[offset:offset + length]
            other = d.lane(g, 1, 2, features=0)
            assert other.read(0, 2 * MIB) == model


@test
def zeroes(folder):
    """DISCARD and WRITE_ZEROES zero their range, and nothing beside it."""
    with Daemon(folder, "resources:\n- {id: m, class: memory, size: 64MiB, "
                        "block-size: 512}") as d:
        lane = d.lane(d.control().lease(4 * MIB), features=F_ALL & ~F_CRC32C)
        model = bytearray(pattern(0, 64 * 1024))
        lane.write(0, bytes(model))
        for op, flags, offset, length in ((WRITE_ZEROES, 0, 512, 512),
                                          (WRITE_ZEROES, NOUNMAP, 3584, 9216),
                                          (WRITE_ZEROES, 0, 20480 - 512, 8192 + 1024),
                                          (DISCARD, 0, 40960, 4096),
                                          (DISCARD, 0, 49152 + 512, 7680)):
            lane.call(op, offset=offset, length=length, flags=flags)
            model[offset:offset + length] = bytes(length)
            assert lane.read(0, len(model)) == model, (op, offset)
        lane.call(DISCARD, offset=0, length=4 * MIB)
        assert lane.read(0, 4 * MIB) == bytes(4 * MIB)
        lane.call(PING)


@test
def together(folder):
    """many frames in one segment are answered in full, in one or byte by byte."""
    with Daemon(folder) as d:
        g = d.control().lease(4 * MIB)
        for features in (0, F_CRC32C):
            lane = d.lane(g, features=features)
            blob = b""
            for i in range(100):
                blob += lane.frame(WRITE, pattern(i, 4096), offset=i * 4096, length=4096)
                blob += lane.frame(READ, offset=i * 4096, length=4096)
            lane.sock.sendall(blob)
            for i in range(100):
                assert lane.reply()[:2] == (WRITE, OK)
                assert lane.reply()[3] == pattern(i, 4096)
            blob = lane.frame(WRITE, pattern("b", 4096), offset=8192, length=4096)
            blob += lane.frame(READ, offset=8192, length=4096) + lane.frame(PING)
            for i in range(len(blob)):
                lane.sock.sendall(blob[i:i + 1])
            assert lane.reply()[:2] == (WRITE, OK)
            assert lane.reply()[3] == pattern("b", 4096)
            assert lane.reply()[:2] == (PING, OK)


@test
def cuts(folder):
    """frames and payloads may be cut anywhere."""
    with Daemon(folder) as d:
        lane = d.lane(d.control().lease(4 * MIB), features=0)
        rng = random.Random(7)
        blob, want = b"", []
        for i in range(60):
            length = rng.choice((4096, 8192, 65536, 20480))
            # Apart, for what is in flight together may be carried out in any order.
            blob += lane.frame(WRITE, pattern(i, length), offset=i << 16, length=length)
            blob += lane.frame(READ, offset=i << 16, length=length)
            want.append(pattern(i, length))
        sent = 0
        lane.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * MIB)
        while sent < len(blob):
            n = rng.choice((1, 47, 48, 49, 4095, 16384, 70000, 300000))
            lane.sock.sendall(blob[sent:sent + n])
            sent += n
        for data in want:
            assert lane.reply()[1] == OK
            assert lane.reply()[3] == data


@test
def wrong(folder):
    """well-formed requests that make no sense are refused, and the lane goes on."""
    with Daemon(folder) as d:
        c = d.control()
        g, beside = c.lease(MIB), c.lease(MIB)
        neighbour = d.lane(beside, features=0)
        for features in (0, F_ALL):
            lane = d.lane(g, features=features, max_payload=65536)
            for op in (READ, WRITE):
                for offset, length in ((MIB, 4096), (MIB - 4096, 8192), (1, 4096),
                                       (512, 4096), (0, 100), ((1 << 64) - 4096, 4096),
                                       ((1 << 64) - 4096, 8192), (1 << 63, 4096),
                                       (0, 65536 + 4096) if op == READ else (2048, 4096),
                                       (0, 0)):
                    data = bytes([0xee]) * length if op == WRITE else b""
                    refused(E_INVALID, lane.call, op, data, offset=offset, length=length)
            refused(E_NOT_SUPPORTED, lane.call, FLUSH)
            refused(E_NOT_SUPPORTED, lane.call, WRITE, bytes(4096), length=4096, flags=FUA)
            refused(E_NOT_SUPPORTED, lane.call, 0x77)
            refused(E_NOT_SUPPORTED, lane.call, INVENTORY)
            if features:
                refused(E_INVALID, lane.call, DISCARD, offset=MIB, length=4096)
                refused(E_INVALID, lane.call, WRITE_ZEROES, length=2 * MIB)
                refused(E_INVALID, lane.call, DISCARD, length=(1 << 32) - 4096)
                refused(E_CRC, lane.call, WRITE, bytes(4096), length=4096, payload_crc=5)
            else:
                refused(E_NOT_SUPPORTED, lane.call, DISCARD, length=4096)
                refused(E_NOT_SUPPORTED, lane.call, WRITE_ZEROES, length=4096)
            assert lane.read(0, 65536) == bytes(65536)
        assert neighbour.read(0, MIB) == bytes(MIB)


@test
def malformed(folder):
    """malformed frames are answered with E_PROTO where it can be, and closed."""
    with Daemon(folder) as d:
        g = d.control().lease(MIB)
        for features in (0, F_CRC32C):
            for op, payload, fields in (
                    (READ, b"x" * 8, {"length": 4096}),
                    (WRITE, bytes(4096), {"length": 8192}),
                    (WRITE, b"", {"length": 4096, "payload_len": 0xffffffff}),
                    (WRITE, b"", {"length": 8 * MIB, "payload_len": 8 * MIB}),
                    (READ, b"", {"length": 4096, "flags": 1}),
                    (WRITE, bytes(4096), {"length": 4096, "flags": 0x80}),
                    (PING, b"", {"length": 1}), (FLUSH, b"", {"offset": 1}),
                    (PING, b"", {"payload_len": 1})):
                lane = d.lane(g, features=features)
                before = lane.frame(PING)
                lane.sock.sendall(before + lane.frame(op, payload, **fields))
                assert lane.reply()[:2] == (PING, OK)
                assert lane.reply()[:2] == (op, E_PROTO), (op, fields)
                closed(lane.recv, 1)
            garbage = [{"magic": REPLY}, {"magic": 0}, {"status": 1},
                       {"reserved": b"\1" + bytes(7)}, {"header_crc": 99}]
            if not features:
                garbage.append({"payload_crc": 1})
            for fields in garbage:
                lane = d.lane(g, features=features)
                lane.sock.sendall(lane.frame(PING, **fields))
                closed(lane.recv, 1)
            lane = d.lane(g, features=features)
            lane.sock.sendall(random.Random(3).randbytes(100000))
            closed(lane.recv, 1)
        d.lane(g).read(0, 4096)
        assert len(d.workers()) == 1


@test
def fuzz(folder):
    """random bytes in a valid frame never kill the worker."""
    with Daemon(folder) as d:
        g = d.control().lease(MIB)
        worker = d.workers()
        rng = random.Random(11)
        for _ in range(150):
            lane = d.lane(g, features=0)
            lane.sock.settimeout(0.3)
            for _ in range(4):
                raw = bytearray(lane.frame(rng.choice((READ, WRITE, DISCARD, PING)),
                                           offset=rng.choice((0, 4096, MIB)),
                                           length=rng.choice((0, 4096, 65536))))
                for _ in range(rng.randrange(0, 3)):
                    raw[rng.randrange(4, 48)] = rng.randrange(256)
                try:
                    lane.sock.sendall(raw + rng.randbytes(rng.choice((0, 4096))))
                except OSError:
                    break
            lane.close()
        assert d.workers() == worker
        d.lane(g).read(0, 4096)


@test
def read_only(folder):
    """a read-only lease can be read, and no more."""
    with Daemon(folder) as d:
        g = d.control().lease(MIB, attrs=READ_ONLY)
        lane = d.lane(g)
        assert lane.attrs == READ_ONLY and lane.features == F_CRC32C
        refused(E_READ_ONLY, lane.write, 0, bytes(4096))
        refused(E_READ_ONLY, lane.call, DISCARD, length=4096)
        assert lane.read(0, 4096) == bytes(4096)


@test
def replace(folder):
    """a new connection replaces the lane's old one; other lanes go on."""
    with Daemon(folder) as d:
        g = d.control().lease(MIB)
        old, other = d.lane(g, 0, 2), d.lane(g, 1, 2)
        old.write(0, pattern(1, 4096))
        old.sock.sendall(old.frame(WRITE, pattern(2, 65536), offset=4096,
                                   length=65536)[:3000])
        new = d.lane(g, 0, 2)
        closed(old.recv, 1)
        assert new.read(0, 4096) == pattern(1, 4096)
        other.write(8192, pattern(3, 4096))
        assert new.read(8192, 4096) == pattern(3, 4096)
        assert d.control().leases()[g.lease]["lanes"] == 2


@test
def deaf(folder):
    """a peer that reads no replies stops its own lane only, and grows nothing."""
    with Daemon(folder) as d:
        c = d.control()
        g = c.lease(4 * MIB)
        lane, other = d.lane(g, 0, 2, features=0), d.lane(g, 1, 2, features=0)
        lane.sock.settimeout(1)
        frame = lane.frame(READ, length=MIB)
        try:
            for _ in range(200000):
                lane.sock.sendall(frame * 100)
        except socket.timeout:
            pass
        start = time.monotonic()
        other.read(0, MIB)
        c.inventory()
        assert time.monotonic() - start < 5
        with open(f"/proc/{d.workers()[0]}/status") as f:
            rss = next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))
        assert rss < (200000 if "asan" in d.binary else 30000), rss
        c.release(g)


@test
def counters(folder):
    """LEASES counts traffic and lanes."""
    with Daemon(folder) as d:
        c = d.control()
        g = c.lease(MIB)
        a, b = d.lane(g, 0, 2), d.lane(g, 1, 2)
        a.write(0, bytes(8192))
        b.read(0, 4096)
        eventually(lambda: c.leases()[g.lease]["read"] == 4096)
        info = c.leases()[g.lease]
        assert info["written"] == 8192 and info["lanes"] == 2
        a.close()
        eventually(lambda: c.leases()[g.lease]["lanes"] == 1)


main()
