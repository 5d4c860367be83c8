"""The files of a VM on the host, removed."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from rum.host.errors import HostError
from rum.host.files import disk_errors, make_private_dir, write_atomic
from rum.host.paths import VmPaths

KEPT_MAX = 1 << 20
"""Bytes of the console's end that outlive the VM."""


def keep_console(paths: VmPaths, offset: int) -> None:
    """Put the end of the console's log, of what came after `offset`, beside the copies of the runs, if that works."""
    with contextlib.suppress(OSError, HostError):
        size = paths.console_log.stat().st_size
        with paths.console_log.open("rb") as log:
            log.seek(max(offset if offset <= size else 0, size - KEPT_MAX))
            data = log.read(KEPT_MAX)
        if data:
            make_private_dir(paths.runs)
            write_atomic(paths.last_console, data)


def remove_files(paths: VmPaths) -> bool:
    """Remove all files of a VM but the copies of its runs; returns whether there were any. Raises HostError."""
    found = False
    with disk_errors(f"the removal of {paths.state}"):
        # The state goes first: without it there is no VM, whatever else is still there.
        for path in (paths.state_file, *_entries(paths.state), *_entries(paths.runtime)):
            if path != paths.runs and os.path.lexists(path):
                found = True
                _remove(path)
        for directory in (paths.runtime, paths.state):
            with contextlib.suppress(FileNotFoundError):
                if not _entries(directory):
                    directory.rmdir()
    return found


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
