"""Our own standard output and error, written to without being kept waiting by whoever reads them."""

from __future__ import annotations

import contextlib
import os
import select
import stat


class Outlet:
    """A stream of this process, which others may share: it stays blocking.

    A pipe is opened a second time, not blocking, so that it can be filled at once; `close` closes that, and nothing
    else. What cannot be opened again takes PIPE_BUF bytes at a time, which a pipe that poll(2) calls writable takes
    without blocking (pipe(7)).
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._again: int | None = None
        self._at_once: int | None = select.PIPE_BUF
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            self._at_once = None
        elif stat.S_ISFIFO(mode):
            # Not ours to open again, as after su(1), or nobody reads it any more, which writing will tell.
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
                self._again = os.open(f"/proc/self/fd/{descriptor}", flags)
                self._at_once = None

    def write_some(self, data: memoryview) -> int:
        """How many of the bytes it took; poll(2) has called the stream writable. Raises OSError."""
        try:
            return os.write(self._descriptor if self._again is None else self._again, data[: self._at_once])
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """May be called again."""
        again, self._again = self._again, None
        if again is not None:
            os.close(again)
