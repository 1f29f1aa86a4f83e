#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The bench, inside the guest: see ./bench.

Sets up the same amount of memory behind disagg, nbd and nvme-tcp, each over TCP on
loopback with as many connections as there are processors, and lets fio loose on one
after the other, with the bare exchange of as many bytes between two programs beside
them. Progress goes to standard error; lines that begin with RAW are every single
run; then comes the table, or JSON.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SIZE_MIB = 256
LANES = os.cpu_count()
HEADER = 48
RAW_TCP = os.environ.get("RAW_TCP") or "/usr/lib/disagg-selftests/bench/raw_tcp"

# name, fio's rw, block size, depth
ROWS = [
    ("4 KiB read, depth 1", "randread", 4096, 1),
    ("4 KiB write, depth 1", "randwrite", 4096, 1),
    ("4 KiB read, depth 32", "randread", 4096, 32),
    ("4 KiB write, depth 32", "randwrite", 4096, 32),
    ("128 KiB read, depth 8", "read", 131072, 8),
    ("128 KiB write, depth 8", "write", 131072, 8),
]


class Failure(Exception):
    """What a person should read; no trace."""


class Unavailable(Failure):
    """This contestant cannot take part here."""


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(*cmd):
    """Run a command; what it prints. Fails with its output."""
    try:
        p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, text=True, timeout=300, check=False)
    except FileNotFoundError as e:
        raise Failure(f"{cmd[0]} is not installed") from e
    except subprocess.TimeoutExpired as e:
        raise Failure(f"{' '.join(cmd)}: does not end") from e
    if p.returncode:
        raise Failure(f"{' '.join(cmd)}: status {p.returncode}\n{p.stdout}")
    return p.stdout


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(str(text))


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def end(daemon):
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


class Contestant:
    """
    Has a disk once set up. Whatever set_up() does, it also puts on the stack of
    what close() undoes, last first.
    """

    disk = None

    def __init__(self, work):
        self.work = work
        self.undo = contextlib.ExitStack()
        self.close = self.undo.close

    def set_up(self):
        """Nothing to do by default."""

    def modprobe(self, module, *options):
        if not os.path.exists(f"/sys/module/{module.replace('-', '_')}"):
            run("modprobe", module, *options)
            self.undo.callback(run, "modprobe", "-r", module)

    def start(self, *cmd):
        """A daemon that ends with us; the file that takes what it says."""
        path = f"{self.work}/{self.name.replace(' ', '-')}.log"
        with open(path, "w", encoding="utf-8") as log:
            try:
                daemon = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log)
            except FileNotFoundError as e:
                raise Failure(f"{cmd[0]} is not installed") from e
        self.undo.callback(end, daemon)
        return path

    def mkdir(self, path):
        os.mkdir(path)
        self.undo.callback(os.rmdir, path)


class Disagg(Contestant):
    name = "disagg"
    node = "bench"
    listen = '"127.0.0.1:0"'
    config = ""
    keys = ()
    security = "none"

    def set_up(self):
        self.modprobe("disagg")
        os.environ.update(DISAGG_CONFDIR=f"{self.work}/etc",
                          DISAGG_STATEDIR=f"{self.work}/lib",
                          DISAGG_RUNDIR=f"{self.work}/run")
        write(f"{self.work}/{self.node}.yaml",
              f"listen: [{self.listen}]\n"
              f"state-dir: {self.work}/{self.node}\n"
              f"{self.config.format(work=self.work)}"
              "resources:\n"
              f"  - {{id: dram, class: memory, size: {SIZE_MIB}MiB}}\n")
        log = self.start("disaggd", "-c", f"{self.work}/{self.node}.yaml")
        listening = re.compile(r"listening .*on 127\.0\.0\.1 port (\d+)")
        wait_for("disaggd", lambda: listening.search(read(log)))
        port = listening.search(read(log)).group(1)
        run("disaggctl", "target", "add", self.node, f"127.0.0.1:{port}",
            *(k.format(work=self.work) for k in self.keys))
        run("disaggctl", "node", "create", self.node, "--memory", f"{SIZE_MIB}MiB",
            "--lanes", str(LANES), "--target", self.node)
        self.undo.callback(run, "disaggctl", "node", "delete", self.node, "--force")
        shown = json.loads(run("disaggctl", "-j", "device", "show", f"{self.node}/mem0"))
        used = {lane["security"] for lane in shown["device"]["lanes"]}
        if used != {self.security}:
            raise Failure(f"{self.name}: its lanes have security {', '.join(used)}")
        self.disk = "/dev/" + shown["device"]["disk"]


