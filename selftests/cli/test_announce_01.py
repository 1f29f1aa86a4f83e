#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""disagg-agent --announcements: what it takes for an announcement, and what it does then.
Its event of the module goes to a file here."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

from ktap import Skip, main, test
from wire import ANNOUNCE, ANNOUNCE_S, eventually

GOOD = ANNOUNCE_S.pack(ANNOUNCE, 1, bytes(2), 12345, 0, bytes(12))


def own_network():
    """Start again with a loopback of one's own, over which groups can be reached."""
    if os.environ.get("OWN_NETWORK") != "yes":
        os.environ["OWN_NETWORK"] = "yes"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    for words in ("link set lo multicast on up", "-6 route add ff02::/16 dev lo table local"):
        subprocess.run(["ip", *words.split()], check=True)


def find_agent():
    """$DISAGG_AGENT, in the lab (which sets KERNEL) the installed one, else the tree's."""
    tree = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                        "../../tools/agent/disagg-agent")
    installed = shutil.which("disagg-agent", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if os.environ.get("DISAGG_AGENT"):
        return os.environ["DISAGG_AGENT"]
    return installed if installed and os.environ.get("KERNEL") else tree


class Sender:
    def __init__(self, address="127.0.0.1"):
        self.address = address
        self.sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                                  socket.SOCK_DGRAM)
        self.sock.bind((address, 0))

    def send(self, agent, data=GOOD):
        self.sock.sendto(data, (self.address if ":" in self.address else "127.0.0.1",
                                agent.port))


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Agent:
    """A listener that knows @targets (name: address)."""

    def __init__(self, folder, *options, uevent=True, **targets):
        self.folder = folder
        self.port = free_port()
        self.uevent = os.path.join(folder, "uevent")
        self.log_path = os.path.join(folder, "log")
        self.options = options
        os.makedirs(os.path.join(folder, "targets.d"))
        if uevent:
            open(self.uevent, "w").close()
        for name, address in targets.items():
            self.add(name, address)

    def add(self, name, address):
        with open(os.path.join(self.folder, "targets.d", name + ".yaml"), "w") as f:
            f.write(f'address: "{address}"\n')

    def __enter__(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(os.path.join(self.folder, "notify"))
        notify.settimeout(20)
        env = dict(os.environ, DISAGG_CONFDIR=self.folder, DISAGG_UEVENT=self.uevent,
                   NOTIFY_SOCKET=notify.getsockname())
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                [find_agent(), "--announcements", "--port", str(self.port), *self.options],
                stderr=log, stdin=subprocess.DEVNULL, env=env)
        assert notify.recv(100).startswith(b"READY=1"), self.log()
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0 or exc[0], self.log()
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log()

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def events(self):
        with open(self.uevent) as f:
            return f.read().splitlines()

    def told(self, times=1, seconds=5):
        eventually(lambda: len(self.events()) == times, seconds)


@test
def heard(folder):
    """an announcement of a target is an event of the module, as the kernel wants it."""
    with Agent(folder, pool="127.0.0.1") as a:
        Sender().send(a)
        a.told()
        assert re.fullmatch("change [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} EVENT=announced",
                            a.events()[0]), a.events()
        assert "target pool has announced itself" in a.log()


@test
def not_one(folder):
    """what is anything else is nothing."""
    with Agent(folder, pool="127.0.0.1") as a:
        s = Sender()
        for size in [*range(32), *range(33, 70), 1000, 60000]:
            s.send(a, (GOOD * 2000)[:size])
            if size % 40 == 0:
                time.sleep(0.2)     # it reads 64 in a tenth of a second
        time.sleep(0.3)
        for bad in (dict(magic=ANNOUNCE + 1), dict(magic=0x52474744), dict(version=0),
                    dict(version=2), dict(zero=b"\0\1"), dict(zeroes=bytes(11) + b"\1")):
            f = {"magic": ANNOUNCE, "version": 1, "zero": bytes(2), "zeroes": bytes(12), **bad}
            s.send(a, ANNOUNCE_S.pack(f["magic"], f["version"], f["zero"], 1, 0, f["zeroes"]))
        time.sleep(1)
        assert not a.events(), a.log()
        s.send(a)
        a.told()


