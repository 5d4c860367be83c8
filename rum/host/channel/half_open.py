"""Connections that vhost-device-vsock 0.3.0 has not answered yet: none of them may be closed.

Its worker writes the guest's answer to the Unix socket, and ends for good where nobody has that open any more. A guest
may stall for longer than anybody waits, so a process that does nothing else keeps the socket open for whoever leaves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from rum.host.deadlines import Check

KEEP_OPEN_S = 600
"""After so many seconds without an answer none is expected any more."""


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
            null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (1, 2)]
            self._keeper = os.posix_spawnp(
                "sleep",
                ["sleep", str(KEEP_OPEN_S)],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, self._sock.fileno(), 0), *null],
                # A Ctrl+C in the terminal is not meant for it.
                setsid=True,
            )

    def answered(self) -> None:
        """From here on the connection may be closed."""
        if self._keeper is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._keeper, signal.SIGKILL)
            os.waitpid(self._keeper, 0)
            self._keeper = None
