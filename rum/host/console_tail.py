"""The serial console as it grows, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rum.host.text import LineAssembler

READ_MAX = 256 * 1024
"""One look at the log reads at most so much: the guest can write faster than anybody can look."""


class ConsoleTail:
    """New whole lines of a console log each time it is asked, from `offset` on, else from where the log ends now."""

    def __init__(self, path: Path, offset: int | None = None) -> None:
        self._path = path
        self._lines = LineAssembler()
        self._offset = self._size() if offset is None else offset

    def new_lines(self) -> list[str]:
        """The lines that were completed since the last call, without their control characters."""
        return [line for line in self._lines.feed(self._read()) if line]

    def all_new_lines(self) -> Iterator[str]:
        """The same, however much it is."""
        while data := self._read():
            yield from (line for line in self._lines.feed(data) if line)

    def unfinished(self) -> str:
        """The last line as far as it goes, a prompt for example."""
        return "".join(self._lines.feed(b"", final=True))

    def _read(self) -> bytes:
        if self._size() < self._offset:
            self._offset = 0
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                data = log.read(READ_MAX)
        except OSError:
            return b""
        self._offset += len(data)
        return data

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
