"""What the terminal can do, asked without a library: most commands only want to know that it is none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

CANNOT = ("", "dumb", "unknown")
"""Values of TERM for what prints characters and nothing else (term(7))."""

REFLOWING = (
    *("TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "ALACRITTY_WINDOW_ID", "WEZTERM_PANE", "KONSOLE_VERSION"),
    *("WT_SESSION", "TERM_PROGRAM"),
)
"""Set by terminals that break lines anew when they become narrower; xterm and the Linux console cut them off."""


def can_draw(out: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what was printed on a stream can be drawn again: it is a terminal, and one that moves its cursor."""
    return out.isatty() and environ.get("TERM", "") not in CANNOT


def reflows(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal breaks its lines anew when its width changes."""
    return any(environ.get(name) for name in REFLOWING)


def size_of(out: TextIO) -> os.terminal_size:
    """The terminal's size; that of a VT100 where it does not know its own, as on a serial line."""
    try:
        size = os.get_terminal_size(out.fileno())
    except OSError:
        size = os.terminal_size((0, 0))
    return os.terminal_size((size.columns or 80, size.lines or 24))


def same_terminal(one: TextIO, other: TextIO) -> bool:
    """Whether both are one terminal, so that what one shows stands right above what the other shows."""
    try:
        return os.isatty(one.fileno()) and os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
    except OSError:
        return False
