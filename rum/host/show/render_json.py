"""`-o json`: one JSON object per line on standard output, nothing else; errors are told on standard error as well."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from rum.host.channel.checked import RUN_EVENTS
from rum.host.channel.wire import output_to_json
from rum.host.events import ConsoleLine, Event, GuestBoot, Notice, Phase, Progress, RunEvent
from rum.host.json_lines import SCHEMA_VERSION
from rum.host.json_lines.events import BootModule, BootStage, Done, Error
from rum.host.json_lines.events import GuestBoot as GuestBootFields
from rum.host.show.render import Ending, PlainRenderer, Verbosity
from rum.host.text import clean
from rum.protocol import LogEvent

PROGRESS_EVERY_S = 1.0


class JsonRenderer:
    """Run events as the agent sent them, output as text, phases and notices, and last `done`."""

    def __init__(self, out: TextIO, err: TextIO, verbosity: Verbosity) -> None:
        self._out = out
        self._errors = PlainRenderer(err, err, Verbosity.QUIET)
        self._verbosity = verbosity
        self._decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}
        self._last: dict[tuple[str, str], LogEvent] = {}
        self._progress_at: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        """Print what goes on; with -q nothing."""
        if self._verbosity is Verbosity.QUIET:
            return
        if isinstance(event, LogEvent):
            self._output(event)
            return
        if isinstance(event, RunEvent):
            # What the protocol does not know could be anything, a `done` for instance.
            if event.message.get("type") not in RUN_EVENTS:
                return
            self._finish_output()
        if isinstance(event, Progress) and not self._is_due(event):
            return
        if self._verbosity is Verbosity.VERBOSE or not isinstance(event, ConsoleLine):
            self._print(event_fields(event))

    def show(self, fields: Mapping[str, object], _lines: Sequence[str]) -> None:
        """Print the object."""
        self._print(fields)

    def end(self, ending: Ending) -> None:
        """Print `done`, and an error also for people."""
        self._finish_output()
        self._print(done_fields(ending))
        if ending.code:
            self._errors.end(ending)

    def _is_due(self, progress: Progress) -> bool:
        """Whether it is the first or the last of its kind, or the latest that was printed is old enough."""
        now, latest = time.monotonic(), self._progress_at.get(progress.name)
        due = latest is None or now - latest >= PROGRESS_EVERY_S or progress.done == progress.total
        if due:
            self._progress_at = {progress.name: now}
        return due

    def close(self) -> None:
        """Every line is out already."""

    def _output(self, event: LogEvent, *, final: bool = False) -> None:
        key = (event.script, event.stream)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = self._decoders[key] = codecs.getincrementaldecoder("utf-8")("replace")
        self._last[key] = event
        text = decoder.decode(event.data, final)
        if text:
            self._print(output_to_json(event, text))

    def _finish_output(self) -> None:
        """Print what is left of a character that was never completed."""
        for event in list(self._last.values()):
            self._output(LogEvent(event.script, event.stream, event.timestamp_us, b""), final=True)
        self._decoders.clear()
        self._last.clear()

    def _print(self, fields: Mapping[str, object]) -> None:
        self._out.write(json.dumps(fields) + "\n")
        self._out.flush()


def guest_boot_fields(boot: GuestBoot) -> GuestBootFields:
    """The figures of a boot."""
    stages: list[BootStage] = [
        {"name": stage.name, "start_ms": stage.start_ms, "took_ms": stage.took_ms} for stage in boot.stages
    ]
    modules: list[BootModule] = [{"name": name, "took_ms": took} for name, took in boot.modules]
    return {"type": "guest_boot", "stages": stages, "modules": modules}


def done_fields(ending: Ending) -> Done:
    """The last line."""
    done: Done = {
        "type": "done",
        "schema": SCHEMA_VERSION,
        "command": ending.command,
        "ok": ending.exit == 0,
        "exit": ending.exit,
    }
    if ending.copied:
        done["files"], done["bytes"] = ending.copied
    if ending.code:
        done["error"] = error_fields(ending)
    return done


def error_fields(ending: Ending) -> Error:
    """The error in it."""
    message = "\n".join((ending.text, *ending.problems))
    error: Error = {"code": ending.code, "message": message, "hint": ending.hint}
    if ending.problems:
        error["problems"] = list(ending.problems)
    if ending.tail:
        error["tail"] = list(map(clean, ending.tail))
    return error


def event_fields(event: Phase | Notice | Progress | ConsoleLine | GuestBoot | RunEvent) -> Mapping[str, object]:
    """The JSON object of an event."""
    if isinstance(event, RunEvent):
        return {**event.message, "replayed": True} if event.replayed else event.message
    if isinstance(event, Notice):
        return {"type": "notice", "text": event.text, "warning": event.warning}
    if isinstance(event, Progress):
        return {"type": "progress", "name": event.name, "done": event.done, "total": event.total}
    if isinstance(event, ConsoleLine):
        return {"type": "console", "text": event.text}
    if isinstance(event, GuestBoot):
        return guest_boot_fields(event)
    phase: dict[str, object] = {"type": "phase", "name": event.name, "status": event.status}
    phase["duration_ms"] = event.duration_ms
    return {**phase, "detail": event.detail} if event.detail else phase
