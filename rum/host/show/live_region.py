"""The lines at the end of a terminal that are drawn again and again, under those that stay.

Not rich.live, which takes for granted that nothing but itself moves what it has drawn: a terminal is resized under it,
and Ctrl+Z puts a shell's prompt there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

# ECMA-48 and DEC's private modes: what every terminal has that moves its cursor.
ERASE_LINE = "\x1b[2K"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
WRAP_OFF, WRAP_ON = "\x1b[?7l", "\x1b[?7h"


class Drawn(NamedTuple):
    """A line with its colours, and the columns that it takes."""

    text: str
    width: int


class LiveRegion:
    """Makes the text that turns what was drawn last into what is to be seen now.

    `reflows`: whether the terminal breaks lines anew when it becomes narrower. The cursor rests behind the last line,
    and is hidden while there is one.
    """

    def __init__(self, *, reflows: bool) -> None:
        self._reflows = reflows
        self._lines: tuple[Drawn, ...] = ()
        self._columns = 0

    def redrawn(self, above: Sequence[str], lines: Sequence[Drawn], size: os.terminal_size) -> str:
        """Put lines that stay, of any width, above the region, and these lines, none wider than `size`, into it."""
        before, now = self._lines, tuple(lines)
        resized = size.columns != self._columns
        rows = self._rows_on(size)
        self._lines, self._columns = now, size.columns
        if not above and not resized and len(before) == len(now):
            return to_top(rows) + overwritten(before, now) if before != now else ""
        if not (above or before or now):
            return ""
        cursor = SHOW_CURSOR if before and not now else HIDE_CURSOR if now and not before else ""
        return cursor + erased(rows) + "".join(f"{line}\n" for line in above) + overwritten((), now)

    def _rows_on(self, size: os.terminal_size) -> int:
        """How many rows of the screen the region takes by now."""
        broken = self._reflows and size.columns < self._columns
        rows = sum(max(1, -(-line.width // size.columns)) if broken else 1 for line in self._lines)
        return min(rows, size.lines)


def to_top(rows: int) -> str:
    """From the last of so many rows to the start of the first."""
    return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "")


def erased(rows: int) -> str:
    """So many rows, the last of which the cursor is in, become empty; the cursor is at their start.

    One by one: what erases a whole screen at once makes tmux keep a copy of it in its history.
    """
    return to_top(rows) + "\n".join([ERASE_LINE] * rows) + to_top(rows)


def overwritten(before: Sequence[Drawn], now: Sequence[Drawn]) -> str:
    """The lines from the cursor on; those that have not changed are passed over. Nothing wraps, whatever its width."""
    same = [index < len(before) and before[index] == line for index, line in enumerate(now)]
    parts = ["" if same[index] else ERASE_LINE + line.text for index, line in enumerate(now)]
    return WRAP_OFF + "\n".join(parts) + WRAP_ON if now else ""
