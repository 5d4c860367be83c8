"""Signals that end a command, and the first Ctrl+C that only asks for an end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

LEAVING = (signal.SIGTERM, signal.SIGHUP)


def leave(number: int, _frame: FrameType | None) -> None:
    """End by way of an exception, so that whatever is under way cleans up after itself."""
    sys.exit(128 + number)


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block in order; those that were ignored before (nohup) stay ignored."""
    previous = {number: signal.getsignal(number) for number in LEAVING}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class FirstInterrupt:
    """Within its block the first SIGINT sets `requested`; the second raises KeyboardInterrupt wherever it meets us."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Self:
        self._previous = signal.getsignal(signal.SIGINT)
        if self._previous is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
