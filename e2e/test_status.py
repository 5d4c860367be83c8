"""What is to be seen of a VM from outside, and what waits for it: status, list, wait, the healthcheck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.project import Json, Outcome, Project

MARK = "/run/rum-test-status"
"""Made by these tests and gone after them, at the latest with the boot."""


@pytest.fixture
def rum_toml(vm: Project) -> Iterator[Path]:
    """The file of the shared VM, which is as it was afterwards."""
    file = vm.directory / "rum.toml"
    before = file.read_text()
    yield file
    file.write_text(before)


def healthcheck(file: Path, command: str, timeout_s: int) -> None:
    """Add a healthcheck to rum.toml."""
    table = f"[provision.healthcheck]\ncommand = '{command}'\ninterval_s = 0.2\ntimeout_s = {timeout_s}\n"
    file.write_text(f"{file.read_text()}\n{table}")


def listed(project: Project) -> Json:
    """The VM in `rum list`, where it is the only one of its state directory."""
    outcome = project.rum("-o", "json", "list")
    assert outcome.exit == 0, outcome.stderr
    (found,) = outcome.events
    return found


def lines(outcome: Outcome) -> dict[str, str]:
    """The lines of `rum status` by their first word, without the head."""
    pairs = (line.split(maxsplit=1) for line in outcome.stdout.splitlines()[1:])
    return {word: rest.strip() for word, rest in pairs}


def test_status_says_what_there_is_and_what_to_do(vm: Project) -> None:
    found = vm.status()
    assert (found["state"], found["provisioned"]) == ("running", True)
    assert found["config"] == str(vm.directory / "rum.toml")
    assert (found["cpus"], found["memory_mb"]) == (2, 768)
    assert [script["last"]["exit_code"] for script in found["agent"]["scripts"]] == [0, 0]
    (ours,) = vm.rum("-o", "json", "version").events
    assert found["agent"]["agent_version"] == ours["version"]
    shown = vm.rum("status")
    assert shown.stdout.splitlines()[0].endswith(": running, provisioned")
    assert lines(shown)["script"] == "boot (boot, order 200): passed"
    assert lines(shown)["next"].startswith("`rum ssh` logs in")


def test_list_has_it_with_what_it_takes(vm: Project) -> None:
    found = listed(vm)
    assert (found["state"], found["provisioned"], found["config_exists"]) == ("running", True, True)
    assert found["uptime_s"] > 0
    assert 1 << 20 < found["disk_bytes"] < 20 << 30
    assert vm.rum("list").stdout.splitlines()[1].split()[2:4] == ["running", "yes"]


def test_neither_needs_a_rum_toml_that_is_right(vm: Project, rum_toml: Path) -> None:
    rum_toml.write_text("this is no TOML")
    assert vm.status()["state"] == "running"
    assert vm.rum("exec", "true").exit == 0
    rum_toml.unlink()
    assert vm.status()["state"] == "running"
    assert listed(vm)["config_exists"] is False
    assert vm.rum("list").stdout.splitlines()[1].endswith("(gone)")


@pytest.mark.parametrize("goal", ["agent", "provisioned", "healthy", "uname"])
def test_what_is_there_is_no_wait(vm: Project, goal: str) -> None:
    outcome = vm.rum("-o", "json", "wait", "--for", goal, "--timeout", "60")
    assert (outcome.exit, outcome.done["ok"]) == (0, True)


def test_a_command_is_waited_for(vm: Project) -> None:
    waiting = vm.start("wait", "--for", f"rm {MARK}", "--timeout", str(60 * vm.patience))
    waiting.wait_for(lambda event: event.get("name") == "wait", within_s=30 * vm.patience)
    vm.guest(f"touch {MARK}")
    assert waiting.finish(within_s=30 * vm.patience).exit == 0


def test_a_wait_in_vain_says_what_was_missing(vm: Project) -> None:
    outcome = vm.rum("-o", "json", "wait", "--for", "echo not yet; exit 3", "--timeout", "3")
    error = outcome.done["error"]
    assert (outcome.exit, error["code"]) == (4, "timed-out")
    assert error["message"].endswith("the last try: exit code 3")
    assert error["tail"] == ["not yet"]


def test_a_healthcheck_decides_whether_it_is_up(vm: Project, rum_toml: Path) -> None:
    healthcheck(rum_toml, f"echo no mark; rm {MARK}", 2)
    ended = vm.up(expect=1)
    error = ended.done["error"]
    assert error["code"] == "unhealthy"
    assert error["tail"][0] == "no mark"
    phases = [event["status"] for event in ended.of_type("phase") if event["name"] == "healthcheck"]
    assert phases == ["started", "failed"]
    vm.guest(f"touch {MARK}")
    assert [event["status"] for event in vm.up().of_type("phase") if event["name"] == "healthcheck"] == [
        "started",
        "done",
    ]
