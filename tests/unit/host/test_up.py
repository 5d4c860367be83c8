"""`rum up` from top to bottom, with the real agent and a VM that is only played."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import cast

import pytest

from rum.host import up as story
from rum.host.machine import Machine, Started
from rum.host.reach import StoppedError
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest


class PlayedMachine:
    """A machine that is a LocalGuest; each start takes the next of these states."""

    def __init__(self, guest: LocalGuest, *starts: tuple[bool, bool]) -> None:
        self._guest = guest
        self._starts = list(starts)

    def note_answer(self) -> None:
        """It has no disk that could be begun anew."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._guest, name)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def start(self) -> Started:
        booted, self._guest.running = self._starts.pop(0)
        return Started(created=False, booted=booted, accelerator="tcg", transport="vhost-user")


def up(guest: LocalGuest, seen: Seen, *starts: tuple[bool, bool]) -> int:
    return story.up(cast(Machine, PlayedMachine(guest, *starts)), seen).exit


def test_a_vm_whose_death_libvirt_has_not_noticed_yet_is_started(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        seen = Seen()
        assert up(guest, seen, (False, False), (True, True)) == 0
        assert any("has just died" in text for text in seen.notices())


def test_a_vm_that_dies_while_it_boots_is_not_started_over_and_over(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest, pytest.raises(StoppedError, match="stopped while rum was waiting"):
        up(guest, Seen(), (True, False), (True, True))


def test_nor_is_one_that_was_shut_down_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "STALE_STATE_MS", -1)
    with local_guest(tmp_path) as guest, pytest.raises(StoppedError):
        up(guest, Seen(), (False, False), (True, True))
