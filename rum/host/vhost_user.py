"""The vhost-device-vsock daemon of one VM.

It is recognised by its own command line, which names a socket that belongs to one VM only: so it is found again
whatever happened to the rum that started it, and no other process is ever taken for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from rum.host.errors import HostError
from rum.host.paths import VmPaths
from rum.host.transport import DAEMON

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
TX_BUFFER_SIZE = 1 << 20
"""Bytes; the default of 64 KiB makes the guest wait for every reader that is a little late."""


def start_daemon(program: Path, cid: int, paths: VmPaths) -> int:
    """Start a fresh daemon for the VM and return its pid once it listens. Raises HostError.

    One that is still there is stopped first: it may hold the connections of a QEMU that is gone.
    """
    stop_daemon(paths)
    command = [
        str(program),
        f"--guest-cid={cid}",
        f"--socket={paths.vhost_socket}",
        f"--uds-path={paths.vsock_socket}",
        f"--tx-buffer-size={TX_BUFFER_SIZE}",
    ]
    output = (os.POSIX_SPAWN_OPEN, 1, str(paths.vhost_log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), output, (os.POSIX_SPAWN_DUP2, 1, 2)]
    # Not a subprocess.Popen: the daemon outlives this process, which therefore has nothing to wait for.
    pid = os.posix_spawn(
        program, command, os.environ, file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE, signal.SIGINT]
    )
    _wait_until_listening(pid, paths)
    return pid


def _wait_until_listening(pid: int, paths: VmPaths) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (paths.vhost_socket.exists() and paths.vsock_socket.exists()):
        if os.waitpid(pid, os.WNOHANG)[0]:
            tail = paths.vhost_log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
            raise HostError(f"{DAEMON} ended as soon as it was started", tail=tail)
        if time.monotonic() >= deadline:
            stop_daemon(paths)
            raise HostError(f"{DAEMON} has made no socket within {START_TIMEOUT_S:.0f} s, see {paths.vhost_log}")
        time.sleep(0.02)


def find_daemons(paths: VmPaths) -> list[int]:
    """The pids of this VM's daemons: this user's processes that were started for its socket."""
    return [pid for pid in _own_pids() if _is_daemon(pid, paths)]


def stop_daemon(paths: VmPaths) -> None:
    """End this VM's daemons and remove their sockets; there may be none."""
    for pid in find_daemons(paths):
        # The descriptor keeps the pid from meaning another process between the check and the signal.
        with contextlib.suppress(ProcessLookupError), _pidfd(pid) as descriptor:
            if _is_daemon(pid, paths):
                _end(pid, descriptor)
    for path in (paths.vhost_socket, paths.vsock_socket):
        path.unlink(missing_ok=True)


def _own_pids() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_uid == os.geteuid():
                    yield int(entry.name)


def _is_daemon(pid: int, paths: VmPaths) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    program = os.path.basename(os.fsdecode(arguments[0]))
    return program == DAEMON and os.fsencode(f"--socket={paths.vhost_socket}") in arguments


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _end(pid: int, descriptor: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        signal.pidfd_send_signal(descriptor, number)
        ended, _, _ = select.select([descriptor], [], [], STOP_TIMEOUT_S)
        if ended:
            break
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
