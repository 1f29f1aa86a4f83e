#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Everything that the module refuses over netlink: the errno, words that name the
attribute, and nothing left behind."""

import errno
import os
import socket
import struct
import subprocess
import sys

from nl import C, Netlink, Refused, Results, Target, attr, flag, text, u32, u64

D = {k[len("DISAGG_A_DEVICE_"):]: v for k, v in C.items() if k.startswith("DISAGG_A_DEVICE_")}
L = {k[len("DISAGG_A_LANE_"):]: v for k, v in C.items() if k.startswith("DISAGG_A_LANE_")}
N = {k[len("DISAGG_A_NODE_"):]: v for k, v in C.items() if k.startswith("DISAGG_A_NODE_")}
CMD = {k[len("DISAGG_CMD_"):]: v for k, v in C.items() if k.startswith("DISAGG_CMD_")}
MIB = 1 << 20
BAD_LENGTH = (errno.EINVAL, errno.ERANGE)  # which of them depends on the kernel


def lane(index, fd):
    return attr(D["LANE"] | 0x8000, u32(L["INDEX"], index) + u32(L["FD"], fd))


def device(sock, without=(), **over):
    """A device-new message that is right but for what is asked for."""
    parts = {
        "NODE": text(D["NODE"], "n"), "NAME": text(D["NAME"], "mem0"),
        "KIND": u32(D["KIND"], 0), "CLASS": u32(D["CLASS"], 0),
        "SIZE": u64(D["SIZE"], 16 * MIB), "BLOCK_SIZE": u32(D["BLOCK_SIZE"], 4096),
        "FEATURES": u64(D["FEATURES"], 0), "TARGET": text(D["TARGET"], "t"),
        "LEASE": attr(D["LEASE"], b"\1" * 16), "GENERATION": u64(D["GENERATION"], 1),
        "MAX_PAYLOAD": u32(D["MAX_PAYLOAD"], MIB), "DEPTH": u32(D["DEPTH"], 16),
        "IO_TIMEOUT": u32(D["IO_TIMEOUT"], 5000),
        "LANE": lane(0, sock.fileno()) if sock else b"",
    }
    parts.update(over)
    return b"".join(v for k, v in parts.items() if k not in without)


class Suite:
    def __init__(self):
        self.t = Results()
        self.nl = Netlink()
        self.target = Target()

    def left(self):
        """Nodes and devices that exist, as the module counts them."""
        info = dict(self.nl.call(CMD["INFO_GET"])[0])
        number = lambda k: struct.unpack("<I", info[C["DISAGG_A_INFO_" + k]])[0]
        return number("NODES"), number("DEVICES")

    @staticmethod
    def pointed(command, message, offset):
        """The name of the attribute that a pointer into the request is at, or in."""
        names = N if command in (CMD["NODE_NEW"], CMD["NODE_GET"], CMD["NODE_DEL"]) else D
        at = 20     # of the header, and generic netlink's
        while at < 20 + len(message):
            length, kind = struct.unpack_from("<HH", message, at - 20)
            if at <= offset < at + length:
                found = [k for k, v in names.items() if v == kind & 0x3fff]
                return found[0].lower().replace("_", "-") if found else str(kind & 0x3fff)
            at += length + 3 & ~3
        return "nothing"

    def refused(self, name, command, message, err, word, missing=None):
        """The message is refused with err; the words, or the pointer, name word. Only of
        an attribute that is missing its type is told, which is then that one."""
        before = self.left()
        problem, said = None, ""
        try:
            self.nl.call(command, message)
            problem = "it was accepted"
        except Refused as e:
            if e.errno not in (err if isinstance(err, tuple) else (err,)):
                problem = f"want errno {err}, got {e}"
            elif not e.message:
                problem = f"no words: {e}"
            elif e.missing != missing:
                problem = f"what is missing is {missing}: {e}"
            elif word not in e.message and e.offset is None and e.missing is None:
                problem = f"nothing points at {word}: {e}"
            elif e.offset is not None:
                there = self.pointed(command, message, e.offset)
                named = e.message.split(":")[0]
                known = {k.lower().replace("_", "-") for k in (*D, *N)}
                if there != (word if word in known else named if named in known else there):
                    problem = f"it points at {there}, not at {word}: {e}"
            said = e.message
        if not problem and self.left() != before:
            problem = f"{before} nodes and devices before, {self.left()} after"
        self.t.check(f"{name}: {said}" if not problem else name, not problem, problem)

    def sizes(self, sock):
        new = CMD["DEVICE_NEW"]
        for name, over, word in (
                ("size of zero", {"SIZE": u64(D["SIZE"], 0)}, "size"),
                ("size beyond what a disk can have", {"SIZE": u64(D["SIZE"], 1 << 63)}, "size"),
                ("size that is no multiple", {"SIZE": u64(D["SIZE"], MIB + 512)}, "size"),
                ("block size 256", {"BLOCK_SIZE": u32(D["BLOCK_SIZE"], 256)}, "block-size"),
                ("block size 3000", {"BLOCK_SIZE": u32(D["BLOCK_SIZE"], 3000)}, "block-size"),
                ("block size 8192", {"BLOCK_SIZE": u32(D["BLOCK_SIZE"], 8192)}, "block-size"),
                ("depth 0", {"DEPTH": u32(D["DEPTH"], 0)}, "depth"),
                ("depth 1025", {"DEPTH": u32(D["DEPTH"], 1025)}, "depth"),
                ("payload of 512", {"MAX_PAYLOAD": u32(D["MAX_PAYLOAD"], 512)}, "max-payload"),
                ("payload of 8 MiB", {"MAX_PAYLOAD": u32(D["MAX_PAYLOAD"], 8 * MIB)},
                 "max-payload"),
                ("payload of 4097", {"MAX_PAYLOAD": u32(D["MAX_PAYLOAD"], 4097)}, "max-payload"),
                ("timeout of 1 ms", {"IO_TIMEOUT": u32(D["IO_TIMEOUT"], 1)}, "io-timeout"),
                ("timeout of 2 hours", {"IO_TIMEOUT": u32(D["IO_TIMEOUT"], 7200000)},
                 "io-timeout"),
                ("label with a newline", {"TARGET": text(D["TARGET"], "a\nb")}, "target"),
                ("resource with an escape", {"RESOURCE": text(D["RESOURCE"], "a\x1bb")},
                 "resource")):
            self.refused(name, new, device(sock, **over), errno.EINVAL, word)
        for name, over, word in (
                ("kind dax", {"KIND": u32(D["KIND"], 1)}, "kind"),
                ("class gpu", {"CLASS": u32(D["CLASS"], 2)}, "class")):
            self.refused(name, new, device(sock, **over), errno.EOPNOTSUPP, word)

    def malformed(self, sock):
        new = CMD["DEVICE_NEW"]
        for name in ("NODE", "NAME", "KIND", "CLASS", "SIZE", "BLOCK_SIZE", "FEATURES", "LEASE",
                     "GENERATION", "MAX_PAYLOAD", "DEPTH", "LANE"):
            self.refused(f"{name} is missing", new, device(sock, without=(name,)),
                         errno.EINVAL, "missing", D[name])
        for name, over, err in (
                ("a size of two bytes", {"SIZE": attr(D["SIZE"], b"\0\0")}, BAD_LENGTH),
                ("a name without an end", {"NAME": attr(D["NAME"], b"mem0")}, errno.EINVAL),
                ("a name of 32 letters", {"NAME": text(D["NAME"], "a" * 32)}, BAD_LENGTH),
                ("a lease of 15 bytes", {"LEASE": attr(D["LEASE"], b"\1" * 15)}, BAD_LENGTH),
                ("an unknown flag", {"FLAGS": u32(D["FLAGS"], 0x80)}, errno.EINVAL),
                ("an unknown feature", {"FEATURES": u64(D["FEATURES"], 1 << 40)}, errno.EINVAL),
                ("an unknown kind", {"KIND": u32(D["KIND"], 77)}, errno.ERANGE),
                ("an unknown attribute", {"X": u32(200, 1)}, errno.EINVAL),
                ("an attribute that only answers have", {"X": u32(D["STATE"], 1)}, errno.EINVAL)):
            self.refused(name, new, device(sock, **over), err, "attribute")
        for name in ("", ".x", "-x", "a b", "a/b", "ä"):
            self.refused(f"node name '{name}'", CMD["NODE_NEW"], text(N["NAME"], name),
                         errno.EINVAL, "name")
            self.refused(f"device name '{name}'", new,
                         device(sock, NAME=text(D["NAME"], name)), errno.EINVAL, "name")

    def lanes(self, sock):
        new = CMD["DEVICE_NEW"]
        fd = sock.fileno()
        file = os.open("/etc/passwd", os.O_RDONLY)
        closed = 1000
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        unix, _peer = socket.socketpair()
        unconnected = socket.socket()
        ended = self.target.lane()
        ended.shutdown(socket.SHUT_RDWR)
        while ended.recv(1):
            pass
        for name, given, err in (
                ("a closed descriptor", closed, errno.EBADF),
                ("a negative descriptor", -1, errno.EBADF),
                ("a file", file, errno.ENOTSOCK),
                ("a UDP socket", udp.fileno(), errno.EPROTONOSUPPORT),
                ("a unix socket", unix.fileno(), errno.EPROTONOSUPPORT),
                ("a socket that listens", self.target.listener.fileno(), errno.ENOTCONN),
                ("a socket that is not connected", unconnected.fileno(), errno.ENOTCONN),
                ("a socket whose connection has ended", ended.fileno(), errno.ENOTCONN)):
            self.refused(f"lane: {name}", new, device(None, LANE=lane(0, given)), err, "lane")
        other = self.target.lane()
        for name, given, err in (
                ("without index", attr(D["LANE"] | 0x8000, u32(L["FD"], fd)), errno.EINVAL),
                ("without fd", attr(D["LANE"] | 0x8000, u32(L["INDEX"], 0)), errno.EINVAL),
                ("the same index twice", lane(0, fd) + lane(0, other.fileno()), errno.EEXIST),
                ("a gap", lane(0, fd) + lane(2, other.fileno()), errno.EINVAL),
                ("one socket for two", lane(0, fd) + lane(1, fd), errno.EBUSY),
                ("65 of them", b"".join(lane(i, fd) for i in range(65)), errno.EINVAL)):
            self.refused(f"lanes: {name}", new, device(None, LANE=given), err, "lane")
        os.close(file)
        # A socket that was refused is as it was: nothing of it is kept.
        other.sendall(Target.FRAME.pack(Target.REQUEST, 6, 0, 0, 7, 9, 0, 0, 0, 0, 0))
        reply = other.recv(Target.FRAME.size, socket.MSG_WAITALL)
        self.t.check("a socket of a refused device still works for its owner",
                     Target.FRAME.unpack(reply)[4:6] == (7, 9), reply)
        other.close()

    def attached(self, sock):
        nl = self.nl
        new, node, name = CMD["DEVICE_NEW"], text(D["NODE"], "n"), text(D["NAME"], "mem0")
        nl.call(new, device(sock))
        self.t.check("what is right is accepted", self.left() == (1, 1), self.left())
        second = self.target.lane()
        self.refused("a second device of the name", new, device(second),
                     errno.EEXIST, "name")
        self.refused("a lease that another device has", new,
                     device(second, NAME=text(D["NAME"], "mem1")), errno.ENOTUNIQ, "lease")
        self.refused("the socket of another device", new,
                     device(sock, NAME=text(D["NAME"], "mem1")), errno.EBUSY, "lane")
        for what, size in (("shrink", 8 * MIB), ("no multiple", 16 * MIB + 512), ("zero", 0)):
            self.refused(f"resize: {what}", CMD["DEVICE_SET"],
                         node + name + u64(D["SIZE"], size), errno.EINVAL, "size")
        self.refused("a timeout out of range", CMD["DEVICE_SET"],
                     node + name + u32(D["IO_TIMEOUT"], 5), errno.EINVAL, "io-timeout")
        timer = node + name + u32(D["IO_TIMEOUT"], 20000)
        nl.call(CMD["DEVICE_SET"], timer + attr(D["LEASE"], b"\1" * 16) +
                u64(D["GENERATION"], 1))
        self.refused("a change meant for another lease", CMD["DEVICE_SET"],
                     timer + attr(D["LEASE"], bytes(16)), errno.ENOENT, "lease")
        self.refused("a change meant for another generation", CMD["DEVICE_SET"],
                     timer + u64(D["GENERATION"], 2), errno.ENOENT, "generation")
        self.refused("latencies without a lane", CMD["LATENCY_GET"], node + name, errno.EINVAL,
                     "lane-index", D["LANE_INDEX"])
        self.refused("latencies of a lane that is not there", CMD["LATENCY_GET"],
                     node + name + u32(D["LANE_INDEX"], 1), errno.ENOENT, "lane-index")
        spare = self.target.lane()
        for what, given, err in (
                ("without its generation", u32(L["INDEX"], 0) + u32(L["FD"], spare.fileno()),
                 errno.EINVAL),
                ("that is not there", u32(L["INDEX"], 1) + u32(L["GENERATION"], 1) +
                 u32(L["FD"], spare.fileno()), errno.EINVAL)):
            self.refused(f"replacing a lane {what}", CMD["DEVICE_SET"],
                         node + name + attr(D["LANE"] | 0x8000, given), err, "lane")
        spare.close()
        disk = "/dev/" + next(n for n in os.listdir("/sys/block") if n.startswith("disagg"))
        subprocess.run(["udevadm", "settle"], check=False)
        held = os.open(disk, os.O_RDONLY)
        self.refused("deleting a device in use", CMD["DEVICE_DEL"], node + name, errno.EBUSY,
                     "name")
        self.refused("deleting its node", CMD["NODE_DEL"], text(N["NAME"], "n"), errno.EBUSY,
                     "name")
        os.close(held)
        nl.call(CMD["DEVICE_DEL"], node + name + flag(D["FORCE"]))
        self.t.check("by force it goes", self.left() == (1, 0), self.left())

    def absent(self, sock):
        node, name = text(D["NODE"], "no"), text(D["NAME"], "mem0")
        for what, command, message, word in (
                ("device-new in an absent node", CMD["DEVICE_NEW"], device(sock, NODE=node),
                 "node"),
                ("node-get", CMD["NODE_GET"], text(N["NAME"], "no"), "name"),
                ("node-del", CMD["NODE_DEL"], text(N["NAME"], "no"), "name"),
                ("device-get by name", CMD["DEVICE_GET"], node + name, "node"),
                ("device-get by id", CMD["DEVICE_GET"], u32(D["ID"], 4711), "id"),
                ("device-set", CMD["DEVICE_SET"], text(D["NODE"], "n") + name, "name"),
                ("device-del", CMD["DEVICE_DEL"], text(D["NODE"], "n") + name, "name")):
            self.refused(f"absent: {what}", command, message, errno.ENOENT, word)

    def outsiders(self):
        """Who may not: without the capability, and from other namespaces."""
        requests = [v for k, v in CMD.items() if not k.endswith(("_NTF", "MAX"))]
        dumps = [CMD["NODE_GET"], CMD["DEVICE_GET"]]
        # Each request, each dump, and the events; which refusals there were.
        probe = f"""
