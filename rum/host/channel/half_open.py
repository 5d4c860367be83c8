"""Connections that vhost-device-vsock 0.3.0 dies of when they are closed.

That is one that it has not answered yet: its worker writes the guest's answer to the Unix socket, and ends for good
where nobody has that open any more. And it is any one while the device's rings are stopped, because the guest reboots
or its VM is paused (rum.host.channel.vhost_worker). Both may last for longer than anybody waits, so a process that does
nothing else keeps the socket open for whoever leaves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

from rum.host.channel.vhost_worker import Channel, channel_behind
from rum.host.deadlines import Check

KEEP_OPEN_S = 600
"""After so many seconds without an answer none is expected any more."""


LOOK_EVERY_S = 1.0


class HalfOpen:
    """One such connection. From the second look at it on it outlives this process, however that ends."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._keeper: int | None = None
        self._looked_at = False

    def watched(self, check: Check) -> Check:
        """The check of a wait for the answer, which also sees to it that a long wait may be killed."""

        def look() -> None:
            if self._looked_at:
                self.leave()
            self._looked_at = True
            check()

        return look

    def leave(self) -> None:
        """Have the connection kept open when this process closes it. Raises OSError."""
        if self._keeper is None:
            self._keeper = spawn_keeper(self._sock, ["sleep", str(KEEP_OPEN_S)])

    def answered(self) -> None:
        """From here on the connection may be closed."""
        if self._keeper is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._keeper, signal.SIGKILL)
            os.waitpid(self._keeper, 0)
            self._keeper = None


def keep_open_while_down(sock: socket.socket, path: Path) -> None:
    """Have a connection through the daemon at that path kept open past its close, until the rings are there again."""
    if sock.fileno() >= 0 and channel_behind(path) is Channel.DOWN:
        spawn_keeper(sock, [sys.executable, "-P", "-m", __name__, str(path)])


def spawn_keeper(sock: socket.socket, command: list[str]) -> int:
    """The pid of a process that has the connection as its standard input. Raises OSError."""
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (1, 2)]
    return os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, sock.fileno(), 0), *null],
        # A Ctrl+C in the terminal is not meant for it.
        setsid=True,
    )


def wait_while_down(path: Path) -> None:
    """Wait for the rings, or for the daemon's end."""
    while channel_behind(path) is Channel.DOWN:
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    wait_while_down(Path(sys.argv[1]))
