#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What is wrong on the wire is marked, and nothing on it makes the dissector stumble."""
import atexit
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from capture import Capture, dissect, messages, own_network, run
from ktap import main, test
from wire import *


def marks(message):
    """What a message is marked with, {kind: text}, less what every refusal is."""
    return {k.removeprefix("disagg."): text for k, text in message.experts.items()
            if k not in ("disagg.refused", "disagg.no_reply")}


@test
def malformed(folder):
    """requests that a target answers with E_PROTO or the end say what is wrong."""
    cases = (
        ({"op": READ, "payload": b"x" * 8, "length": 4096},
         {"wrong.length": "8 bytes of payload; 0 belong here"}),
        ({"op": WRITE, "payload": bytes(4096), "length": 8192},
         {"wrong.length": "4096 bytes of payload; 8192 belong here"}),
        ({"op": WRITE, "length": 4096, "payload_len": 0xffffffff},
         {"wrong.length": "4294967295 bytes of payload; at most 65536 are allowed"}),
        ({"op": WRITE, "length": 69632, "payload_len": 69632},
         {"wrong.length": "69632 bytes of payload; at most 65536 are allowed"}),
        ({"op": PING, "payload_len": 1}, {"wrong.length": "1 bytes of payload; 0 belong here"}),
        ({"op": PING, "magic": 0x41424344}, None),
        ({"op": PING, "status": 1}, {"wrong.reserved": "A request's status must be zero"}),
        ({"op": PING, "reserved": b"\1" + bytes(7)},
         {"wrong.reserved": "What must be zero is not"}),
        ({"op": WRITE, "payload": bytes(4096), "length": 4096, "flags": 0x80},
         {"wrong.value": "Bits that are not defined"}),
        ({"op": PING, "header_crc": 99},
         {"wrong.crc": "The frame's CRC32C should be 0x00000000"}),
        ({"op": PING, "payload_crc": 99},
         {"wrong.reserved": "There is no payload with a CRC32C"}))
    ports = []
    with Capture(folder) as capture, Daemon(folder, listen=7420) as d:
        g = d.control().lease(MIB)
        for fields, _ in cases:
            fields = dict(fields)
            c = d.lane(g, features=0, max_payload=65536)
            ports.append(c.sock.getsockname()[1])
            c.sock.sendall(c.frame(fields.pop("op"), fields.pop("payload", b""), **fields))
            try:
                assert c.reply()[1] == E_PROTO
            except Closed:
                pass
            closed(c.recv, 1)
    packets = dissect(capture.path)
    for port, (fields, want) in zip(ports, cases):
        hello, got, *rest = messages(packets, source=port)
        assert not marks(hello)
        # A payload that is not right is not waited for.
        assert len(rest) <= ("payload" in fields) * 3
        assert all(list(marks(m)) == ["wrong.magic"] for m in rest)
        if want is None:
            assert list(marks(got)) == ["wrong.magic"], marks(got)
            assert len(got.bytes("disagg.undecoded")) == 48
        else:
            assert marks(got) == want, (fields, marks(got))
        answers = [m for m in messages(packets, target=port) if "disagg.op" in m.fields]
        # It is matched even so; what got no answer says so.
        assert len(answers) == (1 if "disagg.reply_in" in got.fields else 0)
        assert want is None or ("disagg.no_reply" in got.experts) == (not answers)
        for m in answers:
            assert m.number("disagg.request_in") == got.frame and not marks(m)
            assert m.experts["disagg.refused"] == "The target refuses: E_PROTO"


def frame(op, tag, payload=b"", magic=REPLY, generation=7, offset=0, length=0, flags=0,
          status=0):
    return FRAME.pack(magic, op, flags, status, tag, generation, offset, length,
                      len(payload), bytes(8), 0, 0) + payload


def talk(folder, requests, replies):
    """The messages of a connection whose ends say just that, one thing a segment."""
    with Capture(folder) as capture, socket.create_server(("127.0.0.1", 7420)) as server:
        with socket.create_connection(("127.0.0.1", 7420)) as client:
            peer = server.accept()[0]
            for s, said in ((client, requests), (peer, replies)):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for data in said:
                    s.sendall(data)
                    time.sleep(0.05)
            peer.close()
    return messages(dissect(capture.path))


