#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Memory leases outlive the daemon: their workers serve on and wait for the next one."""
import os
import shutil
import signal
import socket
import sqlite3
import struct
import time

from ktap import Skip, main, test
from wire import *

CONFIG = """resources:
- {id: mem, class: memory, size: 64MiB}
restart-grace: %s
"""


def open_files(pid):
    files = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            files.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:  # closed just now
            pass
    return files


def ignores(pid, sig):
    with open(f"/proc/{pid}/status") as f:
        mask, = (int(line.split()[1], 16) for line in f if line.startswith("SigIgn:"))
    return bool(mask >> (sig - 1) & 1)


def impostor(path, hello):
    """A process that says @hello, with a descriptor, to who connects to @path."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.bind(path)
    listens, tell = os.pipe()
    child = os.fork()
    if not child:
        s.listen()
        os.write(tell, b"x")
        c, _ = s.accept()
        socket.send_fds(c, [hello], [os.memfd_create("impostor")])
        time.sleep(60)
        os._exit(0)
    s.close()
    os.read(listens, 1)
    os.close(listens)
    os.close(tell)
    return child


@test
def killed(folder):
    """killed and started again: lanes never stop, data, token and size are as they were."""
    with Daemon(folder, CONFIG % "30s") as d:
        c = d.control()
        g = c.lease(8 * MIB)
        other = c.lease(4 * MIB)
        lane = d.lane(g)
        lane.write(0, pattern("a", MIB))
        workers = set(d.workers())
        d.kill()
        # Nobody is there to ask, and still:
        assert lane.read(0, MIB) == pattern("a", MIB)
        lane.write(MIB, pattern("b", MIB))
        d.restart()
        assert lane.read(MIB, MIB) == pattern("b", MIB)
        c = d.control()
        assert c.inventory()["mem"]["available"] == 52 * MIB
        assert c.leases()[g.lease]["read"] >= 2 * MIB
        again = d.lane(g, 1, 2)
        assert again.read(0, MIB) == pattern("a", MIB)
        c.act(RESIZE, g, size=16 * MIB)
        assert again.read(8 * MIB, MIB) == bytes(MIB)
        c.release(g)
        closed(again.reply)
        c.release(other)
        eventually(lambda: all(gone(w) for w in workers))
        assert not [f for f in os.listdir(d.state) if f.startswith("worker-")]


@test
def stopped(folder):
    """stopped in order and started again: the same."""
    with Daemon(folder, CONFIG % "30s") as d:
        g = d.control().lease(8 * MIB)
        lane = d.lane(g)
        lane.write(0, pattern("a", MIB))
        for _ in range(3):
            assert d.stop() == 0
            d.restart()
            assert lane.read(0, MIB) == pattern("a", MIB)
        d.control().release(g)


@test
def upgraded(folder):
    """another file in the place of the program: who runs goes on, who is started is new."""
    binary = folder + "/disaggd"
    shutil.copy(find_disaggd(), binary)

    def programs(*pids):
        return [os.readlink(f"/proc/{pid}/exe") for pid in pids]

    with Daemon(folder, CONFIG % "30s", binary=binary) as d:
        c = d.control()
        g = c.lease(8 * MIB)
        lane = d.lane(g)
        lane.write(0, pattern("a", MIB))
        serves, = d.workers()
        with open(binary, "rb") as old, open(binary + ".new", "wb") as new:
            new.write(old.read() + b"another")
        shutil.copymode(binary, binary + ".new")
        os.rename(binary + ".new", binary)
        second = c.lease(8 * MIB)
        workers = d.workers()
        assert programs(*workers) == [binary + " (deleted)"] * 2    # as their parent
        assert d.stop() == 0
        d.restart()
        assert lane.read(0, MIB) == pattern("a", MIB)
        c = d.control()
        c.act(RESIZE, g, size=16 * MIB)
        assert d.lane(g, 1, 2).read(15 * MIB, MIB) == bytes(MIB)
        other = c.lease(8 * MIB)
        assert d.lane(other).read(0, MIB) == bytes(MIB)
        assert programs(*workers, *d.workers()) == [binary + " (deleted)"] * 2 + [binary]
        c.release(g)
        closed(lane.reply)
        eventually(lambda: gone(serves))
        c.release(second)
        c.release(other)


@test
def released_at_last(folder):
    """what is released or expires while the daemon stops is not left to the next."""
    with Daemon(folder, "resources:\n"
                        "- {id: mem, class: memory, size: 64MiB}\n"
                        f"- {{id: disk, class: storage, path: {folder}/disk, "
                        "size: 64MiB, direct: no}\nrestart-grace: 30s") as d:
        c = d.control()
        slow = c.lease(MIB, cls=STORAGE)
        hung, = d.workers()
        left, released, expires = (c.lease(MIB) for _ in range(3))
        lanes = [d.lane(g) for g in (left, released, expires)]
        workers = [w for w in d.workers() if w != hung]
        os.kill(hung, signal.SIGSTOP)
        c.act(RENEW, expires, lease_ns=10 ** 9)
        d.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in d.log())
        c.release(released)
        assert gone(workers[1])
        closed(lanes[1].reply)
        assert d.stop() == 0
        assert gone(workers[2]) and not gone(workers[0])
        closed(lanes[2].reply)
        d.restart()
        c = d.control()
        assert sorted(c.leases()) == sorted((left.lease, slow.lease))
        lanes[0].read(0, 4096)


@test
def grows(folder):
    """a lease that grows while the daemon stops goes on, with the size that was told."""
    with Daemon(folder, CONFIG % "30s") as d:
        c, other = d.control(), d.control()
        g = c.lease(8 * MIB)
        lane = d.lane(g)
        lane.write(0, pattern("a", MIB))
        worker, = d.workers()
        os.kill(worker, signal.SIGSTOP)     # it takes its time
        other.sock.sendall(other.frame(RESIZE, other.ref(RESIZE, g, size=16 * MIB)))
        refused(E_BUSY, c.act, RESIZE, g, size=24 * MIB)
        assert d.stop() == 0
        closed(other.reply)
        os.kill(worker, signal.SIGCONT)
        d.restart()
        assert lane.read(0, MIB) == pattern("a", MIB)
        c = d.control()
        assert c.leases()[g.lease]["size"] == 8 * MIB
        c.act(RESIZE, g, size=32 * MIB)
        assert d.lane(g, 1, 2).read(31 * MIB, MIB) == bytes(MIB)


@test
def committed_at_last(folder):
    """what is committed while the daemon stops is left to the next as well."""
    with Daemon(folder, CONFIG.replace("64MiB", "256MiB, prealloc: yes") % "30s") as d:
        c = d.control()
        g = c.reserve(256 * MIB)
        c.sock.sendall(c.frame(COMMIT, c.ref(COMMIT, g)))
        eventually(d.workers)
        worker, = d.workers()
        os.kill(worker, signal.SIGSTOP)
        d.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in d.log())
        os.kill(worker, signal.SIGCONT)
        assert c.reply()[1] == OK and d.stop() == 0
        d.restart()
        d.lane(g).read(0, 4096)


def available():
    """MemAvailable, in bytes."""
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAv"))


@test
def grows_meanwhile(folder):
    """a worker that is busy growing answers the next daemon and new lanes."""
    size = min(1024, available() // 2 // MIB) * MIB
    with Daemon(folder, CONFIG.replace("64MiB", f"{size}, prealloc: yes") % "30s") as d:
        c, other = d.control(), d.control()
        g = c.lease(8 * MIB)
        lane = d.lane(g, features=0)
        lane.write(0, pattern("a", MIB))
        other.sock.sendall(other.frame(RESIZE, other.ref(RESIZE, g, size=size)))
        c.leases()
        d.kill()
        d.restart()
        again = d.lane(g, 1, 2, features=0)
        assert lane.read(0, MIB) == again.read(0, MIB) == pattern("a", MIB)
        c = d.control()
        c.sock.settimeout(100)
        if c.leases()[g.lease]["size"] == size:
            raise Skip("it was too quick")
        # Less than it makes room for: what lanes have of it stays as it is.
        c.act(RESIZE, g, size=16 * MIB)
        c.act(RESIZE, g, size=32 * MIB)
        assert again.read(0, MIB) == pattern("a", MIB)
        again.write(31 * MIB, pattern("b", MIB))
        assert again.read(8 * MIB, MIB) == bytes(MIB)
        assert lane.read(31 * MIB, MIB) == pattern("b", MIB)


def lent(worker):
    """The bytes that a worker has memory for."""
    fds = f"/proc/{worker}/fd/"
    return next(os.stat(fds + fd).st_size for fd in os.listdir(fds)
                if "disaggd-lease" in os.readlink(fds + fd))


@test
def grown_for_nobody(folder):
    """what a worker has made for a RESIZE that did not come about is given back."""
    with Daemon(folder, CONFIG.replace("64MiB", "64MiB, prealloc: yes") % "30s") as d:
        c, other = d.control(), d.control()
        g = c.lease(8 * MIB)
        lane = d.lane(g)
        lane.write(7 * MIB, pattern("a", MIB))
        worker, = d.workers()
        os.kill(worker, signal.SIGSTOP)
        other.sock.sendall(other.frame(RESIZE, other.ref(RESIZE, g, size=32 * MIB)))
        refused(E_BUSY, c.act, RESIZE, g, size=24 * MIB)
        d.kill()
        os.kill(worker, signal.SIGCONT)
        eventually(lambda: lent(worker) == 32 * MIB)
        d.restart()
        eventually(lambda: lent(worker) == 8 * MIB)
        assert lane.read(7 * MIB, MIB) == pattern("a", MIB)
        # The same when the journal does not take it.
        db = sqlite3.connect(f"{d.state}/journal.sqlite", isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        refused(E_INTERNAL, d.control().act, RESIZE, g, size=16 * MIB)
        db.execute("ROLLBACK")
        db.close()
        eventually(lambda: lent(worker) == 8 * MIB)
        d.control().act(RESIZE, g, size=16 * MIB)
        assert lent(worker) == 16 * MIB
        assert d.lane(g, 1, 2).read(7 * MIB, 2 * MIB) == pattern("a", MIB) + bytes(MIB)


@test
def nobody_comes(folder):
    """without a next daemon a worker ends after its time."""
    with Daemon(folder, CONFIG % "1s") as d:
        g = d.control().lease(8 * MIB)
        worker, = d.workers()
        start = time.monotonic()
        d.kill()
        eventually(lambda: gone(worker))
        assert time.monotonic() - start > 0.9
        d.restart()
        refused(E_STALE, d.control().release, g)


@test
def shutdown(folder):
    """a host that shuts down does not wait: SIGTERM ends a worker without a daemon."""
    with Daemon(folder, CONFIG % "30s") as d:
        c = d.control()
        left, other = c.lease(8 * MIB), c.lease(8 * MIB)
        lane = d.lane(other)
        workers = d.workers()
        d.kill()
        eventually(lambda: not ignores(workers[0], signal.SIGTERM))
        os.kill(workers[0], signal.SIGTERM)
        eventually(lambda: gone(workers[0]))
        d.restart()
        refused(E_STALE, d.control().release, left)
        # There is one again that decides.
        os.kill(workers[1], signal.SIGTERM)
        lane.read(0, 4096)
        time.sleep(0.1)
        lane.read(0, 4096)


@test
def ended_meanwhile(folder):
    """a lease that expired while nobody was there is not served on."""
    with Daemon(folder, CONFIG % "30s") as d:
        c = d.control()
        g = c.lease(8 * MIB)
        lane = d.lane(g)
        lane.read(0, 4096)
        worker, = d.workers()
        c.act(RENEW, g, lease_ns=10 ** 9)
        d.kill()
        time.sleep(1.2)     # the lease's own time, which is what this is about
        d.restart()
        eventually(lambda: gone(worker))
        closed(lane.reply)
        assert d.control().inventory()["mem"]["available"] == 64 * MIB


@test
def died_or_hung(folder):
    """one that dies or hangs meanwhile ends its lease, and the others go on."""
    with Daemon(folder, CONFIG % "30s") as d:
        c = d.control()
        dead, hung, well = (c.lease(4 * MIB) for _ in range(3))
        workers = d.workers()
        lane = d.lane(well)
        lane.write(0, pattern("w", MIB))
        d.kill()
        os.kill(workers[0], signal.SIGKILL)
        os.kill(workers[1], signal.SIGSTOP)
        d.restart()
        c = d.control()
        refused(E_STALE, c.release, dead)
        refused(E_STALE, c.release, hung)
        assert gone(workers[1])
        assert lane.read(0, MIB) == pattern("w", MIB)
        os.kill(workers[2], signal.SIGKILL)
        eventually(lambda: c.leases() == {})
        closed(lane.reply)


@test
def many_hung(folder):
    """many that hang cost no more time than one."""
    with Daemon(folder, CONFIG % "30s") as d:
        c = d.control()
        leases = [c.lease(MIB) for _ in range(5)]
        lane = d.lane(leases[4])
        workers = d.workers()
        d.kill()
        for w in workers[:4]:
            os.kill(w, signal.SIGSTOP)
        start = time.monotonic()
        d.restart()
        assert time.monotonic() - start < 6
        assert all(gone(w) for w in workers[:4])
        assert list(d.control().leases()) == [leases[4].lease]
        lane.read(0, 4096)


@test
def unreachable(folder):
    """one that cannot be reached may be there: the daemon does not start without it."""
    with Daemon(folder, CONFIG % "30s") as d:
        g = d.control().lease(MIB)
        lane, (worker,) = d.lane(g), d.workers()
        name = os.path.join(d.state, f"worker-{g.generation}")
        d.kill()
        os.rename(name, folder + "/aside")
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)   # of the wrong kind
        s.bind(name)
        does_not_start(d, "lease 1 on resource mem: its worker cannot be reached")
        os.rename(folder + "/aside", name)
        d.restart()
        lane.read(0, 4096)
        assert not gone(worker)


@test
def other_version(folder):
    """one of a version that is not understood is ended; nothing of it stays."""
    with Daemon(folder, CONFIG % "30s") as d:
        for hello in b"short", bytes(64), struct.pack("<Q", 99).ljust(40, b"\0"):
            g = d.control().lease(MIB)
            worker, = d.workers()
            name = os.path.join(d.state, f"worker-{g.generation}")
            d.kill()
            os.kill(worker, signal.SIGKILL)
            os.unlink(name)
            child = impostor(name, hello)
            d.restart()
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
            refused(E_STALE, d.control().release, g)
            assert not [f for f in open_files(d.process.pid) if "memfd" in f]


@test
def configured_anew(folder):
    """what the configuration has no room for is named, and nothing is ended for it."""
    with Daemon(folder, CONFIG % "30s") as d:
        c = d.control()
        reserved = c.reserve(8 * MIB)
        first, second = c.lease(16 * MIB), c.lease(32 * MIB)
        lanes = [d.lane(g) for g in (first, second)]
        workers = d.workers()
        assert d.stop() == 0
        d.configure("size: 64MiB", "size: 40MiB")
        does_not_start(d, f"lease {second.generation} on resource mem has no room")
        assert f"lease {first.generation} on" not in d.log()
        d.configure("id: mem", "id: other")
        does_not_start(d, f"lease {second.generation} on resource mem is in use")
        assert f"lease {first.generation} on resource mem is in use" in d.log()
        d.configure("id: other", "id: mem")
        # Those go on that have something to lose.
        d.configure("size: 40MiB", "size: 48MiB")
        d.restart()
        assert "lease 1 on resource mem ends: its resource has become too small" in d.log()
        assert set(d.control().leases()) == {first.lease, second.lease}
        for lane in lanes:
            lane.read(0, 4096)
        refused(E_STALE, d.control().release, reserved)
        # As after a reboot: there is nothing to lose.
        d.kill()
        for w in workers:
            os.kill(w, signal.SIGKILL)
        d.configure("id: mem", "id: other")
        d.restart()
        assert "lease 2 on resource mem ends: its memory ended with the daemon" in d.log()
        assert d.control().leases() == {}


@test
def other_grace(folder):
    """a restart-grace that has changed is that of all workers."""
    with Daemon(folder, CONFIG % "30s") as d:
        g = d.control().lease(MIB)
        lane, (worker,) = d.lane(g), d.workers()
        assert d.stop() == 0
        d.configure("restart-grace: 30s", "restart-grace: 1s")
        d.restart()
        start = time.monotonic()
        d.kill()
        eventually(lambda: gone(worker))
        assert time.monotonic() - start > 0.9
        closed(lane.reply)
        d.configure("restart-grace: 1s", "restart-grace: 30s")
        d.restart()
        first = d.control().lease(MIB)
        worker, = d.workers()
        assert d.stop() == 0
        d.configure("restart-grace: 30s", "restart-grace: 0s")
        d.restart()
        assert d.control().leases()[first.lease]["state"] == 2
        assert d.stop() == 0 and gone(worker)
        d.restart()
        assert d.control().leases() == {}


@test
def starts_that_fail(folder):
    """a start that fails after all changes nothing for the workers."""
    with Daemon(folder, CONFIG % "30s") as d, socket.create_server(("127.0.0.1", 0)) as taken:
        g = d.control().lease(MIB)
        lane, (worker,) = d.lane(g), d.workers()
        assert d.stop() == 0
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        d.configure("restart-grace: 30s", "restart-grace: 0s")
        d.configure("127.0.0.1:0", address)
        does_not_start(d, "")
        assert not gone(worker)
        lane.read(0, 4096)
        d.configure(address, "127.0.0.1:0")
        d.configure("restart-grace: 0s", "restart-grace: 3s")
        d.restart()
        assert d.stop() == 0
        # Nor does it make them wait longer.
        d.configure("id: mem", "id: other")
        end = time.monotonic() + 10
        while True:
            try:
                d.start()
                break
            except RuntimeError:
                assert time.monotonic() < end, "the worker waits on and on"
                time.sleep(0.3)
        assert gone(worker)


@test
def not_committed(folder):
    """a worker whose COMMIT was not journalled serves nobody."""
    with Daemon(folder, CONFIG.replace("size: 64MiB", "size: 64MiB, prealloc: yes") % "30s") as d:
        c = d.control()
        g = c.reserve(64 * MIB)
        c.sock.sendall(c.frame(COMMIT, c.ref(COMMIT, g)))
        while not d.workers():
            pass
        worker, = d.workers()
        d.kill()
        # It may be on its way still: it is found when it listens, or ends by itself.
        d.restart()
        c = d.control()
        c.commit(g)
        assert d.lane(g).read(0, MIB) == bytes(MIB)


@test
def makes_room(folder):
    """a worker that is still making room is found, and ended, by the next daemon."""
    with Daemon(folder, CONFIG.replace("64MiB", "256MiB, prealloc: yes") % "30s") as d:
        c = d.control()
        g = c.reserve(256 * MIB)
        other = d.control()
        other.sock.sendall(other.frame(COMMIT, other.ref(COMMIT, g)))
        name = os.path.join(d.state, f"worker-{g.generation}")
        while not os.path.exists(name):
            pass
        worker, = d.workers()
        os.kill(worker, signal.SIGSTOP)
        assert c.leases()[g.lease]["state"] == 1, "it can be found only when it is done"
        d.kill()
        d.restart()
        assert gone(worker)         # before its memory is given away
        c = d.control()
        c.commit(g)
        next, = d.workers()
        # Whoever comes after that one finds the right worker.
        d.kill()
        d.restart()
        c = d.control()
        assert not gone(next) and d.lane(g).read(0, MIB) == bytes(MIB)
        c.release(g)
        assert not [f for f in os.listdir(d.state) if f.startswith("worker-")]


main()
