#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What one lease holds is out of every other's reach: when the journal fails, the
configuration changes, files are swapped, or the daemon starts oddly."""
import os
import signal
import socket
import sqlite3
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

from ktap import main, test
from wire import *


def storage(*lines):
    return "resources:\n" + "".join(f"- {{class: storage, direct: no, {l}}}\n" for l in lines)


def reconfigure(d, config):
    with open(d.conf, "w") as f:
        f.write(f"listen: ['127.0.0.1:0']\nstate-dir: {d.state}\n{config}\n")


READ_ONLY = 1     # DISAGG_WIRE_ATTR_READ_ONLY


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@test
def resize_not_journalled(folder):
    """a RESIZE that the journal did not take adds nothing that a lane can reach."""
    with Daemon(folder, storage(f"id: disk, path: {folder}/disk, size: 16MiB")) as d:
        c = d.control()
        a = c.lease(MIB, cls=STORAGE)
        lane = d.lane(a)
        db = sqlite3.connect(f"{d.state}/journal.sqlite", isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        refused(E_INTERNAL, c.act, RESIZE, a, size=2 * MIB)
        db.execute("ROLLBACK")
        db.close()
        b = c.lease(MIB, cls=STORAGE)
        d.lane(b).write(0, b"b" * 4096)
        refused(E_INVALID, lane.read, MIB, 4096)
        refused(E_INVALID, lane.write, MIB, b"a" * 4096)
        assert d.lane(b).read(0, 4096) == b"b" * 4096
        # It can be had later, when there is room.
        c.release(b)
        c.act(RESIZE, a, size=2 * MIB)
        assert lane.read(MIB, 4096) == bytes(4096)


@test
def smaller_memory(folder):
    """a reservation that no longer fits its resource ends; nothing is promised twice."""
    with Daemon(folder) as d:
        g = d.control().reserve(48 * MIB)
        d.kill()
        reconfigure(d, "resources:\n- {id: mem, class: memory, size: 32MiB}")
        d.restart()
        c = d.control()
        refused(E_STALE, c.commit, g)
        assert c.inventory()["mem"]["available"] == 32 * MIB
        refused(E_NO_SPACE, c.reserve, 33 * MIB)


@test
def changed_storage(folder):
    """storage whose leases no longer fit the configuration is not served."""
    here = f"id: disk, path: {folder}/disk, size: 16MiB"
    with Daemon(folder, storage(here)) as d:
        c = d.control()
        g = c.lease(8 * MIB, cls=STORAGE)
        assert d.stop() == 0
        reconfigure(d, storage(f"id: disk, path: {folder}/disk, size: 4MiB"))
        does_not_start(d, "its size is too small")
        reconfigure(d, storage(here + ", read-only: yes"))
        does_not_start(d, "can't be read-only")
        reconfigure(d, storage(here))
        d.restart()
        d.lane(g).write(0, b"x" * 4096)


@test
def shared_storage(folder):
    """leases that share read-only storage keep it read-only."""
    path = f"{folder}/disk"
    with open(path, "wb") as f:
        f.write(b"s" * 4 * MIB)
    shared = f"id: disk, path: {path}"
    with Daemon(folder, storage(shared + ", read-only: yes")) as d:
        c = d.control()
        for _ in range(2):
            c.lease(2 * MIB, cls=STORAGE, attrs=READ_ONLY, id=b"disk")
        assert d.stop() == 0
        reconfigure(d, storage(shared))
        does_not_start(d, "must stay read-only")
        reconfigure(d, storage(shared + ", read-only: yes"))
        d.restart()


@test
def read_only_lease(folder):
    """a read-only lease on writable storage sees zeroes, not who was there before."""
    with Daemon(folder, storage(f"id: disk, path: {folder}/disk, size: 16MiB")) as d:
        c = d.control()
        g = c.lease(4 * MIB, cls=STORAGE)
        lane = d.lane(g)
        for at in range(0, 4 * MIB, MIB):
            lane.write(at, b"secret!!" * (MIB // 8))
        c.release(g)
        g = c.lease(MIB, cls=STORAGE, attrs=READ_ONLY)
        lane = d.lane(g, features=0)
        assert lane.read(0, MIB) == bytes(MIB)
        refused(E_READ_ONLY, lane.write, 0, bytes(4096))
        c.act(RESIZE, g, size=2 * MIB)
        assert lane.read(MIB, MIB) == bytes(MIB)


@test
def swapped_file(folder):
    """a worker serves what the daemon opened, not what has its name today."""
    path = f"{folder}/disk"
    with Daemon(folder, storage(f"id: disk, path: {path}, size: 4MiB")) as d:
        c = d.control()
        os.rename(path, path + ".old")
        with open(path, "wb") as f:
            f.write(b"mine" * MIB)
        g = c.lease(MIB, cls=STORAGE)
        d.lane(g).write(0, b"w" * 4096)
        with open(path, "rb") as f:
            assert f.read() == b"mine" * MIB
        with open(path + ".old", "rb") as f:
            assert f.read(4096) == b"w" * 4096


@test
def one_file_twice(folder):
    """one file under two names is one file too many."""
    path = f"{folder}/disk"
    d = Daemon(folder, storage(f"id: a, path: {path}, size: 4MiB",
                               f"id: b, path: {folder}//disk, size: 4MiB"))
    does_not_start(d, "same file")
    os.link(path, path + ".link")
    reconfigure(d, storage(f"id: a, path: {path}, size: 4MiB", f"id: b, path: {path}.link"))
    does_not_start(d, "same file")
    other = os.path.join(folder, "other")
    os.mkdir(other)
    with Daemon(folder, storage(f"id: a, path: {path}, size: 4MiB")):
        does_not_start(Daemon(other, storage(f"id: a, path: {path}")), "locked")


@test
def kept_aside(folder):
    """a lease whose resource is not offered for a while is not taken for gone."""
    here = storage(f"id: disk, path: {folder}/disk, size: 4MiB")
    with Daemon(folder, here) as d:
        c = d.control()
        txid = os.urandom(16)
        g = c.reserve(MIB, cls=STORAGE, txid=txid)
        c.commit(g)
        d.lane(g).write(0, b"kept" * 1024)
        assert d.stop() == 0
        reconfigure(d, "resources:\n- {id: mem, class: memory, size: 4MiB}")
        d.restart()
        c = d.control()
        refused(E_BUSY, c.release, g)
        refused(E_BUSY, c.reserve, MIB, cls=STORAGE, txid=txid)
        assert "is kept" in refused(E_BUSY, d.lane, g).reason
        assert d.stop() == 0
        # Its place is nobody else's meanwhile, whatever it is called.
        os.symlink("disk", f"{folder}/link")
        reconfigure(d, storage(f"id: fast, path: {folder}/link, size: 4MiB"))
        assert "is offered as fast now" in d.stays_down()
        reconfigure(d, here)
        d.restart()
        assert d.lane(g).read(0, 4096) == b"kept" * 1024
        assert d.stop() == 0
        reconfigure(d, storage(f"id: fast, path: {folder}/link, size: 4MiB, overwrite: yes"))
        d.restart()
        c = d.control()
        refused(E_STALE, c.release, g)
        c.lease(4 * MIB, cls=STORAGE)


@test
def waiting(folder):
    """few may wait for one lease; one more is told, and nobody else notices."""
    with Daemon(folder, "resources:\n- {id: mem, class: memory, size: 512MiB, prealloc: yes}") as d:
        c = d.control()
        g = c.reserve(512 * MIB)
        crowd = [d.control() for _ in range(8)]
        crowd[0].sock.sendall(crowd[0].frame(COMMIT, crowd[0].ref(COMMIT, g)))
        while not d.workers():
            pass
        worker, = d.workers()
        os.kill(worker, signal.SIGSTOP)
        assert c.leases()[g.lease]["state"] == 1, "it was ready before it could be stopped"
        for w in crowd[1:]:
            w.sock.sendall(w.frame(COMMIT, w.ref(COMMIT, g)))
        c.leases()          # was ready after them, so they have been read by now
        refused(E_BUSY, c.commit, g)
        os.kill(worker, signal.SIGCONT)
        assert all(w.reply()[1] == OK for w in crowd)
        d.lane(g).read(0, 4096)


@test
def ignored_children(folder):
    """a daemon that inherits an ignored SIGCHLD still buries its workers."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with Daemon(folder) as d:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        c = d.control()
        c.lease(MIB)
        os.kill(d.workers()[0], signal.SIGKILL)
        eventually(lambda: c.leases() == {})
        assert "killed by signal 9" in d.log(), d.log()


