"""The user's terminal while a command in the guest has it: raw, its size reported."""

from __future__ import annotations

import os
import signal
import termios
import tty
from types import FrameType, TracebackType
from typing import Self

from rum.host.errors import ConfigError


class Terminal:
    """A context manager: raw within its block, as it was afterwards."""

    def __init__(self, descriptor: int) -> None:
        if not os.isatty(descriptor):
            raise ConfigError("-t needs a terminal, and standard input is none", hint="leave -t out")
        self._descriptor = descriptor
        self._resized = False

    def __enter__(self) -> Self:
        self._saved = termios.tcgetattr(self._descriptor)
        self._previous = signal.signal(signal.SIGWINCH, self._on_resize)
        tty.setraw(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)
        signal.signal(signal.SIGWINCH, self._previous)

    def size(self) -> dict[str, int]:
        """Rows and columns; those of a VT100 where the terminal does not know its own."""
        size = os.get_terminal_size(self._descriptor)
        return {"rows": size.lines or 24, "cols": size.columns or 80}

    def resized(self) -> bool:
        """Whether the size has changed since the last call."""
        changed, self._resized = self._resized, False
        return changed

    def _on_resize(self, _number: int, _frame: FrameType | None) -> None:
        self._resized = True
