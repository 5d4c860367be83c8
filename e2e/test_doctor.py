"""`rum doctor` on the machine that runs these tests, which is one that can run VMs; and what TAB offers for a VM."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from e2e.project import RUM, Project
from rum.host import choose_accelerator, choose_transport

TAB = """
eval "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_rum_completion rum
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does at the TAB key, with the words of the line."""


def findings(vm: Project) -> dict[str, dict[str, str]]:
    """What it has found, by name."""
    outcome = vm.rum("-o", "json", "doctor")
    assert outcome.exit == 0, outcome.stdout
    assert outcome.done["type"] == "done"
    return {event["name"]: event for event in outcome.of_type("check")}


def test_it_finds_what_rum_up_has_used(vm: Project) -> None:
    found = findings(vm)
    assert found["accelerator"]["found"].startswith(choose_accelerator("auto").accelerator.value)
    assert found["transport"]["found"].startswith(choose_transport("auto").transport.value)
    assert re.match(r"libvirt \d+\.\d+\.\d+ at qemu:///session", found["libvirt"]["found"])
    assert found["rum.toml"]["found"] == str(vm.directory / "rum.toml")
    assert found["image"]["found"] == "the VM has its disk already"
    assert "libvirt-qemu" not in found


def test_it_changes_nothing_and_its_last_line_is_the_verdict(vm: Project, tmp_path: Path) -> None:
    before = vm.boot_id()
    outcome = vm.rum("doctor")
    assert outcome.exit == 0
    assert outcome.stdout.splitlines()[-1].startswith("`rum up` can work here")
    elsewhere = subprocess.run(
        [RUM, "doctor"], cwd=tmp_path, env=vm.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert elsewhere.returncode == 0, elsewhere.stdout
    assert "rum.toml" not in elsewhere.stdout
    assert vm.boot_id() == before


def test_the_shell_is_offered_the_runs_and_scripts_of_this_vm(vm: Project) -> None:
    script = vm.rum("completion", "bash").stdout

    def offered(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", TAB, "bash", script, *words],
            cwd=vm.directory,
            env={**vm.environment, "PATH": f"{RUM.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    last_run = vm.status()["last_run"]["run_id"]
    assert last_run in offered("rum", "logs", "--run", "")
    assert offered("rum", "logs", "--run", last_run[:6]) == [last_run]
    assert {"system", "boot"} <= set(offered("rum", "provision", "--from", ""))
    assert offered("rum", "logs", "--scrip") == ["--script"]
