"""`rum cp :FILE -`: a file that goes to standard output as it comes, and is verified at its end."""

from __future__ import annotations

import functools
import hashlib
import os

from rum.host.patient_stream import when_there_is_room
from rum.protocol.fields import Fields
from rum.transfer.records import BrokenStreamError, TransferError

STDOUT = 1


class StdoutSink:
    """Takes one file. The same attributes and errors as `rum.transfer.sink.Sink`, and BrokenPipeError."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._next = "file"
        self.files = self.size = 0
        self.complete = False

    def take_data(self, piece: bytes) -> None:
        """The next piece."""
        if self._next != "end":
            raise BrokenStreamError("data came that belongs to no file")
        self._digest.update(piece)
        self.size += len(piece)
        write_stdout(piece)

    def take_record(self, record: Fields) -> None:
        """The next record."""
        kind = str(record["type"])
        if kind == "directory" and self._next == "file":
            raise TransferError("a directory cannot go to standard output, only a file can", path_is_wrong=True)
        if kind != self._next:
            raise BrokenStreamError(f"a record {kind[:80]!r} came out of turn")
        if kind == "file":
            self._next = "end"
        elif kind == "end":
            self._check(record)
            self._next = "done"
        else:
            self._next = ""
            self.complete = True

    def _check(self, record: Fields) -> None:
        if (record.get("size"), record.get("sha256")) != (self.size, self._digest.hexdigest()):
            raise TransferError("what was written to standard output is not what the guest has sent")
        self.files = 1

    def close(self) -> None:
        """There is nothing to take back."""


def write_stdout(data: bytes) -> None:
    """Write all of it. Raises BrokenPipeError where nobody reads it any more, TransferError where it cannot be."""
    view = memoryview(data)
    try:
        while view:
            view = view[when_there_is_room(STDOUT, functools.partial(os.write, STDOUT, view)) :]
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise TransferError(f"standard output cannot be written: {exc.strerror}", number=exc.errno) from exc
