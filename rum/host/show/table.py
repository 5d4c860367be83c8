"""Tables of text: aligned columns, no lines, no colours; fit for people and for `awk`."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence

from rum.host.text import clean

GAP = "  "

LAST_COLUMN = re.compile(r".* {2,}(?=\S)")
"""All of a line up to its last column: columns are two blanks apart, words are one."""


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line per row, each column as wide as its widest cell. Cells are cleaned: they may come from a guest.

    >>> aligned([("NAME", "STATE"), ("demo", "running"), ("a-long-name", "")])
    ['NAME         STATE', 'demo         running', 'a-long-name']
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    return [GAP.join(map(padded, row, widths)).rstrip() for row in cells]


def folded(line: str, columns: int) -> list[str]:
    """A line that is wider than its terminal, broken between words, what follows below the start of its last column.

    >>> folded("ok  system  Debian GNU/Linux 12", 24)
    ['ok  system  Debian', '            GNU/Linux 12']
    """
    indent = LAST_COLUMN.match(line)
    width = len(indent[0]) if indent and len(indent[0]) <= columns // 2 else 0
    if display_width(line) <= columns:
        return [line]
    first, rest = line[:width], line[width:]
    lines = textwrap.wrap(rest, max(1, columns - width), break_long_words=False, break_on_hyphens=False)
    return [first + lines[0], *(" " * width + more for more in lines[1:])] if lines else [line]


def padded(cell: str, width: int) -> str:
    """The cell, filled up to a width in columns of the terminal."""
    return cell + " " * (width - display_width(cell))


def display_width(text: str) -> int:
    """The columns that a terminal takes for a text (Unicode Standard Annex 11).

    >>> display_width("disk"), display_width("\\u78c1\\u76d8"), display_width("e\\u0301")
    (4, 4, 1)
    """
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
