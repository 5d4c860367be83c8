"""Finding out whether a client that takes nothing is still there."""

from __future__ import annotations

import contextlib
import socket

from rum.agent.listener import BUFFER_SIZE

SLIGHTLY_LESS = BUFFER_SIZE - 4096


def nudge(sock: socket.socket) -> None:
    """Make vhost-device-vsock look at the client's end again, and tell us if that is closed.

    Of a client that was killed before it had read everything it gets ECONNRESET, once, which it drops (0.3.0), and
    looks there no more. A credit update has it look, and one is sent whenever the buffer's size has changed (Linux
    since 5.4, virtio_transport_notify_buffer_size). To the kernel's vhost-vsock, and to a living client, it is nothing.
    """
    if sock.family != getattr(socket, "AF_VSOCK", None):
        return
    option = socket.SO_VM_SOCKETS_BUFFER_SIZE
    with contextlib.suppress(OSError):
        full = sock.getsockopt(socket.AF_VSOCK, option) == BUFFER_SIZE
        sock.setsockopt(socket.AF_VSOCK, option, SLIGHTLY_LESS if full else BUFFER_SIZE)
