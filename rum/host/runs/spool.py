"""A run's frames, put aside for commands that need the end of a record before they show its start."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rum.host.errors import HostError
from rum.host.runs.records import RunCopies, decode_frames
from rum.protocol import Frame

IN_MEMORY = 1024 * 1024
"""Bytes of a run that need no file: what most runs have said is shown also where nothing can be written any more."""


class Spool:
    """Stands in for the host's copies: takes one run, and hands it on to them once it is complete.

    A context manager; without copies to hand it on to the run is forgotten at the end of the block.
    """

    def __init__(self, copies: RunCopies | None = None) -> None:
        self._copies = copies
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - closed at the end of the block
        self._run_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What could not be written has been told, and is not needed any more.
        with contextlib.suppress(OSError):
            self._file.close()

    def has(self, _run_id: str) -> bool:
        """It never has: the run is read because it is not among the copies."""
        return False

    def open_copy(self, run_id: str) -> Spool:
        """Begin to take the run."""
        self._run_id = run_id
        return self

    def append(self, frame: bytes) -> None:
        """Take the next frame. Raises HostError."""
        with room():
            self._file.write(frame)

    def complete(self) -> None:
        """The result is in: store the record among the copies. Raises OSError, where another rum stores it, too."""
        if self._copies is None:
            return
        copy = self._copies.open_copy(self._run_id)
        self._file.seek(0)
        while data := self._file.read(256 * 1024):
            copy.append(data)
        copy.complete()

    def prune(self) -> None:
        """Keep the last ten copies. Raises OSError."""
        if self._copies is not None:
            self._copies.prune()

    def close(self) -> None:
        """Nothing more is taken; what was taken can still be read until the block ends."""

    def frames(self) -> Iterator[Frame]:
        """The frames taken so far. Raises HostError."""
        with room():
            self._file.seek(0)
        return decode_frames(self._file)


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Turns an OSError of the block into a sentence: what is to be shown must not be half of a run."""
    try:
        yield
    except OSError as exc:
        # Not found again here: looking for it is what may have failed.
        where = tempfile.tempdir or "a temporary directory"
        raise HostError(
            f"the run cannot be put aside in {where} to be shown: {exc.strerror}",
            hint="make room there, or set TMPDIR to a directory that has some",
        ) from exc