@test
def stranger(folder):
    """one from an address that no target has is nothing."""
    with Agent(folder, pool="127.0.0.1", other="192.0.2.7") as a:
        for _ in range(20):
            Sender("127.0.0.2").send(a)
        time.sleep(1)
        assert not a.events(), a.log()
        Sender().send(a)
        a.told()


@test
def flood(folder):
    """a thousand are one, and one more when the pause is over; they cost little time."""
    with Agent(folder, pool="127.0.0.1") as a:
        good, bad = Sender(), Sender("127.0.0.2")
        start = time.monotonic()
        sent = 0
        while time.monotonic() - start < 3:
            for _ in range(50):
                good.send(a)
                bad.send(a, os.urandom(32))
            sent += 100
        assert sent > 5000, sent
        assert len(a.events()) == 1, a.events()
        a.told(2, 10)
        assert time.monotonic() - start > 4.5
        time.sleep(6)
        assert len(a.events()) == 2, a.events()
        with open(f"/proc/{a.process.pid}/stat") as f:
            ticks = sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
        assert ticks / os.sysconf("SC_CLK_TCK") < 0.5, ticks


@test
def learnt(folder):
    """a target that was added later is known, without a word."""
    with Agent(folder) as a:
        a.add("late", "127.0.0.1")
        Sender().send(a)
        a.told()
        assert "target late" in a.log()


@test
def reloaded(folder):
    """SIGHUP has it look at the targets now; a file that is wrong hides no other."""
    with Agent(folder, apple="127.0.0.1", broken="[") as a:
        Sender("127.0.0.2").send(a)         # looked, and will not again for a while
        time.sleep(0.5)
        a.add("late", "127.0.0.2")
        a.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        Sender("127.0.0.2").send(a)
        a.told()
        assert "target late" in a.log() and "broken.yaml" in a.log(), a.log()


@test
def name(folder):
    """a target that is known by a name is known by its addresses."""
    with Agent(folder, pool="localhost") as a:
        Sender().send(a)
        a.told()


def groups_work():
    index = socket.if_nametoindex("lo")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.bind(("::", 0))
        s.settimeout(1)
        group_request = socket.inet_pton(socket.AF_INET6, "ff02::d15a") + index.to_bytes(
            4, sys.byteorder)
        try:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group_request)
            s.sendto(b"?", ("ff02::d15a", s.getsockname()[1], 0, index))
            return s.recv(10) == b"?"
        except OSError:
            return False


@test
def group(folder):
    """a multicast group is joined, and heard."""
    if not groups_work():
        raise Skip("this kernel has no groups on lo; suite attach tries it, too")
    with Agent(folder, "--group", "ff02::d15a%lo", pool="::1") as a:
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.bind(("::1", 0))
        s.sendto(GOOD, ("ff02::d15a", a.port, 0, socket.if_nametoindex("lo")))
        a.told()


@test
def no_module(folder):
    """without the module it says so, once, and goes on."""
    with Agent(folder, uevent=False, pool="127.0.0.1") as a:
        for _ in range(3):
            Sender().send(a)
            time.sleep(5.2)
        assert a.log().count("the module is not loaded") == 1, a.log()
        open(a.uevent, "w").close()
        Sender().send(a)
        a.told()


@test
def options(_folder):
    """options that are wrong are refused."""
    for words in (["--port", "1"], ["-a", "--port", "0"], ["-a", "--port", "65536"],
                  ["-a", "-p", "x"], ["-a", "x"], ["--group", "ff02::1%lo"],
                  ["-a", *["-g", "239.1.1.1"] * 17]):
        r = subprocess.run([find_agent(), *words], capture_output=True, text=True, timeout=20,
                           check=False)
        assert r.returncode == 2 and r.stderr, (words, r)
    r = subprocess.run([find_agent(), "-a", "-p", str(free_port()), "-g", "10.1.1.1"],
                       capture_output=True, text=True, timeout=20, check=False)
    assert r.returncode == 1 and "--group 10.1.1.1" in r.stderr, r


own_network()
main()
