"""A standard stream that does not block, because a program that shares it has made it so: written to as if it did.

Python's own text streams drop what such a one does not take at once.
"""

from __future__ import annotations

import io
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class PatientFile(io.FileIO):
    """Waits for room."""

    def write(self, data: ReadableBuffer, /) -> int:
        """How many of the bytes it took, which is at least one. Raises OSError."""
        return when_there_is_room(self.fileno(), lambda: super(PatientFile, self).write(data))


def when_there_is_room(descriptor: int, write: Callable[[], int | None]) -> int:
    """What `write` returns once it is neither None nor BlockingIOError. Raises OSError."""
    while True:
        try:
            if (written := write()) is not None:
                return written
        except BlockingIOError:
            pass
        poller = select.poll()
        poller.register(descriptor, select.POLLOUT)
        poller.poll()


def patient(stream: TextIO) -> TextIO:
    """A stream for the same descriptor, with the same encoding; a line at a time where this one is."""
    raw = PatientFile(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, errors="replace", line_buffering=bool(stream.line_buffering)
    )
