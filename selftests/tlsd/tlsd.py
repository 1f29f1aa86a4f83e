# SPDX-License-Identifier: GPL-2.0
"""A disaggd that listens for TLS, keys for it and its clients, and clients."""
import os
import re
import socket
import ssl
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../daemon"))

from wire import *          # noqa: E402,F401,F403
from wire import Control, Daemon, lane  # noqa: E402

PIPE = os.path.join(os.environ.get("SUITE_BIN", "."), "../tlsd/tls_pipe")


def write(path, text, mode=0o600):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def psk_file(path, **keys):
    """IDENTITY=BYTE; each key is 32 of them."""
    return write(path, "".join(f"{i.replace('__', '+')}:{k:02x}" + f"{k:02x}" * 31 + "\n"
                               for i, k in keys.items()))


class Authority:
    """A CA of one's own, by certtool."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.name = name
        self.key(name)
        self.cert = self.tool(name, "cn = test CA\nca\ncert_signing_key\nexpiration_days = 2\n",
                              "--generate-self-signed")

    def path(self, name, kind):
        return os.path.join(self.folder, f"{name}.{kind}")

    def key(self, name):
        path = self.path(name, "key")
        subprocess.run(["certtool", "--generate-privkey", "--key-type", "ecdsa", "--curve",
                        "secp256r1", "--outfile", path], check=True, stderr=subprocess.DEVNULL)
        os.chmod(path, 0o600)
        return path

    def tool(self, name, template, *options):
        write(self.path(name, "cfg"), template)
        subprocess.run(["certtool", "--template", self.path(name, "cfg"), "--load-privkey",
                        self.path(name, "key"), "--outfile", self.path(name, "crt"), *options],
                       check=True, stderr=subprocess.DEVNULL)
        return self.path(name, "crt")

    def issue(self, name, template="", key=True):
        """(certificate, key) of CN @name."""
        if key:
            self.key(name)
        if "expiration" not in template:
            template += "expiration_days = 2\n"
        return (self.tool(name, f"cn = {name}\n" + template, "--generate-certificate",
                          "--load-ca-certificate", self.cert, "--load-ca-privkey",
                          self.path(self.name, "key")), self.path(name, "key"))


class TlsDaemon(Daemon):
    """One listener with TLS, and one without."""

    def __init__(self, folder, config="", tls=None, **keys):
        if "resources:" not in config.replace("  resources:", ""):
            config += "\nresources:\n- {id: mem, class: memory, size: 64MiB}\n"
        if tls is None:
            tls = f"{{psk-file: {folder}/psk}}"
        super().__init__(folder, config + f"\ntls: {tls}\n", **keys)
        self.configure("listen: ['127.0.0.1:0']",
                       "listen: [{address: '127.0.0.1:0', tls: yes}, '127.0.0.1:0']")

    def start(self):
        super().start()
        self.tls_port = int(re.findall(r"listening for TLS on 127\.0\.0\.1 port (\d+)",
                                       self.log())[-1])
        return self

    def psk(self, identity, path=None, **fields):
        """A control connection."""
        return Control(pipe(self.tls_port, "psk", identity, path or f"{self.dir}/psk"), **fields)

    def tls_lane(self, grant, identity, *args, path=None, **fields):
        return lane(pipe(self.tls_port, "psk", identity, path or f"{self.dir}/psk"), grant,
                    *args, **fields)


class TlsRefused(Exception):
    """The handshake failed; why."""


def pipe(port, *how, host="127.0.0.1"):
    """A socket whose other end a tls_pipe carries to the target."""
    mine, its = socket.socketpair()
    with its:
        p = subprocess.Popen([PIPE, str(its.fileno()), host, str(port), *how],
                             pass_fds=[its.fileno()], stdout=subprocess.PIPE, text=True)
    with p.stdout:
        said = p.stdout.readline().strip()
    if said != "ok":
        p.wait(20)
        mine.close()
        raise TlsRefused(said)
    if how[0] == "kernel":
        p.wait(20)
        _, fds, _, _ = socket.recv_fds(mine, 1, 1)
        mine.close()
        return socket.socket(fileno=fds[0])
    mine.settimeout(10)
    return mine


def python_tls(port, ca, cert=None, newest=ssl.TLSVersion.TLSv1_3, host="127.0.0.1",
               window=None):
    """The same by Python's library, which is OpenSSL: what others implement."""
    plain = socket.socket()
    plain.settimeout(10)
    if window:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    plain.connect(("127.0.0.1", port))
    context = ssl.create_default_context(cafile=ca)
    context.maximum_version = newest
    if cert:
        context.load_cert_chain(*cert)
    return context.wrap_socket(plain, server_hostname=host)


def refuses(why, fn, *args, **fields):
    """Call, and insist that the handshake fails, and with these words (one of them)."""
    try:
        fn(*args, **fields)
    except (TlsRefused, ssl.SSLError) as e:
        assert re.search(why, str(e)), f"{e}, not {why}"
        return
    raise AssertionError("the handshake went well")
