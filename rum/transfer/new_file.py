"""A file that has no name until it is whole, so that whatever ends the process leaves nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

TEMPORARY = b".rum-cp-"
"""What temporary names begin with. They are as long for every file: a name may have 255 bytes."""

NO_UNNAMED_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
"""open(2): what file systems without O_TMPFILE say, and kernels that do not know it."""

UNNAMED = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
LOOKING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NewFile:
    """Owns a descriptor of a file in an open directory. Every method but `discard` raises OSError."""

    def __init__(self, dir_fd: int) -> None:
        self._dir_fd = os.dup(dir_fd)
        self._temporary: bytes | None = None
        try:
            self.fd = self._open()
        except OSError:
            os.close(self._dir_fd)
            raise
        # Who finds a temporary name that nobody has locked may remove it; without locks nobody finds out.
        with contextlib.suppress(OSError):
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _open(self) -> int:
        if os.path.isdir("/proc/self/fd"):
            try:
                return os.open(b".", UNNAMED, 0o600, dir_fd=self._dir_fd)
            except OSError as exc:
                if exc.errno not in NO_UNNAMED_FILES:
                    raise
        self._temporary = temporary_name()
        return os.open(self._temporary, NAMED, 0o600, dir_fd=self._dir_fd)

    def write(self, data: bytes) -> None:
        """Append to it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]

    def restart(self) -> None:
        """Drop what was written."""
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)

    def finish(self, mode: int, owner: tuple[int, int] | None) -> None:
        """Give it its mode, where the file system has such, and its user and group, as far as this user may."""
        if owner is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(self.fd, *owner)
        set_mode(self.fd, mode)

    def publish(self, name: bytes) -> None:
        """Take the name, and the place of what has it."""
        if self._temporary is None:
            link = b"/proc/self/fd/%d" % self.fd
            try:
                os.link(link, name, dst_dir_fd=self._dir_fd, follow_symlinks=True)
            except FileExistsError:
                self._temporary = temporary_name()
                os.link(link, self._temporary, dst_dir_fd=self._dir_fd, follow_symlinks=True)
        if self._temporary is not None:
            os.replace(self._temporary, name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
            self._temporary = None
        self.discard()

    def discard(self) -> None:
        """Close it; without a name it is gone then. May be called again, and never fails."""
        with contextlib.suppress(OSError):
            if self._temporary is not None:
                os.unlink(self._temporary, dir_fd=self._dir_fd)
        self._temporary = None
        for fd in (self.fd, self._dir_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fd = self._dir_fd = -1


def set_mode(fd: int, mode: int) -> None:
    """Give what this user has made its mode. Raises OSError."""
    # It is ours: what does not let us has modes of its own for everything, as FAT does.
    with contextlib.suppress(PermissionError):
        os.fchmod(fd, mode)


def replace_by_link(dir_fd: int, name: bytes, target: bytes) -> None:
    """A symbolic link in the place of what has the name. Raises OSError."""
    temporary = temporary_name()
    os.symlink(target, temporary, dir_fd=dir_fd)
    try:
        os.replace(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        os.unlink(temporary, dir_fd=dir_fd)
        raise


def temporary_name() -> bytes:
    """A name that nobody else has."""
    return TEMPORARY + os.urandom(8).hex().encode("ascii")


def remove_stale(dir_fd: int) -> None:
    """Remove the temporary files of copies that were killed; a living one holds a lock. Never fails."""
    with contextlib.suppress(OSError):
        names = [name for name in map(os.fsencode, os.listdir(dir_fd)) if name.startswith(TEMPORARY)]
        for name in names:
            with contextlib.suppress(OSError):
                remove_unlocked(dir_fd, name)


def remove_unlocked(dir_fd: int, name: bytes) -> None:
    """Raises OSError where somebody holds a lock on it."""
    fd = os.open(name, LOOKING, dir_fd=dir_fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.unlink(name, dir_fd=dir_fd)
    finally:
        os.close(fd)
