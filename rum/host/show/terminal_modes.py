"""The terminal while something is drawn on it: what is typed is not echoed into the picture, and Ctrl+Z tidies up."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Callable
from types import FrameType
from typing import Any

LOCAL_FLAGS = 3
"""Where termios keeps `c_lflag` in its list."""


class TerminalModes:
    """The modes of one terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._saved: list[Any] | None = None

    def is_ours(self) -> bool:
        """Whether this process is in the foreground of its terminal; what is in the background must not draw."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            # It is not the terminal that controls this process, so there is no background either.
            return True

    def take(self) -> None:
        """Switch the echo off."""
        if self._saved is None and self.is_ours():
            try:
                self._saved = termios.tcgetattr(self._descriptor)
                silent = list(self._saved)
                silent[LOCAL_FLAGS] &= ~termios.ECHO
                termios.tcsetattr(self._descriptor, termios.TCSANOW, silent)
            except termios.error:
                # It has hung up.
                self._saved = None

    def give_back(self) -> None:
        """As it was before."""
        saved, self._saved = self._saved, None
        if saved is not None and self.is_ours():
            try:
                termios.tcsetattr(self._descriptor, termios.TCSANOW, saved)
            except termios.error:
                return


class JobControl:
    """Ctrl+Z between two calls: `pause` before the process stops, `resume` once it goes on. For the main thread."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._previous: Any = None

    def begin(self) -> None:
        """From here on; not where the signal is ignored, as in a shell without job control."""
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            self._previous = signal.signal(signal.SIGTSTP, self._on_stop)

    def end(self) -> None:
        """Until here."""
        if self._previous is not None:
            signal.signal(signal.SIGTSTP, self._previous)
            self._previous = None

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self._pause()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._on_stop)
        self._resume()
