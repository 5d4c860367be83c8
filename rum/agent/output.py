"""Small writes gathered into frames: the first is passed on at once, what follows within 20 ms with the next ones.

More than a frame takes is split. What is passed on at once is not copied.
"""

from __future__ import annotations

import time
from typing import Callable

from rum.agent.loop import Loop, Timer
from rum.protocol.frames import Kind, Payload
from rum.protocol.limits import COALESCE_S, OUTPUT_CHUNK

Sink = Callable[[Kind, int, Payload], None]
"""Takes a kind, a time in microseconds since the epoch, and at most OUTPUT_CHUNK bytes, which may change afterwards."""


class Gatherer:
    """Keeps the streams apart; a piece carries the time of its first byte."""

    def __init__(self, loop: Loop, sink: Sink) -> None:
        self._loop = loop
        self._sink = sink
        self._pending: dict[Kind, tuple[int, bytearray]] = {}
        self._timer: Timer | None = None
        self._gather_until = 0.0

    def take(self, kind: Kind, data: Payload) -> None:
        """Data of a stream, as it was read: at most OUTPUT_CHUNK bytes."""
        now = self._loop.now
        early = self._gather_until - now
        due = early <= 0 or len(data) == OUTPUT_CHUNK
        if due and not self._pending:
            self._gather_until = now + COALESCE_S
            self._sink(kind, time.time_ns() // 1000, data)
            return
        _, pending = self._pending.setdefault(kind, (time.time_ns() // 1000, bytearray()))
        pending += data
        if due or len(pending) >= OUTPUT_CHUNK:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(early, self.flush)

    def flush(self) -> None:
        """Pass on everything, the stream that began first before the other."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, {}
        self._gather_until = self._loop.now + COALESCE_S
        for kind, (timestamp_us, data) in pending.items():
            for part in split(data):
                self._sink(kind, timestamp_us, part)


def split(data: bytearray) -> list[bytearray]:
    """Pieces that fit a frame each; mostly it is one, which is not copied."""
    if len(data) <= OUTPUT_CHUNK:
        return [data]
    return [data[start : start + OUTPUT_CHUNK] for start in range(0, len(data), OUTPUT_CHUNK)]
