#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""disaggd's TLS handshake: who is let in, who is not, and what that costs others."""
import errno
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time

sys.dont_write_bytecode = True

from tlsd import *
from ktap import main, test


def x509(folder, ca, more=""):
    cert, key = ca.issue("target", "ip_address = 127.0.0.1\ndns_name = target.example\n" + more)
    return f"{{certificate: {cert}, key: {key}, ca: {ca.cert}}}"


def greeted(sock):
    return Control(sock).inventory()["mem"]["capacity"] == 64 * MIB


@test
def shared_key(folder):
    """a client with the right key does all that one without TLS does."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder) as d:
        c = d.psk("host1")
        g = c.lease(4 * MIB)
        a = d.tls_lane(g, "host1", 0, 2)
        b = d.tls_lane(g, "host1", 1, 2)
        for i in range(8):
            (a, b)[i % 2].write(i * 65536, pattern(i, 65536))
        for i in range(8):
            assert (b, a)[i % 2].read(i * 65536, 65536) == pattern(i, 65536)
        big = pattern("big", 2 * MIB)
        a.write(2 * MIB, big)
        assert b.read(2 * MIB, 2 * MIB) == big
        assert c.leases()[g.lease]["lanes"] == 2
        c.act(RESIZE, g, size=8 * MIB)
        c.release(g)
        closed(a.read, 0, 4096)


@test
def wrong_keys(folder):
    """a wrong key, an unknown identity and none are refused, all alike."""
    psk_file(f"{folder}/psk", host1=0x11, host2=0x22)
    bad = psk_file(f"{folder}/bad", host1=0x12, host3=0x33)
    with TlsDaemon(folder) as d:
        said = set()
        for identity in ("host1", "host3"):
            try:
                d.psk(identity, bad)
                raise AssertionError(f"{identity} was let in")
            except TlsRefused as e:
                said.add(str(e))
        assert len(said) == 1, f"a stranger can tell identities from others: {said}"
        eventually(lambda: "host1 has the wrong key" in d.log() and "no key for host3" in d.log())
        assert greeted(d.psk("host2").sock.close() or pipe(d.tls_port, "psk", "host2",
                                                           f"{folder}/psk"))


@test
def certificates(folder):
    """certificates of the same CA are accepted, by another implementation's client too."""
    ca = Authority(folder)
    cert = ca.issue("host1")
    with TlsDaemon(folder, tls=x509(folder, ca)) as d:
        assert greeted(python_tls(d.tls_port, ca.cert, cert))
        assert greeted(pipe(d.tls_port, "x509", *cert, ca.cert))
        with python_tls(d.tls_port, ca.cert, cert, host="target.example") as s:
            assert s.version() == "TLSv1.3" and greeted(s)


def answered(sock):
    """In TLS 1.3 a client hears what the server thinks of its certificate afterwards."""
    try:
        Control(sock)
    finally:
        sock.close()


@test
def foreign_certificates(folder):
    """none, an expired one, another CA's and a server's are refused."""
    ca = Authority(folder)
    os.mkdir(f"{folder}/other")
    other = Authority(f"{folder}/other")
    old = ca.issue("old", 'activation_date = "2020-01-01 00:00:00"\n'
                   'expiration_date = "2020-01-02 00:00:00"\n')
    server = ca.issue("server", "tls_www_server\n")
    with TlsDaemon(folder, tls=x509(folder, ca)) as d:
        for cert, why in ((None, "refused: TLS"), (old, "expired"),
                          (other.issue("host1"), "unknown|not trusted"),
                          (server, "purpose|refused: TLS")):
            before = len(d.log())
            try:
                answered(python_tls(d.tls_port, ca.cert, cert))
                raise AssertionError(f"{cert} was let in")
            except (ssl.SSLError, Closed, ConnectionError):
                pass
            eventually(lambda: re.search(why, d.log()[before:]))


