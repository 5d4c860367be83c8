"""The line with which vhost-device-vsock answers, before the stream is the agent's."""

from __future__ import annotations

import socket

from rum.host.channel.connect import OK_LINE_MAX, _ask_for_port
from rum.host.deadlines import Deadline, no_check
from rum.host.errors import GuestError

SEEDS = [b"OK 1024\nRUM1", b"OK \n", b"OK " + b"9" * OK_LINE_MAX, b"HTTP/1.1 400\r\n", b"O", b"\n"]


def check(data: bytes) -> None:
    """A connection whose next byte is the agent's, or GuestError; little is read of what is no such line."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[:4096])
        theirs.shutdown(socket.SHUT_WR)
        ours.setblocking(False)
        try:
            _ask_for_port(ours, 2222, Deadline(5), no_check)
            end = data.index(b"\n") + 1
            assert data.startswith(b"OK ")
        except GuestError:
            end = None
        rest = ours.recv(8192)
        assert data[:4096].endswith(rest)
        assert len(data[:4096]) - len(rest) <= OK_LINE_MAX + 1
        assert end is None or rest == data[end:4096]
