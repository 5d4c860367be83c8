"""Lines that are drawn again and again, on an emulated terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.host.show.live_region import Drawn, LiveRegion


class Played:
    """A region and the terminal that it is drawn on."""

    def __init__(self, columns: int = 20, rows: int = 10, *, reflows: bool = False) -> None:
        self._region = LiveRegion(reflows=reflows)
        self._written: list[str] = []
        self._show(columns, rows)

    def _show(self, columns: int, rows: int) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        # As a tty does it (termios(3), ONLCR).
        self.screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self.screen)

    def draw(self, *lines: str, above: Sequence[str] = ()) -> str:
        size = os.terminal_size((self.screen.columns, self.screen.lines))
        text = self._region.redrawn(above, [Drawn(line, len(line)) for line in lines], size)
        self._stream.feed(text)
        return text

    def reflow(self, columns: int) -> None:
        """Another width, as VTE and tmux do it: what is too wide goes on in the next row, the cursor with it."""
        shown = self.shown
        self._show(columns, self.screen.lines)
        self._stream.feed("\n".join(shown))

    @property
    def shown(self) -> list[str]:
        gone = ["".join(line[x].data for x in range(self.screen.columns)) for line in self.screen.history.top]
        rows = [line.rstrip() for line in (*gone, *self.screen.display)]
        while rows and not rows[-1]:
            rows.pop()
        return rows


def test_the_region_follows_the_lines_that_stay() -> None:
    played = Played()
    played.draw("one", "two")
    played.draw("one", "2", above=["done"])
    assert played.shown == ["done", "one", "2"]
    played.draw("last")
    assert played.shown == ["done", "last"]
    hidden = [bool(played.screen.cursor.hidden)]
    played.draw(above=["the end"])
    assert played.shown == ["done", "the end"]
    assert [*hidden, bool(played.screen.cursor.hidden)] == [True, False]
    assert (played.screen.cursor.x, played.screen.cursor.y) == (0, 2)


def test_what_has_not_changed_is_not_written_again() -> None:
    played = Played()
    played.draw("spins", "stays")
    assert played.draw("spins", "stays") == ""
    assert "stays" not in played.draw("turns", "stays")
    assert played.shown == ["turns", "stays"]


def test_lines_that_stay_may_be_wider_than_the_terminal() -> None:
    played = Played(columns=10)
    played.draw("live")
    played.draw("live", above=["x" * 25])
    assert played.shown == ["x" * 10, "x" * 10, "x" * 5, "live"]


def test_a_full_row_does_not_wrap() -> None:
    played = Played(columns=10)
    for _ in range(3):
        played.draw("a" * 10, "b" * 10)
        played.draw("c" * 10, "d" * 10)
    assert played.shown == ["c" * 10, "d" * 10]


def test_what_is_wider_than_it_says_does_not_move_the_rest() -> None:
    played = Played(columns=10)
    size = os.terminal_size((10, 10))
    for text in ("a" * 30, "b" * 30):
        played._stream.feed(played._region.redrawn((), [Drawn(text, 5), Drawn("end", 3)], size))
    assert played.shown == ["b" * 10, "end"]


@pytest.mark.parametrize("columns", [7, 12, 19, 20, 30])
def test_a_terminal_that_breaks_lines_anew(columns: int) -> None:
    played = Played(columns=20, reflows=True)
    played.draw("x" * 20, "short", "y" * 13, above=["kept"])
    played.reflow(columns)
    played.draw("now")
    assert played.shown == ["kept", "now"]


@pytest.mark.parametrize("columns", [7, 19, 30])
def test_a_terminal_that_cuts_lines_off(columns: int) -> None:
    played = Played(columns=20)
    played.draw("x" * 20, "short", "y" * 13, above=["kept"])
    played.screen.resize(10, columns)
    played.draw("now")
    assert played.shown == ["kept", "now"]


def test_a_terminal_that_becomes_lower_loses_no_line_that_stays() -> None:
    played = Played(columns=20, rows=10)
    played.draw(*"abcdef", above=["one", "two"])
    size = os.terminal_size((20, 3))
    text = played._region.redrawn((), [Drawn("now", 3)], size)
    assert "\x1b[2A" in text


LINES = st.lists(st.text(alphabet="abc ", max_size=20).map(str.rstrip), max_size=5)


@given(st.lists(st.tuples(LINES.map(lambda lines: [line or "-" for line in lines]), LINES), max_size=8))
def test_whatever_is_drawn_what_stays_is_there_once_and_in_order(frames: list[tuple[list[str], list[str]]]) -> None:
    played = Played(columns=20, rows=10)
    kept: list[str] = []
    for above, lines in frames:
        played.draw(*lines, above=above)
        kept += above
        shown = played.shown
        live = shown[len(kept) :]
        assert shown[: len(kept)] == kept
        assert live == (lines[: len(live)] if not any(lines[len(live) :]) else None)
    played.draw()
    assert played.shown == kept
