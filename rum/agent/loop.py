"""The loop: one thread, level-triggered readiness, timers.

Why one thread: a script, a client and a signal can then never interleave within a step, so no state needs a lock.
Why level-triggered: a callback may read a bounded amount and return; what is left wakes it again, which keeps one
flooding script from starving the rest. A child's end is a readable pidfd, so there is no SIGCHLD handler to race with.
A callback that raises loses what it worked for (its owner closes itself), never the loop.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import sys
import time
from typing import Callable

LOOK_EVERY_S = 5.0
"""With timers the loop wakes at least so often: only a sleep that lasts longer than it should shows a standstill."""

LATE_S = 5.0
"""A loop that wakes so late has stood still with its machine: the host was suspended, or has stopped the VM. A guest's
clocks go on meanwhile, or jump, but nothing in it has had anything of that time, so it counts for no limit."""

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

Callback = Callable[[], None]

SWEEP_AT = 500
"""Timers in the heap before the cancelled ones are looked for: most are cancelled, some hours before they are due."""


class Timer:
    """A callback that is due once; `cancel` may be called at any time, also afterwards."""

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        # It may stay in the heap for a while, what it was for need not.
        self.callback = nothing


def nothing() -> None:
    """What a cancelled timer does."""


class Watch:
    """A file descriptor and what is done when it is ready; `want` is a mask of READ and WRITE, 0 pauses it."""

    def __init__(self, loop: Loop, fd: int, callback: Callable[[int], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._want = 0
        self.callback = callback

    def want(self, events: int) -> None:
        """Watch for these events from now on. Must be 0 before the descriptor is closed."""
        if events == self._want:
            return
        selector = self._loop.selector
        if not self._want:
            selector.register(self._fd, events, self)
        elif not events:
            selector.unregister(self._fd)
        else:
            selector.modify(self._fd, events, self)
        self._want = events


class Loop:
    """Runs callbacks until `stop`. Times are in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._sweep_at = SWEEP_AT
        self._sequence = itertools.count()
        self._running = True
        self.now = time.monotonic()
        """When this round of callbacks began: looking at the clock is dear in an emulated guest."""

    def watch(self, fd: int, callback: Callable[[int], None]) -> Watch:
        """A watch on the descriptor that wants nothing yet; the callback is given the mask of ready events."""
        return Watch(self, fd, callback)

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back once after the delay, in seconds."""
        timer = Timer(time.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, (timer.due, next(self._sequence), timer))
        if len(self._timers) >= self._sweep_at:
            self._sweep()
        return timer

    def stop(self) -> None:
        """Return from `run` after this step."""
        self._running = False

    def run(self) -> None:
        """Run until `stop` is called."""
        worked = self.now = time.monotonic()
        while self._running:
            for key, events in self._ready(worked):
                # An earlier callback of this round may have paused this one or closed its descriptor.
                if key.data._want:
                    guarded(key.data.callback, events & key.data._want or events)
            worked = time.monotonic()
            self._allow_for(worked - self.now)
            self._run_timers(worked)

    def _ready(self, worked: float) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; waits for it until the next timer is due. `worked`: when the last callback returned."""
        timeout = self._next_due(worked)
        ready = self.selector.select(timeout)
        self.now = time.monotonic()
        if timeout is not None:
            self._allow_for(self.now - worked - timeout)
        return ready

    def _allow_for(self, seconds: float) -> None:
        """Have every timer due so much later if that was a standstill. The order, and so the heap, stays."""
        if seconds <= LATE_S:
            return
        for _, _, timer in self._timers:
            timer.due += seconds
        self._timers = [(timer.due, number, timer) for _, number, timer in self._timers]

    def _next_due(self, now: float) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return min(LOOK_EVERY_S, max(0.0, self._timers[0][0] - now)) if self._timers else None

    def _sweep(self) -> None:
        self._timers = [entry for entry in self._timers if not entry[2].cancelled]
        heapq.heapify(self._timers)
        self._sweep_at = max(SWEEP_AT, 2 * len(self._timers))

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                guarded(timer.callback)


def guarded(callback: Callable[..., None], *arguments: object) -> None:
    """Call back; an exception is a bug that is reported in the journal and ends only this callback."""
    try:
        callback(*arguments)
    except Exception:  # noqa: BLE001 - one of the two outermost places
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
