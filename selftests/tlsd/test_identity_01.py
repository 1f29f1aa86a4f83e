#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Identities and tenants: who may lease what and how much, and whose leases are whose."""
import os
import signal
import socket
import sqlite3
import subprocess
import sys

sys.dont_write_bytecode = True

from tlsd import *
from ktap import main, test

TWO = """
resources:
- {id: mem, class: memory, size: 64MiB}
- {id: other, class: memory, size: 16MiB}
tenants:
- {name: red, identities: [host1, host2]}
- {name: blue, identities: [host3], resources: [mem], max-leases: 2, max-size: 8MiB, max-lease-size: 6MiB}
"""


def daemon(folder, config=TWO, **keys):
    psk_file(f"{folder}/psk", host1=0x11, host2=0x22, host3=0x33, host4=0x44)
    return TlsDaemon(folder, config, **keys)


@test
def isolation(folder):
    """what one tenant holds another neither sees nor touches, whatever it knows."""
    with daemon(folder) as d:
        red, same, blue = d.psk("host1"), d.psk("host2"), d.psk("host3")
        txid = os.urandom(16)
        g = red.reserve(MIB, txid=txid)
        # With the token itself: the lease is still red's.
        refused(E_NOT_FOUND, blue.commit, g)
        red.commit(g)
        for op in (COMMIT, RENEW, RELEASE):
            refused(E_NOT_FOUND, blue.act, op, g)
        refused(E_NOT_FOUND, blue.act, RESIZE, g, size=2 * MIB)
        refused(E_NOT_FOUND, d.tls_lane, g, "host3")
        refused(E_DENIED, blue.reserve, MIB, txid=txid)
        assert blue.leases() == {} and set(red.leases()) == {g.lease}
        # Another host of the same tenant may.
        assert set(same.leases()) == {g.lease}
        d.tls_lane(g, "host2").write(0, b"x" * 4096)
        same.act(RESIZE, g, size=2 * MIB)
        same.release(g)
        assert red.leases() == {}


@test
def plaintext(folder):
    """a client without TLS has a tenant of his own."""
    with daemon(folder) as d:
        red, plain = d.psk("host1"), d.control()
        g, p = red.lease(MIB), plain.lease(MIB)
        assert set(plain.leases()) == {p.lease} and set(red.leases()) == {g.lease}
        refused(E_NOT_FOUND, d.lane, g)
        refused(E_NOT_FOUND, plain.release, g)
        refused(E_NOT_FOUND, red.release, p)


@test
def stranger(folder):
    """a key that is in no tenant's list opens nothing."""
    with daemon(folder) as d:
        try:
            d.psk("host4")
            raise AssertionError("it was welcomed")
        except Closed:
            pass
        eventually(lambda: "host4 is in no tenant's identities" in d.log())
        assert d.psk("host1").leases() == {}


@test
def resources(folder):
    """a tenant sees and gets the resources that are its own."""
    with daemon(folder) as d:
        red, blue = d.psk("host1"), d.psk("host3")
        assert set(red.inventory()) == {"mem", "other"} and set(blue.inventory()) == {"mem"}
        refused(E_NOT_FOUND, blue.reserve, MIB, id=b"other")
        # The tightest fit for red is the one that blue may not have.
        assert red.reserve(MIB).resource == "other"
        assert blue.reserve(MIB).resource == "mem"


@test
def quota(folder):
    """a tenant's quota holds for all its hosts, and for growing."""
    with daemon(folder) as d:
        blue = d.psk("host3")
        refused(E_NO_SPACE, blue.reserve, 7 * MIB)
        a = blue.lease(6 * MIB)
        refused(E_NO_SPACE, blue.reserve, 3 * MIB)
        refused(E_NO_SPACE, blue.act, RESIZE, a, size=7 * MIB)
        b = blue.lease(MIB)
        refused(E_NO_SPACE, blue.act, RESIZE, b, size=3 * MIB)
        refused(E_NO_SPACE, blue.reserve, MIB)      # a third one
        blue.act(RESIZE, b, size=2 * MIB)
        d.psk("host1").lease(16 * MIB)              # is nobody else's
        blue.release(a)
        blue.lease(6 * MIB, host=b"another")


@test
def hosts(folder):
    """a tenant that gives itself another's host name takes nothing from that host's quota."""
    with daemon(folder, TWO + "quota: {max-leases-per-host: 1, max-size-per-host: 4MiB}\n") as d:
        red, blue = d.psk("host1"), d.psk("host3")
        blue.lease(MIB, host=b"theirs")
        refused(E_NO_SPACE, blue.reserve, MIB, host=b"theirs")
        red.lease(4 * MIB, host=b"theirs")
        refused(E_NO_SPACE, red.reserve, MIB, host=b"theirs")


