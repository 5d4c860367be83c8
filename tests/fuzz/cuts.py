"""The same stream, cut in several ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Pieces = Iterator[bytes]


def pieces(data: bytes, step: int) -> Pieces:
    """The data in pieces of this size."""
    return (data[start : start + step] for start in range(0, len(data), step))


def same_however_cut(data: bytes, events_of: Callable[[Pieces], list[str]]) -> list[str]:
    """The events of the whole stream; fails unless every cut gives the same."""
    whole = events_of(iter([data]))
    for step in {1, 2, 7, data[0] + 1 if data else 3}:
        found = events_of(pieces(data, step))
        assert found == whole, f"in pieces of {step}: {found}, as a whole: {whole}"
    return whole
