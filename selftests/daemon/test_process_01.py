#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Start, stop, and nothing left behind."""
import fcntl
import os
import signal
import socket
import subprocess
import termios
import time

from ktap import Skip, main, test
from wire import *


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@test
def terminate(folder):
    """SIGTERM ends daemon and workers with status 0, within bounds, and what has arrived is answered."""
    with Daemon(folder) as d:
        g = d.control().lease(8 * MIB)
        lane, workers = d.lane(g, features=0), d.workers()
        lane.sock.sendall(b"".join(
            lane.frame(WRITE, pattern(i, 4096), offset=i * 4096, length=4096)
            for i in range(50)))
        lane.reply()
        eventually(lambda: fcntl.ioctl(lane.sock, termios.TIOCOUTQ, bytes(4)) == bytes(4))
        start = time.monotonic()
        assert d.stop() == 0
        assert time.monotonic() - start < 10
        for _ in range(49):
            assert lane.reply()[1] == OK    # what was in flight was finished
        closed(lane.recv, 1)
        assert all(gone(p) for p in workers)
        d.restart()
        assert d.control().leases() == {}


@test
def private(folder):
    """nobody without CAP_SYS_PTRACE reads the memory of a process that has seen keys."""
    if os.geteuid():
        raise Skip("it needs root")
    with open(find_disaggd(), "rb") as f:
        if b"__asan_init" in f.read():
            raise Skip("its sanitizer would not find leaks")
    less = ["setpriv", "--bounding-set=-sys_ptrace"]

    def read(pid):
        return subprocess.run([*less, "sh", "-c", f": </proc/{pid}/mem"], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0

    # So that it is not for want of another capability.
    binary = folder + "/disaggd"
    with open(binary, "w", encoding="ascii") as f:
        f.write(f"""#!/bin/sh\nexec {' '.join(less)} {find_disaggd()} "$@"\n""")
    os.chmod(binary, 0o755)
    with subprocess.Popen([*less, "sleep", "60"]) as other:
        try:
            eventually(lambda: read(other.pid))
        finally:
            other.kill()
    with Daemon(folder, binary=binary) as d:
        d.control().lease(MIB)
        worker, = d.workers()
        assert not read(d.process.pid) and not read(worker)


@test
def group(folder):
    """a signal to the whole group is the parent's to act on; SIGHUP ends nothing."""
    with Daemon(folder) as d:
        c = d.control()
        g = c.lease(MIB)
        lane = d.lane(g)
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(d.workers()[0], sig)
        d.process.send_signal(signal.SIGHUP)
        eventually(lambda: "SIGHUP" in d.log())
        lane.read(0, 4096)


@test
def hung(folder):
    """SIGTERM is bounded when a worker hangs."""
    with Daemon(folder) as d:
        d.control().lease(MIB)
        os.kill(d.workers()[0], signal.SIGSTOP)
        start = time.monotonic()
        assert d.stop() == 0
        assert time.monotonic() - start < 10


@test
def notify(folder):
    """systemd hears READY after the sockets listen, a status, and STOPPING."""
    path = folder + "/notify"
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    s.settimeout(10)
    os.environ["NOTIFY_SOCKET"] = path
    try:
        with Daemon(folder) as d:
            said = s.recv(4096).decode()
            assert "READY=1" in said, said
            d.control().reserve(MIB)
            end = time.monotonic() + 10
            while "1 leases" not in said and time.monotonic() < end:
                said = s.recv(4096).decode()
            assert "STATUS=1 resources, 1 leases" in said, said
            d.stop()
            said = ""
            while "STOPPING=1" not in said:
                said = s.recv(4096).decode()
    finally:
        del os.environ["NOTIFY_SOCKET"]


@test
def journal_prefixes(folder):
    """log lines carry priorities when the journal reads them."""
    os.environ["JOURNAL_STREAM"] = "1:1"
    try:
        with Daemon(folder) as d:
            d.control().reserve(MIB)
            assert all(line[0] == "<" and line[2] == ">" for line in d.log().splitlines())
    finally:
        del os.environ["JOURNAL_STREAM"]


@test
def cycles(folder):
    """200 leases leave no process, descriptor, thread or byte behind."""
    with Daemon(folder, "resources:\n"
                        "- {id: mem, class: memory, size: 64MiB}\n"
                        f"- {{id: disk, class: storage, path: {folder}/disk, "
                        "size: 64MiB, direct: no}") as d:
        c = d.control()
        before = None
        for i in range(200):
            g = c.lease(MIB, cls=STORAGE if i % 4 == 3 else MEMORY)
            if i % 2:
                lane = d.lane(g, features=0)
                lane.write(0, pattern(i, 4096))
                if i % 5:
                    lane.close()
            c.release(g)
            if i == 10:
                before = open_files(d.process.pid)
        assert open_files(d.process.pid) <= before, (open_files(d.process.pid), before)
        assert d.workers() == []
        assert c.inventory()["mem"]["available"] == 64 * MIB
        assert c.inventory()["disk"]["largest"] == 64 * MIB


@test
def lanes(folder):
    """300 lanes one after the other leave nothing in the worker."""
    with Daemon(folder) as d:
        g = d.control().lease(MIB)
        pid = d.workers()[0]
        for i in range(300):
            d.lane(g, i % 4, 4, features=0).close()
            if i == 20:
                before = open_files(pid)
        eventually(lambda: open_files(pid) <= before)
        assert len(os.listdir(f"/proc/{pid}/task")) <= 5


@test
def gone_client(folder):
    """a client that goes away while it waits for COMMIT or RELEASE does no harm."""
    with Daemon(folder) as d:
        c = d.control()
        for op in (COMMIT, RELEASE) * 5:
            g = c.reserve(MIB) if op == COMMIT else g
            other = d.control()
            other.sock.sendall(other.frame(op, other.ref(op, g)))
            other.close()
            if op == COMMIT:
                eventually(lambda: c.leases()[g.lease]["state"] == 2)
            else:
                eventually(lambda: not c.leases())


@test
def released_while_it_starts(folder):
    """a lease whose worker is still making room is released at once."""
    with Daemon(folder, "resources:\n"
                        "- {id: mem, class: memory, size: 256MiB, prealloc: yes}\n") as d:
        c, other = d.control(), d.control()
        g = c.reserve(256 * MIB)
        other.sock.sendall(other.frame(COMMIT, other.ref(COMMIT, g)))
        eventually(d.workers)
        worker, = d.workers()
        os.kill(worker, signal.SIGSTOP)     # it takes its time
        assert c.leases()[g.lease]["state"] == 1
        start = time.monotonic()
        c.release(g)
        assert time.monotonic() - start < 3
        assert gone(worker) and other.reply()[1] == E_STALE
        c.commit(c.reserve(256 * MIB))


main()
