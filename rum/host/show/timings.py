"""Where the time of a command went, and of the boot of a guest."""

from __future__ import annotations

import time

from rum.host.events import Event, GuestBoot, Phase, RunEvent
from rum.host.outcome import seconds
from rum.host.show.table import aligned

WORTH_A_ROW_MS = 1000
"""What is in no phase gets a row of its own only if it is more than that."""


class Timings:
    """Adds up phases, waits and scripts as they end, in the order in which they did."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._rows: list[tuple[str, int]] = []
        self._waiting: tuple[str, float] | None = None
        self._guest_boot: GuestBoot | None = None

    def take(self, event: Event) -> None:
        """Note what it says of time."""
        if isinstance(event, Phase) and event.duration_ms is not None:
            self._rows.append((event.name, event.duration_ms))
        elif isinstance(event, GuestBoot):
            self._guest_boot = event
        elif isinstance(event, RunEvent) and not event.replayed:
            self._end_wait()
            self._take_run(event)

    def _take_run(self, event: RunEvent) -> None:
        message = event.message
        duration = message.get("duration_ms")
        if message.get("type") == "waiting":
            self._waiting = (f"wait for {message.get('for')}", time.monotonic())
        elif message.get("type") == "script_exited" and isinstance(duration, int):
            self._rows.append((f"script {message.get('name')}", duration))

    def _end_wait(self) -> None:
        if self._waiting:
            what, since = self._waiting
            self._rows.append((what, round((time.monotonic() - since) * 1000)))
            self._waiting = None

    def lines(self) -> list[str]:
        """A table with a total, nothing where there was nothing to measure."""
        if not self._rows:
            return []
        total = max(1, round((time.monotonic() - self._begun) * 1000))
        rest = total - sum(took for _, took in self._rows)
        rows = [*self._rows, *([("the rest", rest)] if rest >= WORTH_A_ROW_MS else [])]
        times = [seconds(took) for _, took in rows] + [seconds(total)]
        shares = [f"{100 * took // total} %" for _, took in rows] + [""]
        names = [name for name, _ in rows] + ["total"]
        table = aligned(list(zip(names, right(times), right(shares), strict=True)))
        return [*table, *(boot_lines(self._guest_boot) if self._guest_boot else [])]


def boot_lines(boot: GuestBoot) -> list[str]:
    """A table of when each stage of a guest's boot began and what it took, and a line on cloud-init's modules."""
    stages = boot.stages
    starts = ["at", *(seconds(stage.start_ms) for stage in stages)]
    times = ["took", *("" if stage.took_ms is None else seconds(stage.took_ms) for stage in stages)]
    names = ["in the guest", *(stage.name for stage in stages)]
    table = aligned(list(zip(names, right(starts), right(times), strict=True)))
    slow = ", ".join(f"{name} {seconds(took)}" for name, took in boot.modules)
    return [*table, *([f"cloud-init's slowest: {slow}"] if slow else [])]


def right(cells: list[str]) -> list[str]:
    """The cells, flush right."""
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]
