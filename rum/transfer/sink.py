"""The end that writes: what arrives takes its place once it is whole, and only below the destination."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Callable

from rum.protocol.fields import Fields, get_int, get_optional_int, get_str
from rum.transfer.arriving import Arriving, Directory, add_link, enter, open_directory
from rum.transfer.destination import Destination
from rum.transfer.durable import sync
from rum.transfer.records import PERMISSIONS, BrokenStreamError, TransferError, failed, get_bytes, get_entry_name

BATCH_MAX = 128
"""Files that are whole and wait for the disk to store them all: two descriptors each."""

BATCH_SIZE_MAX = 32 * 1024 * 1024
"""Their bytes, so that the disk is never asked for much at once."""

SIZE_MAX = 2**63 - 1
SHA256 = re.compile(r"[0-9a-f]{64}")


class Sink:
    """Takes what a source sends.

    Attributes: `files` and `size`, what has taken its place so far, in files and bytes; `over`: nothing more may come;
    `complete`: all of it has come.
    """

    def __init__(self, destination: Destination, names: Sequence[bytes]) -> None:
        """`names`: what the copies are called, of each source in turn (`rum.transfer.destination.copy_name`)."""
        self._destination = destination
        self._names = list(names)
        self._stack: list[Directory] = []
        self._arriving: Arriving | None = None
        self._whole: list[Arriving | Directory] = []
        self._parents: list[Directory] = []
        self.files = self.size = 0
        self.over = self.complete = False

    def take_data(self, piece: bytes) -> None:
        """The next piece of the file that is arriving. Raises TransferError, BrokenStreamError."""
        if self._arriving is None:
            raise BrokenStreamError("data came that belongs to no file")
        try:
            self._arriving.write(piece)
        except OSError as exc:
            raise failed(self._arriving.path, exc) from exc

    def take_record(self, record: Fields) -> None:
        """The next record. Raises TransferError, BrokenStreamError."""
        kind = str(record["type"])
        take = (DURING_A_FILE if self._arriving else BETWEEN_FILES).get(kind)
        if take is None or self.over:
            raise BrokenStreamError(f"a record {kind[:80]!r} came out of turn")
        try:
            take(self, record)
        except ValueError as exc:
            raise BrokenStreamError(str(exc)) from None
        except OSError as exc:
            raise failed(self._where(), exc) from exc

    def close(self) -> None:
        """Drop what has not come whole; what has takes its place if that can still be done. Never fails."""
        self._drop_arriving()
        with contextlib.suppress(TransferError):
            self._publish()
        while self._stack:
            here = self._stack.pop()
            with contextlib.suppress(OSError):
                here.publish()
            here.discard()
        while self._parents:
            self._parents.pop().discard()

    def _where(self) -> bytes:
        if self._arriving:
            return self._arriving.path
        return self._stack[-1].path if self._stack else self._destination.path

    def _file(self, record: Fields) -> None:
        mode = get_optional_int(record, "mode", low=0, high=PERMISSIONS)
        if self._stack:
            self._arriving = Arriving(self._stack[-1], get_entry_name(record), mode)
            return
        place = self._destination.for_file(self._next_name())
        self._arriving = Arriving(self._parent(place.directory), place.name, mode)

    def _again(self, _record: Fields) -> None:
        if self._arriving:
            self._arriving.restart()

    def _end(self, record: Fields) -> None:
        if self._arriving:
            self._arriving.finish(
                get_int(record, "size", low=0, high=SIZE_MAX), get_str(record, "sha256", pattern=SHA256)
            )
            arriving, self._arriving = self._arriving, None
            self._add_whole(arriving)

    def _directory(self, record: Fields) -> None:
        mode = get_int(record, "mode", low=0, high=PERMISSIONS)
        here = enter(self._stack[-1], get_entry_name(record), mode) if self._stack else self._enter_named(mode)
        self._stack.append(here)

    def _enter_named(self, mode: int) -> Directory:
        """The copy of a directory that the user has named."""
        place = self._destination.for_directory(self._next_name())
        if not place.name:
            return open_directory(place.directory)
        return enter(self._parent(place.directory), place.name, mode)

    def _parent(self, path: bytes) -> Directory:
        """The directory that copies of what was named are put into; it is usually one for all of them."""
        if not self._parents or self._parents[-1].path != path:
            self._parents.append(open_directory(path))
        return self._parents[-1]

    def _next_name(self) -> bytes:
        if not self._names:
            raise BrokenStreamError("more came than was asked for")
        return self._names.pop(0)

    def _leave(self, _record: Fields) -> None:
        if not self._stack:
            raise BrokenStreamError("a directory ended that had not begun")
        self._add_whole(self._stack.pop())

    def _link(self, record: Fields) -> None:
        if not self._stack:
            raise BrokenStreamError("a link came that is in no directory")
        add_link(self._stack[-1], get_entry_name(record), get_bytes(record, "target"))

    def _done(self, record: Fields) -> None:
        if self._stack or self._names:
            raise BrokenStreamError("the copy ended before all of it had come")
        self._stop(record)
        self.complete = True

    def _stop(self, _record: Fields) -> None:
        self._drop_arriving()
        self._publish()
        sync([directory.fd for directory in self._parents])
        self.over = True

    def _drop_arriving(self) -> None:
        arriving, self._arriving = self._arriving, None
        if arriving:
            arriving.discard()

    def _add_whole(self, item: Arriving | Directory) -> None:
        """A directory waits, too: its own mode may not let anything into it."""
        self._whole.append(item)
        if len(self._whole) >= BATCH_MAX or sum(item.size for item in self._whole) >= BATCH_SIZE_MAX:
            self._publish()

    def _publish(self) -> None:
        """Have the disk store what is whole; then, and not before, it takes its places. Raises TransferError."""
        whole, self._whole = self._whole, []
        path = self._destination.path
        try:
            sync([item.fd for item in whole if isinstance(item, Arriving)])
            for item in whole:
                path = item.path
                item.publish()
                self._count(item)
            sync([item.fd for item in whole if isinstance(item, Directory)])
        except OSError as exc:
            raise failed(path, exc) from exc
        finally:
            for item in whole:
                item.discard()

    def _count(self, item: Arriving | Directory) -> None:
        if isinstance(item, Arriving):
            self.files += 1
            self.size += item.size


Take = Callable[[Sink, Fields], None]

BETWEEN_FILES: dict[str, Take] = {
    "file": Sink._file,
    "directory": Sink._directory,
    "leave": Sink._leave,
    "link": Sink._link,
    "done": Sink._done,
    "stop": Sink._stop,
}
DURING_A_FILE: dict[str, Take] = {
    "again": Sink._again,
    "end": Sink._end,
    "stop": Sink._stop,
}
