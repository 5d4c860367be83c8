"""`rum wait` and an agent that says less than it should, or never stops saying it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.guest import probe
from rum.host.wait import PROVISIONED, Goal, WaitTimeoutError, passes, wait
from rum.protocol import Message
from tests.unit.host.channel.hostile_agent import HEARTBEAT, Play, Talk, hostile_guest, saying
from tests.unit.host.local_guest import Seen

TIMEOUT_S = 0.4
LATEST: Message = {"type": "run_started", "run_id": "000001-aaaaaa", "boot_id": "b"}


def in_vain(tmp_path: Path, plays: dict[str, Play]) -> str:
    """What is said about the wait, which has to end in time."""
    with hostile_guest(tmp_path, plays) as (guest, _), pytest.raises(WaitTimeoutError) as caught:
        wait(guest, Seen(), [PROVISIONED], TIMEOUT_S)
    return str(caught.value)


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        ({}, "its first boot is not over"),
        ({"system_provisioned": True, "scripts": [{"run_on": "boot"}]}, "None did not pass in this boot yet"),
        ({"system_provisioned": True, "scripts": [{"run_on": "boot", "last": {}}]}, "None did not pass"),
    ],
)
def test_what_is_left_out_counts_as_not_passed(tmp_path: Path, status: Message, missing: str) -> None:
    refused = saying({"type": "error", "code": "not-found", "message": "no run"})
    assert missing in in_vain(tmp_path, {"status": saying({"type": "result", **status}), "attach": refused})


def test_a_status_that_never_comes(tmp_path: Path) -> None:
    said = in_vain(tmp_path, {"status": lambda talk: talk.go_on(HEARTBEAT, pause_s=0.05)})
    assert said.endswith("its agent does not answer")


@pytest.mark.parametrize("run", [None, {"run_id": "000001-aaaaaa"}])
def test_a_run_that_never_ends(tmp_path: Path, run: Message | None) -> None:
    def attach(talk: Talk) -> None:
        talk.say(LATEST)
        talk.go_on(HEARTBEAT, pause_s=0.05)

    in_vain(tmp_path, {"status": saying({"type": "result", "boot_id": "b", "run": run}), "attach": attach})


def test_a_command_that_the_agent_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "KILLING_S", 0.1)
    plays: dict[str, Play] = {"exec": lambda talk: talk.go_on(HEARTBEAT, pause_s=0.05)}
    with hostile_guest(tmp_path, plays) as (guest, _), pytest.raises(WaitTimeoutError, match="the last try: the agent"):
        wait(guest, Seen(), [Goal("ok", passes("true"))], TIMEOUT_S)
