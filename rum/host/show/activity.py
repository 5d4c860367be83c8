"""One thing that goes on: a phase, a wait, a script, a transfer; how long it has, and the last it had to say."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field

from rich.text import Text

from rum.host.outcome import seconds
from rum.host.show.glyphs import Glyphs, spun
from rum.host.show.ink import inert
from rum.host.show.meter import Meter
from rum.host.text import LineAssembler

WINDOW_LINES = 8
"""A handful of output under what goes on, less on a small terminal."""

NAME_WIDTH = 8
"""As wide as the name of a phase, so that what is said about phases lines up."""

LINE_WIDTH = 80
"""What is drawn is no wider, and times line up there: at 200 columns nobody sees what they belong to.

And a terminal that becomes narrower breaks wider lines anew; tmux moves them into its history, where nothing can draw.
"""

BAR_WIDTH = 24


@dataclass
class Activity:
    """What goes on since `started`, a moment of the monotonic clock.

    `status`: a sign of life, shown for as long as nothing is printed.
    """

    key: str
    name: str
    detail: str
    started: float
    status: str = ""
    meter: Meter | None = None
    window: collections.deque[Text] = field(default_factory=lambda: collections.deque(maxlen=WINDOW_LINES))
    assemblers: dict[str, LineAssembler] = field(default_factory=dict)

    def rows(self, glyphs: Glyphs, now: float, columns: int, room: int) -> list[Text]:
        """What is drawn of it, in at most 1 + `room` rows."""
        mark = Text(spun(glyphs, now - self.started), "cyan")
        detail = self.status if self.status and not self.window else self.detail
        head = row(mark, self.name, detail, now - self.started, columns, cut=True)
        below = [*([self._bar(glyphs)] if self.meter else []), *self.window, *self._unfinished(glyphs)]
        return [head, *(below[-room:] if room > 0 else [])]

    def _bar(self, glyphs: Glyphs) -> Text:
        assert self.meter is not None
        share = self.meter.share()
        filled = round(BAR_WIDTH * share) if share is not None else 0
        bar = Text("  ").append(glyphs.filled * filled, "green")
        return bar.append(glyphs.empty * (BAR_WIDTH - filled), "dim").append(f" {self.meter.text()}")

    def _unfinished(self, glyphs: Glyphs) -> list[Text]:
        found = [(stream, lines.unfinished) for stream, lines in self.assemblers.items()]
        return [output_line(glyphs, stream, text) for stream, text in found if text]


def row(mark: Text, name: str, detail: str, took: float | None, columns: int, *, cut: bool = False) -> Text:
    """Mark, name, what is said about it, and flush right the seconds that it took; `cut` keeps it in one row."""
    line = Text.assemble(mark, " ", inert(name, "bold"))
    if detail:
        line.append_text(Text.assemble(" " * max(2, NAME_WIDTH + 1 - len(name)), inert(detail)))
    time = "" if took is None else seconds(max(0.0, took) * 1000)
    room = min(columns, LINE_WIDTH) - len(time)
    if cut and line.cell_len > room - 2:
        line.truncate(max(2, room - 2), overflow="crop")
    return Text.assemble(line, " " * max(2, room - line.cell_len), (time, "dim")) if time else line


def output_line(glyphs: Glyphs, stream: str, text: str) -> Text:
    """A line that something has printed."""
    if stream == "console":
        return Text.assemble("  ", (glyphs.stdout, "dim"), " ", inert(text, "dim"))
    mark = (glyphs.stderr, "yellow") if stream == "stderr" else (glyphs.stdout, "dim")
    return Text.assemble("  ", mark, " ", inert(text))
