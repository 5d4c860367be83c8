"""Where a run can be had: in the guest, and among the host's copies, which outlive it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rum.host.channel.checked import RUN_ID
from rum.host.channel.client import AgentError
from rum.host.errors import ConfigError, GuestError, HostError
from rum.host.events import Notice
from rum.host.runs.guest_runs import runs_in_guest
from rum.host.runs.records import message_of
from rum.host.runs.runreader import RunReader
from rum.host.runs.runview import RunView
from rum.host.runs.spool import Spool
from rum.protocol import ErrorCode, Frame, Message
from rum.protocol.summary import RunSummary

_T = TypeVar("_T")

ALIKE_SHOWN = 5


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


@dataclass(frozen=True)
class ListedRun:
    """A run in short, and where there is a whole record of it."""

    summary: RunSummary
    in_guest: bool
    on_host: bool


class RunFinder:
    """Finds runs in the guest, unless that is not to be asked, and among the host's copies.

    What only the guest has is fetched into the spool. Methods raise GuestError.
    """

    def __init__(self, reader: RunReader, spool: Spool, *, ask_agent: bool) -> None:
        self._reader = reader
        self._copies = reader.copies
        self._spool = spool
        self._ask_agent = ask_agent

    def latest(self) -> FoundRun | None:
        """The latest run."""
        if not self._ask_agent:
            newest = self._copies.newest()
            return self._stored(newest) if newest else None
        try:
            return self.exactly(self._reader.latest().run_id)
        except AgentError as exc:
            if exc.agent_code != ErrorCode.NOT_FOUND.value:
                raise
            return None

    def named(self, run_id: str) -> FoundRun | None:
        """The run with this id, or the one whose id begins like this. Raises ConfigError where several do."""
        return self.exactly(run_id) or self._beginning(run_id)

    def failed(self) -> FoundRun | None:
        """The latest run that did not pass."""
        failed = [run.summary.run_id for run in self.listed() if run.summary.success is False]
        return self.exactly(failed[-1]) if failed else None

    def listed(self) -> list[ListedRun]:
        """Every run, the latest last: those that only the host has are the older ones."""
        in_guest = runs_in_guest(self._reader) if self._ask_agent else []
        known = {run.run_id for run in in_guest}
        kept = [ListedRun(run, False, True) for run in self._copies.summaries() if run.run_id not in known]
        return kept + [ListedRun(run, True, self._copies.has(run.run_id)) for run in in_guest]

    def exactly(self, run_id: str) -> FoundRun | None:
        """The run with this id."""
        if self._copies.has(run_id):
            return self._stored(run_id)
        if not (self._ask_agent and RUN_ID.fullmatch(run_id)):
            return None
        try:
            return self._fetched(run_id)
        except AgentError as exc:
            if exc.agent_code != ErrorCode.NOT_FOUND.value:
                raise
            return None

    def _beginning(self, prefix: str) -> FoundRun | None:
        found = [run.summary.run_id for run in self.listed() if run.summary.run_id.startswith(prefix)]
        if len(found) > 1:
            more = f" and {len(found) - ALIKE_SHOWN} more" if len(found) > ALIKE_SHOWN else ""
            raise ConfigError(
                f"several runs begin with {prefix}: {', '.join(found[:ALIKE_SHOWN])}{more}", hint="say more of the id"
            )
        return self.exactly(found[0]) if found else None

    def _stored(self, run_id: str) -> FoundRun:
        return FoundRun(lambda: self._copies.frames(run_id))

    def _fetched(self, run_id: str) -> FoundRun:
        view = RunView(self._reader.emit, self._spool, quiet=True, run_id=run_id)
        self._reader.attach(view, follow=False)
        return FoundRun(self._spool.frames, view)


def find_anywhere(reader: RunReader, spool: Spool, find: Callable[[RunFinder], _T]) -> _T:
    """What `find` finds; a guest or a host that does not answer is no reason to hide the host's copies.

    Raises GuestError and HostError where there is nothing among the copies either.
    """
    try:
        return find(RunFinder(reader, spool, ask_agent=reader.guest.is_running()))
    except (GuestError, HostError) as exc:
        found = find(RunFinder(reader, spool, ask_agent=False))
        if not found:
            raise
        reader.emit(Notice(f"{exc}; what follows is from the host's copies", warning=True))
        return found
