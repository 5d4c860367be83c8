"""`rum status`: of a real agent in a VM that is played, and of VMs that are files only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest

from e2e.json_lines import checked
from rum.host import up as story
from rum.host.config.identity import VmIdentity
from rum.host.config.load import load_config
from rum.host.guest.settings import MountSetting
from rum.host.paths import VmPaths
from rum.host.qemu_img import create_qcow2
from rum.host.show.status_text import script_text, status_lines
from rum.host.status import status
from rum.host.store import BaseImage, LastStart, VmState, save_state
from rum.host.vm.known import KnownVm
from rum.host.vm.machine import Machine
from rum.protocol import Mode
from tests.unit.host.cli.test_commands import rum
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest, script_toml
from tests.unit.host.test_health import up
from tests.unit.host.test_up import PlayedMachine

STARTED = LastStart(
    "kvm", "vhost-user", 70_000, 0, cpus=2, memory_mb=512, mounts=(MountSetting("/src", "/srv", "tag", True),)
)


def lines(guest: LocalGuest) -> list[str]:
    return status_lines(status(cast(KnownVm, guest)))


def starting_with(word: str, found: list[str]) -> list[str]:
    return [line[len(word) :].strip() for line in found if line.startswith(word)]


def test_the_next_step_is_one_that_helps(tmp_path: Path) -> None:
    marker = tmp_path / "broken"
    toml = script_toml("one", f"test ! -e '{marker}'") + script_toml("each", "true", order=60, run_on="boot")
    with local_guest(tmp_path, toml) as guest:
        machine = cast(Machine, PlayedMachine(guest))
        up(guest)
        marker.touch()
        story.provision(machine, Seen(), Mode.SYSTEM)
        up(guest)
        again = "`rum logs --failed` shows why; fix it and run `rum provision --system` again"
        assert starting_with("next", lines(guest)) == [again]
        marker.unlink()
        story.provision(machine, Seen(), Mode.SYSTEM)
        assert starting_with("next", lines(guest)) == ["`rum ssh` logs in, `rum exec -- COMMAND` runs a command"]
        up(guest)
        bad = script_toml("bad", "exit 7", order=70, run_on="boot")
        with guest.config.identity.path.open("a") as file:
            file.write(bad)
        whole, guest.config = guest.config, load_config(guest.config.identity.path)
        up(guest)
        again = "`rum logs --failed` shows why; fix it and run `rum up` again"
        assert starting_with("next", lines(guest)) == [again]
        guest.config = whole
        up(guest)
        assert starting_with("next", lines(guest)) == ["`rum ssh` logs in, `rum exec -- COMMAND` runs a command"]


def test_every_script_is_told_with_how_it_ended_in_this_boot(tmp_path: Path) -> None:
    marker = tmp_path / "broken"
    toml = (
        script_toml("one", "true")
        + script_toml("each", f"test ! -e '{marker}' || exit 7", order=60, run_on="boot")
        + script_toml("later", "true", order=70, run_on="boot")
    )
    with local_guest(tmp_path, toml) as guest:
        assert starting_with("next", lines(guest)) == ["`rum up` provisions it"]
        up(guest)
        found = lines(guest)
        assert found[0] == f"VM demo ({guest.identity.id8}): running, provisioned"
        assert starting_with("script", found) == [
            "one (system, order 50): passed",
            "each (boot, order 60): passed",
            "later (boot, order 70): passed",
        ]
        assert starting_with("next", found) == ["`rum ssh` logs in, `rum exec -- COMMAND` runs a command"]
        guest.stop()
        guest.new_boot()
        marker.touch()
        guest.start()
        up(guest)
        found = lines(guest)
        assert starting_with("script", found)[1:] == [
            "each (boot, order 60): failed with exit code 7",
            "later (boot, order 70): has not run in this boot",
        ]
        assert starting_with("next", found) == ["`rum logs --failed` shows why; fix it and run `rum up` again"]


def test_an_agent_that_answers_makes_a_vm_run_whatever_libvirt_says(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        guest.running = False
        assert status(cast(KnownVm, guest))["state"] == "running"


def test_without_an_agent_there_are_the_last_words_of_the_console(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        found = lines(guest)
    assert starting_with("agent", found) == ["does not answer"]
    assert starting_with("console", found) == ["login:"]
    assert "rum wait --for agent" in starting_with("next", found)[0]


def test_a_dead_vsock_daemon_is_named_with_what_brings_the_agent_back(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.daemon_alive = False
        found = status(cast(KnownVm, guest))
    assert found["warnings"] == ["the vsock daemon of VM demo has died, so its agent cannot be reached"]
    assert found["next"] == "`rum up` restarts it, nothing else brings its agent back"


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (None, "has not run yet"),
        ({"boot_id": "now", "sha256": "x", "exit_code": 0}, "passed"),
        ({"boot_id": "before", "sha256": "x", "exit_code": 0}, "passed"),
        ({"boot_id": "now", "sha256": "y", "exit_code": 0}, "has changed since it ran"),
        ({"boot_id": "now", "sha256": "x", "exit_code": 0, "timed_out": True}, "timed out"),
        ({"boot_id": "now", "sha256": "x", "exit_code": None, "signal": 9}, "was killed by signal 9 (SIGKILL)"),
        ({}, "has not run yet"),
    ],
)
def test_a_system_script_in_words(last: dict[str, object] | None, words: str) -> None:
    script = {"name": "one", "run_on": "system", "order": 5, "sha256": "x", "last": last}
    assert script_text(script, "now") == f"one (system, order 5): {words}"


@pytest.fixture
def vm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownVm:
    """A VM that was made and is off, with a drive and a mount; its rum.toml is none."""
    for variable, name in (("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    (tmp_path / "rum.toml").write_text("this is no TOML", encoding="utf-8")
    identity = VmIdentity.of(tmp_path / "rum.toml")
    paths = VmPaths.of(identity)
    paths.make_dirs()
    image = BaseImage("debian-12", "/nonexistent", "qcow2", 1, 1, 1)
    state = VmState(
        "1-2", identity.name, identity.id8, str(identity.path), image, "hash", "test:///default", started=STARTED
    )
    save_state(paths.state_file, state)
    paths.key.write_text("0" * 64, encoding="ascii")
    create_qcow2(paths.drive("data"), 10 << 30)
    paths.drive("bad").mkdir()
    return KnownVm(identity, Seen())


def test_a_vm_that_is_off_is_told_from_its_files_whatever_is_in_its_rum_toml(vm: KnownVm, tmp_path: Path) -> None:
    done = rum(None, "status", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    found = done.stdout.decode().splitlines()
    assert re.fullmatch(r"VM \S+ \(\w{8}\): stopped", found[0])
    assert starting_with("resources", found) == ["2 CPUs, 512 MiB of memory"]
    assert starting_with("drive", found) == ["bad, damaged", "data, 10 GiB"]
    assert starting_with("mount", found) == ["/src at /srv, read-only"]
    assert starting_with("next", found) == ["`rum up` starts it"]
    checked(rum(None, "-o", "json", "status", cwd=tmp_path).stdout)


def test_where_libvirt_cannot_be_asked_the_state_is_unknown(vm: KnownVm, tmp_path: Path) -> None:
    state = vm.require_state()
    vm.save_state(type(state)(**{**vars(state), "libvirt_uri": "nosuch:///anywhere"}))
    done = rum(None, "-o", "json", "status", cwd=tmp_path)
    found = checked(done.stdout)
    assert done.returncode == 0
    (warning,) = found["warnings"]
    assert warning.startswith("what state the VM is in cannot be told: libvirt at nosuch:///anywhere")
    assert rum(None, "status", cwd=tmp_path).stderr.decode() == f"rum: warning: {warning}\n"
    assert found["state"] == "unknown"
    assert found["drives"][1] == {"name": "data", "size_bytes": 10 << 30, "attached": True}


def test_a_vm_that_waits_for_room_says_so_and_what_to_do(vm: KnownVm, monkeypatch: pytest.MonkeyPatch) -> None:
    # libvirt's test driver never runs out of space.
    monkeypatch.setattr(vm, "state", lambda: "paused")
    monkeypatch.setattr(vm, "is_out_of_space", lambda: True)
    found = status(vm)
    assert found["warnings"] == [f"the disk of {vm.paths.state} is full, so the VM is paused"]
    assert found["next"] == "make room on that disk, then `rum up` lets the VM go on: nothing in it is lost"
    monkeypatch.setattr(vm, "is_out_of_space", lambda: False)
    found = status(vm)
    assert (found["warnings"], found["next"]) == ([], "`rum up` lets it go on")


def test_a_vm_that_there_is_not_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "rum.toml").touch()
    done = rum(None, "-o", "json", "status", cwd=tmp_path)
    found = checked(done.stdout)
    assert (done.returncode, found["state"], found["agent"], found["next"]) == (
        0,
        "absent",
        None,
        "`rum up` creates it",
    )


def test_a_state_file_that_cannot_be_read_is_an_error(vm: KnownVm, tmp_path: Path) -> None:
    vm.paths.state_file.write_text("{")
    done = rum(None, "status", cwd=tmp_path)
    assert done.returncode == 3
    assert b"cannot be read as the state of a VM" in done.stderr
