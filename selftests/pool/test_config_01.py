#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The configuration: errors have line numbers, and nothing starts on a bad one."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

from ktap import main, test
from wire import *

GOOD = "resources:\n- {id: m, class: memory, size: 1MiB}\n"


def check(folder, text, *args):
    path = folder + "/c.yaml"
    with open(path, "w") as f:
        f.write(text)
    return subprocess.run([find_disaggd(), "--config", path, *args], capture_output=True,
                          text=True, timeout=60)


@test
def good(folder):
    """every key of disaggd.yaml(5) is taken."""
    r = check(folder, """
listen: ["127.0.0.1:7420", "[::1]:7420", "localhost:0"]
announce: [10.1.0.5, "10.1.0.6:99", "fd00::5", "[fd00::6]:99", "239.1.2.3", "ff02::1%eth0"]
state-dir: /nowhere
resources:
  - id: mem0
    class: memory
    size: 4GiB
    hugepages: no
    block-size: 512
    prealloc: yes
  - {id: mem1, class: memory, size: 4 GiB, hugepages: 2MiB}
  - {id: mem2, class: memory, size: 2TiB, hugepages: 1GiB}
  - {id: disk0, class: storage, path: /dev/nvme0n1}
  - {id: disk1, class: storage, path: /x, size: 1GiB, direct: no, read-only: true}
quota: {max-lease-size: 1TiB, max-leases: 3, max-leases-per-host: 2, max-size-per-host: 2TiB}
max-lanes: 8
reserve-ttl: 30s
restart-grace: 0s
""", "--check")
    assert r.returncode == 0 and r.stdout.endswith(": ok\n") and not r.stderr, r


