#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""half_close.py WHICH: of the connections that disaggd's workers have, the one with this
number (modulo how many there are) says that it sends no more, and goes on receiving. Waits
for one, since they come and go."""
import ctypes
import os
import socket
import sys
import time

PIDFD_GETFD = 438
libc = ctypes.CDLL(None, use_errno=True)


def workers():
    """Those of memory outlive the daemon that started them."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().startswith(b"disaggd\0--worker\0"):
                    yield int(pid)
        except OSError:
            pass


def connections(pid):
    """Copies of a process's descriptors, as far as they are connected TCP sockets."""
    process = os.pidfd_open(pid)
    try:
        for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
            copy = libc.syscall(PIDFD_GETFD, process, int(fd), 0)
            if copy < 0:
                continue            # closed meanwhile
            if not os.readlink(f"/proc/self/fd/{copy}").startswith("socket:"):
                os.close(copy)
                continue
            s = socket.socket(fileno=copy)
            try:
                if s.family != socket.AF_UNIX and s.type == socket.SOCK_STREAM:
                    s.getpeername()
                    yield s
            except OSError:
                pass
    finally:
        os.close(process)


def half_close(which):
    found = []
    for pid in workers():
        try:
            found += connections(pid)
        except OSError:
            pass                    # it has ended
    if not found:
        return False
    try:
        found[which % len(found)].shutdown(socket.SHUT_WR)
    except OSError:
        return False
    return True


end = time.monotonic() + 10
while not half_close(int(sys.argv[1])):
    if time.monotonic() > end:
        sys.exit("no connection")
    time.sleep(0.05)
