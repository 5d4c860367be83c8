"""Nothing is lost on the way, for every size of a send that rum uses, with this guest's kernel. One VM.

Larger sends are measured as well: they are why rum does not use them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.peer import IN_GUEST, PORT, Peer
from e2e.project import Project, poll

SEND_MAX = 16 * 1024
"""The largest send of rum, in bytes (docs/protocol.md)."""

SAFE = [1000, 4096, SEND_MAX - 1, SEND_MAX, SEND_MAX + 1]
TOO_LARGE = [n + off for n in (32 * 1024, 64 * 1024) for off in (-1, 0, 1)]
TOTAL = 4 * 1000 * 1000
BUFFER_SIZE = 8 * 1024 * 1024

# The options of vsock(7); the listener's sockets inherit them.
ASK_BUFFERS = """
import ctypes, os, socket
PIDFD_GETFD = 438
pid = int(os.popen("systemctl show -P MainPID rum-agent").read())
pidfd = os.pidfd_open(pid)
libc = ctypes.CDLL(None, use_errno=True)
for name in os.listdir(f"/proc/{pid}/fd"):
    if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
        continue
    taken = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
    with socket.socket(fileno=taken) as sock:
        if sock.family == socket.AF_VSOCK:
            options = (socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, socket.SO_VM_SOCKETS_BUFFER_SIZE)
            print(*(sock.getsockopt(socket.AF_VSOCK, option) for option in options))
"""


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("transport")
    made.configure("")
    made.up()
    return made


@pytest.fixture(scope="module")
def kernel(project: Project) -> str:
    return project.guest("uname -r").strip()


@pytest.fixture(scope="module")
def peer(project: Project) -> Peer:
    """The way to a peer in the guest that is not rum's."""
    project.guest_python(f"open('/run/peer.py', 'w').write({IN_GUEST!r})")
    project.guest("systemd-run -q --unit=peer python3 /run/peer.py")
    for _ in poll(30 * project.patience, f"somebody at port {PORT}"):
        if project.rum("exec", "--", "sh", "-c", f"ss -l --vsock | grep -q :{PORT}").exit == 0:
            break
    return Peer(lambda: project.dial(PORT), stall_s=3 * project.patience)


@pytest.mark.parametrize("size", SAFE)
def test_sends_of_rums_sizes_arrive_whole(peer: Peer, kernel: str, measured: Measured, size: int) -> None:
    for transfer in (peer.from_guest(size, TOTAL), peer.to_guest(size, TOTAL)):
        measured(f"{kernel}: {transfer}")
        assert transfer.complete, str(transfer)


@pytest.mark.parametrize("size", TOO_LARGE)
def test_larger_sends_to_the_guest_arrive_whole_too(peer: Peer, kernel: str, measured: Measured, size: int) -> None:
    # The daemon cuts the host's sends into what the guest has room for.
    transfer = peer.to_guest(size, TOTAL)
    measured(f"{kernel}: {transfer}")
    assert transfer.complete, str(transfer)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file to move."""
    path: Path = tmp_path_factory.mktemp("given") / "given"
    block = os.urandom(1_000_000)
    with path.open("wb") as file:
        for _ in range(request.config.getoption("--stream-mb")):
            file.write(block)
    yield path
    path.unlink()


def stream(project: Project, stdin: Path, stdout: Path, script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command in the guest with these files as its streams."""
    command = project.command("exec", "--", "sh", "-c", script)
    with stdin.open("rb") as source, stdout.open("wb") as target:
        return subprocess.run(
            command, env=project.environment, stdin=source, stdout=target, stderr=subprocess.PIPE, check=False
        )


def test_exec_moves_every_byte_one_way_and_then_the_other(
    project: Project, kernel: str, measured: Measured, given: Path, tmp_path: Path
) -> None:
    expected, size, got = sha256(given), given.stat().st_size, tmp_path / "got"
    start = time.monotonic()
    assert stream(project, given, got, "cat > /var/tmp/moved; sha256sum < /var/tmp/moved").returncode == 0
    assert got.read_text().split()[0] == expected
    there = time.monotonic()
    assert stream(project, Path(os.devnull), got, "cat /var/tmp/moved; rm /var/tmp/moved").returncode == 0
    back = time.monotonic()
    assert sha256(got) == expected
    got.unlink()
    rates = f"{size / 1e6 / (there - start):.0f} MB/s there, {size / 1e6 / (back - there):.0f} MB/s back"
    measured(f"{kernel}: exec moved {size // 1_000_000} MB each way, {rates}")


def test_exec_moves_every_byte_both_ways_at_once_or_says_that_it_cannot(
    project: Project, kernel: str, measured: Measured, given: Path, tmp_path: Path
) -> None:
    # vhost-device-vsock 0.3.0 does not flush what it owes the host while it waits for room in the guest, so two full
    # directions can stop each other.
    got = tmp_path / "got"
    done = stream(project, given, got, "cat")
    size, found = got.stat().st_size, sha256(got)
    got.unlink()
    measured(f"{kernel}: exec of both ways at once ends with {done.returncode} after {size} bytes: {done.stderr!r}")
    if done.returncode == 0:
        assert found == sha256(given)
    else:
        assert b"the agent has been silent" in done.stderr
    assert project.guest("echo still here") == "still here\n"


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_the_agents_sockets_have_large_buffers(project: Project) -> None:
    sizes = project.guest_python(ASK_BUFFERS).splitlines()
    assert len(sizes) >= 2, "the listener, and the connection that asks"
    assert set(sizes) == {f"{BUFFER_SIZE} {BUFFER_SIZE}"}


def test_larger_sends_from_the_guest_are_only_measured(
    project: Project, peer: Peer, kernel: str, measured: Measured
) -> None:
    # Last, because what is lost stays in the guest's ring: after the first stall nothing can be relied on.
    for size in TOO_LARGE:
        transfer = peer.from_guest(size, TOTAL)
        measured(f"{kernel}: {transfer}")
        if not transfer.complete:
            break
    outcome = project.rum("exec", "--", "echo", "still here")
    measured(f"{kernel}: exec after that ends with {outcome.exit}")
