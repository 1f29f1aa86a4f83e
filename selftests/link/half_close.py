#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""half_close.py WHICH PID…: of the TCP connections that these processes have, the one with
this number (modulo how many there are) says that it sends no more, and goes on receiving."""
import ctypes
import os
import socket
import sys

PIDFD_GETFD = 438
libc = ctypes.CDLL(None, use_errno=True)


def connections(pid):
    """Copies of a process's descriptors, as far as they are connected TCP sockets."""
    process = os.pidfd_open(pid)
    for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        if not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
            continue
        copy = libc.syscall(PIDFD_GETFD, process, int(fd), 0)
        if copy < 0:
            sys.exit(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        s = socket.socket(fileno=copy)
        if s.family != socket.AF_INET or s.type != socket.SOCK_STREAM:
            continue
        try:
            s.getpeername()
        except OSError:
            continue
        yield s


found = [s for pid in sys.argv[2:] for s in connections(int(pid))]
if not found:
    sys.exit("no connection")
found[int(sys.argv[1]) % len(found)].shutdown(socket.SHUT_WR)
