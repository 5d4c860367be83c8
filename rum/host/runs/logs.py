"""`rum logs`: a run's output, from the guest while it runs, else from the host's copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from rum.host.channel.guest import Guest
from rum.host.channel.reach import short_deadline
from rum.host.deadlines import Check, no_check
from rum.host.errors import ConfigError, GuestError, HostError
from rum.host.events import Emit, Event, Notice, RunEvent
from rum.host.interrupts import FirstInterrupt
from rum.host.outcome import Outcome
from rum.host.runs.finder import FoundRun, ListedRun, RunFinder, find_anywhere
from rum.host.runs.records import message_of
from rum.host.runs.runreader import GlanceReader, RunReader
from rum.host.runs.spool import Spool
from rum.host.runs.verdicts import header
from rum.protocol import OUTPUT_KINDS, Frame, LogEvent, Message, split_output


@dataclass(frozen=True)
class Wanted:
    """What to show: a run, the latest by default, or with `failed` the latest that did not pass; of it one script."""

    run_id: str | None = None
    script: str | None = None
    failed: bool = False

    def find(self, finder: RunFinder) -> FoundRun | None:
        """The run. Raises GuestError, ConfigError for an ambiguous id."""
        if self.run_id is not None:
            return finder.named(self.run_id)
        return finder.failed() if self.failed else finder.latest()


def logs(guest: Guest, emit: Emit, wanted: Wanted, *, follow: bool = False, check: Check = no_check) -> Outcome:
    """Show a run, with `follow` to its end. Raises ConfigError for an unknown run or script, GuestError, HostError.

    `check` is called every half a second.
    """
    reader = RunReader(guest, emit, FirstInterrupt(), short_deadline, check)
    with closing(reader), Spool(reader.copies) as spool:
        found = find_anywhere(reader, spool, wanted.find)
        if found is None:
            return nothing_found(guest, wanted)
        started, result = found.ends()
        script = wanted.script
        if wanted.failed and result:
            if result.get("success"):
                return Outcome(f"run {started.get('run_id')} has passed")
            script = result.get("failed_script")
        check_script(started, script)
        emit(Notice(header(started, result)))
        shown = only_script(emit, script)
        replay(found.frames(), shown)
        if found.view is None or result is not None:
            return Outcome("")
        if not follow:
            return Outcome(f"run {started.get('run_id')} goes on; `rum logs --follow` shows what is to come")
        found.view.show_to(shown)
        reader.attach(found.view)
    return Outcome("")


def nothing_found(guest: Guest, wanted: Wanted) -> Outcome:
    """What is said where there is no such run. Raises ConfigError where one was named."""
    if wanted.run_id is not None:
        raise ConfigError(f"there is no run {wanted.run_id}", hint="`rum logs --list` shows which there are")
    return Outcome(f"no run of VM {guest.name} has failed" if wanted.failed else f"VM {guest.name} has no run yet")


def list_runs(guest: Guest, emit: Emit) -> list[ListedRun]:
    """Every run of the guest and of the host's copies, the latest last. Raises GuestError, HostError."""
    reader = RunReader(guest, emit, FirstInterrupt(), short_deadline)
    with closing(reader), Spool() as spool:
        return find_anywhere(reader, spool, RunFinder.listed)


def last_run(guest: Guest, agent: Mapping[str, object] | None) -> Message | None:
    """The latest run in short, for `status`; `agent`: what the agent says of itself, None where it is not to be asked.

    What is only looked at is not stored: `up` still shows it as new.
    """
    reader = GlanceReader(guest, ignore, FirstInterrupt())
    with closing(reader), Spool() as spool:
        try:
            if agent and agent.get("run"):
                # Its record may be large already.
                return in_short(reader.latest().started, None)
            found = RunFinder(reader, spool, ask_agent=agent is not None).latest()
        except (GuestError, HostError):
            # Neither an agent that is lost nor a disk that is full keeps `status` from telling the rest.
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
