"""The agent as it is shipped: one file, run by an isolated interpreter that finds nothing else of rum."""

from __future__ import annotations

from pathlib import Path

from rum.host.bundle import build_agent_zipapp
from tests.unit.agent.harness import Agent, boot, system


def test_it_serves_from_the_zipapp_alone(guest: Agent, tmp_path: Path) -> None:
    zipapp = tmp_path / "rum-agent"
    zipapp.write_bytes(build_agent_zipapp())
    guest.program = ["-I", "-S", str(zipapp)]
    guest.start()
    assert guest.status()["system_provisioned"] is False
    answer = guest.provision(system("echo one"), boot("echo two"))
    assert (answer.end["success"], answer.stdout) == (True, b"one\ntwo\n")
