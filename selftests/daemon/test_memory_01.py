#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Where a lease's memory comes from: on demand, ahead of time, huge pages."""
import contextlib
import os

from ktap import Skip, main, test
from wire import *

POOL = "/proc/sys/vm/nr_hugepages"


@contextlib.contextmanager
def huge_pages(count):
    """@count more huge pages of 2 MiB, for a while."""
    try:
        with open(POOL) as f:
            before = int(f.read())
        with open(POOL, "w") as f:
            f.write(str(before + count))
    except OSError as e:
        raise Skip("no huge pages here") from e
    try:
        with open(POOL) as f:
            if int(f.read()) < before + count:
                raise Skip("not enough memory for huge pages")
        yield
    finally:
        with open(POOL, "w") as f:
            f.write(str(before))


def taken(pid):
    """Bytes that the lease's memfd holds; RssShmem is an estimate on some kernels."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("/memfd:disaggd-lease"):
                return os.stat(path).st_blocks * 512
    raise AssertionError("the worker has no memfd")


@test
def on_demand(folder):
    """memory is taken as it is written, and given back by DISCARD."""
    with Daemon(folder) as d:
        lane = d.lane(d.control().lease(64 * MIB), features=F_DISCARD)
        worker = d.workers()[0]
        assert taken(worker) < 4 * MIB
        for i in range(8):
            lane.write(i * 4 * MIB, pattern(i, 4 * MIB))
        assert taken(worker) >= 32 * MIB
        lane.call(DISCARD, length=32 * MIB)
        assert taken(worker) < 4 * MIB


@test
def ahead(folder):
    """prealloc takes a lease's memory at COMMIT and RESIZE, and keeps it."""
    with Daemon(folder, "resources:\n"
                        "- {id: m, class: memory, size: 64MiB, prealloc: yes}\n") as d:
        c = d.control()
        g = c.lease(8 * MIB)
        worker = d.workers()[0]
        lane = d.lane(g, features=F_DISCARD)
        assert 8 * MIB <= taken(worker) < 12 * MIB
        c.act(RESIZE, g, size=16 * MIB)
        assert taken(worker) >= 16 * MIB
        lane.write(0, pattern(0, MIB))
        lane.call(DISCARD, length=16 * MIB)
        assert taken(worker) >= 16 * MIB
        assert lane.read(0, MIB) == bytes(MIB)


@test
def huge(folder):
    """huge pages are all taken at COMMIT; a dry pool is a refusal, not a crash."""
    with huge_pages(8), Daemon(folder, """resources:
- {id: m, class: memory, size: 64MiB, hugepages: 2MiB}
""") as d:
        c = d.control()
        assert c.inventory()["m"]["model"] == "hugetlb 2MiB"
        g = c.lease(9 * MIB)
        assert c.inventory()["m"]["available"] == 54 * MIB
        lane = d.lane(g, features=F_ALL & ~F_CRC32C)
        lane.write(8 * MIB, pattern(1, MIB))
        refused(E_INVALID, lane.read, 9 * MIB, 4096)
        lane.call(WRITE_ZEROES, offset=8 * MIB, length=MIB // 2)
        assert lane.read(8 * MIB, MIB) == bytes(MIB // 2) + pattern(1, MIB)[MIB // 2:]
        greedy = c.reserve(20 * MIB)
        refused(E_NO_SPACE, c.commit, greedy)
        eventually(lambda: len(d.workers()) == 1)
        c.release(greedy)
        refused(E_NO_SPACE, c.act, RESIZE, g, size=40 * MIB)
        c.act(RESIZE, g, size=12 * MIB)
        lane.write(11 * MIB, pattern(2, MIB))
        assert lane.read(8 * MIB + MIB // 2, MIB // 2) == pattern(1, MIB)[MIB // 2:]
        c.release(g)
        g = c.lease(12 * MIB)
        lane = d.lane(g, features=F_ALL & ~F_CRC32C)
        assert lane.read(8 * MIB, 4 * MIB) == bytes(4 * MIB), "somebody else's bytes"


main()
