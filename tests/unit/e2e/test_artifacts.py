"""What a failed test leaves for whoever was not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e import artifacts


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """An XDG_STATE_HOME with a VM, and one that was destroyed."""
    vms = tmp_path / "state/rum/vms"
    for name in (
        "app-00000001/console.log",
        "app-00000001/vhost-device-vsock.log",
        "app-00000001/runs/20260101-1/record",
        "app-00000001/key",
        "app-00000001/ssh_ed25519",
        "app-00000001/state.json",
        "app-00000001/overlay.qcow2",
        "app-00000001/seed-1.iso",
        "gone-00000002/runs/console.log",
    ):
        (vms / name).parent.mkdir(parents=True, exist_ok=True)
        (vms / name).write_text(name)
    return tmp_path / "state"


def files(directory: Path) -> dict[str, str]:
    return {path.relative_to(directory).as_posix(): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_consoles_logs_and_records_are_kept_and_no_secret(state: Path, tmp_path: Path) -> None:
    artifacts.keep(state, tmp_path / "kept")
    expected = [
        "app-00000001/console.log",
        "app-00000001/runs/20260101-1/record",
        "app-00000001/vhost-device-vsock.log",
        "gone-00000002/runs/console.log",
    ]
    assert files(tmp_path / "kept") == {name: name for name in expected}


def test_it_says_what_it_has_kept(state: Path, tmp_path: Path) -> None:
    kept = artifacts.keep(state, tmp_path / "kept")
    assert [path.relative_to(tmp_path / "kept").as_posix() for path in kept] == [
        "app-00000001/console.log",
        "app-00000001/runs",
        "app-00000001/vhost-device-vsock.log",
        "gone-00000002/runs",
    ]


def test_twice_is_the_latest(state: Path, tmp_path: Path) -> None:
    artifacts.keep(state, tmp_path / "kept")
    (state / "rum/vms/app-00000001/console.log").write_text("later")
    artifacts.keep(state, tmp_path / "kept")
    assert (tmp_path / "kept/app-00000001/console.log").read_text() == "later"


def test_nothing_is_there(tmp_path: Path) -> None:
    assert artifacts.keep(tmp_path, tmp_path / "kept") == []
    assert not (tmp_path / "kept").exists()


def test_each_worker_has_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(artifacts.VARIABLE, str(tmp_path))
    found = set()
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        found.add(artifacts.destination(Path("/tmp/x/vm0")))
    assert found == {tmp_path / "gw0/vm0", tmp_path / "gw1/vm0"}
    monkeypatch.delenv(artifacts.VARIABLE)
    assert artifacts.destination(Path("/tmp/x/vm0")) is None