@test
def closed_stderr(folder):
    """without a standard error, what is logged lands in nobody's data."""
    path = f"{folder}/disk"
    d = Daemon(folder, storage(f"id: disk, path: {path}, size: 4MiB"))
    # Its port is not to be read in a log: choose one.
    port = free_port()
    with open(d.conf) as f:
        text = f.read().replace("127.0.0.1:0", f"127.0.0.1:{port}")
    with open(d.conf, "w") as f:
        f.write(text)
    shell = subprocess.Popen(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', d.binary, d.conf])
    try:
        d.port = port
        eventually(lambda: answers(port))
        c = d.control()
        g = c.lease(MIB, cls=STORAGE)
        good = [d.lane(g, i, 8) for i in range(7)]
        bad = d.lane(g, 7, 8)
        bad.sock.sendall(b"x" * 4096)
        closed(bad.reply)
        assert all(lane.read(0, MIB) == bytes(MIB) for lane in good)
    finally:
        shell.terminate()
        assert shell.wait(20) == 0


@test
def state_folder(folder):
    """a folder for the journal that others can write to is refused."""
    d = Daemon(folder)
    os.mkdir(d.state)
    os.chmod(d.state, 0o777)
    does_not_start(d, "only its owner")
    os.chmod(d.state, 0o700)
    with d:
        pass


main()