@test
def journal(folder):
    """a lease has its tenant after a crash too; one of an older release the default."""
    with daemon(folder, TWO + "restart-grace: 30s\n") as d:
        g = d.psk("host1").lease(MIB)
        p = d.control().lease(MIB)
        d.kill()
        d.restart()
        assert set(d.psk("host1").leases()) == {g.lease}
        refused(E_NOT_FOUND, d.psk("host3").release, g)
        assert d.stop() == 0
        db = sqlite3.connect(f"{d.state}/journal.sqlite", isolation_level=None)
        db.execute("DROP INDEX lease_ended")
        for column in ("tenant", "medium", "ended_at"):
            db.execute(f"ALTER TABLE lease DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 1")
        db.close()
        d.restart()
        assert set(d.control().leases()) == {g.lease, p.lease}
        d.control().release(g)
        d.control().release(p)


@test
def names(folder):
    """a key's identity is what comes before '+'; a certificate's its DNS name, or its CN."""
    ca = Authority(folder)
    server = ca.issue("target", "ip_address = 127.0.0.1\n")
    clients = {"host1": "", "someone": "dns_name = host2\ndns_name = host3\n"}
    certs = {n: ca.issue(n, t) for n, t in clients.items()}
    odd = [ca.issue("host1+2", ""), ca.issue("plain", 'dns_name = "*.example"\n'),
           ca.issue("post", "email = host1\n" * 64)]
    with daemon(folder, tls=f"{{psk-file: {folder}/psk, certificate: {server[0]}, "
                            f"key: {server[1]}, ca: {ca.cert}}}") as d:
        psk_file(f"{folder}/psk", host3__new=0x55, host3=0x33)
        g = d.psk("host3+new").lease(MIB)
        assert set(d.psk("host3").leases()) == {g.lease}
        r = Control(python_tls(d.tls_port, ca.cert, certs["host1"])).lease(MIB)
        for cert in certs.values():
            assert set(Control(python_tls(d.tls_port, ca.cert, cert)).leases()) == {r.lease}
        for cert in odd:
            before = len(d.log())
            try:
                Control(python_tls(d.tls_port, ca.cert, cert))
                raise AssertionError(f"{cert} was let in")
            except (ssl.SSLError, Closed, ConnectionError):
                pass
            eventually(lambda: "no usable name" in d.log()[before:])


@test
def addresses(folder):
    """plaintext is for the addresses that are named, and for this host unless others are."""
    with daemon(folder, TWO + "plaintext: [127.0.0.2, '127.0.1.0/24']") as d:
        def connect(source):
            s = socket.create_connection(("127.0.0.1", d.port), 10, (source, 0))
            return Control(s)
        for source in ("127.0.0.2", "127.0.1.7"):
            assert connect(source).leases() == {}
        for source in ("127.0.0.1", "127.0.0.3", "127.0.2.1"):
            try:
                connect(source)
                raise AssertionError(f"{source} was let in")
            except Closed:
                pass
        assert "connection from 127.0.0.3 refused: plaintext is not allowed" in d.log()
        assert d.psk("host1").leases() == {}
        assert d.stop() == 0
        d.configure("plaintext: [127.0.0.2, '127.0.1.0/24']", "plaintext: []")
        d.restart()
        try:
            d.control()
            raise AssertionError("plaintext was let in")
        except Closed:
            pass


@test
def configuration(folder):
    """sections that make no sense are refused, and say where."""
    base = "resources:\n- {id: mem, class: memory, size: 64MiB}\n"
    for text, why in (
            ("tls: {}", "needs a psk-file"),
            ("tls: {certificate: /a, key: /b}", "belong together"),
            ("tls: {psk-file: psk}", "absolute path"),
            ("plaintext: [10.0.0.1/8]", "bits beyond"),
            ("plaintext: [10.0.0.0/33]", "such as"),
            ("plaintext: [example.org]", "such as"),
            ("plaintext: yes", "must be a list"),
            ("tenants: [{name: a, identities: [x]}, {name: b, identities: [x]}]", "has a tenant"),
            ("tenants: [{name: a, identities: [x, x]}]", "has a tenant"),
            ("tenants: [{name: a}, {name: a}]", "there already"),
            ("tenants: [{name: a, resources: [none]}]", "no resource"),
            ("tenants: [{name: a, identities: ['x+1']}]", "expected an identity"),
            ("tenants: [{identities: [a]}]", "lacks the key"),
            ("tenants: [{name: a, max-size: 0}]", "expected a size")):
        does_not_start(Daemon(folder, base + text), why)
    d = Daemon(folder, base + f"tls: {{psk-file: {folder}/none}}")
    r = subprocess.run([d.binary, "--check", "-c", d.conf], capture_output=True, text=True)
    assert r.returncode == 2 and f"{folder}/none: No such file" in r.stderr, r
    d = Daemon(folder, base)
    d.configure("'127.0.0.1:0'", "{address: '127.0.0.1:0', tls: yes}")
    does_not_start(d, "no section tls")


main()
