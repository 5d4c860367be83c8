"""Starting a process with everything about it said: environment, descriptors, session, identity."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import signal
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rum.agent import descriptors
from rum.agent.containment import Cgroup, Session

BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/sh",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
    "PYTHONUNBUFFERED": "1",
}

OOM_RANK = "/proc/self/oom_score_adj"

NOT_FOUND = 127
NOT_EXECUTABLE = 126


class StartError(Exception):
    """The process could not be started. `exit_code` is 127 or 126, as a shell has it; the text says why."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Command(NamedTuple):
    """What to start. `user` None is the agent's own; `terminal`: the standard descriptors are a terminal's."""

    argv: Sequence[str]
    env: Mapping[str, str] = {}
    cwd: str = "/"
    user: str | None = None
    terminal: bool = False


def spawn(command: Command, standard: tuple[int, int, int], held: Cgroup | Session) -> subprocess.Popen[bytes]:
    """Start the command with these standard descriptors, held from its first instruction on.

    What it is to inherit is arranged in this process meanwhile: code that runs in the child makes the kernel copy our
    memory for it, which takes many times as long as all else (vfork(2)). Raises StartError, OSError.
    """
    account = find_account(command.user)
    stdin, stdout, stderr = standard
    crowded = descriptors.is_crowded(max(standard))
    if account and command.terminal:
        # As sshd(8) does: programs open their terminal again, by name.
        os.fchown(stdin, account.pw_uid, -1)

    def in_child() -> None:
        descriptors.restore_limit()
        if command.terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    try:
        with held.holding(), being_ordinary(crowded=crowded):
            return subprocess.Popen(
                command.argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env={**BASE_ENVIRONMENT, **account_environment(account), **command.env},
                cwd=command.cwd,
                umask=0o022,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=os.getgrouplist(account.pw_name, account.pw_gid) if account else None,
                # Safe because the agent has one thread.
                preexec_fn=in_child if command.terminal or crowded else None,
            )
    except OSError as exc:
        raise explain(command, exc) from exc
    except (subprocess.SubprocessError, ValueError) as exc:
        # ValueError: an argument or a variable that the locale, where it is not UTF-8, cannot spell.
        raise StartError(NOT_EXECUTABLE, f"cannot start {command.argv[0]}: {exc}") from exc


@contextlib.contextmanager
def being_ordinary(*, crowded: bool) -> Iterator[None]:
    """Within the block this process is without what is the agent's: its limit and its place on the OOM killer's list.

    Where it is crowded with descriptors it has to keep its limit, or nothing could be opened.
    """
    if not crowded:
        descriptors.restore_limit()
    rank = read_oom_rank()
    write_oom_rank(0)
    try:
        yield
    finally:
        write_oom_rank(rank)
        descriptors.raise_limit()


def heed_signals() -> None:
    """Undo what whoever started the agent had ignored or blocked: commands inherit it. Handlers they do not."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def read_oom_rank() -> int:
    """This process's oom_score_adj (proc(5))."""
    with open(OOM_RANK, encoding="ascii") as file:
        return int(file.read())


def write_oom_rank(rank: int) -> None:
    """Set it. A process may always go back to where it was: it needs CAP_SYS_RESOURCE only to go further."""
    with contextlib.suppress(OSError), open(OOM_RANK, "w", encoding="ascii") as file:
        file.write(str(rank))


def find_account(user: str | None) -> pwd.struct_passwd | None:
    """The user's account, None for the agent's own. Raises StartError where there is no such user."""
    if user is None:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise StartError(NOT_EXECUTABLE, f"there is no user {user!r} in the guest") from None


def account_environment(account: pwd.struct_passwd | None) -> dict[str, str]:
    """What login(1) would set for the account."""
    if account is None:
        return {}
    return {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell or BASE_ENVIRONMENT["SHELL"],
    }


def explain(command: Command, error: OSError) -> StartError:
    """The error in words: the kernel says only "no such file" for a missing interpreter."""
    program = command.argv[0]
    if not os.path.isdir(command.cwd):
        return StartError(NOT_EXECUTABLE, f"cannot start {program}: there is no directory {command.cwd}")
    if not isinstance(error, FileNotFoundError):
        return StartError(NOT_EXECUTABLE, f"cannot start {program}: {error.strerror}")
    path = os.path.join(command.cwd, program)
    if "/" not in program or not os.path.exists(path):
        return StartError(NOT_FOUND, f"cannot start {program}: no such file")
    interpreter = read_interpreter(path)
    if interpreter is None:
        # execve(2): its ELF interpreter is missing, as for a program of another architecture or C library.
        return StartError(NOT_FOUND, f"cannot start {program}: the guest has not the loader that it is linked for")
    return StartError(NOT_FOUND, f"cannot start: the interpreter {interpreter} is not in the guest")


def read_first_line(path: str) -> bytes:
    """The file's first line, as far as the kernel looks for an interpreter in it. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(256).split(b"\n", 1)[0]


def read_interpreter(path: str) -> str | None:
    """The interpreter that the file's first line names, None where it names none."""
    try:
        line = read_first_line(path)
    except OSError:
        return None
    words = line[2:].replace(b"\t", b" ").split()
    return words[0].decode("utf-8", "replace") if line.startswith(b"#!") and words else None
