"""A run's record: the frames its clients are sent, in a file. Live streaming and replay are the same bytes.

The record is capped. Past the cap output is dropped, but the last of each script is kept aside and written, after a
`truncated` event, before its `script_exited`. When the disk is full, the record goes on in memory with a lower cap, so
that clients still learn how the run ended and what the script that failed has to say about it.
"""

from __future__ import annotations

import collections
import contextlib
import os
from typing import Callable

from rum.agent import durable
from rum.protocol.errors import RemoteProtocolError
from rum.protocol.fields import get_int, get_str, get_str_list
from rum.protocol.frames import HEADER, Kind, Payload, check_header, encode_output
from rum.protocol.limits import RECORD_MAX, RECORD_TAIL, SCRIPTS_MAX
from rum.protocol.messages import Message, encode_message, parse_message
from rum.protocol.summary import RunSummary

FILE_NAME = "record"

MEMORY_MAX = 1024 * 1024
"""Output that is kept in memory once the disk is full."""


class Readable:
    """What clients read: it stays open until it is retired and the last of them is gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._watchers: list[Callable[[], None]] = []
        self._retired = False
        self.result_at: int | None = None
        """Where the result frame begins, None while the run goes on."""

    @property
    def size(self) -> int:
        """Bytes that can be read so far; always a frame boundary."""
        raise NotImplementedError

    def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from the offset."""
        return os.pread(self._fd, limit, offset)

    def has_boundary(self, offset: int) -> bool:
        """Whether a frame begins, or the record ends, at the offset."""
        return 0 <= offset <= self.size and scan_record(self.read, offset).end == offset

    def watch(self, callback: Callable[[], None]) -> None:
        """Call back whenever the record has grown."""
        self._watchers.append(callback)

    def unwatch(self, callback: Callable[[], None]) -> None:
        """Stop calling back."""
        self._watchers.remove(callback)
        self._close_if_unused()

    def retire(self) -> None:
        """Close as soon as nobody watches."""
        self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and not self._watchers:
            os.close(self._fd)

    def _grown(self) -> None:
        for callback in list(self._watchers):
            callback()


class Record(Readable):
    """The record of the run that goes on."""

    def __init__(self, directory: str, *, limit: int = RECORD_MAX) -> None:
        durable.make_dirs(directory)
        super().__init__(durable.open_log(os.path.join(directory, FILE_NAME), new=True))
        self.summary = RunSummary(os.path.basename(directory))
        self._limit = limit
        self._in_file = 0
        self._in_memory = bytearray()
        self._tail: collections.deque[tuple[Kind, int, bytes]] = collections.deque()
        self._tail_size = 0
        self._dropped = 0
        self.failure: OSError | None = None

    @property
    def size(self) -> int:
        return self._in_file + len(self._in_memory)

    def read(self, offset: int, limit: int) -> bytes:
        if offset < self._in_file:
            return os.pread(self._fd, min(limit, self._in_file - offset), offset)
        start = offset - self._in_file
        return bytes(self._in_memory[start : start + limit])

    def message(self, message: Message) -> None:
        """Append a message."""
        self.summary.take(message)
        self._append(encode_message(message))

    def milestone(self, message: Message) -> None:
        """Append a message that nobody is told before it, and everything before it, is durable."""
        self.summary.take(message)
        self._write(encode_message(message))
        self._sync()
        self._grown()

    def try_result(self, message: Message) -> bool:
        """Append the result as a milestone and the record's end.

        Where it is the first thing that cannot be made durable it is taken back and False returned: it may have to say
        so. `failure` tells why. A record that goes on in memory already takes any result.
        """
        at, healthy = self.size, self.failure is None
        self._write(encode_message(message))
        self._sync()
        if healthy and self.failure:
            self._take_back(at)
            return False
        self.result_at = at
        self.summary.take(message)
        self._grown()
        return True

    def output(self, kind: Kind, timestamp_us: int, data: Payload) -> None:
        """Append output, or keep it aside once the record is full."""
        frame = encode_output(kind, timestamp_us, data)
        if not self._tail and self._has_room(len(frame)):
            self._append(frame)
        else:
            self._keep_aside(kind, timestamp_us, data)

    def end_of_output(self, script: str) -> None:
        """Write what was kept aside of the script's output, and how much is missing before it."""
        if self._dropped:
            self.message({"type": "truncated", "name": script, "bytes": self._dropped})
        for kind, timestamp_us, data in self._tail:
            self._append(encode_output(kind, timestamp_us, data))
        self._tail.clear()
        self._tail_size = self._dropped = 0

    def _sync(self) -> None:
        if self.failure is None:
            try:
                durable.sync(self._fd)
            except OSError as exc:
                self.failure = exc

    def _has_room(self, length: int) -> bool:
        in_memory = len(self._in_memory) + length <= MEMORY_MAX
        return self.size + length <= self._limit and (self.failure is None or in_memory)

    def _append(self, frame: bytes) -> None:
        self._write(frame)
        self._grown()

    def _write(self, frame: bytes) -> None:
        if self.failure is None:
            self._write_to_file(frame)
        if self.failure is not None:
            self._in_memory += frame

    def _write_to_file(self, frame: bytes) -> None:
        try:
            durable.write_all(self._fd, frame)
            self._in_file += len(frame)
        except OSError as exc:
            self.failure = exc
            self._cut_file()

    def _take_back(self, size: int) -> None:
        """Forget what comes after `size`."""
        self._in_file = min(self._in_file, size)
        self._in_memory.clear()
        self._cut_file()

    def _cut_file(self) -> None:
        with contextlib.suppress(OSError):
            durable.cut(self._fd, self._in_file)

    def _keep_aside(self, kind: Kind, timestamp_us: int, data: Payload) -> None:
        self._tail.append((kind, timestamp_us, bytes(data)))
        self._tail_size += len(data)
        while self._tail_size > RECORD_TAIL:
            self._drop_oldest(self._tail_size - RECORD_TAIL)

    def _drop_oldest(self, excess: int) -> None:
        kind, timestamp_us, data = self._tail.popleft()
        dropped = min(excess, len(data))
        if dropped < len(data):
            self._tail.appendleft((kind, timestamp_us, data[dropped:]))
        self._tail_size -= dropped
        self._dropped += dropped


