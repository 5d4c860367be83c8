"""What is told of a copy while it goes on."""

from __future__ import annotations

from rum.host.events import Emit, Notice, Progress
from rum.protocol import Kind
from rum.protocol.frames import HEADER
from rum.transfer.records import shown

NAME = "copy"

NAMED_MAX = 20
"""Of what is not copied so much is named; the rest is counted: a guest's /run or /dev has thousands."""

WHAT_MAX = 100


class Watching:
    """Counts bytes and what is left out."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._done = 0
        self._total: int | None = None
        self._skipped = 0

    def expect(self, total: int) -> None:
        """So many bytes are to be copied."""
        self._total = total

    def moved(self, size: int) -> None:
        """So many bytes more have been."""
        self._done += size
        # A file that is read again makes it more than all.
        done = self._done if self._total is None else min(self._done, self._total)
        self._emit(Progress(NAME, done, self._total))

    def moved_frame(self, frame: bytes) -> None:
        """This frame has been sent."""
        if frame[HEADER.size - 1] == Kind.BYTES:
            self.moved(len(frame) - HEADER.size)

    def skipped(self, path: bytes, what: str) -> None:
        """This was left out."""
        self._skipped += 1
        if self._skipped <= NAMED_MAX:
            self._emit(Notice(f"not copied: {shown(path)} ({what[:WHAT_MAX]})", warning=True))

    def end(self) -> None:
        """Say what was not named."""
        more = self._skipped - NAMED_MAX
        if more > 0:
            self._emit(Notice(f"not copied: {more} more of this kind", warning=True))
