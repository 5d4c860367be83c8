"""What a command shows while it works and when it ends. The only place that writes to standard output and error."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TextIO

from rum.host.errors import ConfigError, RumError
from rum.host.events import ConsoleLine, Event, GuestBoot, Notice, Phase, Progress, RunEvent
from rum.host.outcome import Copied, Outcome, seconds
from rum.host.show.capability import same_terminal, size_of
from rum.host.show.meter import Meter
from rum.host.show.plain_run import PlainRun
from rum.host.show.table import folded
from rum.host.show.timings import Timings
from rum.host.text import clean
from rum.protocol import LogEvent

PROGRESS_EVERY_S = 15.0
"""A log does not need every megabyte, and whoever reads it live wants to see that something moves."""


class Verbosity(IntEnum):
    """How much is shown."""

    QUIET = -1
    """Only the outcome."""
    NORMAL = 0
    VERBOSE = 1
    """The guest's console, too."""


@dataclass(frozen=True)
class Ending:
    """How a command ended: well or not, with which status, and what is said about it."""

    command: str
    text: str
    exit: int
    code: str = ""
    hint: str | None = None
    problems: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    copied: Copied | None = None

    @classmethod
    def of_outcome(cls, command: str, outcome: Outcome) -> Ending:
        """The end of a command that came to one."""
        return cls(command, outcome.text, outcome.exit, outcome.code, outcome.hint, (), outcome.tail, outcome.copied)

    @classmethod
    def of_error(cls, command: str, error: RumError, status: int | None = None) -> Ending:
        """The end of a command by an error, with its own exit status unless another one is given."""
        problems = error.problems if isinstance(error, ConfigError) else ()
        status = error.exit_code if status is None else status
        return cls(command, str(error), status, error.code, error.hint, problems, error.tail)


class Renderer(Protocol):
    """Shows one command."""

    def emit(self, event: Event) -> None:
        """Show what goes on."""

    def show(self, fields: Mapping[str, object], lines: Sequence[str], /) -> None:
        """Show what a command was asked for: as an object, or as lines."""

    def end(self, ending: Ending) -> None:
        """Show how the command ended. Called once, except after `show`."""

    def close(self) -> None:
        """Nothing more is shown; what was changed of the terminal is as it was. May be called again."""


class PlainRenderer:
    """Lines for people and logs: progress on standard output, warnings and errors on standard error. No colours.

    Whatever a line holds, it is cleaned where it is written: names and numbers come from the guest, too. `timed`: with
    -v the command ends with where its time went. `prose`: what is shown is for people alone; a terminal gets it broken
    between words.
    """

    def __init__(
        self, out: TextIO, err: TextIO, verbosity: Verbosity, *, timed: bool = False, prose: bool = False
    ) -> None:
        self._out = out
        self._err = err
        self._verbosity = verbosity
        self._run = PlainRun(self._line)
        self._prose = prose
        self._timings = Timings() if timed and verbosity is Verbosity.VERBOSE else None
        self._meters: dict[str, Meter] = {}
        self._measured = 0.0

    def emit(self, event: Event) -> None:
        """Show what goes on."""
        if self._verbosity is Verbosity.QUIET:
            return
        if self._timings:
            self._timings.take(event)
        if isinstance(event, RunEvent):
            self._run.message(event.message)
        elif isinstance(event, LogEvent):
            self._run.output(event)
        elif not isinstance(event, GuestBoot):
            self._show_other(event)

    def _show_other(self, event: Phase | Notice | Progress | ConsoleLine) -> None:
        if isinstance(event, Phase):
            self._phase(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Notice):
            self._notice(event)
        elif self._verbosity is Verbosity.VERBOSE:
            self._line(f"console  {event.text}")

    def show(self, _fields: Mapping[str, object], lines: Sequence[str]) -> None:
        """Print the lines."""
        columns = size_of(self._out).columns if self._prose and self._out.isatty() else None
        for line in lines:
            for part in folded(line, columns) if columns else [line]:
                self._line(part)

    def end(self, ending: Ending) -> None:
        """The outcome: on standard output where it is good, else on standard error, its last lines."""
        self._run.flush()
        for line in self._timings.lines() if self._timings else ():
            self._line(line)
        if not ending.code:
            if ending.text:
                self._line(ending.text)
            return
        self._error(f"rum: {ending.text}")
        for problem in ending.problems:
            self._error(f"  {problem}")
        for line in self._tail(ending):
            self._error(f"  | {line}")
        if ending.hint:
            self._error(f"rum: {ending.hint}")

    def close(self) -> None:
        """Every line is out already."""

    def _tail(self, ending: Ending) -> tuple[str, ...]:
        """A failed script's last output, unless it stands right above, on the same terminal."""
        already_shown = self._verbosity is not Verbosity.QUIET and same_terminal(self._out, self._err)
        return () if already_shown and ending.code == "script-failed" else ending.tail

    def _phase(self, phase: Phase) -> None:
        if phase.status == "started":
            if self._verbosity is Verbosity.VERBOSE:
                self._line(f"{phase.name:<8} ...")
            return
        took = "" if phase.duration_ms is None else f" ({seconds(phase.duration_ms)})"
        status = phase.status if phase.status != "done" or not phase.detail else ""
        self._line(f"{phase.name:<8} {' '.join(part for part in (status, phase.detail) if part)}{took}")

    def _notice(self, notice: Notice) -> None:
        if notice.warning:
            self._error(f"rum: warning: {notice.text}")
        else:
            self._line(notice.text)

    def _progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.name not in self._meters:
            self._meters = {progress.name: Meter()}
            self._measured = now
        self._meters[progress.name].take(progress, now)
        if now - self._measured >= PROGRESS_EVERY_S:
            self._measured = now
            self._line(f"{progress.name}: {self._meters[progress.name].text()}")

    def _line(self, text: str) -> None:
        self._out.write(clean(text) + "\n")
        self._out.flush()

    def _error(self, text: str) -> None:
        self._out.flush()
        self._err.write(clean(text) + "\n")
        self._err.flush()


class QuietErrors:
    """For `exec` and its like, whose standard output is not ours: only warnings and the end by an error are shown."""

    def __init__(self, err: TextIO, verbosity: Verbosity) -> None:
        self._plain = PlainRenderer(err, err, verbosity)
        self._verbosity = verbosity

    def emit(self, event: Event) -> None:
        """Show warnings; with -v everything."""
        if self._verbosity is Verbosity.VERBOSE or (isinstance(event, Notice) and event.warning):
            self._plain.emit(event)

    def show(self, fields: Mapping[str, object], lines: Sequence[str]) -> None:
        """Show the lines on standard error."""
        self._plain.show(fields, lines)

    def end(self, ending: Ending) -> None:
        """Show an error, or what else there is to be said."""
        self._plain.end(ending)

    def close(self) -> None:
        """Every line is out already."""
