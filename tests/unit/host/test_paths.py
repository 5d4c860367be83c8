from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from rum.host.config.identity import VmIdentity
from rum.host.errors import HostError
from rum.host.files import make_private_dir, write_atomic
from rum.host.paths import VmPaths, image_cache, runtime_home, state_home


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    paths = VmPaths.of(VmIdentity(Path("/srv/dev/rum.toml"), "dev", "01234567"))
    state = tmp_path / "state/rum/vms/dev-01234567"
    assert paths.overlay == state / "overlay.qcow2"
    assert paths.state_file == state / "state.json"
    assert paths.seed("abc") == state / "seed-abc.iso"
    assert paths.drive("data") == state / "drive-data.qcow2"
    assert paths.vsock_socket == tmp_path / "run/rum/01234567/vm.vsock"
    assert state not in paths.lock.parents


def test_directories_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/rum-paths-test-not-made")
    paths = VmPaths("dev-0", tmp_path / "state/rum/vms/dev-0", tmp_path / "r" / "0", tmp_path / "lock")
    if len(str(paths.console_socket)) <= 107:
        paths.make_dirs()
        for directory in (paths.state, paths.state.parent, paths.runtime, paths.runtime.parent):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_long_runtime_path_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(HostError, match="is longer than the 107 bytes") as caught:
        VmPaths.of(VmIdentity(Path("/srv/dev/rum.toml"), "dev", "01234567")).make_dirs()
    assert "XDG_RUNTIME_DIR" in (caught.value.hint or "")
    assert not (tmp_path / ("x" * 100)).exists()


def test_without_a_session_sockets_lie_below_the_temporary_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert runtime_home() == Path("/elsewhere/rum-54321")
    monkeypatch.delenv("TMPDIR")
    assert runtime_home() == Path("/tmp/rum-54321")


def test_sockets_stay_where_they_are_when_nothing_can_be_written_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    monkeypatch.setenv("TMPDIR", "/proc")
    assert runtime_home() == Path("/proc/rum-54321")


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_a_relative_directory_of_the_environment_counts_as_none(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    monkeypatch.setenv(variable, "here/and/now")
    assert runtime_home() == Path("/tmp/rum-54321")


@pytest.mark.parametrize("directory", [state_home, image_cache])
def test_a_user_without_a_home_is_one_sentence(directory: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    with pytest.raises(HostError, match="no home directory: HOME is not set, and there is no account with"):
        directory()


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(HostError, match="is not a directory of this user"):
        make_private_dir(tmp_path / "theirs")


def test_a_link_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(HostError, match="is not a directory of this user"):
        make_private_dir(tmp_path / "link")


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot be made a directory"):
        make_private_dir(tmp_path / "file" / "below")


def test_an_open_directory_is_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    make_private_dir(tmp_path / "open")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_an_atomic_write_replaces_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_atomic(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
