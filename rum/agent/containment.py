"""What holds a process and everything it starts, so that all of it can be stopped.

In a guest each script has a cgroup below the agent's own (the unit has Delegate=yes), which only systemd-logind takes
anything out of. Elsewhere it is the session the script leads, which setsid(2) escapes. `rum.agent.strays` has the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

from rum.agent.settings import Settings

CGROUP_ROOT = "/sys/fs/cgroup"
SESSION_SUFFIX = ".session"
KILL_FILE = "cgroup.kill"


class Cgroup:
    """A cgroup v2 directory (cgroups(7))."""

    def __init__(self, path: str) -> None:
        self._path = path

    def prepare(self) -> None:
        """Make the cgroup, and remove those beside it that have meanwhile lost their last process. Raises OSError."""
        with os.scandir(os.path.dirname(self._path)) as entries:
            beside = [entry.path for entry in entries if entry.is_dir()]
        for path in beside:
            Cgroup(path).remove()
        os.makedirs(self._path, exist_ok=True)

    def started(self, pid: int) -> None:
        """Nothing to remember: the cgroup knows its processes."""

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Within the block this process is inside, so that what it starts begins there. Raises OSError."""
        self._write("cgroup.procs", "0")
        try:
            yield
        finally:
            Cgroup(os.path.dirname(self._path))._write("cgroup.procs", "0")

    def pids(self) -> list[int]:
        """Every process inside, also those in cgroups that it made itself."""
        found: list[int] = []
        for directory, _, _ in os.walk(self._path):
            with contextlib.suppress(OSError), open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as file:
                found += [int(line) for line in file]
        return found

    def kill(self) -> None:
        """KILL for everything inside at once, also for what is just being forked."""
        try:
            self._write(KILL_FILE, "1")
        except OSError:
            # Before Linux 5.14. What is frozen can be killed and cannot fork; who comes late is for the next call.
            with contextlib.suppress(OSError):
                self._write("cgroup.freeze", "1")
            send_signal(self, signal.SIGKILL)

    def remove(self) -> None:
        """Remove the cgroup if nothing lives in it any more; those that were made below it are until then not ours."""
        with contextlib.suppress(OSError):
            # Nearly always: nothing lives in it, and there is none below it.
            os.rmdir(self._path)
            return
        if self.pids():
            return
        for directory, _, _ in os.walk(self._path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self._path, name), "w", encoding="ascii") as file:
            file.write(text)


class Session:
    """The session of a process, remembered in a file so that a restarted agent can find it (setsid(2))."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._leader: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Nothing to make: the child makes its session."""

    def holding(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to arrange: what is started makes its session."""
        return contextlib.nullcontext()

    def started(self, pid: int) -> None:
        """Remember the leader, a child of this process that nobody has waited for yet.

        With its start time, because pids are used again. It is written down for the successor of an agent that is
        killed; a full disk keeps no process from running.
        """
        self._leader = (pid, process_stat(pid).start_time)
        with contextlib.suppress(OSError), open(self._file, "w", encoding="ascii") as file:
            file.write("{} {}".format(*self._leader))

    def pids(self) -> list[int]:
        """Every process of the session, none where the leader's pid now belongs to somebody else."""
        try:
            session, started = self._leader or self._remembered()
        except (OSError, ValueError):
            return []
        with contextlib.suppress(OSError):
            if process_stat(session).start_time != started:
                return []
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if in_session(pid, session)]

    def kill(self) -> None:
        """KILL for everything inside; what is being forked meanwhile is for the next call."""
        send_signal(self, signal.SIGKILL)

    def _remembered(self) -> tuple[int, int]:
        with open(self._file, encoding="ascii") as file:
            session, started = map(int, file.read().split())
        return session, started

    def remove(self) -> None:
        """Forget the session."""
        self._leader = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._file)


class Stat(NamedTuple):
    """Fields of /proc/PID/stat (proc(5)); the start time is in clock ticks since boot."""

    state: bytes
    parent: int
    session: int
    start_time: int


def process_stat(pid: int) -> Stat:
    """The process's fields. Raises OSError where it is gone."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        after_name = file.read().rpartition(b")")[2].split()
    return Stat(after_name[0], int(after_name[1]), int(after_name[3]), int(after_name[19]))


def in_session(pid: int, session: int) -> bool:
    """Whether the process is in the session and not a zombie of it."""
    try:
        stat = process_stat(pid)
    except OSError:
        return False
    return stat.session == session and stat.state not in (b"Z", b"X")


def own_cgroup(settings: Settings) -> str | None:
    """The agent's cgroup where scripts can have cgroups below it, else None."""
    if not (settings.in_guest and settings.has_systemd):
        return None
    with open("/proc/self/cgroup", encoding="ascii") as file:
        unified = [line.strip()[3:] for line in file if line.startswith("0::")]
    path = CGROUP_ROOT + unified[0] if unified else ""
    return path if path and os.access(os.path.join(path, "cgroup.procs"), os.W_OK) else None


def contain(settings: Settings, session_file: str, label: str) -> Cgroup | Session:
    """What to hold the process with that has this label."""
    base = own_cgroup(settings)
    return Cgroup(os.path.join(base, label)) if base else Session(session_file)


def send_signal(held: Cgroup | Session, number: int) -> bool:
    """Signal every process inside; whether there was any."""
    pids = held.pids()
    for pid in pids:
        # Gone meanwhile, or not to be signalled even by root (some LSMs): in no case a reason to spare the others.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(pids)


def kill_now(held: Cgroup | Session, *, within_s: float = 2.0) -> None:
    """Kill every process inside and wait until they are gone: again and again, since they may be forking."""
    deadline = time.monotonic() + within_s
    while held.pids() and time.monotonic() < deadline:
        held.kill()
        time.sleep(0.005)
    held.remove()
