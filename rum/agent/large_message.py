"""A message too large for the agent's memory: its long strings go to a file as they arrive, a mark takes their place.

What is left is small and is parsed as any message. The strings are read back one at a time, when they are needed, so a
request with sixteen scripts of a MiB costs the memory of one.
"""

from __future__ import annotations

import json
import os
import re
from typing import IO

from rum.agent import durable
from rum.protocol.errors import RemoteProtocolError
from rum.protocol.limits import LONG_STRING, SKELETON_MAX, STRING_MAX, STRUCTURE_MAX
from rum.protocol.messages import Message, parse_message

IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
MATCH_WINDOW = 4096
"""Bytes matched at once: the pattern needs some fifty bytes of stack for every escape in them."""

STRUCTURE = re.compile(rb"[\[{,]")


class LargeMessage:
    """Takes the payload piece by piece. Every method raises OSError where the file cannot be written or read."""

    def __init__(self, directory: str) -> None:
        self._file = open_unnamed(directory)
        self._end = 0
        self._skeleton = bytearray()
        self._structure = 0
        self._rest = b""
        self._string: bytearray | None = None
        self._spilled_at: int | None = None
        self._mark = os.urandom(16).hex()

    def take(self, data: bytes) -> None:
        """The next piece of the payload. Raises RemoteProtocolError where it cannot be a message."""
        data = self._rest + data
        position = 0
        while position < len(data):
            advanced = (
                self._take_string(data, position) if self._string is not None else self._take_other(data, position)
            )
            if advanced == position:
                break
            position = advanced
        self._rest = data[position:]

    @property
    def size(self) -> int:
        """Bytes of what was taken, about."""
        return self._end + len(self._skeleton)

    def message(self) -> Message:
        """The message, once all of it has been taken. Raises RemoteProtocolError."""
        if self._string is not None or self._rest:
            raise RemoteProtocolError("a message ends inside a string")
        return parse_message(bytes(self._skeleton))

    def expand(self, value: object) -> object:
        """The value with every string in it read back; it may be a part of the message."""
        if isinstance(value, dict):
            return {self.expand(key): self.expand(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.expand(item) for item in value]
        if isinstance(value, str) and value.startswith(self._mark):
            return self._read_back(*map(int, value.split(":")[1:]))
        return value

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _take_other(self, data: bytes, position: int) -> int:
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote
        between = data[position:end]
        self._structure += len(STRUCTURE.findall(between))
        self._extend_skeleton(between)
        if self._structure > STRUCTURE_MAX:
            raise RemoteProtocolError(f"a message has more than {STRUCTURE_MAX} elements")
        if quote < 0:
            return end
        self._string = bytearray(b'"')
        return quote + 1

    def _take_string(self, data: bytes, position: int) -> int:
        match = IN_STRING.match(data, position, position + MATCH_WINDOW)
        end = match.end() if match else position
        self._add_to_string(data[position:end])
        if data[end : end + 1] == b'"':
            self._add_to_string(b'"')
            self._end_string()
            return end + 1
        return end

    def _add_to_string(self, piece: bytes) -> None:
        assert self._string is not None
        self._string += piece
        if len(self._string) > LONG_STRING or self._spilled_at is not None:
            if self._spilled_at is None:
                self._spilled_at = self._end
            durable.write_all(self._file.fileno(), bytes(self._string))
            self._end += len(self._string)
            self._string.clear()
            if self._end - self._spilled_at > STRING_MAX:
                raise RemoteProtocolError(f"a string in a message is longer than {STRING_MAX} bytes")

    def _end_string(self) -> None:
        if self._spilled_at is None:
            self._extend_skeleton(bytes(self._string or b""))
        else:
            self._extend_skeleton(f'"{self._mark}:{self._spilled_at}:{self._end}"'.encode("ascii"))
        self._string = self._spilled_at = None

    def _extend_skeleton(self, piece: bytes) -> None:
        self._skeleton += piece
        if len(self._skeleton) > SKELETON_MAX:
            raise RemoteProtocolError(f"a message has more than {SKELETON_MAX} bytes beside its long strings")

    def _read_back(self, start: int, end: int) -> str:
        text = os.pread(self._file.fileno(), end - start, start).decode("utf-8")
        return str(json.loads(text))


def open_unnamed(directory: str) -> IO[bytes]:
    """A file that is gone once it is closed. Raises OSError.

    Not the standard library's, whose imports take a MiB of memory that an agent has in use for ever.
    """
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Not every file system can (open(2)).
        path = os.path.join(directory, f"{durable.TEMPORARY}{os.urandom(8).hex()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
    return os.fdopen(fd, "r+b", buffering=0)
