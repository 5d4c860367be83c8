"""The floor of everything that goes through the transport: a bare program in the guest that sends, and answers.

It is sent there as text: Python 3.9 and its standard library.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from functools import cached_property

from e2e.peer import served
from e2e.project import Project, poll
from rum.host import GuestVm

PORT = 2302
SEND_SIZE = 16 * 1024
"""What rum itself sends at once (rum/protocol/limits.py), and what every guest's kernel gets through."""

ANSWER_S = 60.0

# The number of bytes that it is to send comes first, as 8 bytes; none: it says what time it is for every byte it gets.
IN_GUEST = f"""
import socket, struct, threading, time
BLOCK = bytes({SEND_SIZE})
def serve(sock):
    with sock:
        left, = struct.unpack("!Q", sock.recv(8, socket.MSG_WAITALL))
        while not left and sock.recv(1):
            sock.send(struct.pack("!Q", time.time_ns()))
        while left:
            left -= sock.send(BLOCK[:left])
        sock.recv(1)
{served(PORT)}"""


@dataclass(frozen=True)
class Clock:
    """How far the guest's clock is ahead of ours, and by how much that may be wrong, both in seconds."""

    ahead: float
    uncertainty: float


@dataclass
class RawPeer:
    """The host's end."""

    project: Project
    guest: GuestVm

    @cached_property
    def _started(self) -> bool:
        unit = ["systemd-run", "--quiet", "--collect", "--unit=bench-raw"]
        started = self.guest.run([*unit, "python3", "-c", IN_GUEST])
        assert started.ok, f"the peer cannot be started in the guest: {started.stderr.decode()}"
        for _ in poll(ANSWER_S, "the peer in the guest"):
            with contextlib.suppress(ConnectionError):
                self.project.dial(PORT, ANSWER_S).close()
                break
        return True

    def _open(self, size: int) -> socket.socket:
        assert self._started
        sock = self.project.dial(PORT, ANSWER_S)
        sock.sendall(size.to_bytes(8, "big"))
        return sock

    def receive(self, size: int) -> float:
        """The seconds that so many bytes take from the guest."""
        with self._open(size) as sock:
            start, left = time.perf_counter(), size
            while left:
                got = len(sock.recv(min(64 * 1024, left)))
                assert got, "the peer in the guest has closed the connection"
                left -= got
            return time.perf_counter() - start

    def clock(self, rounds: int) -> Clock:
        """As NTP has it (RFC 5905, section 8): of many exchanges the quickest says most."""
        best = Clock(0.0, float("inf"))
        with self._open(0) as sock:
            for _ in range(rounds):
                sent = time.time_ns()
                sock.sendall(b"?")
                theirs = int.from_bytes(sock.recv(8, socket.MSG_WAITALL), "big")
                back = time.time_ns()
                half = (back - sent) / 2e9
                if half < best.uncertainty:
                    best = Clock((theirs - sent) / 1e9 - half, half)
        return best
