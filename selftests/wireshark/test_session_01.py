#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A session with a real disaggd: every field of every message is shown as it was sent."""
import atexit
import os
import shutil
import socket
import tempfile
import time
import uuid

import header
from capture import Capture, Tap, dissect, messages, own_network, run, tap_connections
from ktap import main, test
from wire import *

PORT = header.constants()["PORT"]
LAYOUTS = header.lua_layouts()          # test_header_01.py compares them with the header's
NAMES = {}                              # field of the dissector: {value: name}
for _field, _prefix in (("magic", "MAGIC_"), ("op", "OP_"), ("class", "CLASS_"),
                        ("hello.mode", "MODE_"), ("lease_info.state", "LEASE_")):
    NAMES["disagg." + _field] = {v: n.removeprefix(_prefix)
                                 for n, v in header.constants().items()
                                 if n.startswith(_prefix)}
NAMES["disagg.status"] = {v: n for n, v in header.constants().items()
                          if n == "OK" or n.startswith("E_")}
PAYLOADS = {(REQUEST, RESERVE): "reserve", (REPLY, RESERVE): "grant",
            (REPLY, INVENTORY): "resource", (REPLY, LEASES): "lease_info",
            (REQUEST, RELEASE): "lease_ref"}
for _op in (COMMIT, RENEW, RESIZE):
    PAYLOADS[REQUEST, _op] = "lease_ref"
    PAYLOADS[REPLY, _op] = "grant"


def session(d):
    """Something of everything that is not malformed."""
    c = d.control()
    c.inventory()
    disk = c.lease(8 * MIB, cls=STORAGE, node=b"node1", device=b"disk0", host=b"host1")
    mem = c.lease(4 * MIB, lease_ns=3600 * 10 ** 9)
    c.act(RENEW, mem, lease_ns=7200 * 10 ** 9)
    c.act(RESIZE, mem, size=8 * MIB)
    c.leases()
    refused(E_NO_SPACE, c.reserve, 1 << 40)
    refused(E_NOT_FOUND, c.reserve, MIB, id=b"nope")
    refused(E_DENIED, c.act, RENEW, mem, proof=bytes(32))
    refused(E_DENIED, d.lane, mem, token=bytes(32))

    lane = d.lane(disk)
    lane.write(4096, pattern(1, 65536), flags=FUA)
    assert lane.read(8192, 4096) == pattern(1, 65536)[4096:8192]
    lane.call(FLUSH)
    lane.call(DISCARD, offset=MIB, length=65536)
    lane.call(WRITE_ZEROES, offset=MIB, length=65536, flags=NOUNMAP | FUA)
    refused(E_INVALID, lane.read, 8 * MIB, 4096)
    refused(E_NOT_SUPPORTED, lane.call, 0x77)
    refused(E_CRC, lane.call, WRITE, bytes(4096), length=4096, payload_crc=5)
    lane.write(0, pattern(2, MIB))
    assert lane.read(0, MIB) == pattern(2, MIB)

    # Without CRCs; several in one segment, in flight together; then cut anywhere.
    lane = d.lane(mem, 1, 2, features=0)
    lane.sock.sendall(b"".join(lane.frame(READ, offset=i * 4096, length=4096)
                               for i in range(20)))
    assert {lane.reply()[2] for _ in range(20)} == set(range(1, 21))
    blob = lane.frame(WRITE, pattern(3, 4096), offset=8192, length=4096)
    blob += lane.frame(PING) + lane.frame(PING)
    # In the magic, before the CRC, in the payload, in the next one's magic.
    for n in (1, 3, 43, 1, 1000, 3098, 47, len(blob)):
        lane.sock.sendall(blob[:n])
        blob = blob[n:]
        time.sleep(0.03)
    for _ in range(3):
        assert lane.reply()[1] == OK
    c.release(mem)
    refused(E_STALE, d.lane, mem)


def split(data, first):
    """The messages in the bytes of one direction: (layout, bytes, payload)."""
    out = []
    for name in first:
        size = header.size(name)
        out.append((name, data[:size], b""))
        data = data[size:]
    while data:
        size = FRAME.unpack(data[:48])[8]
        out.append(("frame", data[:48], data[48:48 + size]))
        assert len(out[-1][2]) == size
        data = data[48 + size:]
    return out


def compare_field(shown, kind, count, name, raw):
    assert bytes.fromhex(shown.get("value")) == raw, (name, shown.get("value"), raw.hex())
    text, line = shown.get("show"), shown.get("showname")
    if kind == "char":
        assert text == raw.split(b"\0")[0].decode(), (name, text, raw)
    elif count == 16 and not name.endswith("reserved"):
        assert text == str(uuid.UUID(bytes=raw)), (name, text)
    elif count:
        assert bytes.fromhex(text.replace(":", "")) == raw, (name, text)
    else:
        value = int.from_bytes(raw, "little")
        assert int(text, 0) == value, (name, text, value)
        if name in NAMES:
            want = f": {NAMES[name].get(value, 'Unknown')} ("
            assert want in line, (name, line, want)


