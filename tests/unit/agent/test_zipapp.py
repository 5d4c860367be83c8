"""The agent as it is shipped: one file, run by an isolated interpreter that finds nothing else of rum."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.agent.harness import Agent, boot, system


def test_it_serves_from_the_zipapp_alone(shipped: Agent) -> None:
    guest = shipped.start()
    assert os.fsencode(shipped.program[-1]) in Path(f"/proc/{guest.pid}/cmdline").read_bytes().split(b"\0")
    assert guest.status()["system_provisioned"] is False
    answer = guest.provision(system("echo one"), boot("echo two"))
    assert (answer.end["success"], answer.stdout) == (True, b"one\ntwo\n")


def test_it_does_without_openssl(shipped: Agent) -> None:
    """Its library would take more memory than all that the agent does."""
    shipped.start()
    assert shipped.provision(system("true")).end["success"]
    loaded = Path(f"/proc/{shipped.pid}/maps").read_text()
    assert "libcrypto" not in loaded
    assert "_hashlib" not in loaded


def test_the_directory_it_was_started_in_may_be_removed(shipped: Agent, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    shipped.before_start = lambda: os.chdir(here)
    shipped.start()
    here.rmdir()
    assert shipped.provision(system("pwd"), boot("pwd")).stdout == b"/\n/\n"
    assert shipped.call("exec", argv=["pwd"]).stdout == b"/\n"
    assert shipped.call("exec", argv=["pwd"], cwd="/usr").stdout == b"/usr\n"
