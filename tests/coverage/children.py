"""A plugin of coverage.py: what an agent's child does between fork(2) and execve(2) is counted, too."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable

import coverage
from coverage.plugin_support import Plugins


def coverage_init(_plugins: Plugins, _options: dict[str, object]) -> None:
    """Called by coverage.py in each process that it measures."""
    start = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def start_and_count(
        self: object, args: object, program: object, enter: Callable[[], None] | None, *more: object
    ) -> None:
        start(self, args, program, enter and counted(enter), *more)

    subprocess.Popen._execute_child = start_and_count  # type: ignore[attr-defined]


def counted(enter: Callable[[], None]) -> Callable[[], None]:
    """The same, and then what has been counted is written: execve(2) forgets it."""

    def enter_and_save() -> None:
        enter()
        measuring = coverage.Coverage.current()
        # Another user, or one whose limits were lowered, may not be able to write it.
        with contextlib.suppress(coverage.CoverageException, OSError):
            if measuring:
                measuring.save()

    return enter_and_save