@test
def foreign_targets(folder):
    """a client refuses a target whose certificate is another's, or that has another key."""
    ca = Authority(folder)
    os.mkdir(f"{folder}/other")
    other = Authority(f"{folder}/other")
    cert = ca.issue("host1")
    with TlsDaemon(folder, tls=x509(folder, ca)) as d:
        refuses("issuer is unknown|not trusted", pipe, d.tls_port, "x509", *cert, other.cert)
        refuses("does not match", pipe, d.tls_port, "x509", *cert, ca.cert, host="localhost")
        # One of the same CA and name, but a client's.
        with TlsDaemon(f"{folder}/other", tls=x509(folder, ca, "tls_www_client\n")) as fake:
            refuses("purpose|not trusted", pipe, fake.tls_port, "x509", *cert, ca.cert)
        # It has no keys that are shared.
        refuses("TLS", pipe, d.tls_port, "psk", "host1", psk_file(f"{folder}/psk", host1=0x11))


@test
def old_versions(folder):
    """TLS 1.2 is not spoken."""
    ca = Authority(folder)
    cert = ca.issue("host1")
    with TlsDaemon(folder, tls=x509(folder, ca)) as d:
        refuses("(?i)version|alert", python_tls, d.tls_port, ca.cert, cert,
                ssl.TLSVersion.TLSv1_2)
        assert greeted(python_tls(d.tls_port, ca.cert, cert))


@test
def key_alone(folder):
    """a key without a Diffie-Hellman exchange is refused."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder) as d:
        def client(exchange):
            p = subprocess.run(["gnutls-cli", "--port", str(d.tls_port), "--pskusername", "host1",
                                "--pskkey", "11" * 32, "--priority",
                                f"SECURE128:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+{exchange}",
                                "127.0.0.1"], stdin=subprocess.DEVNULL, capture_output=True,
                               text=True, errors="replace", timeout=60, check=False)
            return p.stdout + p.stderr

        said = client("ECDHE-PSK")
        assert "Handshake was completed" in said, said
        said = client("PSK")
        assert "Handshake was completed" not in said and "alert" in said, said


@test
def crossed(folder):
    """plaintext where TLS is spoken gets nothing, and TLS where it is not says so."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder) as d:
        with socket.create_connection(("127.0.0.1", d.tls_port), 10) as s:
            s.sendall(HELLO_S.pack(HELLO, 1, CONTROL, F_ALL, bytes(16), 0, 0, 0, 4 * MIB, 128,
                                   b"test", bytes(8), bytes(32)))
            try:
                got = s.recv(64)
            except ConnectionError:
                got = b""
            # An alert at most: no GREETING.
            assert len(got) < 64, got
        refuses("does not speak TLS", pipe, d.port, "psk", "host1", f"{folder}/psk")


@test
def garbage(folder):
    """bytes that are no handshake end their connection, and nothing else."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder) as d:
        c = d.psk("host1")
        g = c.lease(MIB)
        good = d.tls_lane(g, "host1")
        for i in range(40):
            with socket.create_connection(("127.0.0.1", d.tls_port), 10) as s:
                head = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x17\x03\x03\x00\x20",
                        b"", b"\x16\x03\x01\xff\xff")[i % 4]
                try:
                    s.sendall(head + pattern(i, 700))
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
                except OSError as e:
                    assert e.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN), e
            good.write(0, pattern(i, 4096))
            assert good.read(0, 4096) == pattern(i, 4096)


@test
def silence(folder):
    """clients that do not go on are ended in time and number; others are served meanwhile."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder) as d:
        start = time.monotonic()
        slow = [socket.create_connection(("127.0.0.1", d.tls_port), 30) for _ in range(80)]
        for s in slow[::2]:
            s.sendall(b"\x16\x03\x01\x00\xf0")
        assert greeted(pipe(d.tls_port, "psk", "host1", f"{folder}/psk"))
        eventually(lambda: len(d.workers()) <= 66, 3)
        for s in slow:
            try:
                while s.recv(100):
                    pass
            except ConnectionError:
                pass
        took = time.monotonic() - start
        assert took < 25, f"the last was ended after {took:.1f} s"
        eventually(lambda: not d.workers(), 20)
        for s in slow:
            s.close()


