# SPDX-License-Identifier: GPL-2.0
"""Captures on a loopback of one's own, and what tshark makes of them."""
import os
import re
import signal
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))
MARK = b"that was all"


def own_network():
    """Start this program again in a network namespace whose loopback is like a wire:
    nothing else is on it, a segment has at most 1460 bytes, and they arrive in the
    order in which they were sent. With two processors they need not: a burst that is
    begun on one and goes on, at an ACK, on the other, waits in two queues."""
    if os.environ.get("OWN_NETWORK") != "yes":
        os.environ["OWN_NETWORK"] = "yes"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1500", "up"], check=True)
    subprocess.run(["ethtool", "-K", "lo", "tso", "off", "gso", "off", "gro", "off"],
                   check=True, stdout=subprocess.DEVNULL)


class Capture:
    """Everything on loopback while it lasts, by dumpcap, in the file @path."""

    def __init__(self, folder, name="capture.pcapng"):
        self.path = os.path.join(folder, name)
        self.process = None

    def said(self):
        with open(self.path + ".said", errors="replace") as f:
            return f.read()

    def __enter__(self):
        with open(self.path + ".said", "w") as said:
            self.process = subprocess.Popen(
                ["dumpcap", "-q", "-i", "lo", "-B", "64", "-w", self.path],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        self.wait(lambda: "File:" in self.said())
        return self

    def wait(self, fn):
        end = time.monotonic() + 20
        while not fn():
            assert self.process.poll() is None and time.monotonic() < end, self.said()
            time.sleep(0.02)

    def marked(self):
        # What was sent before this is in the file when this is.
        with open(self.path, "rb") as f:
            return MARK in f.read()

    def __exit__(self, *exc):
        try:
            if not exc[0]:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.sendto(MARK, ("127.0.0.1", 9))
                self.wait(self.marked)
        finally:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(10)
        dropped = re.search(r"dropped on interface '.*': (\d+)/(\d+)", self.said())
        assert exc[0] or dropped and dropped[2] == "0", self.said()


class Tap:
    """A socket that remembers what went through it."""
    all = []

    def __init__(self, sock):
        self.sock = sock
        self.port = sock.getsockname()[1]
        self.sent = self.received = b""
        Tap.all.append(self)

    def sendall(self, data):
        self.sock.sendall(data)
        self.sent += data

    def recv(self, n):
        data = self.sock.recv(n)
        self.received += data
        return data

    def __getattr__(self, name):
        return getattr(self.sock, name)


_connect = socket.create_connection


def tap_connections():
    """From now on, what wire.py connects is in Tap.all."""
    socket.create_connection = lambda *args, **kw: Tap(_connect(*args, **kw))


def run(*words):
    """A program of Wireshark's; anything that it complains of is a failure."""
    r = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=100,
                       errors="replace", check=False)
    said = [line for line in r.stderr.splitlines()
            if line and "Running as user" not in line]
    assert r.returncode == 0 and not said, (r.returncode, words, said[:20])
    at = r.stdout.find("Lua Error:")
    assert at < 0, r.stdout[at:at + 300]
    return r.stdout


class Message:
    """One message as dissected: its fields (name: [element]), and its parts: the
    fields of each structure in the payload of a control operation."""

    def __init__(self, frame, proto):
        self.frame = frame
        self.fields = {}
        self.experts = {}
        for f in proto.iter("field"):
            if f.get("name") == "_ws.expert":
                kind = f.find("field").get("name")
                text = [x.get("show") for x in f.iter("field")
                        if x.get("name") == "_ws.expert.message"]
                self.experts[kind] = text[0]
        inner = proto.findall("proto")
        self.parts = [Message(frame, p) for p in inner]
        for p in inner:
            proto.remove(p)
        for f in proto.iter("field"):
            self.fields.setdefault(f.get("name"), []).append(f)

    def show(self, name):
        """As displayed."""
        assert len(self.fields[name]) == 1, name
        return self.fields[name][0].get("show")

    def number(self, name):
        return int(self.show(name), 0)

    def label(self, name):
        """The whole line."""
        return self.fields[name][0].get("showname")

    def bytes(self, name):
        """As in the packet."""
        return bytes.fromhex(self.fields[name][0].get("value"))


class Packet:
    def __init__(self, element):
        protos = {}
        for proto in element.findall("proto"):
            protos.setdefault(proto.get("name"), []).append(proto)
        show = {f.get("name"): f.get("show")
                for p in element.findall("proto") for f in p.iter("field")
                if p.get("name") != "disagg"}
        self.number = int(show["frame.number"])
        self.time = float(show["frame.time_relative"])
        self.source = int(show.get("tcp.srcport", 0))
        self.target = int(show.get("tcp.dstport", 0))
        self.stream = int(show.get("tcp.stream", -1))
        self.segments = int(show.get("tcp.segment.count", 0))
        self.layers = list(protos)
        self.messages = [Message(self.number, p) for p in protos.get("disagg", [])]


def dissect(path, *options):
    """The packets of a capture, as Wireshark shows them: after a second pass."""
    return [Packet(p) for p in ElementTree.fromstring(
        run("tshark", "-n", "-2", "-r", path, "-T", "pdml", *options)).findall("packet")]


def messages(packets, source=None, target=None):
    return [m for p in packets for m in p.messages
            if source in (None, p.source) and target in (None, p.target)]
