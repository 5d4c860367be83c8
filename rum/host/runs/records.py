"""Copies of the runs' records on the host: the frames as they came, whole or absent, and the way they are read.

A copy under its final name holds a result, so that `up` knows which runs its user has not seen to their end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rum.host.channel.checked import RUN_ID, BrokenProtocolError, check_message
from rum.host.files import make_private_dir, sync_dir
from rum.protocol import Frame, FrameDecoder, Kind, Message, RemoteProtocolError, parse_message
from rum.protocol.frames import HEADER, check_header
from rum.protocol.limits import RECORD_MAX, RECORDS_KEPT
from rum.protocol.summary import RunSummary

COPY_MAX = 2 * RECORD_MAX
"""An honest record has its cap and the kept tails; a guest must not be able to fill the host's disk."""

READ_SIZE = 256 * 1024
SUFFIX = ".rec"
PART_SUFFIX = ".part"


class RunCopies:
    """The directory of copies; it is made when the first one is written."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, run_id: str) -> Path:
        """Where the copy of a run lies, or would lie. Raises ValueError for what cannot be a run's id."""
        if not RUN_ID.fullmatch(run_id):
            raise ValueError(f"{run_id[:80]!r} is no run id")
        return self._directory / f"{run_id}{SUFFIX}"

    def has(self, run_id: str) -> bool:
        """Whether the whole record of the run, with its result, is here."""
        return bool(RUN_ID.fullmatch(run_id)) and self.path(run_id).is_file()

    def ids(self) -> list[str]:
        """The runs that are here, the latest copied last."""
        found = [(copied_ns(path), path.name) for path in self._directory.glob(f"*{SUFFIX}")]
        return [name.removesuffix(SUFFIX) for _, name in sorted(found)]

    def frames(self, run_id: str) -> Iterator[Frame]:
        """The frames of a copy; a damaged end is left out. Raises OSError."""
        return read_frames(self.path(run_id))

    def summaries(self) -> list[RunSummary]:
        """Every run that is here, in the order in which they began; one that is damaged has no result."""
        return [self.summary(run_id) for run_id in sorted(self.ids(), key=self._begun_us)]

    def summary(self, run_id: str) -> RunSummary:
        """A copy in short."""
        summary = RunSummary(run_id)
        for message in read_messages(self.path(run_id)):
            summary.take(message)
        return summary

    def newest(self) -> str | None:
        """The run that began last of those that are here."""
        return max(self.ids(), key=self._begun_us, default=None)

    def _begun_us(self, run_id: str) -> int:
        """When the run began, in microseconds since the epoch: never after it was copied, whatever the guest says."""
        path = self.path(run_id)
        copied_us = copied_ns(path) // 1000
        stamps = (message.get("timestamp_us") for message in read_messages(path))
        return min(copied_us, next((stamp for stamp in stamps if type(stamp) is int), copied_us))

    def open_copy(self, run_id: str) -> RunCopy:
        """A new copy, from the record's start. Raises OSError, BlockingIOError where another rum is writing it."""
        path = self.path(run_id)
        make_private_dir(self._directory)
        self._drop_abandoned()
        return RunCopy(path)

    def prune(self) -> None:
        """Keep the last ten. Raises OSError."""
        for run_id in self.ids()[:-RECORDS_KEPT]:
            self.path(run_id).unlink(missing_ok=True)

    def _drop_abandoned(self) -> None:
        """Remove incomplete copies that nobody writes: a guest could begin a new run every time. Raises OSError."""
        for part in self._directory.glob(f"*{SUFFIX}{PART_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink(missing_ok=True)


class RunCopy:
    """A copy that grows, under a name of its own until it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.part = path.with_name(path.name + PART_SUFFIX)
        self._file = os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
        try:
            self._claim()
        except OSError:
            self._file.close()
            raise
        self._file.truncate(0)
        self._size = 0

    def _claim(self) -> None:
        """Raises BlockingIOError where another rum writes this copy, or has just completed it under our hands."""
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (self.part.exists() and os.path.samestat(self.part.stat(), os.fstat(self._file.fileno()))):
            raise BlockingIOError("another rum has just completed this copy")

    def append(self, frame: bytes) -> None:
        """Take the next frame. Raises OSError."""
        self._size += len(frame)
        if self._size > COPY_MAX:
            raise OSError("the guest sent more than a run's record can hold")
        self._file.write(frame)

    def complete(self) -> None:
        """The result is in: make the copy durable and give it its name. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self.part, self._path)
        sync_dir(self._path.parent)
        self.close()

    def close(self) -> None:
        """Stop writing; may be called twice. An incomplete copy is begun anew by whoever sees the run next."""
        with contextlib.suppress(OSError):
            self._file.close()


def copied_ns(path: Path) -> int:
    """When a copy was completed, in nanoseconds since the epoch; 0 for one that another rum has just pruned."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def read_frames(path: Path) -> Iterator[Frame]:
    """The whole frames of a file, up to the first that is damaged. Raises OSError."""
    with path.open("rb") as file:
        yield from decode_frames(file)


def decode_frames(file: IO[bytes]) -> Iterator[Frame]:
    """The whole frames from here to the end of an open file, up to the first that is damaged. Raises OSError."""
    decoder = FrameDecoder()
    while data := file.read(READ_SIZE):
        decoder.feed(data)
        try:
            yield from decoder.frames()
        except RemoteProtocolError:
            return


def read_messages(path: Path) -> Iterator[Message]:
    """The messages of a copy, its output stepped over, up to the first frame that is damaged or makes no sense."""
    with contextlib.suppress(OSError, RemoteProtocolError, BrokenProtocolError), path.open("rb") as file:
        while len(header := file.read(HEADER.size)) == HEADER.size:
            length, number = HEADER.unpack(header)
            if check_header(length, number) is not Kind.MESSAGE:
                file.seek(length, os.SEEK_CUR)
                continue
            message = parse_message(file.read(length))
            check_message(message["type"], message)
            yield message


def message_of(frame: Frame) -> Message | None:
    """The message in a MESSAGE frame, None for other frames and for what makes no sense."""
    if frame.kind is not Kind.MESSAGE:
        return None
    try:
        message = parse_message(frame.payload)
        check_message(message["type"], message)
    except (RemoteProtocolError, BrokenProtocolError):
        return None
    return message
