"""Having the disk store what was written."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

AT_ONCE = 16
"""A journal stores what is asked for at the same time in one go: this many files take about as long as one."""


def sync(fds: Sequence[int]) -> None:
    """Return when the disk has these files and directories. Raises OSError.

    Not syncfs(2), which would wait for what everybody else writes to the file system, a VM's disk for instance.
    """
    if len(fds) < 2:
        for fd in fds:
            sync_one(fd)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(sync_one, fds):
            pass


def sync_one(fd: int) -> None:
    """Raises OSError."""
    try:
        os.fsync(fd)
    except OSError as exc:
        # fsync(2): not something that can be stored, as directories are to some network file systems.
        if exc.errno != errno.EINVAL:
            raise
