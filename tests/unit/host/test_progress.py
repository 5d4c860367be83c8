"""Phases begin and end, however they end."""

from __future__ import annotations

import pytest

from rum.host.events import Phase
from rum.host.progress import phase
from tests.unit.host.local_guest import Seen


def ends(seen: Seen) -> list[tuple[str, str, str]]:
    return [(event.name, event.status, event.detail) for event in seen if isinstance(event, Phase)]


def test_what_was_done_is_the_detail_of_the_end() -> None:
    seen = Seen()
    with phase(seen, "disk") as detail:
        detail += ["new drive data", "drive old grown"]
    assert ends(seen) == [("disk", "started", ""), ("disk", "done", "new drive data, drive old grown")]


@pytest.mark.parametrize(
    ("error", "detail"), [(ValueError, ""), (KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted")]
)
def test_a_phase_that_does_not_come_to_its_end(error: type[BaseException], detail: str) -> None:
    seen = Seen()
    with pytest.raises(error), phase(seen, "boot"):
        raise error
    assert ends(seen)[-1] == ("boot", "failed", detail)
