"""The marks in front of lines: for terminals that have them, and for those that have ASCII."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TextIO


@dataclass(frozen=True)
class Glyphs:
    """One mark each, of one column. `spinner` is a turn of it, `more` ends a line that was cut."""

    done: str
    failed: str
    skipped: str
    note: str
    stdout: str
    stderr: str
    filled: str
    empty: str
    more: str
    spinner: str


UNICODE = Glyphs("✓", "✗", "-", "•", "│", "┃", "━", "─", "…", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
ASCII = Glyphs("+", "x", "-", "*", "|", "!", "#", ".", ">", "|/-\\")

TURN_S = 1.0


def glyphs_for(out: TextIO) -> Glyphs:
    """What a terminal can show: its encoding has to have it, and the fonts of the Linux console have little."""
    if os.environ.get("TERM") == "linux":
        return ASCII
    try:
        "".join(getattr(UNICODE, field.name) for field in fields(Glyphs)).encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def spun(glyphs: Glyphs, seconds: float) -> str:
    """The spinner after so many seconds."""
    turn = glyphs.spinner
    return turn[int(seconds / TURN_S * len(turn)) % len(turn)]
