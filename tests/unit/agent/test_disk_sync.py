"""What a System script has written is on the disk before anything says that it has passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.agent.harness import Agent, boot, subset, system, wait_until


def play_sync(agent: Agent, command: str) -> None:
    """Have this shell command take the place of sync(1)."""
    agent.setup = f"from rum.agent import disk_sync; disk_sync.COMMAND = ['sh', '-c', {command!r}]"


def test_only_system_scripts_that_have_passed_are_synced(guest: Agent, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    guest.setup = f"from tests.unit.agent.recorder import install; install({str(journal)!r})"
    guest.start()
    guest.provision(system("true", "a"), system("exit 3", "b"))
    guest.provision(system("true", "a"), system("true", "b"), boot("true"))
    steps = [json.loads(line)["step"] for line in journal.read_text().splitlines()]
    assert steps.count("sync") == 3


def test_the_real_one(guest: Agent) -> None:
    guest.setup = ""
    guest.start()
    subset(guest.provision(system("true")).end, success=True)
    guest.wait_for_no_child()


def test_others_are_served_meanwhile_and_nothing_is_said_before(guest: Agent) -> None:
    gate, begun = guest.root / "gate", guest.root / "begun"
    play_sync(guest, f"touch {begun}; until [ -e {gate} ]; do sleep 0.01; done")
    guest.start()
    client = guest.connect().request("provision", scripts=[system("echo done"), boot("true")])
    wait_until(lambda: begun.exists(), "the disks are being synced")
    subset(guest.status(), system_provisioned=False)
    subset(guest.status()["run"], script="system")
    assert "script_exited" not in guest.attach(follow=False).types
    gate.touch()
    subset(client.finish().end, success=True, system_provisioned=True)


def test_a_cancel_meanwhile(guest: Agent) -> None:
    gate = guest.root / "gate"
    play_sync(guest, f"until [ -e {gate} ]; do sleep 0.01; done")
    guest.start()
    client = guest.connect().request("provision", scripts=[system("echo done"), boot("true")])
    client.wait_for_output(b"done\n")
    guest.call("cancel", run_id=None)
    gate.touch()
    subset(client.finish().end, success=False, cancelled=True, failed_script="system", system_provisioned=False)


@pytest.mark.parametrize(
    ("command", "limits", "reason"),
    [
        ("kill -9 $$", {}, "sync ended with -9"),
        ("exec sleep 300", {"SYNC_MAX_S": 0.1}, "the disks took longer than 0 s"),
    ],
    ids=["killed", "stuck"],
)
def test_what_could_not_be_stored_is_no_success(
    guest: Agent, command: str, limits: dict[str, float], reason: str
) -> None:
    guest.limits = limits
    play_sync(guest, command)
    guest.start()
    answer = guest.provision(system("true"), boot("true"))
    subset(answer.end, success=False, failed_script=None, ran=["system", "boot"], system_provisioned=False)
    (warning,) = answer.of("warning")
    subset(warning, code="not-recorded")
    assert reason in warning["message"]
    assert not guest.sentinel.exists()
    guest.wait_for_no_child()
