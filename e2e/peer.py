"""Both ends of a plain stream to a port in the guest, with every send of a chosen size. One VM's own vsock peer.

The guest's end is sent there as text: Python 3.9 and its standard library.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

PORT = 2300


def served(port: int) -> str:
    """The end of a guest's program: each client of that vsock port gets its own call of the program's `serve`."""
    return f"""
listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
for option in (socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, socket.SO_VM_SOCKETS_BUFFER_SIZE):
    listener.setsockopt(socket.AF_VSOCK, option, 8 << 20)
listener.bind((socket.VMADDR_CID_ANY, {port}))
listener.listen(8)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
"""


# What it is asked for comes first: "source" or "sink", the size of each send, and how much in all. A source ends with
# the end of the stream, and so does a sink's answer, the hash of what it got.
IN_GUEST = f"""
import hashlib, os, socket, struct, threading
BLOCK = os.urandom(1 << 20)
def exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
def source(sock, size, total):
    digest = hashlib.sha256()
    sent = 0
    while sent < total:
        view = memoryview(BLOCK)[sent % 1000:][:min(size, total - sent)]
        digest.update(view)
        sent += len(view)
        while view:
            view = view[sock.send(view):]
    sock.sendall(digest.digest())
    sock.recv(1)
def sink(sock, total):
    digest = hashlib.sha256()
    got = 0
    while got < total:
        piece = sock.recv(min(1 << 18, total - got))
        if not piece:
            break
        digest.update(piece)
        got += len(piece)
    sock.sendall(digest.digest())
    sock.recv(1)
def serve(sock):
    with sock:
        kind, size, total = struct.unpack("!BII", exactly(sock, 9))
        source(sock, size, total) if kind else sink(sock, total)
{served(PORT)}"""


@dataclass(frozen=True)
class Transfer:
    """So many bytes, sent in pieces of a size, to the guest or from it; how many arrived whole, and in which time."""

    direction: str
    size: int
    total: int
    arrived: int
    intact: bool
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether nothing was lost."""
        return self.arrived == self.total and self.intact

    def __str__(self) -> str:
        rate = f"{self.arrived / 1e6 / self.seconds:.0f} MB/s" if self.complete else "stalled"
        return f"{self.direction} {self.size:6d}: {self.arrived} of {self.total} bytes, {rate}"


class Stalled(Exception):  # noqa: N818 - it is no error: some sizes are expected to
    """No byte moved for too long."""


class Peer:
    """The host's end. `stall_s` is how long nothing may move."""

    def __init__(self, dial: Callable[[], socket.socket], stall_s: float) -> None:
        self._dial = dial
        self._stall_s = stall_s

    def from_guest(self, size: int, total: int) -> Transfer:
        """Have the guest send."""
        with self._open(1, size, total) as sock:
            start = time.monotonic()
            digest, arrived, announced = hashlib.sha256(), 0, b""
            try:
                while arrived < total:
                    data = self._receive(sock, min(1 << 18, total - arrived))
                    digest.update(data)
                    arrived += len(data)
                while len(announced) < digest.digest_size:
                    announced += self._receive(sock, digest.digest_size - len(announced))
            except Stalled:
                pass
            took = time.monotonic() - start
        return Transfer("from the guest", size, total, arrived, announced == digest.digest(), took)

    def to_guest(self, size: int, total: int) -> Transfer:
        """Send to the guest."""
        block = os.urandom(1 << 20)
        with self._open(0, size, total) as sock:
            start = time.monotonic()
            digest, sent, answer = hashlib.sha256(), 0, b""
            try:
                while sent < total:
                    piece = memoryview(block)[sent % 1000 :][: min(size, total - sent)]
                    self._send(sock, piece)
                    digest.update(piece)
                    sent += len(piece)
                while len(answer) < digest.digest_size:
                    answer += self._receive(sock, digest.digest_size - len(answer))
            except Stalled:
                pass
            took = time.monotonic() - start
        return Transfer("to the guest", size, total, sent, answer == digest.digest(), took)

    def _open(self, kind: int, size: int, total: int) -> socket.socket:
        sock = self._dial()
        sock.sendall(bytes([kind]) + size.to_bytes(4, "big") + total.to_bytes(4, "big"))
        return sock

    def _receive(self, sock: socket.socket, size: int) -> bytes:
        if not select.select([sock], [], [], self._stall_s)[0]:
            raise Stalled
        data = sock.recv(size)
        if not data:
            raise Stalled
        return data

    def _send(self, sock: socket.socket, data: memoryview) -> None:
        while data:
            if not select.select([], [sock], [], self._stall_s)[1]:
                raise Stalled
            data = data[sock.send(data, socket.MSG_DONTWAIT) :]
