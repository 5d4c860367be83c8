"""Ports of this host: bound before anything is made, and who has one that is taken."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from rum.host.errors import HostError

BACKLOG = 128

PROC = Path("/proc")
LISTEN = "0A"
"""TCP_LISTEN in /proc/net/tcp (tcp_states.h)."""

PORTS_FILE = re.compile(r"--ports-file=.*/([^/]+)/[^/]+")
"""How the process that forwards a VM's ports was started."""


def spelled(bind: object, port: object) -> str:
    """Address and port in one word.

    >>> spelled("127.0.0.1", 80), spelled("::1", 80)
    ('127.0.0.1:80', '[::1]:80')
    """
    return f"[{bind}]:{port}" if ":" in str(bind) else f"{bind}:{port}"


def bind_port(bind: str, port: int) -> socket.socket:
    """A socket that listens there, at a free port for 0. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of an earlier run may still be in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((bind, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def require_port(bind: str, port: int) -> socket.socket:
    """A socket that listens there. Raises HostError with who has the port."""
    try:
        return bind_port(bind, port)
    except OSError as exc:
        raise explained(bind, port, exc) from exc


def explained(bind: str, port: int, error: OSError) -> HostError:
    """The sentence for a port that cannot be bound."""
    if error.errno == errno.EADDRINUSE:
        text = f"port {port} of {bind} is taken by {holder(port)}"
        return HostError(
            text, hint="end it, or choose another `host` port under [[ports]] in rum.toml", code="port-taken"
        )
    hints = {
        errno.EACCES: "choose a port from 1024 up, or allow it: sysctl net.ipv4.ip_unprivileged_port_start",
        errno.EADDRNOTAVAIL: "`bind` under [[ports]] in rum.toml has to be an address of this host",
    }
    return HostError(
        f"port {port} of {bind} cannot be bound: {error.strerror}", hint=hints.get(error.errno or 0), code="port-taken"
    )


def holder(port: int) -> str:
    """Who listens at the port, as far as /proc tells this user."""
    inodes = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    for process in PROC.iterdir():
        if process.name.isdigit() and inodes & set(links_of(process / "fd")):
            return described(process)
    return "a process of another user"


def listening_inodes(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen at the port, whatever their address."""
    for table in (PROC / "net/tcp", PROC / "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def links_of(directory: Path) -> Iterator[str]:
    """What a process's descriptors are; none of a process that is another user's, or gone."""
    with contextlib.suppress(OSError):
        for descriptor in directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield os.readlink(descriptor)


def described(process: Path) -> str:
    """A process in words: the VM whose ports it forwards, or its name."""
    with contextlib.suppress(OSError):
        for argument in (process / "cmdline").read_bytes().split(b"\0"):
            if found := PORTS_FILE.fullmatch(os.fsdecode(argument)):
                return f"the VM {found[1]} (process {process.name})"
        return f"{(process / 'comm').read_text(encoding='utf-8', errors='replace').strip()} (process {process.name})"
    return f"process {process.name}"
