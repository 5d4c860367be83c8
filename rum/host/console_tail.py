"""The serial console as it grows, line by line."""

from __future__ import annotations

from pathlib import Path

from rum.host.text import LineAssembler

READ_MAX = 256 * 1024
"""One look at the log reads at most so much: the guest can write faster than anybody can look."""


class ConsoleTail:
    """New whole lines of a console log each time it is asked, from where the log ended when this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = LineAssembler()
        self._offset = self._size()

    def new_lines(self) -> list[str]:
        """The lines that were completed since the last call, without their control characters."""
        if self._size() < self._offset:
            self._offset = 0
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                data = log.read(READ_MAX)
        except OSError:
            return []
        self._offset += len(data)
        return [line for line in self._lines.feed(data) if line]

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
