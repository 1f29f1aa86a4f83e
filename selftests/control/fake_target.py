#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A target that misbehaves, on a free port of 127.0.0.1.

fake_target.py MODE                 by itself; see MODES
fake_target.py proxy PORT RULE...   between disaggctl and the disaggd at PORT

RULE is EVENT[#N]=ACTION. EVENT: control or lane (a HELLO of that kind), or
reserve, commit, release, resize, inventory, leases (a request). N: only the Nth
one, from 1. ACTION: close (the connection, before the target sees it), stall
(never answer), delay[:SECONDS] (3 if not said), eat (the target sees it, its answer is lost
and the connection closes), garble (its answer's magic number is wrong).

The first line of output is the port; then a line for each event as it comes.
"""
import socket
import struct
import sys
import threading
import time

GREETING = struct.Struct("<IHHQII8s32s")
WELCOME = struct.Struct("<IHHQQIIIII20s96s")
FRAME = struct.Struct("<IBBHIIQII8sII")
RESOURCE = struct.Struct("<IIQQQII24s32s32s")
MAGIC_GREETING, MAGIC_WELCOME = 0x52474744, 0x4D574744
MAGIC_REPLY = 0x50524744
OPS = {0x40: "inventory", 0x41: "reserve", 0x42: "commit", 0x43: "release",
       0x44: "renew", 0x45: "resize", 0x46: "leases"}
MIB = 1 << 20
LOCK = threading.Lock()


def say(text):
    with LOCK:
        print(text, flush=True)


def garbled(answer):
    return bytes([answer[0] ^ 0xff]) + answer[1:]


def receive(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def greeting(magic=MAGIC_GREETING, low=1, high=1, key=9):
    """9 is X25519's base point, and so somebody's public key."""
    return GREETING.pack(magic, low, high, 0x1F, 4 * MIB, 256, b"", bytes([key]))


def welcome(status=0, reason=b"", magic=MAGIC_WELCOME, depth=1):
    return WELCOME.pack(magic, 1, status, 0, 0, 4096, depth, 4096, 0, 0, b"", reason)


def reply(request, payload=b"", length=0):
    _, op, _, _, tag, generation = FRAME.unpack(request)[:6]
    return FRAME.pack(MAGIC_REPLY, op, 0, 0, tag, generation, 0, length, len(payload),
                      b"", 0, 0) + payload


def resource(ident, available, cls=1, block=4096, capacity=None, largest=None, attrs=0):
    return RESOURCE.pack(cls, attrs, capacity or available, available,
                         available if largest is None else largest, 0, block, b"",
                         ident.encode(), b"fake")


def after_hello(sock):
    sock.sendall(greeting())
    receive(sock, 128)


def serve_inventory(sock, entries):
    after_hello(sock)
    sock.sendall(welcome())
    while True:
        request = receive(sock, FRAME.size)
        receive(sock, FRAME.unpack(request)[8])
        sock.sendall(reply(request, b"".join(entries), len(entries)))


def bad_magic(sock):
    sock.sendall(greeting(magic=0x4C54485F))
    time.sleep(30)


def wrong_version(sock):
    sock.sendall(greeting(low=7, high=9))
    time.sleep(30)


def no_key(sock):
    """With whom everybody has the same secret."""
    sock.sendall(greeting(key=0))
    time.sleep(30)


def silence(sock):
    time.sleep(30)


def silence_after_hello(sock):
    after_hello(sock)
    time.sleep(30)


def closes(sock):
    pass


def half_greeting(sock):
    sock.sendall(greeting()[:20])


def closes_after_hello(sock):
    after_hello(sock)


def half_welcome(sock):
    after_hello(sock)
    sock.sendall(welcome()[:50])


def bad_welcome(sock):
    after_hello(sock)
    sock.sendall(welcome(magic=1))
    time.sleep(30)


def greedy_welcome(sock):
    after_hello(sock)
    sock.sendall(welcome(depth=100000))
    time.sleep(30)


def refuses(sock):
    after_hello(sock)
    sock.sendall(welcome(status=3, reason=b"not for you"))


def bad_inventory(sock):
    """More is available than there is."""
    serve_inventory(sock, [resource("dram", 64 * MIB, capacity=MIB)])


def nameless(sock):
    serve_inventory(sock, [resource("", 64 * MIB)])


def huge_reply(sock):
    after_hello(sock)
    sock.sendall(welcome())
    request = receive(sock, FRAME.size)
    _, op, _, _, tag, generation = FRAME.unpack(request)[:6]
    sock.sendall(FRAME.pack(MAGIC_REPLY, op, 0, 0, tag, generation, 0, 1, 0xFFFFFFFF,
                            b"", 0, 0))
    time.sleep(30)


def trickle(sock):
    """A byte now and then: always something, never enough."""
    for byte in greeting():
        sock.sendall(bytes([byte]))
        time.sleep(0.3)


def slow_inventory(sock):
    """Whole, but late."""
    time.sleep(1)
    serve_inventory(sock, [resource("dram", 64 * MIB)])


MODES = [bad_magic, wrong_version, no_key, silence, silence_after_hello, closes, half_greeting,
         closes_after_hello, half_welcome, bad_welcome, greedy_welcome, refuses,
         bad_inventory, nameless, huge_reply, trickle, slow_inventory]


class Proxy:
    """Passes everything on but for what the rules say."""

    def __init__(self, port, rules):
        self.port = port
        self.rules = [rule.split("=") for rule in rules]
        self.seen = {}

    def action(self, event):
        with LOCK:
            self.seen[event] = self.seen.get(event, 0) + 1
            count = self.seen[event]
        say(f"{event}#{count}")
        for what, action in self.rules:
            name, _, number = what.partition("#")
            if name == event and (not number or int(number) == count):
                return action
        return None

    def obey(self, action):
        """True if the connection ends here."""
        if action == "stall":
            time.sleep(60)
        if action and action.startswith("delay"):
            time.sleep(float(action.partition(":")[2] or 3))
        return action in ("close", "stall")

    def __call__(self, client):
        target = socket.create_connection(("127.0.0.1", self.port))
        with target:
            client.sendall(receive(target, GREETING.size))
            hello = receive(client, 128)
            lane = struct.unpack_from("<H", hello, 6)[0] == 2
            action = self.action("lane" if lane else "control")
            if self.obey(action):
                return
            target.sendall(hello)
            answer = receive(target, WELCOME.size)
            if action == "eat":
                return
            client.sendall(garbled(answer) if action == "garble" else answer)
            if lane:
                threading.Thread(target=self.pump, args=(target, client), daemon=True).start()
                self.pump(client, target)
            else:
                self.control(client, target)

    def pump(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def control(self, client, target):
        while True:
            request = receive(client, FRAME.size)
            fields = FRAME.unpack(request)
            payload = receive(client, fields[8])
            action = self.action(OPS.get(fields[1], "unknown"))
            if self.obey(action):
                return
            target.sendall(request + payload)
            answer = receive(target, FRAME.size)
            answer += receive(target, FRAME.unpack(answer)[8])
            if action == "eat":
                return
            client.sendall(garbled(answer) if action == "garble" else answer)


def handle(serve, sock):
    with sock:
        try:
            serve(sock)
        except (EOFError, OSError):
            pass


def main():
    mode = sys.argv[1]
    if mode == "inventory":
        # ID:CLASS:AVAILABLE[:LARGEST[:BLOCK]] in MiB, MiB, bytes
        entries = []
        for text in sys.argv[2:]:
            part = text.split(":")
            entries.append(resource(part[0], int(part[2]) * MIB,
                                    {"memory": 1, "storage": 2, "gpu": 3}[part[1]],
                                    int(part[4]) if len(part) > 4 else 4096,
                                    largest=int(part[3]) * MIB if len(part) > 3 else None))

        def serve(sock):
            serve_inventory(sock, entries)
    elif mode == "proxy":
        serve = Proxy(int(sys.argv[2]), sys.argv[3:])
    else:
        serve = {m.__name__.replace("_", "-"): m for m in MODES}[mode]
    with socket.create_server(("127.0.0.1", 0)) as server:
        say(server.getsockname()[1])
        while True:
            sock, _ = server.accept()
            threading.Thread(target=handle, args=(serve, sock), daemon=True).start()


main()
