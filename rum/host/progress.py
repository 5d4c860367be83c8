"""Phases of a command, reported as they begin and end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rum.host.events import Emit, Phase


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
