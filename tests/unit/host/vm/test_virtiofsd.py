"""The virtiofsd of a mount: real processes, QEMU's own as Debian 12 has it and whatever else is installed."""

from __future__ import annotations

import errno
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host import remedies
from rum.host.config.model import Mount
from rum.host.errors import HostError
from rum.host.guest.settings import MountSetting
from rum.host.paths import VmPaths
from rum.host.vm import squash_ids, virtiofsd
from rum.host.vm.daemons import Daemon
from rum.host.vm.virtiofsd import Virtiofsd, dead, find_virtiofsd, require_virtiofsd, start_daemons
from rum.host.vm.virtiofsd import stop_daemons as stop


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[VmPaths]:
    """Paths of a VM; sockets need a short directory. Whatever daemon is left is stopped."""
    with tempfile.TemporaryDirectory(prefix="rum-") as runtime:
        made = VmPaths("dev-0", tmp_path, Path(runtime), tmp_path / "lock")
        yield made
        stop(made)


def mounts(directory: Path, *names: str, readonly: bool = False) -> list[MountSetting]:
    for name in names:
        (directory / name).mkdir(exist_ok=True)
    return [MountSetting(str(directory / name), f"/srv/{name}", name, readonly) for name in names]


def pids(paths: VmPaths) -> list[int]:
    return Daemon("virtiofsd", f"={paths.runtime}/fs").find()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_each_mount_has_a_daemon_that_takes_a_connection(paths: VmPaths, tmp_path: Path) -> None:
    start_daemons(find_virtiofsd(), mounts(tmp_path, "a, b", "it's"), paths)
    assert dead(paths, 2) == []
    assert len(pids(paths)) == 2
    for index in (0, 1):
        assert stat.S_ISSOCK(paths.mount_socket(index).stat().st_mode)
        with socket.socket(socket.AF_UNIX) as qemu:
            qemu.connect(str(paths.mount_socket(index)))


@pytest.mark.parametrize("readonly", [False, True])
def test_a_stopped_daemon_leaves_nothing(paths: VmPaths, tmp_path: Path, readonly: bool) -> None:
    start_daemons(find_virtiofsd(), mounts(tmp_path, "a", readonly=readonly), paths)
    stop(paths)
    assert (pids(paths), dead(paths, 1), list(paths.runtime.iterdir())) == ([], [0], [])
    assert (tmp_path / "a").is_dir()
    stop(paths)


def test_a_second_start_replaces_the_first(paths: VmPaths, tmp_path: Path) -> None:
    start_daemons(find_virtiofsd(), mounts(tmp_path, "a"), paths)
    first = pids(paths)
    start_daemons(find_virtiofsd(), mounts(tmp_path, "b"), paths)
    assert len(pids(paths)) == 1
    assert pids(paths) != first


def test_a_dead_daemon_is_named_by_its_number(paths: VmPaths, tmp_path: Path) -> None:
    start_daemons(find_virtiofsd(), mounts(tmp_path, "a", "b"), paths)
    (second,) = Daemon("virtiofsd", f"={paths.mount_link(1)}/").find()
    kill(second)
    assert dead(paths, 2) == [1]


def test_the_daemons_of_another_vm_are_left_alone(paths: VmPaths, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rum-") as runtime:
        other = VmPaths("other-0", tmp_path, Path(runtime), tmp_path / "lock")
        start_daemons(find_virtiofsd(), mounts(tmp_path, "a"), other)
        stop(paths)
        assert dead(other, 1) == []
        stop(other)


def test_a_daemon_that_ends_at_once_is_an_error_with_its_words(paths: VmPaths, tmp_path: Path) -> None:
    broken = tmp_path / "virtiofsd"
    broken.write_text("#!/bin/sh\necho no memory >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(HostError, match="virtiofsd ended as soon as it was started") as caught:
        start_daemons(
            Virtiofsd(broken, rewritten=True, translates=True, has_readonly=True), mounts(tmp_path, "a"), paths
        )
    assert caught.value.tail == ("no memory",)
    assert "user namespace" in str(caught.value.hint)


TAKES_IDS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in map(int, sys.argv[1:3]):
    assert libc.syscall(number, -1, 0, -1) == 0, "refused"
try:
    directory = os.open(sys.argv[3], os.O_RDONLY)
    os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.chown("made", 0, 0, dir_fd=directory)
    print(os.geteuid(), os.stat("made", dir_fd=directory).st_uid)
except OSError as exc:
    print(exc.strerror)
"""
"""What a daemon does for the guest's root. By number: Python's os.setresuid goes through the C library's locks."""


def squashed(directory: Path, *, readonly: bool) -> str:
    """What the program says that runs as rum starts an old virtiofsd."""
    numbers = squash_ids.SYSTEM_CALLS[platform.machine()]
    ids = [str(numbers[name]) for name in ("setresuid", "setresgid")]
    own = virtiofsd.namespace(f"{directory}/." if readonly else None)
    command = [*own, sys.executable, "-c", TAKES_IDS, *ids, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_whoever_the_guest_asks_for_the_user_of_rum_does_it(tmp_path: Path) -> None:
    assert squashed(tmp_path, readonly=False) == "1000 1000"
    assert (tmp_path / "made").stat().st_uid == os.getuid()


def test_what_is_shared_read_only_cannot_be_written_by_the_daemon_either(tmp_path: Path) -> None:
    assert squashed(tmp_path, readonly=True) == os.strerror(errno.EROFS)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    gone = Mount(tmp_path / "gone", "/srv", "srv")
    with pytest.raises(HostError, match=f"there is no directory {tmp_path}/gone to mount at /srv"):
        require_virtiofsd([gone])


def test_no_mounts_need_no_virtiofsd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtiofsd, "PLACES", ())
    assert require_virtiofsd([]) is None


def test_a_missing_virtiofsd_comes_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtiofsd, "PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match=r"no virtiofsd on this host, which \[\[mounts\]\] need") as caught:
        find_virtiofsd()
    assert caught.value.hint == remedies.install("virtiofsd")


HELP = {
    "1.13": "--shared-dir --translate-uid --readonly",
    "1.10": "--shared-dir",
    "7.2": "-o source=PATH",
}


@pytest.mark.parametrize(
    ("version", "own", "expected"),
    [
        ("1.13", False, ["--fd=3", "--shared-dir=/run/fs0.dir/.", "--sandbox=namespace", "TRANSLATED", "--readonly"]),
        ("1.10", True, ["--fd=3", "--shared-dir=/run/fs0.dir/.", "--sandbox=namespace"]),
        ("7.2", True, ["--fd=3", "-f", "-o", "source=/run/fs0.dir/."]),
    ],
)
def test_the_command_is_for_what_the_daemon_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, own: bool, expected: list[str]
) -> None:
    program = tmp_path / "virtiofsd"
    program.write_text(f"#!/bin/sh\necho '{HELP[version]}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    command = find_virtiofsd().command(Path("/run/fs0.dir"), readonly=True)
    start = command.index(str(program))
    assert bool(start) is own
    ids = [*virtiofsd.translated("uid", os.getuid()), *virtiofsd.translated("gid", os.getgid())]
    assert command[start + 1 :] == [item for name in expected for item in (ids if name == "TRANSLATED" else [name])]
