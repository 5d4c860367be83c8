"""The helper processes of a VM, which outlive the rum that has started them.

Each is recognised by its own command line, in which an argument names a path that belongs to one VM only: so it is
found again whatever happened to the rum that started it, and no other process is ever taken for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rum.host.errors import HostError

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
TAIL_LINES = 10


@dataclass(frozen=True)
class Daemon:
    """A helper: the name of its program, what stands in one of its arguments and in nobody else's, and what to do where
    it does not start. `interpreted`: its process has the name of an interpreter, whichever that is.
    """

    program: str
    mark: str
    hint: str | None = None
    interpreted: bool = False

    def find(self) -> list[int]:
        """The pids of this user's processes that are it."""
        return [pid for pid in _own_pids() if self._is(pid)]

    def stop(self) -> None:
        """End it; there may be none."""
        for pid in self.find():
            # The descriptor keeps the pid from meaning another process between the check and the signal.
            with contextlib.suppress(ProcessLookupError), _pidfd(pid) as descriptor:
                if self._is(pid):
                    _end(pid, descriptor)

    def start(self, command: list[str], log: Path, ready: Callable[[], bool], listener: int | None = None) -> int:
        """Start it, its output in `log`, and return its pid once it is ready. `listener` becomes its descriptor 3.

        Raises HostError where it ends before that, or is not ready in time.
        """
        output = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), output, (os.POSIX_SPAWN_DUP2, 1, 2)]
        if listener is not None:
            actions.append((os.POSIX_SPAWN_DUP2, listener, 3))
        # Not a subprocess.Popen: the daemon outlives this process, which therefore has nothing to wait for.
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT],
        )
        self._wait(pid, log, ready)
        return pid

    def _wait(self, pid: int, log: Path, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if os.waitpid(pid, os.WNOHANG)[0]:
                tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
                raise HostError(f"{self.program} ended as soon as it was started", hint=self.hint, tail=tail)
            if time.monotonic() >= deadline:
                # Not by its name, which it may not have yet; nobody else can have waited for it.
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise HostError(f"{self.program} was not ready within {START_TIMEOUT_S:.0f} s, see {log}")
            time.sleep(0.02)

    def _is(self, pid: int) -> bool:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        if not self.interpreted and os.path.basename(os.fsdecode(arguments[0])) != self.program:
            return False
        return any(os.fsencode(self.mark) in argument for argument in arguments)


def _own_pids() -> Iterator[int]:
    own = str(os.geteuid())
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # Not the directory's owner: that is root where a process has changed its credentials (proc(5)).
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                status = Path(entry.path, "status").read_text(encoding="utf-8", errors="replace")
                found = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
                if found and found[1] == own:
                    yield int(entry.name)


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
