"""Everything that was written, on the disk: what a script has done must outlast the note that it has done it."""

from __future__ import annotations

import os
import subprocess
from typing import Callable, Optional

from rum.agent.loop import READ, Loop
from rum.protocol.limits import SYNC_MAX_S

COMMAND = ["sync"]

Done = Callable[[Optional[str]], None]
"""Called at the end, with what went wrong if something did."""


class DiskSync:
    """sync(1), beside the loop: it may take long, and nobody is to wait for it who does not have to."""

    def __init__(self, loop: Loop, done: Done) -> None:
        """Start. Raises OSError."""
        self._done: Done | None = done
        self._child = subprocess.Popen(
            COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._pidfd = os.pidfd_open(self._child.pid)
        self._watch = loop.watch(self._pidfd, lambda _events: self._ended())
        self._watch.want(READ)
        self._deadline = loop.call_later(SYNC_MAX_S, self._give_up)

    def _ended(self) -> None:
        status = self._child.wait()
        self._deadline.cancel()
        self._watch.want(0)
        os.close(self._pidfd)
        self._report(None if status == 0 else f"sync ended with {status}")

    def _give_up(self) -> None:
        # It takes a KILL only once the disk is no longer stuck; it is waited for whenever that is.
        self._child.kill()
        self._report(f"the disks took longer than {SYNC_MAX_S:.0f} s")

    def _report(self, failure: str | None) -> None:
        done, self._done = self._done, None
        if done:
            done(failure)
