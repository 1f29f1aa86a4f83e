# SPDX-License-Identifier: GPL-2.0
"""Results in KTAP for tests in Python: each @test function is one result."""
import os
import shutil
import sys
import tempfile
import traceback

_tests = []


class Skip(Exception):
    """This cannot be tested here."""


def test(fn):
    """A test takes a fresh folder; its docstring is its name."""
    _tests.append(fn)
    return fn


def main():
    failed = 0
    only = sys.argv[1:]
    tests = [t for t in _tests if not only or t.__name__ in only]
    print("TAP version 13")
    print(f"1..{len(tests)}", flush=True)
    for i, fn in enumerate(tests, 1):
        folder = tempfile.mkdtemp(prefix="disaggd-test-", dir=os.environ.get("TMPDIR"))
        name = fn.__doc__.strip().splitlines()[0].rstrip(".")
        try:
            fn(folder)
            print(f"ok {i} {name}", flush=True)
        except Skip as e:
            print(f"ok {i} {name} # SKIP {e}", flush=True)
        except Exception:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
            try:
                with open(os.path.join(folder, "log"), errors="replace") as f:
                    for line in f.read().splitlines()[-20:]:
                        print("# log:", line)
            except OSError:
                pass
            print(f"not ok {i} {name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)
