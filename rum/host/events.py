"""What the host's work reports while it goes on: the closed set between those who do and those who show.

Nothing below the command line prints; it calls `Emit` with one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rum.protocol import LogEvent


@dataclass(frozen=True)
class Phase:
    """A phase of a command: `status` is "started", "done", "skipped" or "failed"; the duration is set at its end."""

    name: str
    status: str
    duration_ms: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Notice:
    """A sentence that the user should see: what was chosen, what is slower, what to do next.

    `passing`: a sign of life, worth nothing once what it waits for is there.
    """

    text: str
    warning: bool = False
    passing: bool = False


@dataclass(frozen=True)
class Progress:
    """How many bytes of something have arrived by now, told as often as it grows; `total` None where nobody knows."""

    name: str
    done: int
    total: int | None


@dataclass(frozen=True)
class ConsoleLine:
    """A line of the guest's serial console."""

    text: str


@dataclass(frozen=True)
class Stage:
    """A part of a guest's boot, in milliseconds from its kernel's start; a moment where `took_ms` is None."""

    name: str
    start_ms: int
    took_ms: int | None


@dataclass(frozen=True)
class GuestBoot:
    """Where a guest's boot went by its own figures: its stages in their order, cloud-init's slowest modules first."""

    stages: tuple[Stage, ...]
    modules: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class RunEvent:
    """A run event or run result as the agent sent it (docs/protocol.md); `replayed`: from before this command."""

    message: Mapping[str, object]
    replayed: bool = False


Event = Phase | Notice | Progress | ConsoleLine | GuestBoot | RunEvent | LogEvent
Emit = Callable[[Event], None]
