"""What a transfer's progress says."""

from __future__ import annotations

import pytest

from rum.host.events import Progress
from rum.host.show.meter import Meter

MIB = 1 << 20


def text_after(*seen: tuple[float, int], total: int | None = 400 * MIB) -> str:
    meter = Meter()
    for now, done in seen:
        meter.take(Progress("image", done * MIB, total), now)
    return meter.text()


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        ([(0, 0)], "0 bytes of 400 MiB (0 %)"),
        ([(0, 0), (10, 100)], "100 MiB of 400 MiB (25 %), 10 MiB/s, 30 s left"),
        ([(0, 0), (10, 400)], "400 MiB of 400 MiB (100 %), 40 MiB/s"),
        ([(0, 0), (60, 60), (70, 260)], "260 MiB of 400 MiB (65 %), 20 MiB/s, 7 s left"),
        ([(0, 300), (1, 5), (2, 15)], "15 MiB of 400 MiB (3 %), 10 MiB/s, 38 s left"),
    ],
    ids=["first", "steady", "done", "faster-now", "begun-again"],
)
def test_how_far_how_fast_how_long(seen: list[tuple[float, int]], text: str) -> None:
    assert text_after(*seen) == text


def test_without_a_total_there_is_neither_share_nor_end() -> None:
    assert text_after((0, 0), (2, 10), total=None) == "10 MiB, 5 MiB/s"


def test_what_is_remembered_does_not_grow_with_the_file() -> None:
    meter = Meter()
    for number in range(100_000):
        meter.take(Progress("image", number, None), number / 100)
    assert len(meter._seen) < 2000
