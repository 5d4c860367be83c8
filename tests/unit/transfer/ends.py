"""Both ends of a copy in one process, and trees to copy."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rum.protocol import FrameDecoder
from rum.transfer.destination import Destination, copy_name
from rum.transfer.guest import take
from rum.transfer.records import data, message
from rum.transfer.sink import Sink
from rum.transfer.source import Source

Tree = Mapping[bytes, "File | Link | Folder"]


class File(NamedTuple):
    """A regular file."""

    mode: int
    contents: bytes


class Link(NamedTuple):
    """A symbolic link."""

    target: bytes


class Folder(NamedTuple):
    """A directory."""

    mode: int
    entries: Tree


def make_tree(path: bytes, folder: Folder) -> None:
    """Put it on the disk."""
    os.mkdir(path)
    for name, entry in folder.entries.items():
        place = os.path.join(path, name)
        if isinstance(entry, Folder):
            make_tree(place, entry)
        elif isinstance(entry, Link):
            os.symlink(entry.target, place)
        else:
            with open(place, "wb") as file:
                file.write(entry.contents)
            os.chmod(place, entry.mode)
    os.chmod(path, folder.mode)


def read_tree(path: bytes) -> File | Link | Folder:
    """What is on the disk."""
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return Link(os.readlink(path))
    if stat.S_ISDIR(found.st_mode):
        return Folder(mode, {name: read_tree(os.path.join(path, name)) for name in os.listdir(path)})
    with open(path, "rb") as file:
        return File(mode, file.read())


def remove_tree(path: bytes) -> None:
    """Also what nobody may write to."""
    for root, _dirs, _files in os.walk(path):
        os.chmod(root, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def no_warning(path: bytes, what: str) -> None:
    """For sources that have nothing to warn of."""
    raise AssertionError(f"{path!r}: {what}")


Warned = Callable[[bytes, str], None]


@contextmanager
def sink_for(destination: Path | bytes, *names: bytes) -> Iterator[Sink]:
    """A sink that waits for one source, or for these."""
    sink = Sink(Destination(os.fsencode(destination), len(names) > 1), names or (b"source",))
    try:
        yield sink
    finally:
        sink.close()


def feed(sink: Sink, frames: Iterable[bytes]) -> None:
    """Pass frames on, through their encoding."""
    decoder = FrameDecoder()
    for frame in frames:
        decoder.feed(frame)
        for one in decoder.frames():
            take(sink, one)


def copy(sources: Sequence[Path | str], destination: Path | str, warn: Warned = no_warning) -> Sink:
    """Copy; the sink as it ended. Raises what the ends raise."""
    paths = [os.fsencode(path) for path in sources]
    source = Source(paths, warn)
    try:
        with sink_for(os.fsencode(destination), *map(copy_name, paths)) as sink:
            feed(sink, source.frames())
            assert sink.complete
            return sink
    finally:
        source.close()


def file_frames(contents: bytes, mode: int | None = 0o644, **fields: object) -> list[bytes]:
    """The frames of a file that is sent honestly."""
    digest = hashlib.sha256(contents).hexdigest()
    pieces = [data(contents)] if contents else []
    return [message("file", mode=mode, **fields), *pieces, message("end", size=len(contents), sha256=digest)]
