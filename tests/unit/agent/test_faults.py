"""A disk that is full, files that cannot be replaced: the run goes on, says so, and is no success."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.harness import Agent, boot, subset, system


def block(agent: Agent, name: str) -> Path:
    """Keep a state file from being written, even by root: there is none to append to, and a new one's temporary name is
    a directory.
    """
    path = agent.state_dir / f".tmp-{name}"
    path.mkdir()
    (agent.state_dir / name).unlink(missing_ok=True)
    return path


@pytest.fixture
def small_files(guest: Agent) -> Agent:
    """An agent that cannot make a file longer than 200 kB: writes fail as on a full disk (setrlimit(2))."""
    guest.before_start = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    return guest.start()


@pytest.fixture
def full_disk(guest: Agent) -> Iterator[Agent]:
    """An agent whose state lies on a small disk of its own."""
    guest.state_dir.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(guest.state_dir)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        # Nobody may mount here: then the limit on a file's length stands in for the disk's.
        guest.before_start = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        yield guest.start()
        return
    try:
        yield guest.start()
    finally:
        subprocess.run(["umount", "--lazy", str(guest.state_dir)], check=True)


def test_a_record_that_cannot_grow(small_files: Agent) -> None:
    agent = small_files
    answer = agent.provision(system("head -c 3000000 /dev/zero; echo the reason >&2; exit 3", "a"))
    subset(answer.end, success=False, failed_script="a", exit_code=3)
    assert answer.stderr == b"the reason\n"
    (truncated,) = answer.of("truncated")
    assert len(answer.stdout) + truncated["bytes"] == 3_000_000
    assert [warning["code"] for warning in answer.of("warning")] == ["not-recorded"]
    assert agent.attach().record == answer.record
    for offset in (0, len(answer.record)):
        assert agent.attach(offset=offset).end == answer.end
    assert agent.memory_kib() < 30 * 1024


def test_a_run_that_was_not_recorded_is_no_success(small_files: Agent) -> None:
    agent = small_files
    answer = agent.provision(system("head -c 300000 /dev/zero"), boot("echo after"))
    subset(answer.end, success=False, failed_script=None, ran=["system", "boot"], system_provisioned=False)
    assert answer.stdout.endswith(b"after\n")
    assert not agent.sentinel.exists()
    agent.restart()
    subset(agent.attach().end, interrupted=True, success=False)
    assert agent.provision(system("true")).end["success"]


def test_every_offset_of_a_record_that_goes_on_in_memory(small_files: Agent) -> None:
    agent = small_files
    answer = agent.provision(system("head -c 250000 /dev/zero; exit 1"))
    offset = 0
    for number, received in enumerate(answer.frames):
        rest = agent.attach(offset=offset)
        assert len(rest.frames) == len(answer.frames) - number
        offset += received.frame.size
    subset(agent.attach(offset=offset - 1).end, code="bad-request")


def test_a_full_disk(full_disk: Agent) -> None:
    agent = full_disk
    scripts = [system(f"head -c 2000000 /dev/zero >{agent.state_dir}/filler; echo the reason >&2; exit 3", "a")]
    answer = agent.provision(*scripts)
    subset(answer.end, success=False, failed_script="a")
    assert b"the reason\n" in answer.stderr
    # Still full: whatever can be stored no more is refused with a sentence, and nothing hangs.
    refused = agent.provision(system("# " + "x" * 190_000))
    if refused.end["type"] == "error":
        subset(refused.end, code="internal")
    assert agent.call("exec", argv=["echo", "alive"]).stdout == b"alive\n"
    (agent.state_dir / "filler").unlink()
    subset(agent.provision(system("true", "a")).end, success=True, system_provisioned=True)


def test_what_passes_on_a_full_disk_is_no_success(full_disk: Agent) -> None:
    """Everything ran and every script passed; but nobody could rely on it after a power cut, and the result says so."""
    agent = full_disk
    filler = agent.state_dir / "filler"
    scripts = [system(f"head -c 2000000 /dev/zero >{filler}; head -c 2000000 /dev/zero; echo done")]
    answer = agent.provision(*scripts)
    assert answer.of("script_exited")[0]["exit_code"] == 0
    assert answer.stdout.endswith(b"done\n")
    subset(answer.end, success=False, failed_script=None, ran=["system"], system_provisioned=False)
    warnings = answer.of("warning")
    assert {warning["code"] for warning in warnings} == {"not-recorded"}
    assert all("the guest could not record" in warning["message"] for warning in warnings)
    assert not agent.sentinel.exists()
    filler.unlink()
    subset(agent.provision(system("true")).end, success=True, system_provisioned=True)
    assert agent.sentinel.exists()


def test_a_disk_that_is_full_from_the_start_of_a_boot(full_disk: Agent) -> None:
    agent = full_disk
    agent.may_complain = True
    agent.provision(system("true"), boot("echo by itself"))
    agent.stop()
    fill = f"head -c 2000000 /dev/zero >{agent.state_dir}/filler"
    subprocess.run(["sh", "-c", fill], capture_output=True, check=False)
    agent.play_boot("boot-2")
    agent.start()
    assert agent.wait_idle()["type"] == "result"
    (agent.state_dir / "filler").unlink()
    assert agent.provision(system("true"), boot("echo by itself")).end["success"]


@pytest.mark.parametrize("name", ["state.json", ".system-provisioned"])
def test_what_has_passed_cannot_be_recorded(agent: Agent, name: str) -> None:
    agent.provision(system("false"))
    blocked = block(agent, name)
    answer = agent.provision(system("true"), boot("true"))
    subset(answer.end, success=False, failed_script=None, ran=["system", "boot"], system_provisioned=False)
    assert [warning["code"] for warning in answer.of("warning")] == ["not-recorded"]
    assert not agent.sentinel.exists()
    blocked.rmdir()
    subset(agent.provision(system("true"), boot("true")).end, success=True, system_provisioned=True)


def test_the_list_of_scripts_cannot_be_stored(agent: Agent) -> None:
    agent.provision(system("true"))
    blocked = block(agent, "scripts.json")
    subset(agent.provision(system("true"), boot("true")).end, type="error", code="internal")
    assert [entry["name"] for entry in agent.status()["scripts"]] == ["system"]
    blocked.rmdir()
    assert agent.provision(system("true"), boot("true")).end["success"]


def test_no_run_can_be_begun(agent: Agent) -> None:
    agent.provision(system("true"), boot("true"))
    agent.stop()
    runs = agent.state_dir / "runs"
    runs.rename(agent.state_dir / "kept")
    runs.write_text("in the way", encoding="ascii")
    agent.play_boot("boot-2")
    agent.may_complain = True
    agent.start()
    assert agent.status()["run"] is None
    assert "cannot run the boot scripts" in agent.stderr_file.read_text(encoding="utf-8")
    subset(agent.provision(system("true"), boot("true")).end, type="error", code="internal")
    runs.unlink()
    os.rename(agent.state_dir / "kept", runs)
    subset(agent.provision(system("true"), boot("true")).end, success=True, ran=["boot"])


def test_no_pipe_can_be_made(agent: Agent) -> None:
    directory = agent.root / "run/rum"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "fifo").write_text("in the way", encoding="ascii")
    answer = agent.provision(system("true"))
    subset(answer.end, success=False, failed_script="system", exit_code=126)
    assert b"cannot start" in answer.stderr
    subset(agent.call("exec", argv=["true"]).end, type="error", code="internal")
