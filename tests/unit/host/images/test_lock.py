"""Whoever waits for another process's download says so, and does not wait for one that hangs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rum.host.errors import HostError
from rum.host.events import Event, Notice
from rum.host.images import lock as module
from rum.host.images.lock import image_lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.img"


def test_a_holder_that_hangs_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANG_S", 0.2)
    events: list[Event] = []
    with (
        image_lock(path, "http://x/a.img", events.append),
        pytest.raises(HostError) as caught,
        image_lock(path, "http://x/a.img", events.append),
    ):
        pass
    pid = os.getpid()
    assert str(caught.value) == f"the rum process {pid} downloads http://x/a.img, and nothing has arrived for 0 s"
    assert caught.value.hint == f"look at what it does, or end it: kill {pid}"
    assert events == [Notice(f"waiting for the rum process {pid}, which downloads http://x/a.img")]


class Clock:
    """Time that passes only while somebody sleeps: a second each time."""

    def __init__(self, sleeping: Callable[[int], None]) -> None:
        self._sleeping = sleeping
        self._now = 0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, _seconds: float) -> None:
        self._now += 1
        self._sleeping(self._now)


def test_a_holder_that_gets_on_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = contextlib.ExitStack()

    def get_on(now: int) -> None:
        path.with_name("a.img.part").write_bytes(bytes(now))
        if now == 1000:
            holder.close()

    monkeypatch.setattr(module, "time", Clock(get_on))
    holder.enter_context(image_lock(path, "x", lambda event: None))
    with image_lock(path, "x", lambda event: None):
        assert module.HANG_S < 1000