import sys
sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
from nl import *
said = set()
try:
    n = Netlink()
except Refused as e:
    sys.exit(print(e.errno))
for command, dump in [(c, False) for c in {requests}] + [(c, True) for c in {dumps}]:
    try:
        n.call(command, text(C["DISAGG_A_NODE_NAME"], "x"), dump)
        said.add("accepted")
    except Refused as e:
        said.add(e.errno)
try:
    n.join("events")
    said.add("joined")
except OSError as e:
    said.add(e.errno)
print(*said)
"""
        for what, prefix, err in (
                ("without CAP_NET_ADMIN", ["capsh", "--drop=cap_net_admin", "--", "-c"],
                 errno.EPERM),
                ("from a user namespace", ["unshare", "-Ur", "sh", "-c"], errno.EPERM),
                ("from another network namespace", ["unshare", "-n", "sh", "-c"], errno.ENOENT)):
            p = subprocess.run(prefix + [f"exec {sys.executable} -c '{probe}'".replace(
                "'" + probe + "'", '"$PROBE"')], env={**os.environ, "PROBE": probe},
                capture_output=True, text=True, timeout=60, check=False)
            self.t.check(what, p.stdout.strip() == str(err), p.stdout + p.stderr)

    def run(self):
        sock = self.target.lane()
        self.nl.call(CMD["NODE_NEW"], text(N["NAME"], "n"))
        self.refused("a second node of the name", CMD["NODE_NEW"], text(N["NAME"], "n"),
                     errno.EEXIST, "name")
        self.sizes(sock)
        self.malformed(sock)
        self.lanes(sock)
        self.absent(sock)
        self.attached(self.target.lane())
        self.outsiders()
        self.nl.call(CMD["NODE_DEL"], text(N["NAME"], "n"))
        self.t.check("nothing is left", self.left() == (0, 0), self.left())
        sock.close()
        with open("/sys/module/disagg/refcnt", encoding="ascii") as f:
            refs = f.read().strip()
        self.t.check("nobody holds the module", refs == "0", refs)
        return self.t.done()


if __name__ == "__main__":
    subprocess.run(["modprobe", "disagg"], check=True)
    try:
        STATUS = Suite().run()
    finally:
        subprocess.run(["rmmod", "disagg"], check=False)
    sys.exit(STATUS)
