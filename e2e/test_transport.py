"""Nothing is lost on the way, for every size of a send that rum uses, with this guest's kernel. One VM.

Larger sends are measured as well: they are why rum does not use them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.peer import IN_GUEST, PORT, Peer
from e2e.project import Project, poll

SEND_MAX = 16 * 1024
"""The largest send of rum, in bytes (docs/protocol.md)."""

SAFE = [1000, 4096, SEND_MAX - 1, SEND_MAX, SEND_MAX + 1]
TOO_LARGE = [n + off for n in (32 * 1024, 64 * 1024) for off in (-1, 0, 1)]
TOTAL = 16 * 1000 * 1000
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


def test_exec_moves_every_byte_both_ways(
    project: Project, kernel: str, measured: Measured, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    size = request.config.getoption("--stream-mb") * 1_000_000
    given, got = tmp_path / "given", tmp_path / "got"
    block = os.urandom(1_000_000)
    with given.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
    command = project.command("exec", "--", "sh", "-c", "tee /dev/stderr | sha256sum > /run/sum")
    with given.open("rb") as stdin, got.open("wb") as stderr:
        done = subprocess.run(command, env=project.environment, stdin=stdin, stderr=stderr, check=False)
    assert done.returncode == 0
    expected = sha256(given)
    measured(f"{kernel}: exec moved {size // 1_000_000} MB each way")
    assert project.guest("cut -d' ' -f1 /run/sum").strip() == expected
    assert sha256(got) == expected
    given.unlink()
    got.unlink()


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
