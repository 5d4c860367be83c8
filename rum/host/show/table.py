"""Tables of text: aligned columns, no lines, no colours; fit for people and for `awk`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rum.host.text import clean

GAP = "  "


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line per row, each column as wide as its widest cell. Cells are cleaned: they may come from a guest.

    >>> aligned([("NAME", "STATE"), ("demo", "running"), ("a-long-name", "")])
    ['NAME         STATE', 'demo         running', 'a-long-name']
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    return [GAP.join(map(padded, row, widths)).rstrip() for row in cells]


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
