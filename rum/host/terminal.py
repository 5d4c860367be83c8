"""The user's terminal while a program in the guest has it: raw, its size reported."""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from types import TracebackType
from typing import Self

from rum.host.errors import ConfigError


class Terminal:
    """A context manager: raw within its block, as it was afterwards. Raises ConfigError where it is no terminal."""

    def __init__(self, descriptor: int) -> None:
        if not os.isatty(descriptor):
            raise ConfigError("-t needs a terminal, and standard input is not one", hint="leave -t out")
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        self._saved = termios.tcgetattr(self._descriptor)
        self.make_raw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One whose window was closed has nothing to be restored.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)

    def make_raw(self) -> None:
        """Pass every key on as it is; a shell that had stopped this process has made the terminal its own."""
        with contextlib.suppress(termios.error):
            # Not flushed: what was typed ahead is meant for the guest.
            tty.setraw(self._descriptor, termios.TCSADRAIN)

    def size(self) -> dict[str, int]:
        """Rows and columns; those of a VT100 where the terminal does not know its own."""
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:
            size = os.terminal_size((80, 24))
        return {"rows": size.lines or 24, "cols": size.columns or 80}


def is_ours(descriptor: int) -> bool:
    """Whether a terminal may be read: one that another job has would stop this process (tcgetpgrp(3), SIGTTIN)."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return True
