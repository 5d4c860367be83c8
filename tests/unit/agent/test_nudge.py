"""A client that takes nothing is looked after; that it works is shown by e2e/test_cp.py, where one is killed."""

from __future__ import annotations

import itertools
import socket

from rum.agent.listener import BUFFER_SIZE
from rum.agent.nudge import nudge


class VsockBuffer(socket.socket):
    """A vsock socket as far as the size of its buffer goes, for hosts whose kernel has none."""

    size = BUFFER_SIZE
    family = socket.AF_VSOCK

    def getsockopt(self, level: int, option: int, *_rest: int) -> int:  # type: ignore[override]
        assert (level, option) == (socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE)
        return self.size

    def setsockopt(self, level: int, option: int, value: int, *_rest: int) -> None:  # type: ignore[override]
        assert (level, option) == (socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE)
        self.size = value


def test_each_time_the_size_is_another_one() -> None:
    """The kernel says nothing of a size that is what it was."""
    with VsockBuffer() as sock:
        sizes = [sock.size]
        for _ in range(3):
            nudge(sock)
            sizes.append(sock.size)
    assert all(before != after for before, after in itertools.pairwise(sizes))
    assert min(sizes) > BUFFER_SIZE - 10_000


def test_other_sockets_are_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        before = one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        nudge(one)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before