@test
def unmatched(folder):
    """replies that nobody asked for, or for something else; tags that are in use."""
    def ask(*args, **fields):
        return frame(*args, magic=REQUEST, **fields)
    got = talk(folder,
               [ask(PING, 1) + ask(READ, 2, length=4096) + ask(READ, 3, length=4096),
                ask(PING, 1), ask(PING, 4)],
               [frame(PING, 9), frame(PING, 1, generation=8),           # neither was asked
                frame(PING, 2),                                         # another op
                frame(READ, 3, bytes(8192), length=8192, offset=4096),  # another range
                frame(PING, 1), frame(PING, 1),                         # one too many
                frame(PING, 4, flags=1), frame(0x99, 5, status=77)])
    assert [m.number("disagg.tag") for m in got] == [1, 2, 3, 1, 4, 9, 1, 2, 3, 1, 1, 4, 5]
    none = "Reply without a request (of this tag and generation, in this capture)"
    in_use = f"Tag and generation are in flight already: frame {got[0].frame}"
    want = [{}, {}, {}, {"wrong.in_use": in_use}, {}, {"wrong.no_request": none},
            {"wrong.no_request": none},
            {"wrong.other": "Reply with another op than its request's"},
            {"wrong.other": "Reply with another range than its request's"},
            {}, {"wrong.no_request": none},
            {"wrong.reserved": "A reply's flags must be zero"},
            {"wrong.value": "A value or bit that is not defined",
             "wrong.no_request": none}]
    assert [marks(m) for m in got] == want, [marks(m) for m in got]
    assert got[9].number("disagg.request_in") == got[3].frame
    assert "disagg.no_reply" in got[0].experts and "disagg.time" not in got[10].fields


@test
def garbage(folder):
    """between garbage and what only looks like a magic, frames are found again."""
    got = talk(folder, [b"DGRQ is not enough" + bytes(40), b"xDGxxxDGRQ" + bytes(60) +
                        frame(PING, 5, magic=REQUEST), frame(PING, 6, magic=REQUEST)],
               [frame(PING, 6)])
    tags = [m.number("disagg.tag") for m in got if "disagg.tag" in m.fields]
    assert tags[-3:] == [5, 6, 6], tags
    assert [m for m in got if "wrong.magic" in marks(m)]


_path = []


def _session():
    """A capture with some of everything in it."""
    if not _path:
        folder = tempfile.mkdtemp(prefix="capture-")
        atexit.register(shutil.rmtree, folder)
        with Capture(folder) as capture, Daemon(folder, listen=7420) as d:
            c = d.control()
            c.inventory()
            lane = d.lane(c.lease(4 * MIB), features=0)
            for i in range(20):
                lane.write(i * 65536, pattern(i, 24576))
                lane.read(i * 65536, 24576)
            lane.call(PING)
            c.leases()
        _path.append(capture.path)
    return _path[0]


@test
def beginning(folder):
    """a capture that begins in the middle of a payload comes to know where frames start."""
    path, late = _session(), os.path.join(folder, "late.pcapng")
    frames = [p for p in dissect(path) if p.messages]
    writes = [p.number for p in frames if p.messages[0].fields.get("disagg.op") and
              p.messages[0].number("disagg.op") == WRITE and p.segments]
    run("editcap", path, late, f"1-{writes[3] - 10}")
    whole = [m for m in messages(dissect(path)) if m.frame > writes[4]]
    got = [m for m in messages(dissect(late)) if m.frame > 10 and
           "disagg.undecoded" not in m.fields]
    tags = [[m.number("disagg.tag") for m in x if "disagg.tag" in m.fields][-25:]
            for x in (whole, got)]
    assert tags[0] == tags[1] and len(tags[0]) == 25, tags


@test
def truncated(folder):
    """of packets that were not captured in full, there is what there is."""
    path, short = _session(), os.path.join(folder, "short.pcapng")
    run("editcap", "-s", "120", path, short)
    got = messages(dissect(short))
    assert sum("disagg.truncated" in m.experts for m in got) > 20
    assert sum("disagg.tag" in m.fields for m in got) > 40


@test
def garbled(folder):
    """garbled packets do not make it fail: no error in Lua."""
    path, bad = _session(), os.path.join(folder, "bad.pcapng")
    for seed in range(1, 6):
        # It says which packets are too short to be garbled.
        subprocess.run(["editcap", "--seed", str(seed), "-o", "66", "-E", "0.01", path, bad],
                       check=True, stderr=subprocess.DEVNULL)
        assert len(messages(dissect(bad))) > 10


@test
def fuzz(folder):
    """nor do frames with random fields."""
    rng = random.Random(5)
    sent = []
    for _ in range(120):
        size = rng.choice((48, 64, 128, 160, 176, 240))
        data = bytearray(rng.randbytes(size) if rng.randrange(2) else bytes(size))
        magic = rng.choice((GREETING, HELLO, WELCOME, REQUEST, REPLY))
        data[:4] = magic.to_bytes(4, "little")
        if magic in (REQUEST, REPLY):
            data[4] = rng.choice((1, 2, 6, 0x40, 0x41, 0x42, 0x43, 0x46, 0x99))
            data[28:32] = rng.choice((0, 16, 96, 128, 192, 256)).to_bytes(4, "little")
        sent.append(bytes(data))
    with Capture(folder) as capture, socket.create_server(("127.0.0.1", 7420)) as server:
        for data in sent:
            with socket.create_connection(("127.0.0.1", 7420)) as client:
                client.sendall(data)
                server.accept()[0].close()
    assert len(messages(dissect(capture.path))) > 100


own_network()
main()
