"""What a process has started that is not in what holds it.

su(1) and whatever else opens a session has systemd-logind move it, and all that it starts, to a scope of its own
(pam_systemd(8)); without cgroups setsid(2) does the like. It is still a descendant of the process, as long as nobody
between them has ended: so it has to be looked for before anything is stopped.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Collection

from rum.agent.containment import process_stat


class Strays:
    """Processes that are to be stopped, each by a descriptor: its pid may soon be somebody else's."""

    def __init__(self) -> None:
        self._descriptors: dict[int, int] = {}

    def find(self, root: int, inside: Collection[int]) -> None:
        """Add this process and its descendants, as far as they live and are not inside."""
        for pid in {root, *descendants(root)}.difference(inside, self._descriptors):
            # Gone meanwhile; or there are more of them than this process may have descriptors.
            with contextlib.suppress(OSError):
                self._descriptors[pid] = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """Signal all of them."""
        for descriptor in self._descriptors.values():
            # As for what is inside (rum.agent.containment.send_signal).
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, number)

    def kill(self, inside: Collection[int]) -> None:
        """KILL for all that live, and for what they have started since."""
        # What stands still starts nothing more while it is looked for.
        self.signal(signal.SIGSTOP)
        for pid in self.living():
            self.find(pid, inside)
        self.signal(signal.SIGKILL)

    def living(self) -> list[int]:
        """Those that have not ended."""
        poll = select.poll()
        for descriptor in self._descriptors.values():
            poll.register(descriptor, select.POLLIN)
        ended = {descriptor for descriptor, _ in poll.poll(0)}
        return [pid for pid, descriptor in self._descriptors.items() if descriptor not in ended]

    def close(self) -> None:
        """Forget them."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def descendants(root: int) -> list[int]:
    """The process's children, their children, and so on."""
    children: dict[int, list[int]] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            children.setdefault(process_stat(pid).parent, []).append(pid)
    found = [*children.get(root, [])]
    for pid in found:
        found += children.get(pid, [])
    return found
