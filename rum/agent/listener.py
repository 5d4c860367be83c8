"""The listening socket: AF_VSOCK in a guest, a Unix socket without one."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Callable

from rum.agent.loop import READ, Loop
from rum.protocol.limits import HOST_CID

BACKLOG = 512
"""Far more than UNAUTHENTICATED_MAX, so that a burst of clients waits instead of being refused."""

ACCEPT_AGAIN_S = 0.1
"""How long an agent that is out of descriptors leaves new clients waiting."""

BUFFER_SIZE = 8 * 1024 * 1024
"""Kernels since 6.12.92 reset a stream whose receive queue holds more small packets than its buffer allows for: about
455 at the default of 256 KiB."""


def open_listener(address: str) -> socket.socket:
    """Listen at "vsock:PORT" or "unix:PATH". Raises OSError, and ValueError for another address."""
    kind, _, place = address.partition(":")
    if kind == "vsock" and place.isdigit():
        listener = listen_vsock(int(place))
    elif kind == "unix" and place:
        listener = listen_unix(place)
    else:
        raise ValueError(f"--listen takes vsock:PORT or unix:PATH, not {address!r}")
    listener.setblocking(False)
    return listener


def listen_vsock(port: int) -> socket.socket:
    """Listen on the guest's vsock port. Raises OSError."""
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    with contextlib.suppress(OSError):
        # The maximum first: the kernel clamps the size to it (vsock(7)). CPython packs the u64 of these options itself.
        for option in (socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, socket.SO_VM_SOCKETS_BUFFER_SIZE):
            listener.setsockopt(socket.AF_VSOCK, option, BUFFER_SIZE)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(BACKLOG)
    return listener


def listen_unix(path: str) -> socket.socket:
    """Listen on a Unix socket that only its owner may connect to. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old_mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(old_mask)
    listener.listen(BACKLOG)
    return listener


def accept_from(loop: Loop, listener: socket.socket, on_connection: Callable[[socket.socket], None]) -> None:
    """Hand on every connection from the host; anybody else's is closed at once."""

    def accept(_events: int) -> None:
        try:
            connection, peer = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            # Out of descriptors (accept(2)): the listener stays readable, so asking at once again would spin.
            watch.want(0)
            loop.call_later(ACCEPT_AGAIN_S, lambda: watch.want(READ))
            return
        if listener.family != socket.AF_UNIX and peer[0] != HOST_CID:
            connection.close()
            return
        connection.setblocking(False)
        on_connection(connection)

    watch = loop.watch(listener.fileno(), accept)
    watch.want(READ)
