# SPDX-License-Identifier: GPL-2.0
"""The wire protocol for tests: only Python's standard library, and able to lie.

Fields that a test wants wrong are given as keyword arguments; everything else is
what a well-behaved client sends. The numbers are those of <linux/disagg_wire.h>.
"""
import hashlib
import hmac
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

GREETING, HELLO, WELCOME, REQUEST, REPLY, ANNOUNCE = (
    0x52474744, 0x4c484744, 0x4d574744, 0x51524744, 0x50524744, 0x4e414744)
F_CRC32C, F_DISCARD, F_WRITE_ZEROES, F_FUA, F_FLUSH = 1, 2, 4, 8, 16
F_ALL = 0x1f
F_EPOCH = 0x20
CONTROL, LANE = 1, 2
MEMORY, STORAGE = 1, 2
READ_ONLY = 1
READ, WRITE, FLUSH, DISCARD, WRITE_ZEROES, PING = 1, 2, 3, 4, 5, 6
INVENTORY, RESERVE, COMMIT, RELEASE, RENEW, RESIZE, LEASES = range(0x40, 0x47)
FUA, NOUNMAP = 1, 2
(OK, E_PROTO, E_VERSION, E_DENIED, E_NOT_FOUND, E_NO_SPACE, E_STALE, E_BUSY, E_INVALID,
 E_IO, E_CRC, E_NOT_SUPPORTED, E_READ_ONLY, E_INTERNAL) = range(14)

FRAME = struct.Struct("<IBBHIIQII8sII")
GREETING_S = struct.Struct("<IHHQII8s32s")
HELLO_S = struct.Struct("<IHHQ16sQIIII32s8s32s")
WELCOME_S = struct.Struct("<IHHQQIIIII20s96s")
RESOURCE = struct.Struct("<IIQQQII24s32s32s")
RESERVE_S = struct.Struct("<16sIIQQQ16s32s32s32s32s")
GRANT = struct.Struct("<16sQQQIII12s32s32s")
REF = struct.Struct("<16sQQQ24s32s")
INFO = struct.Struct("<16sQQQQQIII60s32s32s32s32s")
ANNOUNCE_S = struct.Struct("<IH2sQI12s")

for _s, _size in ((FRAME, 48), (GREETING_S, 64), (HELLO_S, 128), (WELCOME_S, 160),
                  (RESOURCE, 128), (RESERVE_S, 192), (GRANT, 128), (REF, 96), (INFO, 256),
                  (ANNOUNCE_S, 32)):
    assert _s.size == _size, (_s.format, _s.size, _size)

MIB = 1 << 20


def _crc_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
        table.append(i)
    return table


_TABLE = _crc_table()


def _kernel_crc():
    """The kernel's CRC32C, where there is one; in an emulated guest the table takes seconds
    for a megabyte."""
    try:
        s = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
        s.bind(("hash", "crc32c"))
        return s
    except OSError:
        return None


_KERNEL = _kernel_crc()


def crc32c(data):
    if _KERNEL and len(data) >= 256:
        op, _ = _KERNEL.accept()
        with op:
            assert op.send(data) == len(data)
            return int.from_bytes(op.recv(4), "little")
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


P = 2 ** 255 - 19


def x25519(scalar, point):
    """RFC 7748, section 5: the product, as 32 bytes."""
    k = bytearray(scalar)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k = int.from_bytes(k, "little")
    x1 = int.from_bytes(point, "little") & 2 ** 255 - 1
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in range(254, -1, -1):
        one = k >> bit & 1
        if one:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a % P, c * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        aa, bb = a * a % P, b * b % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
        if one:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


SECRET = os.urandom(32)
PUBLIC = x25519(SECRET, bytes([9]) + bytes(31))


class Closed(Exception):
    """The peer closed the connection."""


class Refused(Exception):
    """The target answered with a status other than OK."""

    def __init__(self, status, reason=""):
        super().__init__(f"status {status} {reason}")
        self.status = status
        self.reason = reason


