"""Waiting for a file to grow."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import inotify_simple
import pytest

from rum.host.file_growth import FileGrowth


def test_it_wakes_when_the_file_grows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with FileGrowth(log) as growth:
        writer = threading.Timer(0.05, log.write_text, ["more"])
        writer.start()
        assert growth.wait(60)
        writer.join()


def test_what_grew_before_the_wait_is_not_missed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with FileGrowth(log) as growth:
        log.write_text("more")
        assert growth.wait(60)
        assert not growth.wait(0)


def test_it_waits_no_longer_than_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with FileGrowth(log) as growth:
        begun = time.monotonic()
        assert not growth.wait(0.05)
        assert time.monotonic() - begun >= 0.05


def none_left() -> inotify_simple.INotify:
    raise OSError(24, "Too many open files")


def test_where_it_cannot_be_watched_time_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileGrowth(tmp_path / "missing") as growth:
        begun = time.monotonic()
        assert not growth.wait(0.05)
        assert time.monotonic() - begun >= 0.05
    monkeypatch.setattr(inotify_simple, "INotify", none_left)
    with FileGrowth(tmp_path) as growth:
        assert not growth.wait(0.01)
