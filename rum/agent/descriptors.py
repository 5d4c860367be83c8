"""How many descriptors may be open: as many as possible in the agent, as usual in what it starts.

Two are open for each process that a script has left in the background, and a service begins with 1024. What it starts
gets those back, because select(2) fails beyond them.
"""

from __future__ import annotations

import contextlib
import resource

INHERITED = resource.getrlimit(resource.RLIMIT_NOFILE)

SPARE = 16
"""What starting a process opens for a moment, and some more."""


def is_crowded(newest: int) -> bool:
    """Whether too many are open to open more within the usual limit: one just opened is the lowest that was free."""
    return newest + SPARE > INHERITED[0]


def raise_limit() -> None:
    """Allow this process what it may allow itself."""
    _, hard = INHERITED
    set_limit((hard, hard))


def restore_limit() -> None:
    """What the agent itself was started with."""
    set_limit(INHERITED)


def set_limit(soft_and_hard: tuple[int, int]) -> None:
    """Leave it as it is where it may not be set: one above /proc/sys/fs/nr_open, as a container may have it."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, soft_and_hard)