@test
def bad(folder):
    """a mistake is named with its line, and exits with 2."""
    for text, line, what in (
            ("", 1, "empty"), ("nonsense\n", 1, "mapping"), ("a: [", 2, ""),
            ("listen: []\n" + GOOD, 1, "list"),
            ("state-dir: /x\n", 1, "lacks the key 'resources'"),
            (GOOD + "colour: red\n", 3, "unknown key 'colour'"),
            (GOOD + "---\n" + GOOD, 4, "second document"),
            (GOOD + "...\n---\n[", 6, ""),
            (GOOD + "max-lanes: 65\n", 3, "1 to 64"),
            (GOOD + "max-lanes: many\n", 3, "1 to 64"),
            (GOOD + "max-lanes: -1\n", 3, "1 to 64"),
            (GOOD + "reserve-ttl: 5\n", 3, "time"),
            (GOOD + "reserve-ttl: 25h\n", 3, "time"),
            (GOOD + "restart-grace: 2h\n", 3, "time"),
            (GOOD + "state-dir: relative\n", 3, "absolute"),
            (GOOD + "state-dir: /a\nstate-dir: /b\n", 4, "twice"),
            (GOOD + "listen:\n- 127.0.0.1\n", 4, "ADDRESS:PORT"),
            (GOOD + "listen:\n- 127.0.0.1:99999\n", 4, "ADDRESS:PORT"),
            (GOOD + "listen:\n- ::1:7420\n", 4, "ADDRESS:PORT"),
            (GOOD + "announce: 10.1.0.5\n", 3, "list"),
            (GOOD + "announce:\n- 10.1.0.5\n- node1.example\n", 5, "expected an address"),
            (GOOD + "announce: ['10.1.0.5:0']\n", 3, "expected an address"),
            (GOOD + "announce: ['10.1.0.5:99999']\n", 3, "expected an address"),
            (GOOD + "announce: ['10.1.0.5%eth0']\n", 3, "expected an address"),
            (GOOD + "announce: ['']\n", 3, "expected an address"),
            (GOOD + "announce: [[10.1.0.5]]\n", 3, "expected an address"),
            (GOOD + "announce: [%s]\n" % ",".join(["10.1.0.5"] * 65), 3, "more than 64"),
            (GOOD + "quota: {max-leases: 0}\n", 3, "number"),
            (GOOD + "quota:\n  max-everything: 1\n", 4, "unknown key"),
            (GOOD + "- {id: m, class: memory, size: 1MiB}\n", 3, "taken"),
            ("resources: []\n", 1, "1 to 256"),
            ("resources: {}\n", 1, "list"),
            ("resources:\n- {id: m, class: memory}\n", 2, "'size'"),
            ("resources:\n- {class: memory, size: 1MiB}\n", 2, "'id'"),
            ("resources:\n- {id: m, size: 1MiB}\n", 2, "'class'"),
            ("resources:\n- id: m\n  class: gpu\n  size: 1MiB\n", 3, "memory or storage"),
            ("resources:\n- id: m\n  class: memory\n  size: 1MB\n", 4, "size"),
            ("resources:\n- id: m\n  class: memory\n  size: 0\n", 4, "size"),
            ("resources:\n- id: m\n  class: memory\n  size: 99999999PiB\n", 4, "size"),
            ("resources:\n- id: m\n  class: memory\n  size: [1]\n", 4, "size"),
            ("resources:\n- id: m\n  class: memory\n  size: 5000\n", 2, "multiple"),
            ("resources:\n- {id: m, class: memory, size: 3MiB, hugepages: 2MiB}\n", 2,
             "multiple"),
            ("resources:\n- id: m\n  class: memory\n  size: 1MiB\n  hugepages: 4MiB\n", 5,
             "2MiB"),
            ("resources:\n- id: m\n  class: memory\n  size: 1MiB\n  path: /x\n", 5,
             "unknown key 'path'"),
            ("resources:\n- id: m\n  class: memory\n  size: 1MiB\n  prealloc: 1\n", 5,
             "yes or no"),
            ("resources:\n- id: m\n  class: memory\n  size: 1MiB\n  block-size: 1000\n", 5,
             "512"),
            ("resources:\n- id: a b\n  class: memory\n  size: 1MiB\n", 2, "name"),
            ("resources:\n- id: " + "x" * 32 + "\n  class: memory\n  size: 1MiB\n", 2, "name"),
            ("resources:\n- {id: s, class: storage}\n", 2, "'path'"),
            ("resources:\n- {id: s, class: storage, path: /x, prealloc: yes}\n", 2,
             "unknown key 'prealloc'")):
        for args in (["--check"], []):
            r = check(folder, text, *args)
            assert r.returncode == 2, (text, r)
            assert f"c.yaml:{line}: " in r.stderr and what in r.stderr, (text, r.stderr)
            assert r.stderr.count("\n") == 1, r.stderr


@test
def options(folder):
    """--version, --help, unknown options, a missing file."""
    def run(*args):
        return subprocess.run([find_disaggd(), *args], capture_output=True, text=True,
                              timeout=60)
    assert run("--version").stdout.startswith("disaggd ")
    assert "--config" in run("--help").stdout
    assert run("--frobnicate").returncode == 2
    assert run("extra").returncode == 2
    r = run("--config", folder + "/none")
    assert r.returncode == 2 and "No such file" in r.stderr


@test
def impossible(folder):
    """what only shows at start is logged and exits with 1."""
    listen = f"listen: ['127.0.0.1:0']\nstate-dir: {folder}/state\n"
    with open(folder + "/small", "wb") as f:
        f.truncate(4096)
    for text, what in (
            ("- {id: s, class: storage, path: %s/none}" % folder, "cannot open"),
            ("- {id: s, class: storage, path: %s}" % folder, "s: "),
            ("- {id: s, class: storage, path: /dev/null, direct: no}", "neither"),
            ("- {id: s, class: storage, path: %s/small, size: 1MiB, read-only: yes, "
             "direct: no}" % folder, "smaller")):
        r = check(folder, listen + "resources:\n" + text + "\n")
        assert r.returncode == 1 and what in r.stderr, r
    r = check(folder, f"listen: ['192.0.2.1:1']\nstate-dir: {folder}/state\n" + GOOD)
    assert r.returncode == 1 and "cannot listen" in r.stderr, r


main()
