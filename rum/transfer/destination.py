"""Where a copy goes: the rules of cp(1) for a destination that is there, and for one that is not."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from rum.transfer.records import TransferError, shown


def copy_name(path: bytes) -> bytes:
    """What the copy of this source is called; empty where only what is in it is to be copied.

    >>> copy_name(b"/etc/apt/"), copy_name(b"/etc/apt/."), copy_name(b"..")
    (b'apt', b'', b'')
    """
    if path.endswith(b"/."):
        return b""
    last = os.path.basename(path.rstrip(b"/"))
    return b"" if last in (b".", b"..") else last


class Place(NamedTuple):
    """A directory that is there, and the name in it; without a name it is the directory itself that is filled."""

    directory: bytes
    name: bytes


class Destination(NamedTuple):
    """What the user has named as the destination; `several`: more than one source goes there."""

    path: bytes
    several: bool

    def for_file(self, source: bytes) -> Place:
        """Where a file goes, or a stream, which has no name. Raises TransferError, OSError."""
        mode = self._mode()
        if mode is None:
            return self._new("a file")
        if stat.S_ISDIR(mode):
            if not source:
                raise self._wrong("is a directory; name a file in it")
            return Place(self.path, source)
        if not stat.S_ISREG(mode):
            raise self._wrong("is neither a file nor a directory")
        if self.several or self.path.endswith(b"/"):
            raise self._wrong("is a file, not a directory")
        return self._followed()

    def for_directory(self, source: bytes) -> Place:
        """Where a directory goes. Raises TransferError, OSError."""
        mode = self._mode()
        if mode is None:
            return self._new("a directory")
        if stat.S_ISDIR(mode):
            return Place(self.path, source)
        raise self._wrong("is there and is no directory, so no directory can take its place")

    def _mode(self) -> int | None:
        """What is there, links followed; None for nothing."""
        try:
            return os.stat(self.path).st_mode
        except FileNotFoundError:
            return None
        except NotADirectoryError as exc:
            raise TransferError(f"{shown(self.path)}: {exc.strerror}", path_is_wrong=True) from exc

    def _new(self, what: str) -> Place:
        """The name of something that is not there yet; the directory that it will be in has to be."""
        if self.several or (what == "a file" and self.path.endswith(b"/")):
            raise no_directory(self.path)
        place = self._followed()
        if not os.path.isdir(place.directory):
            raise no_directory(place.directory)
        return place

    def _followed(self) -> Place:
        """As cp(1): what a link that the user has named points at is written, not the link."""
        directory, name = os.path.split(os.path.realpath(self.path))
        return Place(directory, name)

    def _wrong(self, what: str) -> TransferError:
        return TransferError(f"{shown(self.path)} {what}", path_is_wrong=True)


def no_directory(path: bytes) -> TransferError:
    """The error for a directory that would have to be there."""
    return TransferError(f"there is no directory {shown(path)}", path_is_wrong=True, missing=path)