def compare(message, layout, raw):
    """Every field of the header is there, with its bytes and as what it is."""
    at = start = 0
    for name, kind, count, shown in LAYOUTS[layout]:
        size = header.SIZES[kind] * (count or 1)
        assert len(message.fields.get(shown, [])) == 1, (layout, name, sorted(message.fields))
        field = message.fields[shown][0]
        start = start if at else int(field.get("pos"))
        assert int(field.get("pos")) == start + at, (layout, name)
        compare_field(field, kind, count, shown, raw[at:at + size])
        at += size
    assert at == len(raw)


def compare_all(packets, tap):
    """What went through a socket is what was dissected, both ways."""
    for data, ends, first in ((tap.sent, {"source": tap.port}, ["hello"]),
                              (tap.received, {"target": tap.port}, ["greeting", "welcome"])):
        want, got = split(data, first), messages(packets, **ends)
        assert len(got) == len(want), (ends, len(got), len(want))
        for (layout, raw, payload), message in zip(want, got):
            compare(message, layout, raw)
            if layout != "frame" or not payload:
                assert "disagg.data" not in message.fields and not message.parts
                continue
            part = PAYLOADS.get((message.number("disagg.magic"), message.number("disagg.op")))
            if not part:
                assert message.bytes("disagg.data") == payload
                continue
            size = header.size(part)
            assert len(payload) == size * len(message.parts) and message.parts
            for i, entry in enumerate(message.parts):
                compare(entry, part, payload[i * size:(i + 1) * size])


_captures = {}
_dissected = {}


def captured(port, *options):
    """The packets of a session at @port, and its taps."""
    if port not in _captures:
        folder = tempfile.mkdtemp(prefix="capture-")
        atexit.register(shutil.rmtree, folder)
        disk = os.path.join(folder, "disk")
        with open(disk, "wb") as f:
            f.truncate(64 * MIB)
        Tap.all.clear()
        with Capture(folder) as capture:
            with Daemon(folder, "resources:\n- {id: mem, class: memory, size: 64MiB}\n"
                        f"- {{id: disk, class: storage, path: {disk}}}\n", listen=port) as d:
                session(d)
        _captures[port] = (capture.path, list(Tap.all))
    path, taps = _captures[port]
    if (port, options) not in _dissected:
        _dissected[port, options] = dissect(path, *options)
    return _dissected[port, options], taps


@test
def fields(_folder):
    """every field of every message is there and right, on the port."""
    packets, taps = captured(PORT)
    assert len(taps) == 5
    for tap in taps:
        compare_all(packets, tap)
    names = {name for m in messages(packets) for x in [m, *m.parts] for name in x.fields}
    assert {"disagg.features.crc32c", "disagg.features.epoch", "disagg.flags.fua",
            "disagg.flags.nounmap", "disagg.attrs.read_only"} <= names


@test
def magics(_folder):
    """the same on another port, by the magics."""
    packets, taps = captured(7421)
    for tap in taps:
        compare_all(packets, tap)


@test
def reassembled(_folder):
    """the capture has what it is for: frames and payloads cut by segments."""
    packets, _ = captured(PORT)
    assert max(p.segments for p in packets) > 700         # 1 MiB and its frame
    assert any(len(p.messages) > 10 for p in packets)
    cut = [p for p in packets if p.segments > 1 and p.messages and
           p.messages[-1].fields.get("disagg.op") and
           p.messages[-1].number("disagg.op") == PING]
    assert len(cut) >= 1
    # What is not the end of a message is shown as TCP's.
    assert sum(1 for p in packets if not p.messages) > 1500


@test
def reordered(folder):
    """segments that overtook each other: with TCP's preference for it, nothing is missing."""
    packets, taps = captured(PORT)
    path = _captures[PORT][0]
    last = next(p for p in packets if p.segments > 700 and p.source == PORT)
    # Before it there may be an ACK of the other direction.
    before = [p.number for p in packets if p.stream == last.stream and p.source == PORT and
              p.number < last.number][-1]
    parts = []
    for wanted in (f"1-{before - 1}", f"{before + 1}-{last.number}", str(before),
                   f"{last.number + 1}-{packets[-1].number}"):
        parts.append(os.path.join(folder, str(len(parts))))
        run("editcap", "-r", path, parts[-1], wanted)
    swapped = os.path.join(folder, "swapped")
    run("mergecap", "-a", "-w", swapped, *parts)
    assert len(messages(dissect(swapped))) < len(messages(packets))
    packets = dissect(swapped, "-o", "tcp.reassemble_out_of_order:TRUE")
    for tap in taps:
        compare_all(packets, tap)


