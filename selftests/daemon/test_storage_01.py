#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Class storage on a file, and on a loop device where there is one."""
import contextlib
import errno
import fcntl
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile

from ktap import Skip, main, test
from wire import *


def config(path, **keys):
    more = "".join(f", {k.replace('_', '-')}: {v}" for k, v in keys.items())
    return f"resources:\n- {{id: disk, class: storage, path: {path}{more}}}\n"


def opened(pid, path):
    """How a process has a file open: direct or not; and whether it has an io_uring."""
    found, ring = set(), False
    for fd in os.listdir(f"/proc/{pid}/fd"):
        link = os.readlink(f"/proc/{pid}/fd/{fd}")
        ring |= link == "anon_inode:[io_uring]"
        if link == path:
            with open(f"/proc/{pid}/fdinfo/{fd}") as f:
                flags = int(re.search(r"^flags:\s*(\d+)", f.read(), re.M)[1], 8)
            found.add(bool(flags & os.O_DIRECT))
    return found, ring


def exercise(d, path, direct):
    """Everything that a lane can do, against a model."""
    c = d.control()
    c.reserve(4 * MIB, cls=STORAGE)         # so that the extent does not start at 0
    g = c.lease(8 * MIB, cls=STORAGE)
    worker, = d.workers()
    for features in (F_ALL, F_ALL & ~F_CRC32C):
        lane = d.lane(g, features=features)
        assert lane.features == features
        eventually(lambda: opened(worker, path) == ({direct}, True))
        model = bytearray(MIB)
        lane.call(WRITE_ZEROES, length=MIB)
        rng = random.Random(features)
        for i in range(25 if features & F_CRC32C else 100):
            longest = 4 if features & F_CRC32C else 64
            length = rng.randrange(1, longest + 1) * 4096
            offset = rng.randrange(0, (MIB - length) // 4096 + 1) * 4096
            op = rng.randrange(8)
            if op < 5:
                data = pattern((features, i), length)
                lane.write(offset, data, flags=FUA if op == 0 else 0)
                model[offset:offset + length] = data
            elif op < 7:
                lane.call(WRITE_ZEROES, offset=offset, length=length,
                          flags=rng.choice((0, FUA, NOUNMAP)))
                model[offset:offset + length] = bytes(length)
            else:
                lane.call(FLUSH)
            assert lane.read(offset, length) == model[offset:offset + length]
        lane.call(DISCARD, offset=4 * MIB, length=65536)
        refused(E_INVALID, lane.read, 8 * MIB, 4096)
        refused(E_INVALID, lane.write, 8 * MIB - 4096, bytes(8192))
        refused(E_INVALID, lane.call, DISCARD, offset=8 * MIB, length=4096)
        if features & F_CRC32C:
            refused(E_CRC, lane.call, WRITE, bytes(4096), length=4096, payload_crc=1)
    # Far more in flight than there are slots; answers come in any order.
    lane = d.lane(g, features=0, depth=1024)
    blob = b"".join(lane.frame(WRITE, pattern(i, 16384), offset=i * 16384, length=16384)
                    for i in range(256))
    lane.sock.sendall(blob)
    assert {lane.reply()[2] for _ in range(256)} == set(range(1, 257))
    first = lane.tag + 1
    blob = b"".join(lane.frame(READ, offset=i * 16384, length=16384) for i in range(256))
    lane.sock.sendall(blob)
    for _ in range(256):
        _, status, tag, data, _ = lane.reply()
        assert status == OK and data == pattern(tag - first, 16384)
    # A malformed frame behind good ones: those are answered first.
    lane.sock.sendall(lane.frame(READ, length=4096) + lane.frame(PING, length=1))
    assert sorted(lane.reply()[1] for _ in range(2)) == [OK, E_PROTO]
    closed(lane.recv, 1)
    lane = d.lane(g, features=0)
    lane.sock.sendall(lane.frame(WRITE, pattern(1, 65536), length=65536)[:30000])
    lane.close()
    assert d.lane(g, features=0).read(MIB, 16384) == pattern(64, 16384)
    c.release(g)
    return c


@test
def buffered(folder):
    """a file, through the page cache."""
    with Daemon(folder, config(folder + "/disk", size="64MiB", direct="no")) as d:
        exercise(d, folder + "/disk", False)


@test
def direct(folder):
    """a file, with direct I/O."""
    for parent in (folder, "/var/tmp"):
        base = tempfile.mkdtemp(dir=parent)
        try:
            os.close(os.open(base + "/probe", os.O_CREAT | os.O_RDWR | os.O_DIRECT))
            with Daemon(folder, config(base + "/disk", size="64MiB")) as d:
                exercise(d, base + "/disk", True)
            return
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
        finally:
            shutil.rmtree(base)
    raise Skip("no direct I/O here")


@test
def loop(folder):
    """a loop device."""
    with open(folder + "/image", "wb") as f:
        f.truncate(64 * MIB)
    r = subprocess.run(["losetup", "--find", "--show", folder + "/image"],
                       capture_output=True, text=True)
    if r.returncode:
        raise Skip("no loop devices: " + r.stderr.strip().splitlines()[-1])
    device = r.stdout.strip()
    try:
        with Daemon(folder, config(device)) as d:
            with open(device, "rb") as f:   # as udev does before it looks at a disk
                try:
                    fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    assert False, "udev may look at what tenants write"
                except BlockingIOError:
                    pass
            c = exercise(d, device, True)
            disk = c.inventory()["disk"]
            assert disk["model"] == os.path.basename(device)
            assert disk["capacity"] == 64 * MIB
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def reconfigure(d, old, new):
    with open(d.conf) as f:
        text = f.read()
    assert old in text
    with open(d.conf, "w") as f:
        f.write(text.replace(old, new))


def medium_of(d):
    """What its journal says that leases are in."""
    with sqlite3.connect(d.state + "/journal.sqlite") as db:
        (medium,), = db.execute("SELECT DISTINCT medium FROM lease WHERE state = 2")
    return medium


def set_medium(d, medium):
    with sqlite3.connect(d.state + "/journal.sqlite") as db:
        db.execute("UPDATE lease SET medium = ?", (medium,))


def from_path(d):
    """What its configuration says of the resource from the path on."""
    with open(d.conf) as f:
        return re.search("path: .*", f.read())[0]


@contextlib.contextmanager
def two_disks(*options):
    """Of 16 MiB, with a partition each."""
    if subprocess.run(["modprobe", "scsi_debug", "dev_size_mb=16", "num_parts=1", *options],
                      check=False, capture_output=True).returncode:
        raise Skip("no scsi_debug")
    try:
        found = lambda: sorted(b for b in os.listdir("/sys/block") if "pseudo" in os.path.realpath(
            f"/sys/block/{b}") and os.path.exists(f"/dev/{b}1"))
        eventually(lambda: len(found()) == 2)
        subprocess.run(["udevadm", "settle"], check=False)
        yield [f"/dev/{b}" for b in found()]
    finally:
        eventually(lambda: not subprocess.run(["modprobe", "-r", "scsi_debug"], check=False,
                                              capture_output=True).returncode)


@contextlib.contextmanager
def kept_open(path):
    """
    A partition that stays there. udev has the kernel look for partitions anew when a disk
    that was open for writing is closed, and then they are all away for a moment, unless one
    is open.
    """
    fd = -1

    def there():
        nonlocal fd
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            return False
        return True

    eventually(there)
    try:
        yield
    finally:
        os.close(fd)


@test
def one_device_twice(folder):
    """one device that has two names is one device."""
    with two_disks("add_host=2", "vpd_use_hostno=0") as (one, two):
        said = Daemon(folder, f"resources:\n- {{id: one, class: storage, path: {one}}}\n"
                      f"- {{id: two, class: storage, path: {two}}}\n").stays_down()
        assert "another resource has the same device" in said, said


@test
def other_device(folder):
    """a lease is served from its own device only, whatever that is called."""
    with two_disks("num_tgts=2") as (one, two):
        with Daemon(folder, config(one)) as d:
            c = d.control()
            table = c.reserve(MIB, cls=STORAGE)     # of partitions
            g = c.lease(MIB, cls=STORAGE)
            c.release(table)
            d.lane(g).write(0, b"mine" * 1024)
            assert d.stop() == 0
            reconfigure(d, f"path: {one}", f"path: {two}")
            said = d.stays_down()
            assert "is in another file or device" in said and "not id:device/wwid:" in said, said
            with open(f"{folder}/file", "wb") as f:
                f.truncate(16 * MIB)
            reconfigure(d, f"path: {two}", f"path: {folder}/file, direct: no")
            assert "is in another file or device" in d.stays_down()
            # Told in another way, in which this one tells nothing; and the way that it does.
            reconfigure(d, from_path(d), f"path: {one}}}")
            for medium, fits in (("id:serial:1", False), (medium_of(d), True)):
                set_medium(d, medium)
                if fits:
                    d.restart()
                    assert d.stop() == 0
                else:
                    assert "not id:serial:1" in d.stays_down()
            # The same device by another name, another one that is said to be meant.
            os.symlink(one, f"{folder}/link")
            reconfigure(d, from_path(d), f"path: {folder}/link}}")
            d.restart()
            assert d.lane(g).read(0, 4096) == b"mine" * 1024
            assert d.stop() == 0
            for path, more in ((two, ", replaced: yes"), (two, ""), (one, ", replaced: yes")):
                reconfigure(d, from_path(d), f"path: {path}{more}}}")
                d.restart()
                assert set(d.control().leases()) == {g.lease}
                assert d.stop() == 0
            # Another id for it, or for a part of it.
            reconfigure(d, "id: disk", "id: fast")
            with kept_open(f"{one}1"):
                for path in (one, f"{one}1"):
                    reconfigure(d, from_path(d), f"path: {path}}}")
                    said = d.stays_down()
                    assert "is offered as fast now" in said, said
            reconfigure(d, from_path(d), f"path: {two}}}")
            d.restart()
            assert d.control().inventory()["fast"]["available"] == 16 * MIB


@contextlib.contextmanager
def mounted(folder, fs):
    """Something of file system @fs below @folder, and how to take it away and bring it back."""
    where = f"{folder}/{fs}"
    os.mkdir(where)
    if fs == "ext4":
        with open(f"{where}.image", "wb") as f:
            f.truncate(64 * MIB)
        subprocess.run(["mkfs.ext4", "-q", f"{where}.image"], check=True)
        mount = ["mount", "-o", "loop", f"{where}.image", where]
    else:
        mount = ["mount", "-t", fs, "none", where]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise Skip(f"{fs} cannot be mounted here")
    try:
        yield (where, lambda: subprocess.run(["umount", where], check=True),
               lambda: subprocess.run(mount, check=True))
    finally:
        subprocess.run(["umount", where], check=False, capture_output=True)


def at(**files):
    """Resources with these ids and files."""
    return "resources:\n" + "".join(
        f"- {{id: {i}, class: storage, path: {path}, size: 4MiB, direct: no}}\n"
        for i, path in files.items())


def rewrite(d, resources):
    with open(d.conf) as f:
        text = f.read()
    with open(d.conf, "w") as f:
        f.write(text[:text.index("resources:")] + resources + "restart-grace: 0s\n")


def lend(d, name):
    """A lease with something in it; the daemon is stopped."""
    g = d.control().lease(MIB, cls=STORAGE, id=name)
    d.lane(g).write(0, b"mine" * 1024)
    assert d.stop() == 0
    return g


def serves(d, g):
    d.restart()
    assert d.lane(g).read(0, 4096) == b"mine" * 1024
    assert d.stop() == 0


@test
def files_that_moved(folder):
    """files that have changed places, or are gone, are not served, nor made anew."""
    for fs, swapped in (("ramfs", "were in what is two now"), ("ext4", "not file:")):
        with mounted(folder, fs) as (where, _, _):
            here = at(one=f"{where}/a", two=f"{where}/b")
            with Daemon(folder, here) as d:
                g = lend(d, b"one")
                rewrite(d, at(one=f"{where}/b", two=f"{where}/a"))
                assert swapped in d.stays_down()
                rewrite(d, here)
                os.rename(f"{where}/a", f"{where}/c")
                said = d.stays_down()
                assert "there are leases in it" in said and "No such file" in said, said
                assert not os.path.exists(f"{where}/a")
                # It was moved.
                rewrite(d, at(one=f"{where}/c", two=f"{where}/b"))
                serves(d, g)
                # Cut off, or what somebody has made in its place.
                os.rename(f"{where}/c", f"{where}/a")
                rewrite(d, here)
                for size in 0, MIB - 1:
                    with open(f"{where}/a", "r+b") as f:
                        f.truncate(size)
                    assert "beyond its end" in d.stays_down()
                    assert os.path.getsize(f"{where}/a") == size
                # It is lost, says the operator.
                os.unlink(f"{where}/a")
                assert "--end-lease" in d.stays_down()
                assert f"lease {g.generation}: {MIB} bytes of one for n/d" in d.amend()[1]
                d.amend(g.generation)
                d.restart()
                refused(E_STALE, d.control().release, g)
                assert os.path.getsize(f"{where}/a") == 4 * MIB


@test
def other_file(folder):
    """where files can be told apart, one at the same path is another file."""
    with mounted(folder, "ext4") as (where, umount, mount):
        here = f"{where}/disk"
        with Daemon(folder, at(disk=here)) as d:
            g = lend(d, b"disk")
            umount()
            with open(here, "wb") as f:
                f.truncate(4 * MIB)
            said = d.stays_down()
            assert "is in another file" in said and f"{here} is path:" in said, said
            assert os.listxattr(here) == []
            os.unlink(here)
            mount()
            serves(d, g)
            # Another id, and another path.
            os.rename(here, f"{where}/moved")
            rewrite(d, at(fast=f"{where}/moved"))
            assert "is offered as fast now" in d.stays_down()
            rewrite(d, at(fast=f"{where}/moved").replace("no}", "no, read-only: yes}"))
            said = d.stays_down()
            assert "would be shown" in said, said
            # A copy of it, and one with all that it says of itself.
            rewrite(d, at(disk=here))
            shutil.copyfile(f"{where}/moved", here)
            assert "is in another file" in d.stays_down()
            rewrite(d, at(disk=here).replace("no}", "no, replaced: yes}"))
            serves(d, g)
            rewrite(d, at(disk=here))
            serves(d, g)
            os.unlink(here)
            subprocess.run(["cp", "--preserve=xattr", f"{where}/moved", here], check=True)
            rewrite(d, at(disk=here, fast=f"{where}/moved"))
            assert "a copy of another resource's file" in d.stays_down()


@test
def ended_by_hand(folder):
    """leases are ended by number, not beside a daemon, and nothing else is."""
    with Daemon(folder, config(folder + "/disk", size="8MiB", direct="no")) as d:
        g = [d.control().lease(MIB, cls=STORAGE) for _ in range(5)]
        code, said = d.amend(g[0].generation)
        assert code == 1 and "in use by another disaggd" in said, said
        d.lane(g[1]).write(0, b"mine" * 1024)
        assert d.stop() == 0
        for wrong in ("", "0", "x", "1x", "-1", "99", "99999999999999999999"):
            code, said = d.amend(wrong)
            assert code == 1 and (wrong or "is no lease's") in said, (wrong, said)
        code, said = d.amend()
        assert code == 0 and [line.split()[1] for line in said.splitlines()] == [
            f"{x.generation}:" for x in g], said
        code, said = d.amend(g[4].generation, g[3].generation)
        assert code == 0 and len(said.splitlines()) == 2, said
        assert d.amend(g[3].generation)[0] == 1
        # What cannot be read keeps nobody from ending it, nor those behind it.
        with sqlite3.connect(d.state + "/journal.sqlite") as db:
            db.execute("UPDATE lease SET token = x'' WHERE generation = ?", (g[0].generation,))
        damaged = f"generation {g[0].generation} is damaged"
        assert damaged in d.stays_down()
        code, said = d.amend()
        assert code == 1 and damaged in said and all(
            f"lease {x.generation}: " in said for x in g[1:3]), said
        code, said = d.amend(g[2].generation)
        assert code == 0 and f"lease {g[2].generation}: " in said, said
        assert d.amend(g[0].generation)[0] == 0
        d.restart()
        assert set(d.control().leases()) == {g[1].lease}
        assert d.lane(g[1]).read(0, 4096) == b"mine" * 1024
        for ended in g[0], *g[2:]:
            refused(E_STALE, d.control().release, ended)


@test
def not_below_dev(folder):
    """a device that is missing is not made as a file, by none of its names."""
    d = Daemon(folder, config("/dev/disk-that-is-missing", size="4MiB"))
    assert "No such file" in d.stays_down()
    os.symlink("/dev/disk-that-is-missing", f"{folder}/link")
    os.symlink("/dev", f"{folder}/dev")
    for path, said in ((f"{folder}/link", "in the place of a link"),
                       (f"{folder}/dev/disk-that-is-missing", "No such file"),
                       ("//dev/./disk-that-is-missing", "No such file")):
        rewrite(d, at(disk=path))
        assert said in d.stays_down()
    assert not os.path.exists("/dev/disk-that-is-missing")


@test
def memory_before(folder):
    """a lease of memory is none in a file that is to be made with its resource's id."""
    with Daemon(folder, "resources:\n- {id: disk, class: memory, size: 4MiB}\n") as d:
        d.control().lease(MIB)
        d.kill()
        rewrite(d, at(disk=f"{folder}/disk"))
        d.restart()
        d.control().lease(4 * MIB, cls=STORAGE)


@test
def direct_to_large_sectors(folder):
    """a block size below what direct I/O to the file needs is refused."""
    with open(folder + "/image", "wb") as f:
        f.truncate(64 * MIB)
    r = subprocess.run(["losetup", "--sector-size", "4096", "--find", "--show",
                        folder + "/image"], capture_output=True, text=True, check=False)
    if r.returncode:
        raise Skip("no loop devices: " + r.stderr.strip().splitlines()[-1])
    device, mount = r.stdout.strip(), folder + "/mnt"
    os.mkdir(mount)
    try:
        subprocess.run(["mkfs.ext4", "-q", device], check=True)
        subprocess.run(["mount", device, mount], check=True)
        try:
            with Daemon(folder, config(f"{mount}/disk", size="4MiB", block_size=4096)) as d:
                assert d.stop() == 0
                reconfigure(d, "block-size: 4096", "block-size: 512")
                assert "block-size is below what direct I/O to this file needs" in d.stays_down()
                reconfigure(d, "block-size: 512", "block-size: 512, direct: no")
                d.restart()
        finally:
            subprocess.run(["umount", mount], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def slow_disk(seconds=4):
    """A disk that takes so long for everything, and what takes it away."""
    base = "/sys/kernel/config/nullb/late"
    if subprocess.run(["modprobe", "null_blk", "nr_devices=0"], check=False,
                      capture_output=True).returncode:
        raise Skip("no null_blk")
    if not os.path.ismount("/sys/kernel/config"):
        subprocess.run(["mount", "-t", "configfs", "none", "/sys/kernel/config"], check=True)
    if not os.path.exists(base):
        os.mkdir(base)
    for key, value in (("size", 64), ("memory_backed", 1), ("blocksize", 4096),
                       ("irqmode", 2), ("completion_nsec", seconds * 10**9), ("queue_mode", 2),
                       ("power", 1)):
        with open(f"{base}/{key}", "w") as f:
            f.write(str(value))
    with open(f"{base}/index") as f:
        names = ("late", "nullb" + f.read().strip())
    eventually(lambda: any(os.path.exists("/dev/" + n) for n in names))
    name = next(n for n in names if os.path.exists("/dev/" + n))
    return name, lambda: os.rmdir(base)


def inflight(disk):
    """Writes that it has not done yet."""
    with open(f"/sys/block/{disk}/inflight") as f:
        return int(f.read().split()[1])


@test
def replaced_lane(folder):
    """what a lane's last connection has on its way ends before the next is welcomed."""
    name, undo = slow_disk()
    try:
        with Daemon(folder, config("/dev/" + name)) as d:
            g = d.control().lease(MIB, cls=STORAGE)
            lane = d.lane(g, features=0)
            for n in range(2):
                lane.sock.sendall(lane.frame(WRITE, pattern(n, 4096), length=4096))
                eventually(lambda: inflight(name))
                lane = d.lane(g, features=0)
                assert not inflight(name), "it is welcomed while a write is on its way"
                assert lane.read(0, 4096) == pattern(n, 4096)
    finally:
        undo()


@test
def late_writes(folder):
    """what a killed worker has on its way to the disk ends before another one serves."""
    name, undo = slow_disk()
    try:
        with Daemon(folder, config("/dev/" + name)) as d:
            c = d.control()
            g = c.lease(MIB, cls=STORAGE)
            lane = d.lane(g, features=0)
            lane.sock.sendall(lane.frame(WRITE, pattern(1, 4096), length=4096))
            eventually(lambda: inflight(name))
            worker, = d.workers()
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: gone(worker) and "was killed by signal" in d.log())
            assert inflight(name), "the disk is too quick for this test"
            lane = d.lane(g, features=0)
            assert not inflight(name), "another worker serves while the write is on its way"
            lane.write(0, pattern(2, 4096))
            assert lane.read(0, 4096) == pattern(2, 4096)
    finally:
        undo()


@test
def slow_zeroes(folder):
    """a disk that has no zeroes of its own is given them while other requests are answered."""
    name, undo = slow_disk(2)
    try:
        with Daemon(folder, config("/dev/" + name)) as d:
            lane = d.lane(d.control().lease(MIB, cls=STORAGE), features=F_ALL & ~F_CRC32C)
            for flags in (0, FUA):
                lane.write(0, pattern(flags, 8192))
                lane.sock.sendall(lane.frame(WRITE_ZEROES, offset=4096, length=4096, flags=flags))
                answers = []
                while (WRITE_ZEROES, OK) not in answers:
                    lane.sock.sendall(lane.frame(PING))
                    answers.append(lane.reply()[:2])
                # One or two may be answered before the disk has said that it has none.
                assert answers.count((PING, OK)) >= 10, f"flags {flags}: {answers}"
                assert lane.reply()[:2] == (PING, OK)
                assert lane.read(0, 8192) == pattern(flags, 8192)[:4096] + bytes(4096)
    finally:
        undo()


@test
def written_zeroes(folder):
    """nor has tmpfs: they are written, in as many steps as it takes, and no further."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shm, \
            Daemon(folder, config(shm + "/disk", size="8MiB", direct="no")) as d:
        lane = d.lane(d.control().lease(8 * MIB, cls=STORAGE), features=F_ALL & ~F_CRC32C)
        model = bytearray(pattern(1, 8 * MIB))
        for i in range(0, 8 * MIB, MIB // 2):
            lane.write(i, bytes(model[i:i + MIB // 2]))
        for offset, length in ((4096, 3 * MIB + 4096), (5 * MIB, MIB), (7 * MIB, 4096)):
            lane.call(WRITE_ZEROES, offset=offset, length=length, flags=NOUNMAP)
            model[offset:offset + length] = bytes(length)
        for i in range(0, 8 * MIB, MIB // 2):
            assert lane.read(i, MIB // 2) == model[i:i + MIB // 2], f"at {i}"


@test
def extents(folder):
    """extents never overlap; gaps are found again; largest tells the truth."""
    with Daemon(folder, config(folder + "/disk", size="64MiB", direct="no")) as d:
        c = d.control()
        g = [c.lease(16 * MIB, cls=STORAGE) for _ in range(4)]
        for i, x in enumerate(g):
            d.lane(x, features=0).write(0, pattern(i, 65536))
        refused(E_NO_SPACE, c.reserve, 4096, cls=STORAGE)
        c.release(g[1])
        c.release(g[3])
        disk = c.inventory()["disk"]
        assert disk["available"] == 32 * MIB and disk["largest"] == 16 * MIB
        refused(E_NO_SPACE, c.reserve, 20 * MIB, cls=STORAGE)
        refused(E_NO_SPACE, c.act, RESIZE, g[0], size=48 * MIB)
        c.act(RESIZE, g[0], size=20 * MIB)
        c.act(RESIZE, g[2], size=24 * MIB)
        new = c.lease(12 * MIB, cls=STORAGE)
        d.lane(new, features=0).write(0, b"\xff" * 4096)
        for i in (0, 2):
            assert d.lane(g[i], features=0).read(0, 65536) == pattern(i, 65536)
        assert d.lane(g[0], features=0).read(16 * MIB, 4096) == bytes(4096)


@test
def shared(folder):
    """a read-only resource shows its data to many and takes no write."""
    with open(folder + "/image", "wb") as f:
        f.write(pattern("image", 8 * MIB))
    with Daemon(folder, config(folder + "/image", direct="no", read_only="yes")) as d:
        c = d.control()
        assert c.inventory()["disk"]["attrs"] == READ_ONLY
        refused(E_READ_ONLY, c.reserve, 8 * MIB, cls=STORAGE, id=b"disk")
        refused(E_NOT_FOUND, c.reserve, 8 * MIB, cls=STORAGE, attrs=READ_ONLY)
        for _ in range(3):
            g = c.lease(8 * MIB, cls=STORAGE, id=b"disk", attrs=READ_ONLY)
            lane = d.lane(g, features=0)
            assert lane.read(4 * MIB, 4 * MIB) == pattern("image", 8 * MIB)[4 * MIB:]
            refused(E_READ_ONLY, lane.write, 0, bytes(4096))
        refused(E_NO_SPACE, c.reserve, 9 * MIB, cls=STORAGE, id=b"disk", attrs=READ_ONLY)


@test
def truncated(folder):
    """a file that shrinks under a lease is an I/O error, not a crash."""
    with Daemon(folder, config(folder + "/disk", size="16MiB", direct="no")) as d:
        lane = d.lane(d.control().lease(16 * MIB, cls=STORAGE), features=0)
        os.truncate(folder + "/disk", MIB)
        refused(E_IO, lane.read, 8 * MIB, 4096)
        assert lane.read(0, 4096) == bytes(4096)


main()
