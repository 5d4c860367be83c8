"""`rum list`: VMs that are files only, one that runs, broken ones, and one that hangs."""

from __future__ import annotations

import dataclasses
import os
import socket
import threading
from pathlib import Path

import pytest

from rum.host.config.identity import VmIdentity
from rum.host.events import Event
from rum.host.json_lines.answers import ListedVm
from rum.host.paths import VmPaths
from rum.host.show.list_text import list_lines
from rum.host.store import BaseImage, LastStart, VmLock, VmState, load_state, save_state
from rum.host.vm_list import all_at_once, list_vms, unknown
from tests.unit.host.cli.test_commands import json_lines, rum
from tests.unit.host.local_guest import local_guest, script_toml
from tests.unit.host.test_health import up

STARTED = LastStart("tcg", "vhost-user", 70_000, 0)
BASE = BaseImage("debian-12", "/nonexistent", "qcow2", 1, 1, 1)


def ignore(event: Event) -> None:
    pass


class Home:
    """The VMs of a user, in a directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def of(cls, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
        for variable, name in (("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")):
            monkeypatch.setenv(variable, str(directory / name))
        return cls(directory)

    def make(self, name: str, *, started: LastStart | None = None, uri: str = "test:///default") -> VmPaths:
        project = self.directory / name
        project.mkdir()
        (project / "rum.toml").touch()
        identity = VmIdentity.of(project / "rum.toml")
        paths = VmPaths.of(identity)
        paths.make_dirs()
        paths.key.write_text("0" * 64, encoding="ascii")
        state = VmState("1-2", name, identity.id8, str(identity.path), BASE, "hash", uri, started=started)
        save_state(paths.state_file, state)
        return paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home.of(tmp_path, monkeypatch)


def by_name() -> dict[str, ListedVm]:
    return {vm["name"]: vm for vm in list_vms()}


def test_a_project_that_may_not_be_looked_at_is_gone(home: Home) -> None:
    paths = home.make("alpha")
    state = load_state(paths.state_file)
    assert state
    save_state(paths.state_file, dataclasses.replace(state, config_path=f"/{'x' * 300}/rum.toml"))
    assert (by_name()["alpha"]["config_exists"], by_name()["alpha"]["problem"]) == (False, None)


def test_each_has_a_line_wherever_its_project_is(home: Home, tmp_path: Path) -> None:
    home.make("beta")
    home.make("alpha")
    (tmp_path / "beta/rum.toml").unlink()
    done = rum(None, "list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    header, alpha, beta, total = done.stdout.decode().splitlines()
    assert header.split() == ["NAME", "ID", "STATE", "PROVISIONED", "UP", "CREATED", "DISK", "RUM.TOML"]
    assert alpha.split()[::2][:2] == ["alpha", "stopped"]
    assert alpha.endswith(f"{tmp_path}/alpha/rum.toml")
    assert beta.endswith(f"{tmp_path}/beta/rum.toml (gone)")
    assert total.startswith("2 VMs, ")
    found = json_lines(rum(None, "-o", "json", "list", cwd=tmp_path).stdout)
    assert [(vm["name"], vm["state"], vm["config_exists"]) for vm in found] == [
        ("alpha", "stopped", True),
        ("beta", "stopped", False),
    ]


def test_disks_are_counted_as_they_are_on_this_host(home: Home) -> None:
    paths = home.make("alpha")
    before = by_name()["alpha"]["disk_bytes"]
    with open(paths.overlay, "wb") as disk:
        disk.write(os.urandom(1 << 20))
        disk.truncate(1 << 40)
    assert 1 << 20 <= by_name()["alpha"]["disk_bytes"] - before < 2 << 20


def test_one_that_runs_is_asked_itself_and_one_that_is_off_has_its_last_result(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_guest(tmp_path / "guest", script_toml("one", "true")) as guest:
        assert up(guest).exit == 0
        paths = home.make("demo", started=STARTED)
        paths.key.write_text(guest.the_key.hex(), encoding="ascii")
        state = load_state(paths.state_file)
        assert state
        save_state(paths.state_file, dataclasses.replace(state, vm_id=guest.the_vm_id))
        paths.vsock_socket.symlink_to(guest.directory / "vm.vsock")
        vm = by_name()["demo"]
        assert (vm["state"], vm["provisioned"], vm["accelerator"]) == ("running", True, "tcg")
        assert vm["uptime_s"] is not None
        guest.paths.runs.rename(paths.runs)
        paths.vsock_socket.unlink()
        vm = by_name()["demo"]
        assert (vm["state"], vm["provisioned"], vm["uptime_s"]) == ("stopped", True, None)


def test_a_broken_one_is_named_and_the_others_are_shown(home: Home, tmp_path: Path) -> None:
    home.make("alpha")
    home.make("broken").state_file.write_text("{")
    home.make("lost", uri="nosuch:///anywhere")
    done = rum(None, "list", cwd=tmp_path)
    assert done.returncode == 0
    states = {line.split()[0]: line.split()[2] for line in done.stdout.decode().splitlines()[1:-1]}
    assert states == {"alpha": "stopped", "broken": "unknown", "lost": "unknown"}
    first, second = done.stderr.decode().splitlines()
    assert "VM broken (" in first
    assert "cannot be read as the state of a VM" in first
    assert "libvirt at nosuch:///anywhere" in second


def test_what_a_destroyed_one_has_left_is_none_and_one_that_is_being_made_is(home: Home) -> None:
    gone = home.make("gone")
    gone.runs.mkdir()
    gone.state_file.unlink()
    made = home.make("made")
    made.state_file.unlink()
    with VmLock(made.lock).hold(ignore):
        assert [(vm["name"], vm["state"]) for vm in list_vms()] == [("made", "creating")]


def test_one_whose_agent_hangs_holds_up_nobody(home: Home) -> None:
    home.make("alpha")
    paths = home.make("hung", started=STARTED)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(paths.vsock_socket))
        silent.listen()
        found = by_name()
    assert found["alpha"]["state"] == "stopped"
    assert found["hung"]["state"] == "stopped", "the agent was given up, and libvirt asked"


def test_a_libvirt_that_hangs_is_told_as_such(tmp_path: Path) -> None:
    hangs = threading.Event()

    def ask(directory: Path) -> ListedVm | None:
        if directory.name.startswith("hung"):
            hangs.wait(60)
        return {**unknown(directory, None), "state": "stopped"}

    found = all_at_once(ask, [tmp_path / "alpha-01234567", tmp_path / "hung-01234567"], 0.3)
    hangs.set()
    assert [(vm["name"], vm["state"], vm["problem"]) for vm in found if vm] == [
        ("alpha", "stopped", None),
        ("hung", "unknown", "it was not found out within 0.3 s"),
    ]


def test_without_any_it_says_so(home: Home, tmp_path: Path) -> None:
    assert rum(None, "list", cwd=tmp_path).stdout == b"there is no VM; `rum up` makes one\n"
    done = rum(None, "-o", "json", "list", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert list_lines([]) == ["there is no VM; `rum up` makes one"]