@test
def matched(_folder):
    """replies and requests name each other, with the time between them."""
    packets, taps = captured(PORT)
    times = {p.number: p.time for p in packets}
    pairs = 0
    for tap in taps:
        asked = {}
        for m in messages(packets, source=tap.port):
            if m.number("disagg.magic") == REQUEST:
                asked[m.number("disagg.tag"), m.number("disagg.generation")] = m
        for m in messages(packets, target=tap.port):
            if m.number("disagg.magic") != REPLY:
                continue
            q = asked.pop((m.number("disagg.tag"), m.number("disagg.generation")))
            assert m.number("disagg.op") == q.number("disagg.op")
            assert m.number("disagg.request_in") == q.frame < m.frame
            assert q.number("disagg.reply_in") == m.frame
            took = times[m.frame] - times[q.frame]
            assert abs(float(m.show("disagg.time")) - took) < 1e-8, (m.show("disagg.time"), took)
            pairs += 1
        assert not asked
    assert pairs == 12 + 10 + 23, pairs


@test
def experts(_folder):
    """what is right gets no remark, what is refused a note with the status."""
    packets, _ = captured(PORT)
    got = [(k, text) for m in messages(packets) for k, text in m.experts.items()]
    want = {"E_NO_SPACE": 1, "E_NOT_FOUND": 1, "E_DENIED": 2, "E_STALE": 1,
            "E_INVALID": 1, "E_NOT_SUPPORTED": 1, "E_CRC": 1}
    for status, count in want.items():
        assert got.count(("disagg.refused", f"The target refuses: {status}")) == count, status
        got = [x for x in got if x != ("disagg.refused", f"The target refuses: {status}")]
    # The unknown op, in request and reply.
    assert got == [("disagg.wrong.value", "A value or bit that is not defined")] * 2, got


@test
def payload_crc(_folder):
    """with the preference for it, payloads are checked: one was sent wrong."""
    packets, _ = captured(PORT, "-o", "disagg.payloads:TRUE")
    got = [(m.label("disagg.op"), m.experts["disagg.wrong.crc"]) for m in messages(packets)
           if "disagg.wrong.crc" in m.experts]
    assert len(got) == 1 and "WRITE" in got[0][0], got
    assert got[0][1] == f"The payload's CRC32C should be 0x{crc32c(bytes(4096)):08x}", got


@test
def summary(_folder):
    """the list of packets says what they are; filters find them."""
    captured(PORT)
    path = _captures[PORT][0]
    out = run("tshark", "-n", "-r", path, "-Y", "disagg").splitlines()
    assert all(" disagg " in line for line in out)
    for text in ("disagg: GREETING versions 1 to 1", "HELLO control, host test",
                 "HELLO lane 1 of 2, host test", "WELCOME OK", "WELCOME E_DENIED: ",
                 "disagg: RESERVE, tag 2", "READ OK, tag 2", "READ 4096 at 8192, tag 2",
                 "READ 4096 at 0, tag 1, READ 4096 at 4096, tag 2, READ",
                 "RENEW E_DENIED, tag ", "op 0x77 E_NOT_SUPPORTED"):
        assert any(text in line for line in out), text

    def count(what):
        return len(run("tshark", "-n", "-2", "-r", path, "-Y", what).splitlines())
    assert count("disagg.op == 2 && disagg.magic == 0x51524744") == 4
    lease = run("tshark", "-n", "-r", path, "-Y", "disagg.hello.lanes == 2", "-T", "fields",
                "-e", "disagg.lease").strip()
    assert count(f'disagg.lane.lease == "{lease}" && disagg.reply_in') >= 2
    assert count(f"disagg.lease == {lease}") >= 5


@test
def announcements(folder):
    """an announcement is shown, and what is not quite one is marked."""
    good = ANNOUNCE_S.pack(ANNOUNCE, 1, bytes(2), 0x1234, 7, bytes(12))
    with Capture(folder) as capture:
        # Without a host that takes them, the kernel's refusals show them again.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", PORT))
            for data in (good, good[:-1] + b"x", good + b"x", b"none of ours"):
                s.sendto(data, ("127.0.0.1", PORT))
    fields = ("disagg.announce.sequence", "disagg.announce.epoch", "disagg.wrong.reserved",
              "disagg.wrong.length")
    out = run("tshark", "-n", "-r", capture.path, "-Y", "disagg", "-T", "fields",
              *[w for f in fields for w in ("-e", f)]).splitlines()
    assert [[bool(x) for x in line.split("\t")] for line in out] == [
        [True, True, False, False], [True, True, True, False], [False, False, False, True]], out
    assert out[0].split("\t")[0] == "7" and int(out[0].split("\t")[1], 0) == 0x1234, out
    assert "disagg: ANNOUNCE, sequence 7" in run("tshark", "-n", "-r", capture.path)


own_network()
tap_connections()
main()
