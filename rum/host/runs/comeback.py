"""Whether a VM that is off stays off, for commands that follow one across `rum reboot`."""

from __future__ import annotations

from rum.host.channel.guest import Guest
from rum.host.channel.reach import boot_deadline
from rum.host.deadlines import Check, pause
from rum.host.store import is_locked

LOOK_EVERY_S = 0.25
IDLE_LOOKS = 4
"""Looks in a row at a VM that neither runs nor is worked on, until it counts as shut down."""


def comes_back(guest: Guest, check: Check) -> bool:
    """Whether a VM that does not run is started again by the rum that works on it: `rum reboot`, for one."""
    deadline = boot_deadline(guest)
    idle = 0
    while idle < IDLE_LOOKS and not deadline.expired:
        check()
        if guest.is_running():
            return True
        idle = 0 if is_locked(guest.paths.lock) else idle + 1
        pause(LOOK_EVERY_S, deadline)
    return False
