#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The dissector knows the header's numbers and layouts: all of them, and no others."""
import os
import re
import subprocess

import header
from capture import run
from ktap import main, test


@test
def constants(_folder):
    """every constant of the header has its value in the dissector."""
    want, got = header.constants(), header.lua_constants()
    assert len(want) > 50
    assert got == want, sorted(set(got.items()) ^ set(want.items()))


@test
def layouts(_folder):
    """every structure of the header is laid out the same in the dissector."""
    want = header.layouts()
    got = {s: [f[:3] for f in fields] for s, fields in header.lua_layouts().items()}
    assert len(want) == 10 and header.size("lease_info") == 256
    assert set(got) == set(want)
    for struct, fields in want.items():
        assert got[struct] == fields, (struct, set(got[struct]) ^ set(fields))


@test
def names(_folder):
    """tshark shows each constant by its name."""
    numbers = header.constants()
    shown = {}
    for line in run("tshark", "-G", "values").splitlines():
        words = line.split("\t")
        if words[0] == "V" and words[1].startswith("disagg."):
            shown.setdefault(words[1], {})[int(words[2], 0)] = words[3]
    for field, prefix in (("magic", "MAGIC_"), ("op", "OP_"), ("class", "CLASS_"),
                          ("hello.mode", "MODE_"), ("lease_info.state", "LEASE_")):
        want = {v: n.removeprefix(prefix) for n, v in numbers.items() if n.startswith(prefix)}
        assert shown["disagg." + field] == want, (field, shown["disagg." + field])
    assert shown["disagg.status"] == {v: n for n, v in numbers.items()
                                      if n == "OK" or n.startswith("E_")}
    bits = {}
    for line in run("tshark", "-G", "fields").splitlines():
        words = line.split("\t")
        for field, prefix in (("features", "F_"), ("attrs", "ATTR_"), ("flags", "FLAG_")):
            if words[2].startswith(f"disagg.{field}."):
                bits[prefix + words[1]] = int(words[6], 0)
    want = {n: v for n, v in numbers.items()
            if n.startswith(("F_", "ATTR_", "FLAG_")) and n != "F_ALL"}
    assert bits == want, (bits, want)


@test
def port(_folder):
    """the header's port is the dissector's."""
    ours = [x for x in run("tshark", "-G", "decodes").splitlines() if x.endswith("\tdisagg")]
    port = header.constants()["PORT"]
    assert sorted(ours) == [f"{t}.port\t{port}\tdisagg" for t in ("tcp", "udp")], ours


@test
def installed(_folder):
    """it is installed where this Wireshark looks, and there is one of it."""
    folders = dict(re.findall(r"^(.*?):\s+(.*)$", run("tshark", "-G", "folders"), re.M))
    path = os.path.join(folders["Global Lua Plugins"], "disagg.lua")
    assert header.read(path) == header.read(header.LUA), path
    assert [x for x in run("tshark", "-G", "plugins").splitlines() if "disagg" in x] == \
        [f"disagg.lua\t\tlua script\t{path}"]
    arch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True,
                          check=True).stdout.strip()
    assert path == f"/usr/lib/{arch}/wireshark/plugins/disagg.lua", path


main()
