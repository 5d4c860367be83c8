"""`rum up` and its like on a terminal: what is done stays as a line, what goes on moves under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.text import Text

from rum.host.events import Event, Notice
from rum.host.show.capability import reflows, same_terminal, size_of
from rum.host.show.glyphs import glyphs_for
from rum.host.show.ink import Ink, inert
from rum.host.show.live_region import LiveRegion
from rum.host.show.live_view import LiveView
from rum.host.show.painter import Painter
from rum.host.show.render import Ending, PlainRenderer, Verbosity
from rum.host.show.terminal_modes import JobControl
from rum.host.show.timings import Timings


class TerminalRenderer:
    """Draws on standard output, which must be a terminal; what goes wrong is told on standard error.

    Nothing is drawn before something goes on, and nothing moves any more once it has ended: until then the terminal is
    left alone, for a question perhaps.
    """

    def __init__(self, out: TextIO, err: TextIO, verbosity: Verbosity) -> None:
        glyphs = glyphs_for(out)
        self._out = out
        self._plain = PlainRenderer(out, err, verbosity)
        self._errors_here = same_terminal(out, err)
        self._verbose = verbosity is Verbosity.VERBOSE
        self._ink = Ink(out, glyphs.more)
        self._view = LiveView(self._ink, glyphs, all_output=self._verbose)
        self._painter: Painter | None = None
        self._jobs: JobControl | None = None
        self._timings = Timings()

    def emit(self, event: Event) -> None:
        """Show what goes on."""
        self._timings.take(event)
        if isinstance(event, Notice) and event.warning and not self._errors_here:
            self._plain.emit(event)
        elif self._painter:
            self._painter.update(lambda: self._view.take(event))
        else:
            self._view.take(event)
            self._print_above()
            if self._view.is_at_work:
                self._start()

    def show(self, fields: Mapping[str, object], lines: Sequence[str]) -> None:
        """Print the lines."""
        self.close()
        self._plain.show(fields, lines)

    def end(self, ending: Ending) -> None:
        """The outcome, under everything else."""
        self.close()
        if self._verbose:
            for line in self._timings.lines():
                self._print(inert(line, "dim"))
        if not ending.code:
            self._good_end(ending)
        elif self._errors_here:
            self._bad_end(ending)
        else:
            self._plain.end(ending)

    def close(self) -> None:
        """Leave the terminal as it was; may be called again."""
        painter, self._painter = self._painter, None
        if painter:
            painter.update(self._view.leave_open)
            painter.stop()
        if self._jobs:
            self._jobs.end()

    def _start(self) -> None:
        self._painter = Painter(self._view, self._out, LiveRegion(reflows=reflows()))
        self._jobs = JobControl(self._painter.pause, self._painter.resume)
        self._jobs.begin()
        self._painter.start()

    def _good_end(self, ending: Ending) -> None:
        if ending.text:
            self._print(inert(ending.text, "bold green" if ending.hint else ""))
        if ending.hint:
            self._print(inert(ending.hint))

    def _bad_end(self, ending: Ending) -> None:
        prefix = Text("rum: ", "bold red")
        self._print(Text.assemble(prefix, inert(ending.text, "bold")))
        for problem in ending.problems:
            self._print(inert(f"  {problem}"))
        # With -v a script's output stands right above.
        for line in () if self._verbose and ending.code == "script-failed" else ending.tail:
            self._print(Text.assemble("  ", ("| ", "dim"), inert(line)))
        if ending.hint:
            self._print(Text.assemble(prefix, inert(ending.hint)))

    def _print_above(self) -> None:
        for line in self._view.take_above(size_of(self._out)):
            self._write(line)

    def _print(self, text: Text) -> None:
        self._write(self._ink.whole(text))

    def _write(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()
