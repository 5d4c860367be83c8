"""How far a transfer is, how fast it goes and how long it will take."""

from __future__ import annotations

import collections

from rum.host.events import Progress
from rum.host.sizes import show_size

WINDOW_S = 10.0
"""The rate is that of the last seconds: a download's first minute says nothing about its fifth."""


class Meter:
    """One transfer, told of its progress together with the time in seconds."""

    def __init__(self) -> None:
        self._seen: collections.deque[tuple[float, int]] = collections.deque()
        self._progress = Progress("", 0, None)

    def take(self, progress: Progress, now: float) -> None:
        """Note how far it is."""
        if self._seen and progress.done < self._seen[-1][1]:
            # It has begun again.
            self._seen.clear()
        self._progress = progress
        self._seen.append((now, progress.done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()

    def share(self) -> float | None:
        """How much of it is done, from 0 to 1; None where nobody knows."""
        done, total = self._progress.done, self._progress.total
        return min(1.0, done / total) if total else None

    def text(self) -> str:
        """As people read it: "310 MiB of 413 MiB (75 %), 21 MiB/s, 5 s left", without what is not known yet."""
        done, total = self._progress.done, self._progress.total
        share = f" of {show_size(total)} ({100 * done // total} %)" if total else ""
        rate = self._rate()
        speed = f", {show_size(round(rate))}/s" if rate else ""
        left = f", {time_left((total - done) / rate)} left" if rate and total and done < total else ""
        return f"{show_size(done)}{share}{speed}{left}"

    def _rate(self) -> float:
        """Bytes per second, 0 where it cannot be told."""
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - since) if now > since else 0.0


def time_left(seconds: float) -> str:
    """A time that is only guessed.

    >>> time_left(0.2), time_left(59), time_left(135), time_left(7300)
    ('1 s', '59 s', '2 min 15 s', '2 h 1 min')
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
