"""What nobody has seen is copied before a VM goes down, and nothing keeps it from going down."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.runs import rescue
from rum.host.runs.records import RunCopies
from rum.protocol import Message
from tests.unit.host.channel.hostile_agent import HEARTBEAT, Play, Talk, hostile_guest
from tests.unit.host.cli.in_process import Cli, rum_here
from tests.unit.host.cli.test_logs import forget_copies, going_on, ids
from tests.unit.host.local_guest import Seen, local_guest, script_toml

__all__ = ["rum_here"]

EACH_BOOT = script_toml("each", "echo here", run_on="boot")


@pytest.mark.parametrize("command", [["down"], ["destroy", "-y"]])
def test_a_run_that_nobody_has_seen(tmp_path: Path, rum_here: Cli, command: list[str]) -> None:
    with local_guest(tmp_path, EACH_BOOT) as guest:
        rum_here(guest, "up")
        forget_copies(guest)
        [run_id] = ids(guest)
        done = rum_here(guest, *command)
        assert (done.status, done.lines[0]) == (
            0,
            f"run {run_id} had not been seen yet (passed); show it: rum logs --run {run_id}",
        )
        assert RunCopies(guest.paths.runs).ids() == [run_id]
        guest.running = False
        assert "each | here" in rum_here(guest, "logs", "--run", run_id).lines
        assert len(rum_here(guest, *command).lines) == 1


def test_several_in_their_order_and_not_the_one_that_goes_on(tmp_path: Path, rum_here: Cli) -> None:
    gate = tmp_path / "gate"
    with local_guest(tmp_path, script_toml("each", f"echo here; ! [ -e {gate} ] || sleep 60", run_on="boot")) as guest:
        for _ in range(3):
            rum_here(guest, "provision", "--boot")
        forget_copies(guest)
        gate.touch()
        with going_on(guest, "provision", "--boot") as provisioning:
            provisioning.up_to("each | here")
            done = rum_here(guest, "down")
            assert done.lines[0] == "3 runs had not been seen yet; `rum logs --list` shows them"
            assert RunCopies(guest.paths.runs).ids() == ids(guest)[:3]


def test_an_agent_that_does_not_answer_or_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescue, "PATIENCE_S", 0.3)
    listed: Message = {"type": "runs", "runs": [{"run_id": "000001-abcdef", "running": False, "success": True}]}

    def never(talk: Talk) -> None:
        talk.go_on(HEARTBEAT, pause_s=0.02)

    def tells(talk: Talk) -> None:
        talk.say(listed, {"type": "result"})
        talk.stay()

    cases: list[dict[str, Play]] = [{"runs": never}, {"runs": tells, "attach": never}]
    for number, plays in enumerate(cases):
        directory = tmp_path / str(number)
        directory.mkdir()
        with hostile_guest(directory, plays) as (guest, agent):
            rescue.copy_unseen(guest, seen := Seen())
            assert seen == []
            assert [request["method"] for request in agent.requests] == list(plays)
            assert RunCopies(guest.paths.runs).ids() == []


def test_a_vm_that_is_off(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        rescue.copy_unseen(guest, seen := Seen())
        guest.started = None
        rescue.copy_unseen(guest, seen)
        assert seen == []
