"""What is being written: files, directories and links, each by its name in a directory that is held open.

Nothing below the destination is opened through a symbolic link, whatever the sender says and whoever puts one there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from rum.transfer.new_file import NewFile, remove_stale, replace_by_link, set_mode
from rum.transfer.records import PERMISSIONS, TransferError, failed, shown

NEW_FILE_MODE = 0o644
"""For what comes from standard input, which has no mode of its own."""

FILLED_MODE = 0o700
"""What a directory has beside its own mode while it is being filled, which that may forbid."""

FILLING = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Directory:
    """A directory that is being filled, by its descriptor. `mode` is what it gets, None for one that was there."""

    def __init__(self, fd: int, path: bytes, mode: int | None = None) -> None:
        self.fd = fd
        self.path = path
        self.size = 0
        self._mode = mode
        if mode is None:
            remove_stale(fd)
        else:
            # Already now: a copy that is killed must not leave what only its owner can look into.
            self._set_mode(mode | FILLED_MODE)

    def publish(self) -> None:
        """Give it its mode, now that what is in it has come. Raises OSError."""
        if self._mode is not None:
            self._set_mode(self._mode)

    def _set_mode(self, mode: int) -> None:
        inherited = stat.S_IMODE(os.fstat(self.fd).st_mode) & ~PERMISSIONS
        set_mode(self.fd, mode | inherited)

    def discard(self) -> None:
        """Close it; may be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_directory(path: bytes) -> Directory:
    """A directory that the user has named, links followed. Raises TransferError."""
    try:
        return Directory(os.open(path, FILLING), path)
    except OSError as exc:
        raise failed(path, exc) from exc


def enter(parent: Directory, name: bytes, mode: int) -> Directory:
    """The directory of that name, made where it is not there. Raises TransferError."""
    path = os.path.join(parent.path, name)
    try:
        made = make_directory(parent.fd, name)
        return Directory(os.open(name, FILLING | os.O_NOFOLLOW, dir_fd=parent.fd), path, mode if made else None)
    except OSError as exc:
        if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise failed(path, exc) from exc
    if is_link(parent.fd, name):
        text = f"{shown(path)} is a symbolic link, and the copy of a directory would go through it"
        raise TransferError(text, path_is_wrong=True)
    text = f"{shown(path)} is there and no directory, so no directory can take its place"
    raise TransferError(text, path_is_wrong=True)


def make_directory(dir_fd: int, name: bytes) -> bool:
    """Whether it was not there before. Raises OSError."""
    try:
        os.mkdir(name, FILLED_MODE, dir_fd=dir_fd)
    except FileExistsError:
        return False
    return True


def is_link(dir_fd: int, name: bytes) -> bool:
    """Whether there is a symbolic link."""
    old = look(dir_fd, name)
    return old is not None and stat.S_ISLNK(old.st_mode)


def look(dir_fd: int, name: bytes) -> os.stat_result | None:
    """What has the name, None for nothing. Raises OSError."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def find_replaced(directory: Directory, name: bytes) -> os.stat_result | None:
    """The file whose place is to be taken; None for a link or nothing. Raises TransferError, OSError."""
    old = look(directory.fd, name)
    if old is None or stat.S_ISLNK(old.st_mode):
        return None
    if stat.S_ISREG(old.st_mode):
        return old
    what = "a directory" if stat.S_ISDIR(old.st_mode) else "there and no file"
    text = f"{shown(os.path.join(directory.path, name))} is {what}, so no file can take its place"
    raise TransferError(text, path_is_wrong=True)


def add_link(directory: Directory, name: bytes, target: bytes) -> None:
    """Make a symbolic link, in the place of a file or link that has the name. Raises TransferError, OSError."""
    try:
        os.symlink(target, name, dir_fd=directory.fd)
    except FileExistsError:
        find_replaced(directory, name)
        replace_by_link(directory.fd, name, target)


class Arriving:
    """A file that is being received for a name in a directory; an old one's owner stays, as with cp(1)."""

    def __init__(self, directory: Directory, name: bytes, mode: int | None) -> None:
        """`mode` None: that of the file that is replaced. Raises TransferError, OSError."""
        self.path = os.path.join(directory.path, name)
        self._name = name
        old = find_replaced(directory, name)
        self._owner = None if old is None else (old.st_uid, old.st_gid)
        old_mode = NEW_FILE_MODE if old is None else stat.S_IMODE(old.st_mode) & PERMISSIONS
        self._mode = old_mode if mode is None else mode
        self._new = NewFile(directory.fd)
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def fd(self) -> int:
        """The file's descriptor."""
        return self._new.fd

    def write(self, piece: bytes) -> None:
        """Append to it. Raises OSError."""
        self._new.write(piece)
        self._digest.update(piece)
        self.size += len(piece)

    def restart(self) -> None:
        """Drop what has come. Raises OSError."""
        self._new.restart()
        self._digest = hashlib.sha256()
        self.size = 0

    def finish(self, size: int, sha256: str) -> None:
        """All of it has come. Raises TransferError where that is not what was sent, OSError."""
        if (size, sha256) != (self.size, self._digest.hexdigest()):
            raise TransferError(f"{shown(self.path)}: what arrived is not what was sent, so nothing was replaced")
        self._new.finish(self._mode, self._owner)

    def publish(self) -> None:
        """Take its place. Raises OSError."""
        self._new.publish(self._name)

    def discard(self) -> None:
        """Drop it, unless it has taken its place; may be called again."""
        self._new.discard()
