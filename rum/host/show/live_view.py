"""What a terminal shows of a command that works: finished things as one line each, and what goes on under them."""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable, Mapping, Sequence

from rich.text import Text

from rum.host.events import ConsoleLine, Event, GuestBoot, Notice, Phase, Progress, RunEvent
from rum.host.outcome import how_it_ended
from rum.host.show.activity import LINE_WIDTH, WINDOW_LINES, Activity, output_line, row
from rum.host.show.glyphs import Glyphs
from rum.host.show.ink import Ink, inert
from rum.host.show.live_region import Drawn
from rum.host.show.meter import Meter
from rum.host.show.plain_run import WAITS, left_out, script_ending, warning_text
from rum.host.text import LineAssembler
from rum.protocol import LogEvent

WORTH_A_LINE_S = 1.0
"""A wait that was shorter leaves no line behind."""


class LiveView:
    """Takes events; knows the lines above, which stay, and the lines at work. `all_output`: what is printed stays."""

    def __init__(self, ink: Ink, glyphs: Glyphs, *, all_output: bool) -> None:
        self._ink = ink
        self._glyphs = glyphs
        self._all_output = all_output
        self._open: list[Activity] = []
        self._above: collections.deque[Callable[[int], str]] = collections.deque()
        self._prefixes: dict[tuple[str, str], str] = {}
        self._clock_offset_s: float | None = None

    def backlog(self) -> int:
        """How many lines wait to be shown above."""
        return len(self._above)

    def take_above(self, size: os.terminal_size) -> Sequence[str]:
        """The lines that stay and have not been shown yet."""
        taken = [line(size.columns) for line in self._above]
        self._above.clear()
        return taken

    def lines(self, size: os.terminal_size) -> Sequence[Drawn]:
        """What goes on, the latest that has begun."""
        if not self._open:
            return ()
        room = max(0, size.lines - 2 - 1)
        rows = self._open[-1].rows(self._glyphs, time.monotonic(), size.columns, room)
        return [self._ink.cut(line, min(size.columns, LINE_WIDTH)) for line in rows]

    @property
    def is_at_work(self) -> bool:
        """Whether something goes on."""
        return bool(self._open)

    def say(self, text: Text) -> None:
        """A sentence that stays."""
        self._above.append(lambda columns: self._ink.folded(text, columns))

    def take(self, event: Event) -> None:
        """Show what goes on."""
        if isinstance(event, Phase):
            self._phase(event)
        elif isinstance(event, RunEvent):
            self._run_event(event)
        elif isinstance(event, LogEvent):
            self._output(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif not isinstance(event, GuestBoot):
            self._remark(event)

    def leave_open(self) -> None:
        """The command ends: what still goes on has no end that could be told."""
        for activity in self._open:
            if activity.key.startswith(("phase ", "script ")):
                self._flush(activity)
                self._finished(activity, Text(self._glyphs.skipped, "yellow"), activity.detail, None)
        self._open.clear()

    def _phase(self, phase: Phase) -> None:
        key = f"phase {phase.name}"
        if phase.status == "started":
            self._begin(key, phase.name, "")
            return
        activity = self._end(key) or Activity(key, phase.name, "", time.monotonic())
        if phase.status == "skipped":
            self._finished(activity, Text(self._glyphs.skipped, "dim"), "as it was", None)
            return
        failed = phase.status == "failed"
        mark = Text(self._glyphs.failed, "bold red") if failed else Text(self._glyphs.done, "green")
        took = None if phase.duration_ms is None else phase.duration_ms / 1000
        self._finished(activity, mark, phase.detail or ("failed" if failed else ""), took)

    def _progress(self, progress: Progress) -> None:
        if not self._open:
            self._begin(f"transfer {progress.name}", progress.name, "")
        activity = self._open[-1]
        activity.meter = activity.meter or Meter()
        activity.detail = activity.detail or progress.name if activity.name != progress.name else ""
        activity.meter.take(progress, time.monotonic())
        if progress.done == progress.total:
            activity.meter = None
            self._end(f"transfer {progress.name}")

    def _remark(self, event: Notice | ConsoleLine) -> None:
        if isinstance(event, ConsoleLine):
            self._console(event.text)
        elif event.warning:
            self.say(Text.assemble(("warning: ", "bold yellow"), inert(event.text)))
        elif event.passing and self._open:
            self._open[-1].status = event.text
        else:
            self.say(Text.assemble((self._glyphs.note, "cyan"), " ", inert(event.text)))

    def _console(self, text: str) -> None:
        if self._all_output:
            line = Text.assemble(("console ", "dim"), (self._glyphs.stdout, "dim"), " ", inert(text, "dim"))
            self._above.append(as_it_is(self._ink.whole(line)))
        elif self._open:
            self._open[-1].window.append(output_line(self._glyphs, "console", text))

    def _run_event(self, event: RunEvent) -> None:
        message = event.message
        kind = str(message.get("type"))
        if kind not in ("warning", "truncated", "script_exited"):
            self._end_wait()
        if kind == "run_started":
            self._run_started(message)
        elif kind == "waiting":
            target = str(message.get("for"))
            self._begin("wait", "wait", f"for {WAITS.get(target, target)}")
        elif kind == "script_started":
            self._script_started(message, replayed=event.replayed)
        elif kind == "script_exited":
            self._script_exited(message)
        elif kind == "warning":
            self._remark(Notice(warning_text(message), warning=True))
        elif kind == "truncated":
            self._remark(Notice(left_out(message)))

    def _run_started(self, message: Mapping[str, object]) -> None:
        skipped = message.get("skipped")
        if isinstance(skipped, list) and skipped:
            names = ", ".join(str(name) for name in skipped)
            self.say(Text.assemble((self._glyphs.skipped, "dim"), " ", inert(f"not needed: {names}", "dim")))

    def _script_started(self, message: Mapping[str, object], *, replayed: bool) -> None:
        # One after the other: a guest that says otherwise must not make the list grow.
        self._open = [activity for activity in self._open if not activity.key.startswith("script ")]
        name = str(message.get("name"))
        label = f"[{message.get('index')}/{message.get('total')}] {name}"
        self._begin(f"script {name}", label, f"{message.get('run_on')} script")
        began = message.get("timestamp_us")
        self._clock_offset_s = time.monotonic() - began / 1e6 if replayed and isinstance(began, int) else None

    def _script_exited(self, message: Mapping[str, object]) -> None:
        activity = self._end(f"script {message.get('name')}")
        if activity is None:
            return
        self._flush(activity)
        ending = script_ending(message)
        duration = message.get("duration_ms")
        took = duration / 1000 if isinstance(duration, int) else None
        if ending.success and not ending.timed_out:
            self._finished(activity, Text(self._glyphs.done, "green"), "", took)
        else:
            self._finished(activity, Text(self._glyphs.failed, "bold red"), how_it_ended(ending), took)

    def _output(self, event: LogEvent) -> None:
        activity = next((one for one in reversed(self._open) if one.key == f"script {event.script}"), None)
        if activity is None:
            activity = self._begin(f"script {event.script}", event.script, "")
        self._keep_time(activity, event)
        lines = activity.assemblers.setdefault(event.stream, LineAssembler()).feed(event.data)
        self._printed(activity, event.stream, lines)

    def _keep_time(self, activity: Activity, event: LogEvent) -> None:
        """What is replayed was printed as late in its script as the guest's clock says."""
        if self._clock_offset_s is not None:
            elapsed_s = self._clock_offset_s + event.timestamp_us / 1e6 - time.monotonic()
            activity.started = min(activity.started, time.monotonic() - max(0.0, elapsed_s))

    def _printed(self, activity: Activity, stream: str, lines: Sequence[str]) -> None:
        if self._all_output:
            prefix = self._prefix(activity.key.partition(" ")[2], stream)
            self._above.extend(as_it_is(prefix + line) for line in lines)
        else:
            activity.window.extend(output_line(self._glyphs, stream, line) for line in lines[-WINDOW_LINES:])

    def _prefix(self, name: str, stream: str) -> str:
        """What a line of output begins with: made once, a script may print millions of lines."""
        if (name, stream) not in self._prefixes:
            begin = Text.assemble(inert(name, "dim"), output_line(self._glyphs, stream, "")[1:])
            self._prefixes = {(name, stream): self._ink.whole(begin)}
        return self._prefixes[name, stream]

    def _flush(self, activity: Activity) -> None:
        for stream, lines in activity.assemblers.items():
            self._printed(activity, stream, lines.feed(b"", final=True))

    def _begin(self, key: str, name: str, detail: str) -> Activity:
        self._open.append(Activity(key, name, detail, time.monotonic()))
        return self._open[-1]

    def _end(self, key: str) -> Activity | None:
        found = next((activity for activity in self._open if activity.key == key), None)
        if found:
            self._open.remove(found)
        return found

    def _end_wait(self) -> None:
        activity = self._end("wait")
        if activity and time.monotonic() - activity.started >= WORTH_A_LINE_S:
            took = time.monotonic() - activity.started
            self._finished(activity, Text(self._glyphs.done, "green"), activity.detail, took)

    def _finished(self, activity: Activity, mark: Text, detail: str, took: float | None) -> None:
        self._above.append(lambda columns: self._ink.whole(row(mark, activity.name, detail, took, columns)))


def as_it_is(line: str) -> Callable[[int], str]:
    """A line that is the same in every width."""
    return lambda _columns: line