class DisaggTls(Disagg):
    """The same over TLS, which the kernel does on both sides (AES-128-GCM)."""
    name = "disagg TLS"
    node = "bench-tls"
    listen = "{address: '127.0.0.1:0', tls: yes}"
    config = "tls: {{psk-file: {work}/psk}}\n"
    keys = ("--psk-identity", "bench", "--psk-file", "{work}/psk")
    security = "tls"

    def set_up(self):
        write(f"{self.work}/psk", "bench:" + os.urandom(32).hex() + "\n")
        os.chmod(f"{self.work}/psk", 0o600)
        try:
            run("modprobe", "tls")
            super().set_up()
        except Failure as e:
            if "tls" not in str(e).lower():
                raise
            raise Unavailable(str(e)) from e


class Nbd(Contestant):
    name = "nbd"

    def set_up(self):
        self.modprobe("nbd")
        self.start("nbdkit", "-f", "-i", "127.0.0.1", "-p", "10809",
                   "memory", f"{SIZE_MIB}M")
        wait_for("nbd-client", self.connected)
        self.undo.callback(run, "nbd-client", "-d", "/dev/nbd0")
        self.disk = "/dev/nbd0"

    @staticmethod
    def connected():
        p = subprocess.run(["nbd-client", "-C", str(LANES), "-b", "4096", "127.0.0.1",
                            "10809", "/dev/nbd0"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)
        return p.returncode == 0


class NvmeTcp(Contestant):
    name = "nvme-tcp"
    nqn = "nqn.2026-11.org.example:bench"

    def set_up(self):
        config = "/sys/kernel/config"
        self.modprobe("null_blk", "nr_devices=0")
        self.modprobe("nvmet-tcp")
        self.modprobe("nvme-tcp")
        if not os.path.ismount(config):
            run("mount", "-t", "configfs", "none", config)
            self.undo.callback(run, "umount", config)

        backing = f"{config}/nullb/bench"
        self.mkdir(backing)
        for key, value in (("size", SIZE_MIB), ("memory_backed", 1), ("blocksize", 4096),
                           ("completion_nsec", 0), ("irqmode", 0), ("queue_mode", 2),
                           ("submit_queues", LANES), ("power", 1)):
            write(f"{backing}/{key}", value)
        # Its name in /dev is the folder's, or on old kernels a number.
        names = ("/dev/bench", "/dev/nullb" + read(f"{backing}/index").strip())
        wait_for("null_blk's disk", lambda: any(map(os.path.exists, names)))

        subsystem = f"{config}/nvmet/subsystems/{self.nqn}"
        self.mkdir(subsystem)
        write(f"{subsystem}/attr_allow_any_host", 1)
        namespace = f"{subsystem}/namespaces/1"
        self.mkdir(namespace)
        write(f"{namespace}/device_path", next(filter(os.path.exists, names)))
        write(f"{namespace}/enable", 1)
        port = f"{config}/nvmet/ports/1"
        self.mkdir(port)
        for key, value in (("addr_trtype", "tcp"), ("addr_adrfam", "ipv4"),
                           ("addr_traddr", "127.0.0.1"), ("addr_trsvcid", 4420)):
            write(f"{port}/{key}", value)
        link = f"{port}/subsystems/{self.nqn}"
        os.symlink(subsystem, link)
        self.undo.callback(os.unlink, link)
        run("nvme", "connect", "-t", "tcp", "-a", "127.0.0.1", "-s", "4420", "-n", self.nqn,
            "-i", str(LANES))
        self.undo.callback(run, "nvme", "disconnect", "-n", self.nqn)
        wait_for("nvme's disk", self.find)

    def find(self):
        for name in os.listdir("/sys/block"):
            subsystem = f"/sys/block/{name}/device/subsysnqn"
            if name.startswith("nvme") and os.path.exists(f"/dev/{name}") and \
               os.path.exists(subsystem) and read(subsystem).strip() == self.nqn:
                self.disk = f"/dev/{name}"
        return self.disk


class RawTcp(Contestant):
    name = "raw TCP"


CONTESTANTS = (Disagg, DisaggTls, Nbd, NvmeTcp, RawTcp)


def no_scheduler(disk):
    """nbd would have one, the others have none."""
    path = f"/sys/block/{os.path.basename(disk)}/queue/scheduler"
    if os.path.exists(path) and "[none]" not in read(path):
        write(path, "none")


def fio(disk, rw, bs, depth, ms):
    """Requests per second, mean and 99th percentile of latency in µs."""
    out = run("fio", "--name=bench", f"--filename={disk}", f"--rw={rw}", f"--bs={bs}",
              f"--iodepth={depth}", "--ioengine=io_uring", "--direct=1",
              f"--size={SIZE_MIB}m", "--time_based", f"--runtime={ms}ms",
              "--ramp_time=200ms", "--norandommap", "--randrepeat=0",
              "--output-format=json")
    job = json.loads(out[out.index("{"):])["jobs"][0]
    if job["error"]:
        raise Failure(f"fio on {disk}: error {job['error']}")
    job = job["read" if "read" in rw else "write"]
    latency = job["clat_ns"]
    p99 = latency.get("percentile", {}).get("99.000000", 0)
    return job["iops"], job["lat_ns"]["mean"] / 1e3, p99 / 1e3


def raw_tcp(rw, bs, depth, ms):
    """The same of the bare exchange; its latency is what its rate says."""
    sizes = (HEADER, HEADER + bs) if "read" in rw else (HEADER + bs, HEADER)
    rate = float(run(RAW_TCP, str(sizes[0]), str(sizes[1]), str(depth), str(ms)))
    return rate, depth * 1e6 / rate, 0


def measure(contestant, row, ms):
    rate, mean, p99 = (fio(contestant.disk, *row[1:], ms) if contestant.disk else
                       raw_tcp(*row[1:], ms))
    if rate <= 0:
        raise Failure(f"{contestant.name}: {row[0]}: nothing was done")
    return {"row": row[0], "contestant": contestant.name, "iops": rate,
            "bytes_per_second": rate * row[2], "mean_us": mean, "p99_us": p99}


def prepare(contestant):
    """Touch all of its memory for the first time, and see that it keeps data."""
    disk = contestant.disk
    if not disk:
        return
    no_scheduler(disk)
    run("dd", "if=/dev/urandom", f"of={disk}", "bs=1M", f"count={SIZE_MIB}",
        "oflag=direct", "status=none")
    run("fio", "--name=verify", f"--filename={disk}", "--rw=randwrite",
        "--bssplit=4k/70:128k/30", "--iodepth=16", "--ioengine=io_uring", "--direct=1",
        "--size=16m", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0")


class Results:
    """All runs, and what is to be said of them."""

    def __init__(self, rows, names):
        self.rows = rows
        self.names = names
        self.runs = []

    def values(self, row, name, key="iops"):
        return [r[key] for r in self.runs if r["row"] == row[0] and r["contestant"] == name]

    def ratios(self, row, name):
        """disagg by another, run by run of the same round."""
        return [a / b for a, b in zip(self.values(row, "disagg"), self.values(row, name))]

    def summary(self):
        rows = []
        for row in self.rows:
            of = {}
            for name in self.names:
                iops = self.values(row, name)
                of[name] = {
                    "iops": statistics.median(iops), "iops_min": min(iops),
                    "iops_max": max(iops),
                    "bytes_per_second": statistics.median(iops) * row[2],
                    "mean_us": statistics.median(self.values(row, name, "mean_us")),
                }
                if name != "disagg" and "disagg" in self.names:
                    of[name]["disagg_ratio"] = statistics.median(self.ratios(row, name))
            rows.append({"row": row[0], "rw": row[1], "block_size": row[2],
                         "depth": row[3], "contestants": of})
        return rows

    def print_table(self):
        summary = self.summary()
        print(f"{'':24}" + "".join(f"{n:>18}" for n in self.names))
        for row in summary:
            line = f"{row['row']:24}"
            for name in self.names:
                of = row["contestants"][name]
                rate = (f"{of['bytes_per_second'] / 1e6:.1f} MB/s"
                        if row["block_size"] >= 65536 else f"{of['iops']:.0f}/s")
                line += f"{rate:>10}{of['mean_us']:>5.0f} µs"
            print(line)
        if "disagg" not in self.names:
            return
        others = [n for n in self.names if n != "disagg"]
        print(f"\n{'disagg does … times':24}" + "".join(f"{n:>10}" for n in others) +
              "   least–most of its median:")
        print(f"{'':24}" + " " * 10 * len(others) + " " +
              "".join(f"{n:>11}" for n in self.names))
        for row in summary:
            line = f"{row['row']:24}"
            line += "".join(f"{row['contestants'][n]['disagg_ratio']:10.2f}" for n in others)
            line += " "
            for name in self.names:
                of = row["contestants"][name]
                line += (f"{of['iops_min'] / of['iops']:6.2f}–"
                         f"{of['iops_max'] / of['iops']:4.2f}")
            print(line)


def compete(contestants, results, rounds, ms):
    for n in range(rounds):
        for i, row in enumerate(results.rows):
            say(f"round {n + 1} of {rounds}: {row[0]}")
            # Everybody goes first, second, third and last about as often.
            first = (n + i) % len(contestants)
            for c in contestants[first:] + contestants[:first]:
                result = {"round": n + 1} | measure(c, row, ms)
                results.runs.append(result)
                print("RAW", n + 1, row[0], c.name, f"{result['iops']:.1f}",
                      f"{result['mean_us']:.0f}", f"{result['p99_us']:.0f}",
                      sep="\t", flush=True)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ms", type=int, default=2000)
    parser.add_argument("--rows", default="", help="only rows whose name has this")
    parser.add_argument("--only", default="", help="contestants, with commas")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.rows = [r for r in ROWS if re.search(args.rows, r[0])]
    args.only = [c for c in CONTESTANTS if not args.only or c.name in args.only.split(",")]
    if args.runs < 1 or args.ms < 1 or not args.rows or not args.only:
        parser.error("nothing to do")
    return args


def main():
    args = arguments()
    work = tempfile.mkdtemp(prefix="bench.")
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, work)
        contestants = []
        for kind in args.only:
            say(f"setting up {kind.name}")
            contestant = undo.enter_context(contextlib.closing(kind(work)))
            try:
                contestant.set_up()
            except Unavailable as e:
                say(f"{kind.name} is left out: {e}")
                continue
            prepare(contestant)
            contestants.append(contestant)
        if not contestants:
            raise Failure("nobody is left")
        results = Results(args.rows, [c.name for c in contestants])
        compete(contestants, results, args.runs, args.ms)

    about = {"kernel": os.uname().release, "processors": os.cpu_count(),
             "connections": LANES, "runs": args.runs, "milliseconds": args.ms}
    if args.json:
        print(json.dumps({"about": about, "summary": results.summary(),
                          "runs": results.runs}, indent=1))
        return
    print(f"Linux {about['kernel']}, {about['processors']} processors, {LANES} connections "
          f"each; medians of {args.runs} runs of {args.ms / 1000:g} s\n")
    results.print_table()


if __name__ == "__main__":
    try:
        main()
    except Failure as e:
        sys.exit(f"bench: {e}")