class StoredRecord(Readable):
    """The record of a run that is over, read from its file. Raises OSError, and ValueError where it has no result."""

    def __init__(self, directory: str) -> None:
        super().__init__(os.open(os.path.join(directory, FILE_NAME), os.O_RDONLY | os.O_CLOEXEC))
        scan = scan_file(self._fd)
        if scan.result_at is None:
            os.close(self._fd)
            raise ValueError(f"the record in {directory} has no result")
        self._size = scan.end
        self.result_at = scan.result_at

    @property
    def size(self) -> int:
        return self._size


class Scan:
    """What a walk over a record found: where whole frames end, and the messages that matter after a crash."""

    def __init__(self, run_id: str = "") -> None:
        self.summary = RunSummary(run_id)
        self.end = 0
        self.result_at: int | None = None
        self.started: Message | None = None
        self.open_script: Message | None = None
        self.ran: list[str] = []

    def take_message(self, offset: int, message: Message) -> None:
        """Raises ValueError for a message that no agent has written."""
        self.summary.take(message)
        kind = message["type"]
        if kind == "run_started":
            get_str_list({"skipped": [], **message}, "skipped")
            self.started = message
        elif kind == "script_started":
            get_int(message, "index", low=1, high=SCRIPTS_MAX)
            self.ran.append(get_str(message, "name"))
            self.open_script = message
        elif kind == "script_exited":
            self.open_script = None
        elif kind == "result":
            self.result_at = offset


def scan_file(fd: int, run_id: str = "") -> Scan:
    """Walk over a record's file. Raises OSError."""
    return scan_record(lambda offset, limit: os.pread(fd, limit, offset), os.fstat(fd).st_size, run_id)


def scan_record(read: Callable[[int, int], bytes], size: int, run_id: str = "") -> Scan:
    """Walk over the whole frames in the first `size` bytes; a torn or foreign end is not part of the record.

    `read` is given an offset and a number of bytes.
    """
    scan = Scan(run_id)
    while scan.end + HEADER.size <= size:
        length, number = HEADER.unpack(read(scan.end, HEADER.size))
        following = scan.end + HEADER.size + length
        try:
            kind = check_header(length, number)
            if following > size:
                break
            if kind is Kind.MESSAGE:
                scan.take_message(scan.end, parse_message(read(scan.end + HEADER.size, length)))
        except (RemoteProtocolError, ValueError):
            break
        scan.end = following
    return scan
