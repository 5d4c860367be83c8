"""Every write that must survive a power cut goes through here, and nothing else in the agent makes anything durable.

A file is whole or absent: written under a temporary name, synced, renamed, and the directory synced after it. A file
that grows (`open_log`) is as long as its last `sync` at least. A sync that failed is not tried again on the same file:
its pages count as clean by then, so the data would silently be lost.

Every system call is made as `os.NAME` in this module: tests put a recorder in its place, and play a power cut after
each of them.
"""

from __future__ import annotations

import contextlib
import os
import stat

TEMPORARY = ".tmp-"


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file by one with this content and mode.

    Raises OSError: the old file is then still there, or the new one whose name may not survive a power cut.
    """
    new = NewFile(path)
    try:
        new.write(data)
        new.take_place(mode)
    except OSError:
        new.discard()
        raise


class NewFile:
    """A file that takes the place of the one at `path` once it is whole. Every method raises OSError.

    With a `label` it has a temporary name of its own, so that several may be written at once; without one the next one
    writes over what a crash has left.
    """

    def __init__(self, path: str, label: str = "") -> None:
        directory, name = os.path.split(path)
        self._path = path
        self._temporary = os.path.join(directory, TEMPORARY + (label or name))
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_EXCL if label else os.O_TRUNC)
        self._fd: int | None = os.open(self._temporary, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append to it."""
        if self._fd is not None:
            write_all(self._fd, data)

    def take_place(self, mode: int, owner: tuple[int, int] | None = None) -> None:
        """Make it durable and give it its name, this mode and this user and group; it cannot be written any more."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(self._temporary, self._path)
        sync_dir(os.path.dirname(self._path))

    def discard(self) -> None:
        """Drop it unless it has taken its place; may be called again, and never fails."""
        fd, self._fd = self._fd, None
        with contextlib.suppress(OSError):
            if fd is not None:
                os.close(fd)
            os.unlink(self._temporary)


def open_log(path: str, *, new: bool) -> int:
    """A descriptor to read a file from and to append to it: a new one, whose name is durable, or one that is there.

    Raises OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)
    try:
        if new:
            sync_dir(os.path.dirname(path))
    except OSError:
        os.close(fd)
        raise
    return fd


def append(path: str, data: bytes) -> None:
    """Append to a file that is there. Raises OSError: any part of the data may then be there, and may not stay."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        write_all(fd, data)
        sync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync(fd: int) -> None:
    """Make what was written to the file durable. Raises OSError."""
    os.fsync(fd)


def cut(fd: int, size: int) -> None:
    """Make the file so long. Raises OSError."""
    os.ftruncate(fd, size)


def make_dirs(path: str, mode: int = 0o700) -> None:
    """Make the directory and those above it, each one synced into its parent. Raises OSError.

    One that is there is synced too: who made it may have been killed before it could.
    """
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


def remove_dir(path: str) -> None:
    """Remove the directory with everything in it; an absent one is fine. Raises OSError.

    Only its absence is made durable: after a power cut any part of it may be back.
    """
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(path):
            inside = os.path.join(path, entry)
            remove_dir(inside) if stat.S_ISDIR(os.lstat(inside).st_mode) else os.unlink(inside)
        os.rmdir(path)
        sync_dir(os.path.dirname(path))


def sync_dir(path: str) -> None:
    """Make the names in the directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
