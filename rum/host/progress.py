"""Phases of a command, reported as they begin and end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rum.host.events import Emit, Notice, Phase

SIGN_OF_LIFE_S = 15.0


@contextlib.contextmanager
def phase(emit: Emit, name: str) -> Iterator[list[str]]:
    """Report the block as a phase; what it appends to the list is the detail of its end."""
    emit(Phase(name, "started"))
    start = time.monotonic()
    detail: list[str] = []
    status = "failed"
    try:
        yield detail
        status = "done"
    except (KeyboardInterrupt, SystemExit):
        detail.append("interrupted")
        raise
    finally:
        duration_ms = int((time.monotonic() - start) * 1000)
        emit(Phase(name, status, duration_ms, ", ".join(detail)))


class SignsOfLife:
    """Says what is still missing: whenever that is something else, and else every 15 s."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._text = ""
        self._at = 0.0

    def tell(self, text: str) -> None:
        """Say it if it is due."""
        now = time.monotonic()
        if text != self._text or now - self._at >= SIGN_OF_LIFE_S:
            self._text, self._at = text, now
            self._emit(Notice(text, passing=True))
