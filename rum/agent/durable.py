"""Every write that must survive a power cut goes through here.

A file is whole or absent: written under a temporary name, synced, renamed, and the directory synced after it. A sync
that failed is not tried again on the same file: its pages count as clean by then, so the data would silently be lost.
"""

from __future__ import annotations

import contextlib
import os

TEMPORARY = ".tmp-"


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file by one with this content and mode. Raises OSError; the old file is then still there."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, TEMPORARY + name)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(fd, mode)
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_dir(directory)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def make_dirs(path: str, mode: int = 0o700) -> None:
    """Make the directory and those above it, each one synced into its parent. Raises OSError."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_dirs(parent, 0o755)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
        sync_dir(parent)


def remove(path: str) -> None:
    """Remove the file for good; an absent one is fine. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_dir(os.path.dirname(path))


def sync_dir(path: str) -> None:
    """Make the names in the directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
