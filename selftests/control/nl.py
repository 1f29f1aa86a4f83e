# SPDX-License-Identifier: GPL-2.0
"""Generic netlink by hand, so that messages can also be wrong; and a target that
does just enough for a disk to live on."""

import os
import re
import socket
import struct
import threading

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NETLINK_GENERIC, SOL_NETLINK = 16, 270
NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 1, 10, 11
NLMSG_ERROR, NLMSG_DONE = 2, 3
F_REQUEST, F_ACK, F_DUMP, F_DUMP_INTR = 1, 4, 0x300, 0x10
F_CAPPED, F_ACK_TLVS = 0x100, 0x200
GENL_ID_CTRL, CTRL_GETFAMILY = 16, 3


def constants():
    """The enumerations of the generated header."""
    with open(os.path.join(TOP, "uapi/linux/disagg_netlink.h"), encoding="ascii") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    out = {}
    for body in re.findall(r"enum[^{]*\{(.*?)\}", text, flags=re.S):
        value = -1
        for item in filter(None, (i.strip() for i in body.split(","))):
            name, _, given = (p.strip() for p in item.partition("="))
            value = int(given) if given.isdigit() else value + 1
            out[name] = value
    return out


C = constants()


def attr(kind, payload):
    data = struct.pack("<HH", 4 + len(payload), kind) + payload
    return data + b"\0" * (-len(data) % 4)


def u32(kind, value):
    return attr(kind, struct.pack("<I", value & 0xffffffff))


def u64(kind, value):
    return attr(kind, struct.pack("<Q", value))


def text(kind, value):
    return attr(kind, value.encode() + b"\0")


def flag(kind):
    return attr(kind, b"")


def attrs(data):
    """[(type, payload)] of a run of attributes."""
    out = []
    while len(data) >= 4:
        length, kind = struct.unpack_from("<HH", data)
        out.append((kind & 0x3fff, data[4:length]))
        data = data[(length + 3) & ~3:]
    return out


def string(payload):
    return payload.rstrip(b"\0").decode()


class Refused(Exception):
    """The kernel's no: errno, its words, and which attribute it points at."""

    def __init__(self, errno, message, offset, missing):
        super().__init__(f"errno {errno}: {message} (offset {offset}, missing {missing})")
        self.errno, self.message, self.offset, self.missing = errno, message, offset, missing


class Netlink:
    """One socket; a family looked up by name."""

    def __init__(self, family="disagg"):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.sock.settimeout(20)
        self.sock.bind((0, 0))
        self.sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self.sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self.seq = 0
        self.interrupted = False
        self.family = GENL_ID_CTRL
        self.groups = {}
        reply = self.call(CTRL_GETFAMILY, text(2, family))[0]
        for kind, payload in reply:
            if kind == 1:
                self.family = struct.unpack("<H", payload)[0]
            elif kind == 7:
                for _, group in attrs(payload):
                    members = dict(attrs(group))
                    self.groups[string(members[1])] = struct.unpack("<I", members[2])[0]

    def join(self, group):
        self.sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, self.groups[group])

    def call(self, command, payload=b"", dump=False):
        """The replies, each a list of attributes. Raises Refused."""
        self.seq += 1
        self.interrupted = False
        flags = F_REQUEST | (F_DUMP if dump else F_ACK)
        body = struct.pack("<BBH", command, 1, 0) + payload
        self.sock.send(struct.pack("<IHHII", 16 + len(body), self.family, flags, self.seq, 0)
                       + body)
        out = []
        while True:
            data = self.sock.recv(1 << 16)
            while data:
                length, kind, flags, _, _ = struct.unpack_from("<IHHII", data)
                message, data = data[16:length], data[(length + 3) & ~3:]
                self.interrupted |= bool(flags & F_DUMP_INTR)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    self.raise_if_refused(kind, flags, message)
                    return out
                out.append(attrs(message[4:]))

    @staticmethod
    def raise_if_refused(kind, flags, message):
        error = struct.unpack_from("<i", message)[0]
        if not error:
            return
        said = {}
        if flags & F_ACK_TLVS:
            said = dict(attrs(message[4 if kind == NLMSG_DONE else 20:]))
        number = lambda k: struct.unpack("<I", said[k])[0] if k in said else None
        raise Refused(-error, string(said[1]) if 1 in said else "", number(2), number(5))

    def event(self):
        """The next event: command and attributes."""
        data = self.sock.recv(1 << 16)
        return data[16], attrs(data[20:])


class Target:
    """Answers reads with zeros and everything else with success."""

    FRAME = struct.Struct("<IBBHIIQII8xII")
    REQUEST, REPLY, READ = 0x51524744, 0x50524744, 1

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.accepted = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            conn, _ = self.listener.accept()
            self.accepted.append(conn)
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        stream = conn.makefile("rb")
        try:
            while True:
                frame = stream.read(self.FRAME.size)
                if len(frame) < self.FRAME.size:
                    break
                _, op, _, _, tag, gen, offset, length, payload, _, _ = self.FRAME.unpack(frame)
                stream.read(payload)
                data = b"\0" * length if op == self.READ else b""
                conn.sendall(self.FRAME.pack(self.REPLY, op, 0, 0, tag, gen, offset, length,
                                             len(data), 0, 0) + data)
        except OSError:
            pass
        conn.close()

    def lane(self):
        return socket.create_connection(("127.0.0.1", self.port))


class Results:
    """KTAP, for tests that only know at the end how many they were."""

    def __init__(self):
        self.lines = []
        self.failed = 0

    def check(self, name, good, why=None):
        self.failed += not good
        if not good:
            self.lines.append(f"# {why}")
        number = 1 + sum(not line.startswith("#") for line in self.lines)
        name = name.replace("#", "")
        self.lines.append(f"{'ok' if good else 'not ok'} {number} {name}")

    def done(self):
        count = sum(not line.startswith("#") for line in self.lines)
        print("\n".join(["TAP version 13", f"1..{count}"] + self.lines), flush=True)
        return 1 if self.failed else 0
