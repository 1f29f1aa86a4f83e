#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""
seeds.py: make the corpora of the harnesses whose input is not text. What they mean
is in the comments of the harnesses; what was found by fuzzing (corpus/*/found-*)
and what is text is not made here.
"""
import pathlib
import struct

RUN = 15                        # this many patches: place, value, length
HERE = pathlib.Path(__file__).resolve().parent / "corpus"

READ, WRITE, FLUSH, DISCARD, ZEROES, PING = range(1, 7)
REQUEST = 0x51524744
GOOD = 0x7f                     # everything is put right
RAW_RANGE = 0x7f & ~0x10        # all but offset and length
RAW_PAYLOAD = 0x7f & ~0x20
INVENTORY, RESERVE, COMMIT, RELEASE, RENEW, RESIZE, LEASES = range(0x40, 0x47)


def seed(name, title, data):
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / title).write_bytes(data)


def count(patches):
    return RUN if patches and len(patches[0]) == 3 else len(patches)


def frame(op, offset=0, length=0, payload=0, flags=0, tag=1, magic=REQUEST, status=0,
          reserved=b"", crcs=(0, 0)):
    return struct.pack("<IBBHIIQII8sII", magic, op, flags, status, tag, tag, offset, length,
                       payload, reserved, *crcs)


def rec(fix, op, *args, **kwargs):
    # FIX_OP counts from READ.
    return bytes([fix]) + frame(op - 1 if fix & 4 else op, *args, **kwargs)


def lanes(name):
    def lane(title, mode, *records, depth=15, payload=5, cut=0):
        seed(name, title, bytes([mode, depth, payload, cut]) + b"".join(records))

    every = [rec(GOOD, op, offset=op, length=1, tag=op) for op in range(READ, PING + 1)]
    for title, mode in (("plain", 0), ("crc", 1), ("read-only", 2), ("small", 8)):
        lane("all-" + title, mode, *every)
    lane("all-cut", 1, *every, cut=2)
    lane("all-byte-by-byte", 0, *every, cut=1, payload=0)
    lane("one-at-a-time", 0, *every, depth=0)
    lane("large", 0, *[rec(GOOD, WRITE, i, 7, tag=i) for i in range(8)])
    lane("large-crc", 1, *[rec(GOOD, WRITE, i, 7, tag=i) for i in range(8)], cut=6)
    lane("reads", 0, *[rec(GOOD, READ, i, 7, tag=i) for i in range(40)], depth=120)
    lane("reads-crc", 1, *[rec(GOOD, READ, i, 7, tag=i) for i in range(40)], depth=120)
    lane("beyond", 0, *[rec(RAW_RANGE, op, o, n) for op in (READ, WRITE, DISCARD, ZEROES)
                        for o, n in ((1 << 18, 4096), ((1 << 18) - 4096, 8192),
                                     ((1 << 64) - 4096, 8192), (1, 4096), (0, 4095), (0, 0))])
    lane("too-long", 0, rec(RAW_RANGE, READ, 0, 1 << 18), rec(RAW_RANGE, DISCARD, 0, 1 << 28),
         rec(RAW_RANGE, WRITE, 0, 0xfffff000), payload=0)
    lane("bad-payload-crc", 1, rec(0xff, WRITE, 0, 1), rec(GOOD, READ, 0, 1))
    lane("bad-crc", 1, rec(0x3f, READ, 0, 1))
    lane("payload-of-read", 0, rec(RAW_PAYLOAD, READ, 0, 1, 4096))
    lane("payload-is-short", 0, rec(RAW_PAYLOAD, WRITE, 0, 7, 100))
    lane("flags", 0, *[rec(GOOD & ~8, op, 0, 1, flags=f)
                       for op in (WRITE, ZEROES, READ) for f in (1, 2, 3)])
    lane("unknown-op", 0, rec(GOOD & ~4, 0x77), rec(GOOD & ~4, INVENTORY), rec(GOOD, PING))
    lane("reserved", 0, rec(GOOD & ~2, PING, reserved=b"\1"))
    lane("status", 0, rec(GOOD & ~2, PING, status=1))
    lane("no-frame", 0, rec(0, PING, magic=0))
    lane("raw", 4, frame(READ, 0, 4096), frame(WRITE, 0, 4096, 4096), bytes(4096))
    lane("raw-short", 4, frame(READ, 0, 4096)[:47])


def session():
    raw, control, lane, a_frame, switch, close, later, half = range(8)

    def step(kind, patches=(), late=False):
        return bytes([kind | (8 if late else 0) | count(patches) << 4])

    def changed(patches):
        return b"".join(bytes(p) for p in patches)

    def hello(kind, bits=0, patches=(), late=False):
        return step(kind, patches, late) + bytes([bits]) + changed(patches)

    def ask(op, args=b"", bits=0, patches=(), late=False):
        body = bytes([op]) + args
        if late:
            return step(a_frame, patches, True) + body + bytes([bits]) + changed(patches)
        return step(a_frame, patches) + body + changed(patches) + bytes([bits])

    def reserve(txid=1, which=0, **kwargs):
        return ask(RESERVE, bytes([which, txid]), **kwargs)

    def on(op, which=0, **kwargs):
        return ask(op, bytes([which]), **kwargs)

    seed("session", "lists", hello(control) + ask(INVENTORY) + ask(LEASES) +
         ask(INVENTORY | 0x80, b"\2") + ask(LEASES | 0x80, b"\xff"))
    seed("session", "lists-crc", hello(control, 1) + ask(INVENTORY, bits=1) + ask(LEASES, bits=1))
    seed("session", "reserve", hello(control) + b"".join(
        reserve(i + 1, i) for i in range(6)) + ask(LEASES) + reserve(1, 0) + reserve(1, 1))
    seed("session", "life", hello(control) + reserve() + on(COMMIT) + on(RENEW) +
         on(RESIZE, 1 << 3) + on(RELEASE) + on(RELEASE))
    seed("session", "life-of-storage", hello(control) + reserve(1, 2) + on(COMMIT) +
         on(RESIZE, 1 << 3) + on(RELEASE))
    seed("session", "life-crc", hello(control, 1) + reserve(bits=1) + on(RENEW, bits=1) +
         on(RELEASE, bits=1))
    seed("session", "resize", hello(control) + on(RESIZE) + on(RESIZE, 2 << 3) +
         on(RESIZE, 31 << 3) + on(COMMIT) + on(RENEW))
    seed("session", "lanes", b"".join(hello(lane, n << 1) + step(close) for n in range(8)))
    seed("session", "lane-cut", hello(lane, 0x80))
    seed("session", "lane-wrong", hello(lane, 0, [(127, 1)], True) + step(close) +
         hello(lane, 0, [(32, 9)]) + step(close) + hello(lane, 0, [(16, 9)]) + step(close) +
         hello(lane, 0, [(40, 9)]) + step(close) + hello(lane, 0, [(48, 0), (49, 2)]))
    seed("session", "hello-wrong", b"".join(
        hello(control, 0, [(at, v)]) + step(close)
        for at, v in ((0, 0), (4, 9), (6, 9), (9, 9), (16, 1), (24, 1), (40, 1), (48, 0),
                      (50, 255), (52, 0), (56, 7), (95, 1), (127, 1))))
    seed("session", "hello-late", step(raw) + b"\x10" + bytes(16) + step(later | 3 << 3))
    seed("session", "idle", hello(control) + bytes([later | 31 << 3]))
    seed("session", "three", hello(control) + bytes([switch | 1 << 3]) + hello(control, 1) +
         bytes([switch | 2 << 3]) + hello(lane) + bytes([switch]) + reserve() +
         bytes([switch | 1 << 3]) + on(RESIZE, 1 << 3, bits=1) + bytes([switch]) +
         on(RELEASE) + step(half))
    seed("session", "frame-wrong", hello(control) + b"".join(
        hello(control) + ask(INVENTORY, patches=[(at, v)], late=True) + step(close)
        for at, v in ((0, 0), (4, 0x7f), (5, 1), (6, 1), (24, 1), (28, 1), (29, 9), (31, 255),
                      (32, 1), (40, 1), (44, 1))))
    seed("session", "payload-crc", hello(control, 1) + reserve(bits=1, patches=[(60, 1)], late=True))
    seed("session", "reserve-wrong", hello(control) + b"".join(
        reserve(5, 0, patches=[(at, v)])
        for at, v in ((16, 9), (20, 9), (24, 1), (31, 255), (48, 1), (64, 0xff), (100, 255))))
    seed("session", "reserve-not-ended", hello(control) + b"".join(
        reserve(5 + at // 32, 0, patches=[(at, 120, 32)]) for at in (64, 96, 128, 160)))
    seed("session", "hello-not-ended", hello(control, 0, [(56, 120, 32)]))
    seed("session", "ref-wrong", hello(control) + b"".join(
        on(op, 0, patches=[(at, v)], late=late) for op in (COMMIT, RENEW, RESIZE)
        for at, v, late in ((0, 1, False), (16, 99, False), (24, 1, False), (32, 1, False),
                            (40, 1, False), (64, 1, True))))
    seed("session", "payload-wrong", hello(control) + ask(0x50, b"\4abcd"))
    seed("session", "pipelined", hello(control) + step(raw) + b"\x60" + frame(INVENTORY) +
         frame(LEASES))


def client():
    raw, greeting, welcome, reply, following = range(5)

    def say(what, patches=(), args=b"", late=False):
        return (bytes([what | (8 if late else 0) | count(patches) << 4]) + args +
                b"".join(bytes(p) for p in patches))

    def answer(op, entries=0, patches=(), late=False):
        return say(reply, patches, bytes([op, entries]), late)

    start = say(greeting) + say(welcome)
    for crc, word in ((0, ""), (0x80, "-crc")):
        seed("client", "inventory" + word, bytes([crc]) + start + answer(INVENTORY, 3))
        seed("client", "inventory-pages" + word, bytes([crc]) + start +
             answer(INVENTORY | 0x80, 3) + answer(INVENTORY, 1))
        seed("client", "leases" + word, bytes([crc | 1]) + start + answer(LEASES, 2))
        seed("client", "life" + word, bytes([crc | 2]) + start + answer(RESERVE, 8) +
             answer(COMMIT, 8) + answer(RESIZE, 16) + answer(RELEASE))
        seed("client", "lanes" + word, bytes([crc | 3]) + start + say(following) + start)
    seed("client", "empty", bytes([0]) + start + answer(INVENTORY, 0))
    seed("client", "none", bytes([0]))
    seed("client", "refused", bytes([2]) + say(greeting) + say(welcome, [(6, 3), (64, 120)]))
    seed("client", "version", bytes([0]) + say(greeting, [(4, 2), (6, 2)]))
    seed("client", "grant-wrong", bytes([2]) + start + answer(RESERVE, 9))
    seed("client", "grant-name", bytes([2]) + start + answer(RESERVE, 8, [(96, 47)]))
    seed("client", "grant-no-generation", bytes([2]) + start + answer(RESERVE, 8, [(16, 0)]))
    seed("client", "id-wrong", bytes([0]) + start + answer(INVENTORY, 2, [(64, 0xff)]))
    seed("client", "block-wrong", bytes([0]) + start + answer(INVENTORY, 2, [(37, 3)]))
    seed("client", "name-wrong", bytes([1]) + start + answer(LEASES, 2, [(160, 0xff)]))
    seed("client", "too-long", bytes([1]) + start + answer(LEASES, 255))
    seed("client", "not-ended", bytes([0]) + start + answer(INVENTORY, 2, [(96, 120, 32)]))
    seed("client", "reason-not-ended", bytes([0]) + say(greeting) + say(welcome, [(64, 120, 96)]))
    seed("client", "grant-not-ended", bytes([2]) + start + answer(RESERVE, 8, [(96, 120, 32)]))
    seed("client", "length-wrong", bytes([0]) + start + answer(INVENTORY, 2, [(28, 1)], True))
    seed("client", "total-wrong", bytes([0]) + start + answer(INVENTORY, 2, [(27, 255)], True))
    seed("client", "terms-differ", bytes([3]) + start + say(following) + say(greeting) +
         say(welcome, [(29, 1)]))
    seed("client", "lane-terms", bytes([3]) + say(greeting) + say(welcome, [(33, 0)]))
    seed("client", "lane-small", bytes([3]) + say(greeting) + say(welcome, [(18, 0)]))
    seed("client", "payload-crc", bytes([0x80]) + start +
         answer(INVENTORY | 0x80, 2, [(40, 1)], True))


def attr(kind, data=b"", nested=False):
    head = struct.pack("<HH", 4 + len(data), kind | (0x8000 if nested else 0))
    return head + data + bytes(-len(data) % 4)


def u32(kind, value):
    return attr(kind, struct.pack("<I", value))


def u64(kind, value):
    return attr(kind, struct.pack("<Q", value))


def text(kind, value):
    return attr(kind, value.encode() + b"\0")


def netlink():
    node_get, device_get, device_new = 2, 7, 8
    a_lane = attr(21, u32(1, 0) + u32(3, 0) + text(4, "127.0.0.1:7420") + u64(6, 5) + u64(7, 5) +
                  u64(8, 0) + u64(9, 4096) + u64(10, 4096) + u32(11, 1) + u64(12, 0) +
                  text(13, "it broke"), True)
    device = (u32(1, 0) + text(2, "n") + text(3, "d") + u32(4, 0) + u32(5, 0) + u32(6, 1) +
              text(7, "disagg0") + u64(9, 1 << 30) + u32(10, 4096) + u32(11, 1) + u64(12, 7) +
              text(13, "t") + text(14, "dram") + attr(15, bytes(range(16))) + u64(16, 1) +
              u32(17, 1 << 20) + u32(18, 1 << 20) + u32(19, 16) + u32(20, 30000) + a_lane * 2 +
              u32(23, 0) + u32(24, 1) + u64(25, 4096) + u64(26, 4096) + u64(27, 0) +
              text(28, "given up") + u64(29, 1) + u32(30, 0xffffffff) + u32(31, 0))

    def msg(title, cmd, at, attrs):
        seed("netlink", title, struct.pack("<BH", cmd, at) + attrs)

    msg("info", 1, 0, text(1, "0.1.0") + u32(2, 1) + u32(3, 1) + u64(4, 31) + u32(5, 1) + u32(6, 1))
    msg("node", node_get, 20, text(1, "n") + u32(2, 1) + u64(4, 1))
    msg("device", device_get, 20, device)
    msg("device-new", device_new, 20 + len(device) - 8, device)
    msg("lane-new", device_new, 28, text(2, "n") + attr(21, u32(1, 0) + u32(2, 3), True))
    msg("many-lanes", device_get, 0, text(2, "n") + text(3, "d") + a_lane * 66)
    msg("short", device_get, 0, text(2, "n") + text(3, "d") + attr(9, b"\1\2") + attr(15, b"\1") +
        attr(7) + attr(21))
    msg("not-ended", device_get, 0, attr(2, b"n" * 40) + attr(3, b"d" * 200) + attr(28, b"x" * 600))
    msg("cut", device_get, 0, device[:-3])
    msg("long-lane", device_get, 0, text(2, "n") + text(3, "d") + attr(21, b"\xff\xff\1\0", True))


def tls():
    dns, mail, uri, address = range(4)

    def psk(title, content):
        seed("tls", "psk-" + title, b"p" + content)

    def changed(title, *places):
        seed("tls", "changed-" + title,
             b"m" + b"".join(struct.pack(">HB", at, value) for at, value in places))

    def names(title, *alternatives, cn=b""):
        seed("tls", "names-" + title, b"n" + bytes([len(alternatives)]) +
             b"".join(bytes([kind, len(name)]) + name for kind, name in alternatives) +
             bytes([len(cn)]) + cn)

    key = b"0123456789abcdef" * 2
    psk("good", b"b:" + key + b"\na:" + key + b"\n")
    psk("other", b"ab:" + key + b"\r\na+b:" + key)
    psk("short", b"a:" + key[1:])
    psk("long", b"a:" + key * 5)
    psk("odd", b"a:" + key + b"0")
    psk("no-hex", b"a:" + key[:-1] + b"g")
    psk("nul", b"a:" + key[:16] + b"\0" + key[:15] + b"\na:" + key)
    for title, b, user in (("one", 0, b"one"), ("one-b", 1, b"one+b"), ("other-key", 1, b"one"),
                           ("nobody", 0, b"two"), ("nul", 0, b"one\0"), ("colon", 0, b"one:"),
                           ("line", 0, b"x\none"), ("long", 0, b"o" * 300),
                           ("percent", 0, b"%s%n")):
        seed("tls", "user-" + title, b"u" + bytes([b]) + user)
    for who in "sc":
        seed("tls", "raw-empty-" + who, who.encode() + bytes.fromhex("1703030000") * 40)
        seed("tls", "raw-alerts-" + who, who.encode() + bytes.fromhex("15030300020100") * 40)
        seed("tls", "raw-text-" + who, who.encode() + b"GET / HTTP/1.1\r\n\r\n")
        seed("tls", "raw-large-" + who, who.encode() + bytes.fromhex("160303ffff01fffffe0303"))
    changed("nothing")
    changed("version", (2, 2), (0x8002, 2))
    changed("type", (0, 0x17))
    changed("hello", (10, 0), (44, 1))
    changed("length", (4, 1), (0x8004, 1))
    changed("encrypted", (0x8000 + 200, 0))
    changed("certificate", (900, 0))
    names("dns", (dns, b"client.example"))
    names("cn", cn=b"client")
    names("both", (mail, b"a@b"), (dns, b"client"), cn=b"other")
    names("others", (mail, b"a@b"), (uri, b"https://a/"), (address, bytes([127, 0, 0, 1])))
    names("wildcard", (dns, b"*.example"))
    names("plus", (dns, b"a+b"))
    names("nul", (dns, b"client\0.example"))
    names("nul-cn", cn=b"client\0")
    names("long", (uri, b"x" * 200), (dns, b"client"))
    names("long-dns", (dns, b"x" * 128))
    names("longest", (dns, b"x" * 127))
    names("many", *[(mail, b"a@b")] * 64, (dns, b"client"), cn=b"client")
    names("none")


lanes("memory")
lanes("storage")
session()
client()
netlink()
tls()
