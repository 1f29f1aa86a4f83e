#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The bench, inside the guest: see ../bench.sh.

Sets up the same amount of memory behind disagg, nbd and nvme-tcp, all over TCP on
loopback with the same number of connections, runs fio on each in turn, and prints
a table of medians. Lines that begin with RAW are every single run, for the file.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
SIZE_MIB = 256
LANES = 2
HEADER = 48
RAW_TCP = "/usr/lib/disagg-selftests/bench/raw_tcp"

# name, fio's rw, block size, depth
ROWS = [
    ("4 KiB random read, depth 1", "randread", 4096, 1),
    ("4 KiB random write, depth 1", "randwrite", 4096, 1),
    ("4 KiB random read, depth 32", "randread", 4096, 32),
    ("4 KiB random write, depth 32", "randwrite", 4096, 32),
    ("128 KiB read, depth 8", "read", 131072, 8),
    ("128 KiB write, depth 8", "write", 131072, 8),
]


def run(*cmd, **kw):
    """Run a command; what it prints. Raises with its output if it fails."""
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=120, **kw)
    if p.returncode:
        raise RuntimeError(f"{' '.join(cmd)}: status {p.returncode}\n{p.stdout}")
    return p.stdout


def wait_for(what, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


class Disagg:
    name = "disagg"

    def __init__(self, work):
        self.work = work
        run("modprobe", "disagg")
        os.environ.update(DISAGG_CONFDIR=f"{work}/etc", DISAGG_STATEDIR=f"{work}/lib",
                          DISAGG_RUNDIR=f"{work}/run")
        write(f"{work}/disaggd.yaml",
              'listen: ["127.0.0.1:7420"]\n'
              f"state-dir: {work}/state\n"
              "resources:\n"
              f"  - {{id: dram, class: memory, size: {SIZE_MIB}MiB, prealloc: yes}}\n")
        log = open(f"{work}/disaggd.log", "w", encoding="utf-8")
        self.daemon = subprocess.Popen(["disaggd", "-c", f"{work}/disaggd.yaml"],
                                       stdout=log, stderr=log)
        wait_for("disaggd", lambda: "listening" in
                 open(f"{work}/disaggd.log", encoding="utf-8").read())
        run("disaggctl", "target", "add", "bench", "127.0.0.1:7420")
        run("disaggctl", "node", "create", "bench", "--memory", f"{SIZE_MIB}MiB",
            "--lanes", str(LANES))
        shown = json.loads(run("disaggctl", "-j", "device", "show", "bench/mem0"))
        self.disk = "/dev/" + shown["device"]["disk"]

    def close(self):
        run("disaggctl", "node", "delete", "bench", "--force")
        self.daemon.terminate()
        self.daemon.wait()
        run("modprobe", "-r", "disagg")


class Nbd:
    name = "nbd"

    def __init__(self, work):
        run("modprobe", "nbd")
        self.disk = "/dev/nbd0"
        self.daemon = subprocess.Popen(
            ["nbdkit", "-f", "-i", "127.0.0.1", "-p", "10809", "memory", f"{SIZE_MIB}M"])
        wait_for("nbd-client", self.connected)

    def connected(self):
        p = subprocess.run(["nbd-client", "-C", str(LANES), "127.0.0.1", "10809", self.disk],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return p.returncode == 0

    def close(self):
        run("nbd-client", "-d", self.disk)
        self.daemon.terminate()
        self.daemon.wait()


class NvmeTcp:
    name = "nvme-tcp"
    nqn = "nqn.2026-11.org.example:bench"
    nvmet = "/sys/kernel/config/nvmet"

    def __init__(self, work):
        run("modprobe", "null_blk", "nr_devices=0")
        run("modprobe", "nvmet-tcp")
        run("modprobe", "nvme-tcp")
        if not os.path.ismount("/sys/kernel/config"):
            run("mount", "-t", "configfs", "none", "/sys/kernel/config")
        null = "/sys/kernel/config/nullb/bench"
        os.mkdir(null)
        for key, value in (("size", SIZE_MIB), ("memory_backed", 1), ("blocksize", 4096),
                           ("completion_nsec", 0), ("irqmode", 0), ("queue_mode", 2),
                           ("submit_queues", LANES), ("power", 1)):
            write(f"{null}/{key}", str(value))
        with open(f"{null}/index", encoding="ascii") as f:
            index = f.read().strip()
        backing = next(p for p in ("/dev/bench", f"/dev/nullb{index}") if os.path.exists(p))
        sub = f"{self.nvmet}/subsystems/{self.nqn}"
        os.mkdir(sub)
        write(f"{sub}/attr_allow_any_host", "1")
        os.mkdir(f"{sub}/namespaces/1")
        write(f"{sub}/namespaces/1/device_path", backing)
        write(f"{sub}/namespaces/1/enable", "1")
        port = f"{self.nvmet}/ports/1"
        os.mkdir(port)
        for key, value in (("addr_trtype", "tcp"), ("addr_adrfam", "ipv4"),
                           ("addr_traddr", "127.0.0.1"), ("addr_trsvcid", "4420")):
            write(f"{port}/{key}", value)
        os.symlink(sub, f"{port}/subsystems/{self.nqn}")
        run("nvme", "connect", "-t", "tcp", "-a", "127.0.0.1", "-s", "4420", "-n", self.nqn,
            "-i", str(LANES))
        wait_for("nvme's disk", lambda: self.find() is not None)
        self.disk = self.find()

    @staticmethod
    def find():
        names = [n for n in os.listdir("/sys/block") if n.startswith("nvme")]
        return f"/dev/{names[0]}" if names and os.path.exists(f"/dev/{names[0]}") else None

    def close(self):
        run("nvme", "disconnect", "-n", self.nqn)
        os.unlink(f"{self.nvmet}/ports/1/subsystems/{self.nqn}")
        os.rmdir(f"{self.nvmet}/ports/1")
        sub = f"{self.nvmet}/subsystems/{self.nqn}"
        write(f"{sub}/namespaces/1/enable", "0")
        os.rmdir(f"{sub}/namespaces/1")
        os.rmdir(sub)
        os.rmdir("/sys/kernel/config/nullb/bench")


class Raw:
    name = "raw TCP"
    disk = None

    def __init__(self, work):
        pass

    def close(self):
        pass


def fio(disk, rw, bs, depth, ms):
    """Requests per second."""
    out = run("fio", "--name=bench", f"--filename={disk}", f"--rw={rw}", f"--bs={bs}",
              f"--iodepth={depth}", "--ioengine=io_uring", "--direct=1",
              f"--size={SIZE_MIB}m", "--time_based", f"--runtime={ms}ms",
              "--ramp_time=200ms", "--norandommap", "--randrepeat=0",
              "--output-format=json")
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return job["read" if "read" in rw else "write"]["iops"]


def raw_tcp(rw, bs, depth, ms):
    request, reply = HEADER, HEADER
    if "read" in rw:
        reply += bs
    else:
        request += bs
    return float(run(RAW_TCP, str(request), str(reply), str(depth), str(ms)))


def verify(contestant):
    run("fio", "--name=verify", f"--filename={contestant.disk}", "--rw=randwrite",
        "--bssplit=4k/70:128k/30", "--iodepth=16", "--ioengine=io_uring", "--direct=1",
        "--size=16m", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
        "--output-format=terse")


def fill(contestant):
    """First touches of memory are not what is measured."""
    run("dd", "if=/dev/urandom", f"of={contestant.disk}", "bs=1M", f"count={SIZE_MIB}",
        "oflag=direct", "status=none")


def shown(bs, iops):
    if bs >= 65536:
        return f"{iops * bs / 1e6:8.1f} MB/s"
    return f"{iops:8.0f} IOPS"


def table(results, contestants):
    names = [c.name for c in contestants]
    print(f"\n{'':29}" + "".join(f"{n:>15}" for n in names))
    for row in ROWS:
        medians = [statistics.median(results[row[0], n]) for n in names]
        print(f"{row[0]:29}" + "".join(f"{shown(row[2], m):>15}" for m in medians))
    print(f"\n{'disagg is … times':29}" + "".join(f"{n:>15}" for n in names[1:]) +
          f"{'its own spread':>18}")
    for row in ROWS:
        ours = results[row[0], "disagg"]
        line = f"{row[0]:29}"
        for n in names[1:]:
            ratio = statistics.median(ours) / statistics.median(results[row[0], n])
            line += f"{ratio:15.2f}"
        median = statistics.median(ours)
        line += f"{min(ours) / median:12.2f}–{max(ours) / median:.2f}"
        print(line)


def main():
    rounds = int(os.environ.get("RUNS") or 5)
    ms = int(os.environ.get("RUN_MS") or 2000)
    work = tempfile.mkdtemp(prefix="bench.")
    contestants = []
    results = {}
    try:
        for kind in (Disagg, Nbd, NvmeTcp, Raw):
            print(f"-- setting up {kind.name}", flush=True)
            contestants.append(kind(work))
        for c in contestants:
            if c.disk:
                fill(c)
                verify(c)
        for n in range(rounds):
            for row in ROWS:
                print(f"-- round {n + 1} of {rounds}: {row[0]}", flush=True)
                turn = contestants[n % len(contestants):] + contestants[:n % len(contestants)]
                for c in turn:
                    iops = fio(c.disk, *row[1:], ms) if c.disk else raw_tcp(*row[1:], ms)
                    results.setdefault((row[0], c.name), []).append(iops)
                    print(f"RAW\t{n + 1}\t{row[0]}\t{c.name}\t{iops:.1f}", flush=True)
    finally:
        for c in reversed(contestants):
            c.close()
        shutil.rmtree(work)
    print(f"\nLinux {os.uname().release}, {os.cpu_count()} processors, {LANES} connections each, "
          f"medians of {rounds} runs of {ms / 1000:g} s")
    table(results, contestants)
    return 0


if __name__ == "__main__":
    sys.exit(main())
