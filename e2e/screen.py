"""A command in a terminal of its own, and what is to be seen there: pexpect runs it, pyte emulates the terminal."""

from __future__ import annotations

import os
import re
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
import pyte

from e2e.project import heed_interrupts

TIMEOUT_S = 30.0
TIME = re.compile(r"(\(| )? *(?:\d+\.\d s|\d+ min \d+ s)")
HISTORY = 10_000

TERMINAL = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
ELSEWHERE = ("NO_COLOR", "COLUMNS", "LINES", "TMUX", "VTE_VERSION", "TERM_PROGRAM", "COLORTERM", "LANG", "PYTHONUTF8")
"""Variables of whoever runs the tests that would change what they see."""


FAINT, BRIGHT_BLACK = 2, 90


class Emulated(pyte.HistoryScreen):
    """Shows what is faint, which pyte does not know (ECMA-48 SGR 2), in grey."""

    def select_graphic_rendition(self, *attrs: int, **more: bool) -> None:
        """Set colours."""
        super().select_graphic_rendition(*(BRIGHT_BLACK if attr == FAINT else attr for attr in attrs), **more)


class Screen:
    """A process and its terminal; `raw` is all that it has written."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None = None,
        *,
        columns: int = 80,
        rows: int = 24,
        patience_s: float = TIMEOUT_S,
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
        self.child = pexpect.spawn(
            arguments[0],
            list(arguments[1:]),
            env={**inherited, **TERMINAL, **env},
            cwd=cwd,
            dimensions=(rows, columns),
            preexec_fn=heed_interrupts,
            timeout=patience_s,
        )
        self._patience_s = patience_s
        self._screen = Emulated(columns, rows, history=HISTORY, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.close(force=True)

    @property
    def rows(self) -> list[str]:
        """The screen's rows, empty ones at its end left out."""
        shown = [row.rstrip() for row in self._screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    @property
    def lines(self) -> list[str]:
        """The same with what has scrolled away."""
        gone = ["".join(line[column].data for column in range(self._screen.columns)) for line in self._history()]
        return [line.rstrip() for line in gone] + self.rows

    @property
    def buffer(self) -> Sequence[Mapping[int, pyte.screens.Char]]:
        """The characters of the rows with their colours."""
        return [self._screen.buffer[number] for number in range(len(self.rows))]

    @property
    def text(self) -> str:
        """The screen's rows in one text, without the times."""
        return "\n".join(without_times(self.rows))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Read until something is to be seen; an end without it is the test's failure."""
        end = time.monotonic() + self._patience_s
        while not condition():
            assert time.monotonic() < end, f"no {what} on\n{self.text}"
            assert self._read() or condition(), f"ended without {what}:\n{self.text}"

    def until_shown(self, text: str) -> None:
        """Read until this is to be seen."""
        self.until(lambda: text in "\n".join(self.rows), repr(text))

    def finish(self) -> int:
        """Read to the end; the exit status, 128 + n for a signal."""
        while self._read():
            pass
        self.child.wait()
        return int(128 + self.child.signalstatus if self.child.signalstatus else self.child.exitstatus)

    def resize(self, columns: int, rows: int) -> None:
        """Another size, as xterm does it: what is too wide is cut off."""
        self.child.setwinsize(rows, columns)
        self._screen.resize(rows, columns)

    @property
    def echoes(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self.child.child_fd)[3] & termios.ECHO)

    @property
    def cursor_is_hidden(self) -> bool:
        """Whether the cursor cannot be seen."""
        return bool(self._screen.cursor.hidden)

    @property
    def cursor_column(self) -> int:
        """Where the cursor is, from 0."""
        return int(self._screen.cursor.x)

    def _history(self) -> list[Mapping[int, pyte.screens.Char]]:
        return list(self._screen.history.top)

    def _read(self) -> bool:
        """Take what is there; False at the end."""
        try:
            piece: bytes = self.child.read_nonblocking(65536, timeout=self._patience_s)
        except pexpect.EOF:
            return False
        self.raw += piece
        self._stream.feed(piece)
        return True


def without_times(lines: Sequence[str]) -> list[str]:
    """The lines with every duration, and the blanks before it, as one mark."""
    return [TIME.sub(r"\1T", line) for line in lines]
