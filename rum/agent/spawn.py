"""Starting a process with everything about it said: environment, descriptors, session, identity."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import signal
import subprocess
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable

from rum.agent import descriptors

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

NOT_FOUND = 127
NOT_EXECUTABLE = 126


class StartError(Exception):
    """The process could not be started. `exit_code` is 127 or 126, as a shell has it; the text says why."""

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Command:
    """What to start. `user` None is the agent's own; `terminal`: the standard descriptors are a terminal's."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str | None = None
    terminal: bool = False


def spawn(command: Command, standard: tuple[int, int, int], enter: Callable[[], None]) -> subprocess.Popen[bytes]:
    """Start the command with these standard descriptors; `enter` runs in the child first. Raises StartError."""
    account = find_account(command.user)
    stdin, stdout, stderr = standard

    def in_child() -> None:
        enter()
        become_ordinary()
        if command.terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if account and command.terminal:
            # As sshd(8) does: programs open their terminal again, by name.
            os.fchown(0, account.pw_uid, -1)
        if account:
            become(account)

    try:
        return subprocess.Popen(
            command.argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**BASE_ENVIRONMENT, **account_environment(account), **command.env},
            cwd=command.cwd,
            umask=0o022,
            start_new_session=True,
            # Safe because the agent has one thread. Not Popen's own `user`: entering the cgroup comes before it.
            preexec_fn=in_child,
        )
    except OSError as exc:
        raise explain(command, exc) from exc
    except subprocess.SubprocessError as exc:
        raise StartError(NOT_EXECUTABLE, f"cannot start {command.argv[0]}: {exc}") from exc


def become_ordinary() -> None:
    """In the child: shed what is the agent's: its limit, its signals, its place at the end of the OOM killer's list."""
    descriptors.restore_limit()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Without CAP_SYS_RESOURCE it cannot be lowered, and then the agent's own is not below zero either.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("0")


def become(account: pwd.struct_passwd) -> None:
    """In the child: take on the account's identity."""
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


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
