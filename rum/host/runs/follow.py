"""`rum logs --follow`: the latest run, then every one that comes, across reboots, until the VM is off."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NoReturn

from rum.host.channel.client import AgentError, LostError
from rum.host.channel.guest import Guest
from rum.host.channel.reach import StoppedError, how_it_is
from rum.host.deadlines import Check
from rum.host.errors import GuestError, HostError
from rum.host.events import Emit, Event, Notice, RunEvent
from rum.host.interrupts import FirstInterrupt
from rum.host.outcome import Outcome, seconds
from rum.host.runs.comeback import comes_back
from rum.host.runs.guest_runs import changes
from rum.host.runs.logs import Wanted, logs, only_script, replay
from rum.host.runs.runreader import FRUITLESS_MAX, ForgottenRunError, RunReader
from rum.host.runs.runview import RunView
from rum.host.runs.verdicts import title, verdict
from rum.protocol import ErrorCode
from rum.protocol.summary import RunSummary


def follow(guest: Guest, emit: Emit, script: str | None, check: Check) -> Outcome:
    """Show runs until the VM is shut down. Raises GuestError where a guest that runs is lost, HostError.

    `check` is called every half a second.
    """
    if not guest.is_running():
        shown = logs(guest, emit, Wanted(script=script))
        return Outcome(shown.text or how_it_is(guest))
    with closing(RunReader(guest, emit, FirstInterrupt(), check=check)) as reader:
        follower = Follower(reader, only_script(emit, script), check)
        while True:
            try:
                follower.run()
            except StoppedError:
                pass
            except (GuestError, HostError):
                if guest.is_running():
                    raise
            if not comes_back(guest, check):
                return Outcome(how_it_is(guest))


class Follower:
    """Shows each run once. A run that has come and gone between two looks is shown as well."""

    def __init__(self, reader: RunReader, emit: Emit, check: Check) -> None:
        self._reader = reader
        self._emit = narrated(emit)
        self._check = check
        self._known: set[str] | None = None

    def run(self) -> NoReturn:
        """For ever; may be called again. Raises GuestError at the guest's end."""
        while True:
            for run in self._next_runs():
                self._show(run.run_id)

    def _next_runs(self) -> Sequence[RunSummary]:
        """The runs after the last one, once there are any; at first the latest one. Raises GuestError."""
        fruitless = 0
        while True:
            try:
                with closing(changes(self._reader, self._check)) as lists:
                    for runs in lists:
                        fruitless = 0
                        first = self._known is None
                        if new := self._new(runs):
                            return new
                        if first:
                            self._emit(Notice(f"VM {self._reader.guest.name} has no run yet; waiting for one"))
            except LostError:
                # The guest reboots, or its agent is replaced: `changes` waits for the next one, or for the VM's end.
                fruitless += 1
                if fruitless > FRUITLESS_MAX:
                    raise

    def _new(self, runs: Sequence[RunSummary]) -> Sequence[RunSummary]:
        """Those that were not there at the last look; of the first one the latest."""
        new = runs[-1:] if self._known is None else [run for run in runs if run.run_id not in self._known]
        self._known = {run.run_id for run in runs} | (self._known or set())
        return new

    def _show(self, run_id: str) -> None:
        if self._reader.copies.has(run_id):
            replay(self._reader.copies.frames(run_id), self._emit)
            return
        try:
            self._reader.attach(RunView(self._emit, self._reader.copies, run_id=run_id))
        except AgentError as exc:
            if exc.agent_code != ErrorCode.NOT_FOUND.value:
                raise
            self._emit(Notice(f"the guest has nothing of run {run_id} any more", warning=True))
        except ForgottenRunError as exc:
            self._emit(Notice(str(exc), warning=True))


def narrated(emit: Emit) -> Emit:
    """Sets runs apart: a line at the start of each, and one that tells how it ended."""
    durations: list[int] = []

    def tell(event: Event) -> None:
        message = event.message if isinstance(event, RunEvent) else {}
        if message.get("type") == "run_started":
            durations.clear()
            emit(Notice(title(dict(message))))
        elif message.get("type") == "script_exited" and isinstance(message.get("duration_ms"), int):
            durations.append(message["duration_ms"])  # type: ignore[arg-type]
        emit(event)
        if message.get("type") == "result":
            took = f" ({seconds(sum(durations))})" if durations else ""
            emit(Notice(f"run {message.get('run_id')}: {verdict(dict(message))}{took}"))

    return tell
