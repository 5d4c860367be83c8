"""The `runs` method: every run that is kept, in short, now and whenever one has begun or ended."""

from __future__ import annotations

from typing import Callable

from rum.agent.connection import Connection
from rum.agent.loop import Loop, Timer
from rum.agent.recovery import run_ids
from rum.agent.settings import Settings
from rum.protocol.messages import Message
from rum.protocol.summary import RunSummary

RETRY_S = 1.0
"""A client that has not read the last list is sent another one later: lists must not pile up for it."""


class RunIndex:
    """What was found at the start and what has run since: no walk over 64 MiB of a record for each client."""

    def __init__(self, settings: Settings, found: dict[str, RunSummary]) -> None:
        self._settings = settings
        self._summaries = found
        self._watchers: list[Callable[[], None]] = []

    def add(self, summary: RunSummary) -> None:
        """A run that begins; its summary is kept up to date by whoever writes its record. Pruned ones are forgotten."""
        kept = run_ids(self._settings)
        self._summaries = {run_id: found for run_id, found in self._summaries.items() if run_id in kept}
        self._summaries[summary.run_id] = summary

    def changed(self) -> None:
        """A run has begun or ended: tell those who watch."""
        for callback in list(self._watchers):
            callback()

    def message(self) -> Message:
        """The `runs` event: oldest first."""
        return {"type": "runs", "runs": [vars(self._summaries[run_id]) for run_id in sorted(self._summaries)]}

    def watch(self, callback: Callable[[], None]) -> None:
        """Call back whenever a run has begun or ended."""
        self._watchers.append(callback)

    def unwatch(self, callback: Callable[[], None]) -> bool:
        """Stop calling back; whether that was still done."""
        watched = callback in self._watchers
        if watched:
            self._watchers.remove(callback)
        return watched


class RunFollower:
    """Sends the list now and whenever it has changed."""

    holds_up = False

    def __init__(self, loop: Loop, index: RunIndex, connection: Connection) -> None:
        self._loop = loop
        self._index = index
        self._connection = connection
        self._timer: Timer | None = None
        self.on_end: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Send the list, and go on for as long as the client is there."""
        self._index.watch(self._send)
        self._send()

    def client_gone(self) -> None:
        """Nobody is left to tell."""
        if self._index.unwatch(self._send):
            if self._timer:
                self._timer.cancel()
            self._connection.close()
            self.on_end()

    def _send(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._connection.backlog:
            self._timer = self._loop.call_later(RETRY_S, self._send)
        else:
            self._connection.event(self._index.message())
