"""Styled text as what a terminal takes. Nothing in a text is markup: it may come from a guest."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console
from rich.text import Text

from rum.host.show.live_region import Drawn
from rum.host.text import clean

INDENT = 2
"""The mark of a line and a blank."""

COLUMNS_MIN = 20
"""Narrower than that nothing is broken between words."""

LINE_MAX = 1000
"""Characters of a line that are looked at: more than any terminal shows in one row."""


def inert(text: str, style: str = "") -> Text:
    """Text from wherever, cleaned."""
    return Text(clean(text), style)


class Ink:
    """Colours as the terminal has them, none with NO_COLOR; `more` marks where a line was cut."""

    def __init__(self, out: TextIO, more: str) -> None:
        self._more = more
        self._console = Console(
            file=out,
            force_terminal=True,
            color_system=None if not colours() else "standard",
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
            # Nothing is fitted into it, and $COLUMNS may say anything, 0 included.
            width=LINE_MAX,
        )

    def whole(self, text: Text) -> str:
        """A line that stays: as long as it is, the terminal breaks it."""
        # Its parts are clean already; what was forgotten costs the line its colours.
        safe = text if clean(text.plain) == text.plain else inert(text.plain)
        with self._console.capture() as capture:
            self._console.print(safe, soft_wrap=True, end="")
        return capture.get()

    def folded(self, text: Text, columns: int) -> str:
        """A sentence that stays, broken between words where it is wider; what follows is below its first word."""
        lines = text.wrap(self._console, max(COLUMNS_MIN, columns - INDENT))
        for line in lines:
            line.rstrip()
        return f"\n{' ' * INDENT}".join(self.whole(line) for line in lines)

    def cut(self, text: Text, columns: int) -> Drawn:
        """A line that is drawn again and again: it must not be wider than the terminal."""
        line = text[:LINE_MAX]
        line.expand_tabs(8)
        if line.cell_len > columns:
            line.truncate(max(0, columns - 1), overflow="crop")
            line.append(self._more)
        return Drawn(self.whole(line), line.cell_len)


def colours() -> bool:
    """Whether there are to be colours (https://no-color.org); bold and dim are none."""
    return not os.environ.get("NO_COLOR")
