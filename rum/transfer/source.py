"""The end that reads: files and trees as frames, in an order that the other end can write them in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Callable, NamedTuple

from rum.transfer.records import CHUNK, PERMISSIONS, TransferError, data, failed, message, shown, spelled

TRIES = 3
"""A log may grow while it is read; one that does so three times in a row has to be copied by other means."""

READING = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC
# A FIFO that took a file's place would wait for its other end.
READING_FILE = READING | os.O_NONBLOCK
READING_DIR = READING | os.O_DIRECTORY

KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}

Warn = Callable[[bytes, str], None]
"""Takes the path of something that is not copied, and what it is."""


class Total(NamedTuple):
    """How much there is to copy; a source that is being written to may turn out to be more."""

    files: int
    size: int


class Entries:
    """A directory that is being walked through: an open descriptor, and the names that are left, in order."""

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path
        # Descriptors are listed as text; it comes back to the same bytes.
        self.names = iter(sorted(map(os.fsencode, os.listdir(fd))))

    def path_of(self, name: bytes) -> bytes:
        """Where an entry is."""
        return os.path.join(self.path, name)


class Source:
    """Reads what was named. Paths are followed where they were named, links inside of trees never.

    Attributes: `files` and `size`, what has been read so far, in files and bytes; `complete`: that is all of it.
    """

    def __init__(self, paths: list[bytes], warn: Warn, tries: int = TRIES) -> None:
        self._paths = paths
        self._warn = warn
        self._tries = tries
        self._open: list[Entries] = []
        self.files = self.size = 0
        self.complete = False

    def close(self) -> None:
        """Close what a walk that did not come to its end has left open."""
        while self._open:
            os.close(self._open.pop().fd)

    def total(self) -> Total:
        """What there is to copy by now; what cannot be looked at counts for nothing."""
        files = size = 0
        for path in self._paths:
            with contextlib.suppress(OSError):
                found = os.stat(path)
                sizes = tree_sizes(path) if stat.S_ISDIR(found.st_mode) else [found.st_size]
                for one in sizes:
                    files, size = files + 1, size + one
        return Total(files, size)

    def frames(self) -> Iterator[bytes]:
        """Everything, up to the record that says so. Raises TransferError."""
        for path in self._paths:
            yield from self._named(path)
        self.complete = True
        yield message("done")

    def _named(self, path: bytes) -> Iterator[bytes]:
        """What the user has named."""
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise TransferError(f"{shown(path)}: {exc.strerror}", path_is_wrong=True) from exc
        except OSError as exc:
            raise failed(path, exc) from exc
        if stat.S_ISDIR(mode):
            yield from self._tree(path)
        elif stat.S_ISREG(mode):
            yield from self._file(path, None, {})
        else:
            text = f"{shown(path)} is {kind_of(mode)}, and only files and directories can be copied"
            raise TransferError(text, path_is_wrong=True)

    def _tree(self, root: bytes) -> Iterator[bytes]:
        """A directory and everything below it. Not by recursion: a tree may be deeper than Python's stack."""
        yield self._enter(root, None, root, {})
        while self._open:
            here = self._open[-1]
            name = next(here.names, None)
            if name is None:
                os.close(self._open.pop().fd)
                yield message("leave")
            else:
                yield from self._entry(here, name)

    def _enter(self, path: bytes, dir_fd: int | None, name: bytes, fields: dict[str, object]) -> bytes:
        try:
            fd = os.open(name, READING_DIR | (0 if dir_fd is None else os.O_NOFOLLOW), dir_fd=dir_fd)
        except OSError as exc:
            raise failed(path, exc) from exc
        try:
            mode = os.fstat(fd).st_mode
            self._open.append(Entries(fd, path))
        except OSError as exc:
            os.close(fd)
            raise failed(path, exc) from exc
        return message("directory", mode=mode & PERMISSIONS, **fields)

    def _entry(self, here: Entries, name: bytes) -> Iterator[bytes]:
        path = here.path_of(name)
        fields: dict[str, object] = {"name": spelled(name)}
        try:
            mode = os.stat(name, dir_fd=here.fd, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                target = os.readlink(name, dir_fd=here.fd)
                yield message("link", target=spelled(os.fsencode(target)), **fields)
                return
        except FileNotFoundError:
            self._warn(path, "gone since its directory was listed")
            return
        except OSError as exc:
            raise failed(path, exc) from exc
        if stat.S_ISDIR(mode):
            yield self._enter(path, here.fd, name, fields)
        elif stat.S_ISREG(mode):
            yield from self._file(path, (here.fd, name), fields)
        else:
            self._warn(path, kind_of(mode))

    def _file(self, path: bytes, entry: tuple[int, bytes] | None, fields: dict[str, object]) -> Iterator[bytes]:
        dir_fd, name = entry or (None, path)
        try:
            fd = os.open(name, READING_FILE | (os.O_NOFOLLOW if entry else 0), dir_fd=dir_fd)
        except OSError as exc:
            raise failed(path, exc) from exc
        try:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise TransferError(f"{shown(path)} has become {kind_of(mode)}")
            yield message("file", mode=mode & PERMISSIONS, **fields)
            yield from self._contents(fd, path)
        except OSError as exc:
            raise failed(path, exc) from exc
        finally:
            os.close(fd)

    def _contents(self, fd: int, path: bytes) -> Iterator[bytes]:
        """The bytes as they were at one time. Raises TransferError where they never stay the same, OSError."""
        for attempt in range(self._tries):
            if attempt:
                os.lseek(fd, 0, os.SEEK_SET)
                yield message("again")
            before = os.fstat(fd)
            digest = hashlib.sha256()
            size = 0
            while piece := os.read(fd, CHUNK):
                digest.update(piece)
                size += len(piece)
                yield data(piece)
                if 0 < before.st_size < size:
                    break
            if same(before, os.fstat(fd)):
                self.files, self.size = self.files + 1, self.size + size
                yield message("end", size=size, sha256=digest.hexdigest())
                return
        raise TransferError(f"{shown(path)} changed while it was read")


def same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody has written to the file in between. Sizes of files in /proc are 0, those in /sys a page."""
    return (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def kind_of(mode: int) -> str:
    """What is no file, directory or link."""
    return KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


def tree_sizes(path: bytes) -> Iterator[int]:
    """The sizes of the regular files below a directory, as far as it can be read."""
    pending = [path]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.stat(follow_symlinks=False).st_size
