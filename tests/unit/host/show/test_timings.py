"""Where the time of a command went."""

from __future__ import annotations

import time

import pytest

from rum.host.events import Phase, RunEvent
from rum.host.show.timings import Timings


def test_phases_waits_and_scripts_in_their_order_with_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    timings = Timings()
    timings.take(Phase("image", "started"))
    timings.take(Phase("image", "done", 20_000))
    timings.take(Phase("disk", "skipped"))
    timings.take(RunEvent({"type": "script_exited", "name": "old", "duration_ms": 5}, replayed=True))
    timings.take(RunEvent({"type": "waiting", "for": "cloud-init"}))
    now[0] = 30.0
    timings.take(RunEvent({"type": "script_started", "name": "one"}))
    timings.take(RunEvent({"type": "script_exited", "name": "one", "duration_ms": 145_000}))
    now[0] = 200.0
    assert timings.lines() == [
        "image                    20.0 s  10 %",
        "wait for cloud-init      30.0 s  15 %",
        "script one           2 min 25 s  72 %",
        "the rest                  5.0 s   2 %",
        "total                3 min 20 s",
    ]


def test_nothing_measured_is_no_table() -> None:
    assert Timings().lines() == []