def text(b):
    return b.split(b"\0")[0].decode()


class Connection:
    """A socket that has received the GREETING; instead of a port, one that is connected."""

    def __init__(self, port, timeout=10):
        if isinstance(port, int):
            self.sock = socket.create_connection(("127.0.0.1", port), timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.sock = port
        self.greeting = GREETING_S.unpack(self.recv(64))
        assert self.greeting[0] == GREETING
        self.nonce = self.greeting[7]
        self.crc = False
        self.tag = 0

    def recv(self, n):
        out = b""
        while len(out) < n:
            try:
                part = self.sock.recv(n - len(out))
            except ConnectionError as e:
                raise Closed from e
            if not part:
                raise Closed
            out += part
        return out

    def close(self):
        self.sock.close()

    def hello(self, mode, lease=bytes(16), generation=0, lane=0, lanes=0, features=F_ALL,
              max_payload=4 * MIB, depth=128, token=None, magic=HELLO, version=1,
              host=b"test", reserved=bytes(8), proof=None, send=True):
        """@proof of a control connection: its public key."""
        def pack(p):
            return HELLO_S.pack(magic, version, mode, features, lease, generation, lane,
                                lanes, max_payload, depth, host, reserved, p)
        if proof is None:
            proof = PUBLIC if mode == CONTROL else bytes(32)
            if token is not None:
                proof = hmac.new(token, self.nonce + pack(bytes(32))[:-32],
                                 hashlib.sha256).digest()
        data = pack(proof)
        if not send:
            return data
        self.sock.sendall(data)
        return self.welcome()

    def welcome(self):
        (magic, version, status, self.features, self.capacity, self.max_payload,
         self.depth, self.block_size, self.attrs, self.max_discard, reserved,
         reason) = WELCOME_S.unpack(self.recv(160))
        assert magic == WELCOME and reserved == bytes(20) and version == 1
        if status:
            raise Refused(status, text(reason))
        self.crc = bool(self.features & F_CRC32C)
        return self

    def frame(self, op, payload=b"", offset=0, length=0, flags=0, magic=REQUEST, status=0,
              reserved=bytes(8), payload_len=None, payload_crc=None, header_crc=None,
              tag=None):
        self.tag += 1
        if tag is None:
            tag = self.tag
        if payload_len is None:
            payload_len = len(payload)
        if payload_crc is None:
            payload_crc = crc32c(payload) if self.crc and payload else 0

        def pack(h):
            return FRAME.pack(magic, op, flags, status, tag, tag ^ 0x5a5a, offset, length,
                              payload_len, reserved, payload_crc, h)
        if header_crc is None:
            header_crc = crc32c(pack(0)) if self.crc else 0
        return pack(header_crc) + payload

    def reply(self):
        """(op, status, tag, payload, length) of the next reply, checked."""
        raw = self.recv(48)
        (magic, op, flags, status, tag, generation, _, length, payload_len, reserved,
         payload_crc, header_crc) = FRAME.unpack(raw)
        assert magic == REPLY and flags == 0 and reserved == bytes(8), raw
        assert generation == tag ^ 0x5a5a
        payload = self.recv(payload_len)
        if self.crc:
            assert header_crc == crc32c(raw[:44] + bytes(4))
            assert payload_crc == (crc32c(payload) if payload else 0)
        else:
            assert header_crc == 0 and payload_crc == 0
        return op, status, tag, payload, length

    def call(self, op, payload=b"", **fields):
        self.sock.sendall(self.frame(op, payload, **fields))
        got, status, tag, data, self.length = self.reply()
        assert got == op and tag == self.tag, (got, op, tag, self.tag)
        if status:
            assert not data
            raise Refused(status)
        return data

    # A lane's operations

    def read(self, offset, length):
        data = self.call(READ, offset=offset, length=length)
        assert len(data) == length
        return data

    def write(self, offset, data, flags=0):
        self.call(WRITE, data, offset=offset, length=len(data), flags=flags)


class Grant:
    """@seal: the connection's; @token: as it is known already, since @raw has none."""

    def __init__(self, raw, token=None, seal=None):
        (self.lease, self.generation, self.size, self.expires_ns, self.block_size,
         self.attrs, self.max_lanes, reserved, self.token, resource) = GRANT.unpack(raw)
        assert reserved == bytes(12)
        self.resource = text(resource)
        if token is not None:
            assert self.token == bytes(32), "the token is in the answer to RESERVE only"
            self.token = token
        if seal:
            mask = hmac.new(seal, raw[:24], hashlib.sha256).digest()
            self.token = bytes(a ^ b for a, b in zip(self.token, mask))


class Control(Connection):
    def __init__(self, port, features=F_ALL, **fields):
        super().__init__(port)
        self.hello(CONTROL, features=features, **fields)
        self.seal = hmac.new(x25519(SECRET, self.nonce), self.nonce + PUBLIC,
                             hashlib.sha256).digest()

    def sealed(self, txid):
        """As the next frame has it."""
        mask = hmac.new(self.seal, struct.pack("<I", self.tag + 1), hashlib.sha256).digest()
        return bytes(a ^ b for a, b in zip(txid, mask))

    def reserve(self, size, cls=MEMORY, txid=None, id=b"", ttl=0, lease_ns=0, attrs=0,
                node=b"n", device=b"d", host=b"test"):
        return Grant(self.call(RESERVE, RESERVE_S.pack(
            self.sealed(txid or os.urandom(16)), cls, attrs, size, ttl, lease_ns,
            bytes(16), id, node, device, host)), seal=self.seal)

    def ref(self, op, grant, size=0, lease_ns=0, generation=None, proof=None,
            reserved=bytes(24)):
        def pack(p):
            return REF.pack(grant.lease,
                            grant.generation if generation is None else generation,
                            size, lease_ns, reserved, p)
        if proof is None:
            proof = hmac.new(grant.token, self.nonce + struct.pack("<I", op) +
                             pack(bytes(32))[:-32], hashlib.sha256).digest()
        return pack(proof)

    def act(self, op, grant, **fields):
        data = self.call(op, self.ref(op, grant, **fields))
        return Grant(data, grant.token) if data else None

    def commit(self, grant):
        return self.act(COMMIT, grant)

    def release(self, grant):
        return self.act(RELEASE, grant)

    def lease(self, size, **fields):
        grant = self.reserve(size, **fields)
        self.commit(grant)
        return grant

    def entries(self, op, layout):
        out = []
        while True:
            data = self.call(op, offset=len(out))
            out += [layout.unpack_from(data, i) for i in range(0, len(data), layout.size)]
            if len(out) >= self.length:
                return out

    def inventory(self):
        return {text(e[8]): {"class": e[0], "attrs": e[1], "capacity": e[2],
                             "available": e[3], "largest": e[4], "leases": e[5],
                             "block_size": e[6], "model": text(e[9])}
                for e in self.entries(INVENTORY, RESOURCE)}

    def leases(self):
        return {e[0]: {"generation": e[1], "size": e[2], "expires_ns": e[3],
                       "read": e[4], "written": e[5], "class": e[6], "state": e[7],
                       "lanes": e[8], "resource": text(e[10]), "node": text(e[11]),
                       "device": text(e[12]), "host": text(e[13])}
                for e in self.entries(LEASES, INFO)}


def lane(port, grant, index=0, lanes=1, **fields):
    c = Connection(port)
    fields.setdefault("token", grant.token)
    fields.setdefault("generation", grant.generation)
    try:
        return c.hello(LANE, lease=grant.lease, lane=index, lanes=lanes, **fields)
    except BaseException:
        c.close()
        raise


# The daemon under test

def find_disaggd():
    """$DISAGGD, in the lab (which sets KERNEL) the installed one, else the tree's."""
    if os.environ.get("DISAGGD"):
        return os.environ["DISAGGD"]
    tree = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                        "../../tools/disaggd/disaggd")
    installed = shutil.which("disaggd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if installed and (os.environ.get("KERNEL") or not os.path.exists(tree)):
        return installed
    return tree


class Daemon:
    """A disaggd of its own on a free port (or @listen), with its files under @dir."""

    def __init__(self, dir, config=None, binary=None, listen=0, **keys):
        self.dir = dir
        self.binary = binary or find_disaggd()
        self.state = os.path.join(dir, "state")
        self.conf = os.path.join(dir, "disaggd.yaml")
        self.log_path = os.path.join(dir, "log")
        self.process = None
        self.port = None
        if config is None:
            config = "resources:\n- {id: mem, class: memory, size: 64MiB}\n"
        with open(self.conf, "w") as f:
            f.write(f"listen: ['127.0.0.1:{listen}']\nstate-dir: {self.state}\n{config}\n")
            # Unless a test is about that, what a daemon had goes with it.
            if "restart-grace" not in config:
                f.write("restart-grace: 0s\n")

    def start(self):
        start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([self.binary, "--config", self.conf],
                                            stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError("disaggd did not start: " + self.log()[-500:])
            for line in self.log()[start:].splitlines():
                if "listening on" in line:
                    self.port = int(line.split()[-1])
                    return self
            time.sleep(0.01)
        raise RuntimeError("disaggd did not say that it listens")

    def configure(self, old, new):
        """Edit the configuration, for the next start."""
        with open(self.conf) as f:
            text = f.read()
        assert old in text, old
        with open(self.conf, "w") as f:
            f.write(text.replace(old, new))

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        return self.process.wait(20)

    def stop(self):
        """SIGTERM; its exit status."""
        if self.process and self.process.poll() is None:
            return self.kill(signal.SIGTERM)
        return self.process.returncode if self.process else None

    def restart(self):
        return self.start()

    def stays_down(self):
        """It does not start as it is configured now; what it says."""
        r = subprocess.run([self.binary, "--config", self.conf], capture_output=True, text=True,
                           timeout=60, check=False)
        assert r.returncode == 1, r
        return r.stderr

    def amend(self, *generations):
        """disaggd --end-lease: its exit status, and what it says."""
        r = subprocess.run([self.binary, "--config", self.conf, "--end-lease", "--",
                            *map(str, generations)], capture_output=True, text=True,
                           timeout=60, check=False)
        return r.returncode, r.stdout + r.stderr

    def workers(self):
        """Process ids of its workers."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], stdout=subprocess.PIPE,
                               text=True, check=False)
        return [int(p) for p in found.stdout.split()]

    def control(self, **fields):
        return Control(self.port, **fields)

    def lane(self, grant, *args, **fields):
        return lane(self.port, grant, *args, **fields)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        if self.process and self.process.poll() is None:
            try:
                status = self.stop()
                assert status == 0 or exc[0], f"disaggd ended with status {status}"
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        for word in ("Sanitizer", "runtime error"):
            assert word not in self.log(), "the sanitizers found something"


def refused(status, fn, *args, **fields):
    """Call, and insist on this refusal."""
    try:
        fn(*args, **fields)
    except Refused as e:
        assert e.status == status, f"status {e.status} ({e.reason}), expected {status}"
        return e
    raise AssertionError(f"not refused; expected status {status}")


def does_not_start(daemon, why):
    """Start it, and insist that it says @why it does not."""
    try:
        daemon.start()
    except RuntimeError as e:
        assert why in str(e), e
        return
    raise AssertionError("the daemon has started")


def closed(fn, *args, **fields):
    """Call, and insist that the peer hangs up."""
    try:
        fn(*args, **fields)
    except Closed:
        return
    raise AssertionError("the connection is still open")


def gone(pid):
    """Whether the process has ended; one that is being reaped, or waits for that, has."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def eventually(fn, seconds=10):
    end = time.monotonic() + seconds
    while not fn():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def pattern(seed, length):
    out = hashlib.sha256(str(seed).encode()).digest()
    return (out * (length // len(out) + 1))[:length]