@test
def ends(folder):
    """half-closes, resets and deaths go through; no process outlives its connection."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder, tls=f"{{psk-file: {folder}/psk, ktls: no}}") as d:
        c = d.psk("host1")
        g = c.lease(MIB)
        # What was asked for before the end is answered.
        a = d.tls_lane(g, "host1")
        a.sock.sendall(a.frame(READ, offset=0, length=4096))
        a.sock.shutdown(socket.SHUT_WR)
        assert a.reply()[3] == bytes(4096)
        closed(a.reply)
        # A worker that dies.
        a = d.tls_lane(g, "host1")
        worker = [p for p in d.workers() if b"--worker" in open(f"/proc/{p}/cmdline", "rb").read()]
        os.kill(worker[0], signal.SIGKILL)
        closed(a.reply)
        eventually(lambda: len(d.workers()) == 1)   # the client keeps its end, and c is there
        # A client that dies, in the middle of a record.
        g = c.lease(MIB)
        a = d.tls_lane(g, "host1")
        a.sock.sendall(a.frame(WRITE, pattern(1, 65536), offset=0, length=65536)[:40000])
        a.sock.close()
        eventually(lambda: c.leases()[g.lease]["lanes"] == 0)
        b = d.tls_lane(g, "host1")
        assert b.read(0, 4096) in (bytes(4096), pattern(1, 65536)[:4096])
        b.sock.close()
        c.close()
        eventually(lambda: len(d.workers()) == 1)


@test
def one_reader(folder):
    """a client that reads nothing stops its own connection only."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder, tls=f"{{psk-file: {folder}/psk, ktls: no}}") as d:
        c = d.psk("host1")
        g = c.lease(32 * MIB)
        stuck = d.tls_lane(g, "host1", 0, 2)
        good = d.tls_lane(g, "host1", 1, 2)
        for _ in range(24):
            stuck.sock.sendall(stuck.frame(READ, offset=0, length=MIB))
        for i in range(20):
            good.write(0, pattern(i, 65536))
            assert good.read(0, 65536) == pattern(i, 65536)
        for _ in range(24):
            assert len(stuck.reply()[3]) == MIB


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sleeps(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return re.search(r"^voluntary_ctxt_switches:\s*(\d+)", f.read(), re.M).group(1)


@test
def unread_end(folder):
    """an end that cannot be told yet, because the client does not read, is waited for."""
    ca = Authority(folder)
    cert = ca.issue("host1")
    with TlsDaemon(folder, tls=x509(folder, ca)[:-1] + ", ktls: no}") as d:
        c = Control(python_tls(d.tls_port, ca.cert, cert))
        g = c.lease(32 * MIB)
        before = set(d.workers())
        worker, = [p for p in before
                   if b"--worker" in open(f"/proc/{p}/cmdline", "rb").read()]
        # With a small window, what the relay could not send stays where it is.
        a = lane(python_tls(d.tls_port, ca.cert, cert, window=4096), g)
        relay, = set(d.workers()) - before
        for _ in range(24):
            a.sock.sendall(a.frame(READ, offset=0, length=MIB))

        def stuck():
            before = sleeps(relay), cpu_seconds(relay)
            time.sleep(0.3)
            return (select.select([a.sock], [], [], 0)[0] and
                    (sleeps(relay), cpu_seconds(relay)) == before)
        eventually(stuck)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: worker not in d.workers())
        start = cpu_seconds(relay)
        time.sleep(1)
        used = cpu_seconds(relay) - start
        assert used < 0.3, f"the relay used {used} s of a second"
        a.sock.close()
        eventually(lambda: relay not in d.workers())


@test
def restart(folder):
    """the lanes of a memory lease go on while the daemon is started anew."""
    psk_file(f"{folder}/psk", host1=0x11)
    with TlsDaemon(folder, "restart-grace: 30s") as d:
        g = d.psk("host1").lease(MIB)
        a = d.tls_lane(g, "host1")
        a.write(0, pattern("before", 4096))
        d.kill()
        assert a.read(0, 4096) == pattern("before", 4096)
        d.restart()
        assert a.read(0, 4096) == pattern("before", 4096)
        assert d.tls_lane(g, "host1").read(0, 4096) == pattern("before", 4096)
        d.psk("host1").release(g)


@test
def secrets(folder):
    """keys that others may read are not used, and that is said."""
    psk_file(f"{folder}/psk", host1=0x11)
    mine = psk_file(f"{folder}/mine", host1=0x11)
    with TlsDaemon(folder) as d:
        os.chmod(f"{folder}/psk", 0o640)
        refuses("TLS", d.psk, "host1", mine)
        eventually(lambda: "others than its owner may use it" in d.log())
        os.chmod(f"{folder}/psk", 0o600)
        os.chmod(mine, 0o644)
        refuses("others than its owner may use it", d.psk, "host1", mine)


main()
