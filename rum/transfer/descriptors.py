"""How many files and directories may be open at once."""

from __future__ import annotations

import contextlib
import resource


def allow_many() -> None:
    """A process begins with 1024, and may have many more: each level of a tree takes one, each forward two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One above /proc/sys/fs/nr_open, as a container may have it.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
