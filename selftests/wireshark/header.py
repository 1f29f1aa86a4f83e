# SPDX-License-Identifier: GPL-2.0
"""What <linux/disagg_wire.h> defines, and what the dissector says that it does."""
import os
import re

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
HEADER = os.path.join(TOP, "uapi/linux/disagg_wire.h")
LUA = os.path.join(TOP, "tools/wireshark/disagg.lua")
SIZES = {"u8": 1, "char": 1, "le16": 2, "le32": 4, "le64": 8}


def read(path):
    with open(path) as f:
        return f.read()


def constants():
    """{name less DISAGG_WIRE_: value} of every number that the header defines."""
    out = {}
    for name, value in re.findall(r"^#define DISAGG_WIRE_(\w+)[ \t]+([^/\n]+)", read(HEADER),
                                  re.M):
        value = re.sub(r"(?<=[0-9a-f])U?L{0,2}\b", "", value.strip())
        assert re.fullmatch(r"[0-9a-fx<() ]+", value), (name, value)
        out[name] = eval(value)     # pylint: disable=eval-used  # a number or a shift
    assert len(out) == len(re.findall(r"^#define DISAGG_WIRE_\w+\s", read(HEADER), re.M))
    return out


def layouts():
    """{struct less disagg_wire_: [(field, type, elements or None)]}."""
    numbers = constants()
    out = {}
    for struct, body in re.findall(r"^struct disagg_wire_(\w+) \{\n(.*?)^\};", read(HEADER),
                                   re.M | re.S):
        out[struct] = []
        for line in body.strip().splitlines():
            kind, name, count = re.fullmatch(
                r"\s*(?:__)?(u8|le16|le32|le64|char)\s+(\w+)(?:\[(\w+)\])?;", line).groups()
            if count and not count.isdigit():
                count = numbers[count.removeprefix("DISAGG_WIRE_")]
            out[struct].append((name, kind, int(count) if count else None))
    return out


def size(struct):
    return sum(SIZES[kind] * (count or 1) for _, kind, count in layouts()[struct])


def table(text, name):
    """The lines between "local NAME = {" and "}" of a Lua file."""
    return re.search(rf"^local {name} = {{\n(.*?)^}}", text, re.M | re.S)[1]


def lua_constants():
    lines = table(read(LUA), "wire").splitlines()
    return {name: int(value, 0)
            for name, value in (re.fullmatch(r"\t(\w+) = (\w+),", x).groups() for x in lines)}


def lua_layouts():
    """As layouts(), with the filter's name as a fourth."""
    numbers, out, struct = lua_constants(), {}, None
    for line in table(read(LUA), "layouts").splitlines():
        start = re.fullmatch(r"\t(\w+) = \{", line)
        if start:
            struct = start[1]
            out[struct] = []
        elif line != "\t},":
            name, kind, count, rest = re.fullmatch(
                r'\t\t\{ "(\w+)", "(\w+)"(?:, ([\w.]+))?((?:, \w+ = \S+)*) \},', line).groups()
            if count and not count.isdigit():
                count = numbers[count.removeprefix("wire.")]
            shared = re.search(r'\bas = "(\w+)"', rest)
            out[struct].append((name, kind, int(count) if count else None, "disagg." +
                                (shared[1] if shared else f"{struct}.{name}")))
    return out
