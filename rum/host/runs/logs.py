"""`rum logs`: a run's output, from the guest while it runs, else from the host's copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from rum.host.channel.client import AgentError
from rum.host.channel.guest import Guest
from rum.host.channel.reach import short_deadline
from rum.host.channel.wire import result_from_json
from rum.host.errors import ConfigError, GuestError
from rum.host.events import Emit, Event, Notice, RunEvent
from rum.host.interrupts import FirstInterrupt
from rum.host.outcome import Outcome, how_it_ended
from rum.host.runs.records import message_of
from rum.host.runs.runreader import RunReader
from rum.host.runs.runview import RunView
from rum.host.runs.spool import Spool
from rum.protocol import OUTPUT_KINDS, ErrorCode, Frame, LogEvent, Message, split_output


@dataclass(frozen=True)
class FoundRun:
    """A run to show: its frames so far, and the view that reads on where it goes on in the guest."""

    frames: Callable[[], Iterator[Frame]]
    view: RunView | None = None

    def ends(self) -> tuple[Message, Message | None]:
        """The `run_started` and the result, None where there is none yet."""
        started: Message = {}
        last: Message = {}
        for message in filter(None, map(message_of, self.frames())):
            started, last = started or message, message
        return started, last if last.get("type") == "result" else None


class RunFinder:
    """Finds runs in the guest and among the host's copies; what the guest has is fetched into the spool."""

    def __init__(self, reader: RunReader, spool: Spool) -> None:
        self._reader = reader
        self._copies = reader.copies
        self._spool = spool

    def find(self, run_id: str | None, *, ask_agent: bool) -> FoundRun | None:
        """The run, the latest one where no id is given; None where there is none. Raises GuestError."""
        if run_id and self._copies.has(run_id):
            return self._stored(run_id)
        if ask_agent:
            return self._in_guest(run_id)
        newest = self._copies.ids()[-1:] if run_id is None else []
        return self._stored(newest[0]) if newest else None

    def _stored(self, run_id: str) -> FoundRun:
        return FoundRun(lambda: self._copies.frames(run_id))

    def _in_guest(self, run_id: str | None) -> FoundRun | None:
        try:
            wanted = run_id or self._reader.latest().run_id
            return self._stored(wanted) if self._copies.has(wanted) else self._fetched(wanted)
        except AgentError as exc:
            if exc.agent_code != ErrorCode.NOT_FOUND.value:
                raise
            return None

    def _fetched(self, run_id: str) -> FoundRun:
        view = RunView(self._reader.emit, self._spool, quiet=True, run_id=run_id)
        self._reader.attach(view, follow=False)
        return FoundRun(self._spool.frames, view)


def logs(guest: Guest, emit: Emit, *, run_id: str | None, script: str | None, follow: bool) -> Outcome:
    """Show a run, the latest by default. Raises ConfigError for an unknown run or script, GuestError."""
    reader = RunReader(guest, emit, FirstInterrupt(), short_deadline)
    with closing(reader), Spool(reader.copies) as spool:
        found = find_anywhere(reader, spool, run_id)
        if found is None and run_id:
            raise ConfigError(f"there is no run {run_id}", hint="leave --run out for the latest run")
        if found is None:
            return Outcome(f"VM {guest.name} has no run yet")
        show(reader, found, only_script(emit, script), script, follow=follow)
    return Outcome("")


def show(reader: RunReader, found: FoundRun, emit: Emit, script: str | None, *, follow: bool) -> None:
    """Emit a header, the frames that are here, and what follows if that is wanted and the run goes on."""
    started, result = found.ends()
    check_script(started, script)
    emit(Notice(header(started, result)))
    replay(found.frames(), emit)
    if follow and result is None and found.view is not None:
        found.view.show_to(emit)
        reader.attach(found.view)


def find_anywhere(reader: RunReader, spool: Spool, run_id: str | None) -> FoundRun | None:
    """The run from wherever it can be had; a guest that does not answer is no reason to hide the host's copies."""
    finder = RunFinder(reader, spool)
    try:
        return finder.find(run_id, ask_agent=reader.guest.is_running())
    except GuestError as exc:
        stored = finder.find(run_id, ask_agent=False)
        if stored is None:
            raise
        reader.emit(Notice(f"{exc}; this is the host's latest copy", warning=True))
        return stored


def last_run(guest: Guest, *, ask_agent: bool) -> Message | None:
    """The latest run in short, for `status`. What is only looked at is not stored: `up` still shows it as new."""
    reader = RunReader(guest, ignore, FirstInterrupt(), short_deadline)
    with closing(reader), Spool() as spool:
        try:
            found = RunFinder(reader, spool).find(None, ask_agent=ask_agent)
        except GuestError:
            return None
        return in_short(*found.ends()) if found else None


def in_short(started: Message, result: Message | None) -> Message:
    """A run's `last_run` in `status`."""
    summary = {key: started.get(key) for key in ("run_id", "trigger", "boot_id", "first_boot", "scripts")}
    rest = {key: value for key, value in (result or {"success": None}).items() if key != "type"}
    return {**summary, **rest, "running": result is None}


def ignore(event: Event) -> None:
    """Takes events that nobody wants to see."""


def replay(frames: Iterator[Frame], emit: Emit) -> None:
    """Emit the frames of a run as the events that they were."""
    script = ""
    for frame in frames:
        if message := message_of(frame):
            script = str(message.get("name")) if message["type"] == "script_started" else script
            emit(RunEvent(message))
        elif frame.kind in OUTPUT_KINDS:
            timestamp_us, data = split_output(frame.payload)
            emit(LogEvent(script, OUTPUT_KINDS[frame.kind], timestamp_us, data))


def only_script(emit: Emit, wanted: str | None) -> Emit:
    """Passes on what belongs to one script, everything where none is wanted."""

    def passed_on(event: Event) -> None:
        if wanted is None or script_of(event) in (None, wanted):
            emit(event)

    return passed_on


def script_of(event: Event) -> str | None:
    """The script that an event belongs to, None for those of the whole run."""
    if isinstance(event, LogEvent):
        return event.script
    name = event.message.get("name") if isinstance(event, RunEvent) else None
    return name if isinstance(name, str) else None


def check_script(started: Message, script: str | None) -> None:
    """Raises ConfigError where the run has no such script."""
    names = [str(name) for name in started.get("scripts") or []]
    if script is not None and script not in names:
        raise ConfigError(
            f"run {started.get('run_id')} has no script '{script}'",
            hint=f"it has: {', '.join(names) or 'none'}",
        )


def header(started: Message, result: Message | None) -> str:
    """The line above a run's output."""
    names = ", ".join(str(name) for name in started.get("scripts") or [])
    first = ", first boot" if started.get("first_boot") else ""
    about = f"trigger {started.get('trigger')}, boot {str(started.get('boot_id'))[:8]}{first}"
    return f"run {started.get('run_id')} ({about}): {names or 'no scripts'}: {verdict(result)}"


def verdict(message: Message | None) -> str:
    """A result in a few words."""
    if message is None:
        return "going on"
    result = result_from_json(message)
    if result.interrupted or result.cancelled:
        return "interrupted" if result.interrupted else "cancelled"
    return "passed" if result.success else f"'{result.failed_script}' {how_it_ended(result)}"
