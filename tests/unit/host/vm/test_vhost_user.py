"""The vhost-device-vsock daemon: the real one, without a QEMU."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.errors import HostError
from rum.host.paths import VmPaths
from rum.host.vm.vhost_user import find_daemons, start_daemon, stop_daemon


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[VmPaths]:
    """Paths of a VM; sockets need a short directory. Whatever daemon is left is stopped."""
    with tempfile.TemporaryDirectory(prefix="rum-") as runtime:
        made = VmPaths("dev-0", tmp_path, Path(runtime), tmp_path / "lock")
        yield made
        stop_daemon(made)


def program() -> Path:
    found = shutil.which("vhost-device-vsock")
    assert found is not None
    return Path(found)


def is_socket(path: Path) -> bool:
    return path.exists() and stat.S_ISSOCK(path.stat().st_mode)


def test_a_started_daemon_has_its_sockets_and_is_found(paths: VmPaths) -> None:
    pid = start_daemon(program(), 70000, paths)
    assert is_socket(paths.vhost_socket)
    assert is_socket(paths.vsock_socket)
    assert find_daemons(paths) == [pid]
    assert os.getsid(pid) == pid


def test_a_stopped_daemon_leaves_nothing(paths: VmPaths) -> None:
    start_daemon(program(), 70000, paths)
    stop_daemon(paths)
    assert find_daemons(paths) == []
    assert not paths.vhost_socket.exists()
    assert not paths.vsock_socket.exists()
    stop_daemon(paths)


def test_a_second_start_replaces_the_first(paths: VmPaths) -> None:
    first = start_daemon(program(), 70000, paths)
    second = start_daemon(program(), 70000, paths)
    assert find_daemons(paths) == [second] != [first]


def test_a_killed_daemon_s_sockets_are_in_nobody_s_way(paths: VmPaths) -> None:
    pid = start_daemon(program(), 70000, paths)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert find_daemons(paths) == []
    assert start_daemon(program(), 70000, paths) in find_daemons(paths)


def test_the_daemon_outlives_the_process_that_started_it(paths: VmPaths) -> None:
    code = """
import sys
from pathlib import Path
from rum.host.paths import VmPaths
from rum.host.vm.vhost_user import start_daemon
state, runtime, program = map(Path, sys.argv[1:])
print(start_daemon(program, 70000, VmPaths("dev-0", state, runtime, state / "lock")))
"""
    command = [sys.executable, "-c", code, str(paths.state), str(paths.runtime), str(program())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert find_daemons(paths) == [int(done.stdout)]


def test_the_daemon_of_another_vm_is_left_alone(paths: VmPaths, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="rum-") as runtime:
        other = VmPaths("other-0", tmp_path, Path(runtime), tmp_path / "lock")
        pid = start_daemon(program(), 70001, other)
        stop_daemon(paths)
        assert find_daemons(other) == [pid]
        stop_daemon(other)


def test_a_daemon_that_ends_at_once_is_an_error_with_its_words(paths: VmPaths, tmp_path: Path) -> None:
    broken = tmp_path / "vhost-device-vsock"
    broken.write_text("#!/bin/sh\necho no memory >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(HostError, match="ended as soon as it was started") as caught:
        start_daemon(broken, 70000, paths)
    assert caught.value.tail == ("no memory",)
