"""Where the time of a command went."""

from __future__ import annotations

import time

import pytest

from rum.host.events import GuestBoot, Phase, RunEvent, Stage
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


def test_the_guests_own_figures_come_below() -> None:
    timings = Timings()
    timings.take(Phase("boot", "done", 20_000))
    stages = (
        Stage("kernel", 0, 4900),
        Stage("local-fs.target", 10_200, None),
        Stage("cloud-init-local", 10_400, 12_100),
    )
    timings.take(GuestBoot(stages, (("growpart", 1750), ("ssh", 400))))
    assert timings.lines()[-5:] == [
        "in the guest          at    took",
        "kernel             0.0 s   4.9 s",
        "local-fs.target   10.2 s",
        "cloud-init-local  10.4 s  12.1 s",
        "cloud-init's slowest: growpart 1.8 s, ssh 0.4 s",
    ]
