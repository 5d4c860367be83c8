"""Waiting for a file to grow, by inotify(7): whoever waits for a line of a log has it as soon as it is written."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import inotify_simple


class FileGrowth:
    """Wakes whoever waits when the file is written to; a context manager.

    Where it cannot be watched, because it is not there yet or the user's inotify instances are used up, time passes.
    """

    def __init__(self, path: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._inotify: inotify_simple.INotify | None = None
        with contextlib.suppress(OSError):
            inotify = self._stack.enter_context(inotify_simple.INotify())
            inotify.add_watch(path, inotify_simple.flags.MODIFY)
            self._inotify = inotify

    def wait(self, seconds: float) -> bool:
        """Whether it has been written to since the last call; returns as soon as it is."""
        if self._inotify is None:
            time.sleep(seconds)
            return False
        # At least a millisecond: the rest of one would be no wait, and whoever calls in a loop would spin.
        return bool(self._inotify.read(timeout=max(1, round(1000 * seconds))))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
