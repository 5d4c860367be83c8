"""Following a VM that goes down: for good, or because another rum starts it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.channel.client import LostError
from rum.host.outcome import Outcome
from rum.host.runs.follow import follow
from rum.host.runs.runreader import FRUITLESS_MAX
from rum.host.store import VmLock
from tests.unit.host.channel.hostile_agent import hostile_guest
from tests.unit.host.local_guest import Seen, local_guest, script_toml, wait_until
from tests.unit.host.runs.test_provisioning import Background, up


def test_a_vm_that_another_rum_starts_anew_is_followed_until_it_is_off_for_good(tmp_path: Path) -> None:
    looks: list[bool] = []
    with local_guest(tmp_path, script_toml("one", "echo text", run_on="boot")) as guest:
        up(guest, Seen())
        seen = Seen()
        following = Background(lambda: follow(guest, seen, None, lambda: looks.append(guest.running)))
        wait_until(lambda: any(": passed" in text for text in seen.notices()), "the first run")
        with VmLock(guest.paths.lock).hold(Seen()):
            guest.running = False
            guest.stop()
            guest.new_boot()
            wait_until(lambda: looks[-6:] == [False] * 6, "looks at a VM that is off and worked on")
            guest.running = True
            guest.start()
        wait_until(lambda: seen.output() == b"text\ntext\n", "the run of the new boot")
        guest.running = False
        guest.stop()
        outcome = following.join()
        assert isinstance(outcome, Outcome)
        assert (outcome.exit, outcome.text) == (0, "VM demo is stopped")
        assert seen.types().count("run_started") == 2


def test_an_agent_that_tells_nothing_is_not_asked_for_ever(tmp_path: Path) -> None:
    with hostile_guest(tmp_path, {"runs": lambda _talk: None}) as (guest, agent):
        with pytest.raises(LostError):
            follow(guest, Seen(), None, lambda: None)
        assert len(agent.requests) == FRUITLESS_MAX + 1
