"""A command in the guest that is run only to learn how it ends: what healthchecks and `rum wait` ask."""

from __future__ import annotations

import collections
import os
from dataclasses import dataclass

from rum.host.channel.client import AgentError, LostError
from rum.host.channel.guest import Guest
from rum.host.channel.reach import wait_for_agent
from rum.host.deadlines import Deadline
from rum.host.errors import EXIT_SIGNAL_BASE
from rum.host.events import Emit
from rum.host.exec import EXIT_TIMED_OUT, ExecRequest, ExecSession
from rum.host.outcome import signal_name
from rum.host.text import LineAssembler

TAIL_LINES = 20


@dataclass(frozen=True)
class Tried:
    """How a try ended: in words, with the last lines of its output, oldest first."""

    passed: bool
    how: str
    tail: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.how}: {self.tail[-1]}" if self.tail else self.how


def probe(guest: Guest, emit: Emit, command: str, limit_s: float, patience: Deadline) -> Tried:
    """Run the command line once, as root; it is killed after so many seconds.

    An agent that is lost meanwhile makes it a try that failed. Raises GuestError where the VM is dead, or no agent
    answers while there is patience.
    """
    lines = {"stdout": LineAssembler(), "stderr": LineAssembler()}
    tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)

    def take(stream: str, _timestamp_us: int, data: bytes) -> None:
        tail.extend(lines[stream].feed(data))

    agent = wait_for_agent(guest, patience, emit, "waiting for the agent")
    with agent as connection, open(os.devnull, "rb") as nothing:
        try:
            request = ExecRequest(["sh", "-c", command], timeout_s=limit_s)
            status = ExecSession(connection, take, None, nothing.fileno()).run(request)
        except (AgentError, LostError) as exc:
            return Tried(False, str(exc))
    for assembler in lines.values():
        tail.extend(assembler.feed(b"", final=True))
    return Tried(status == 0, how_it_ended(status, limit_s), tuple(tail))


def how_it_ended(status: int, limit_s: float) -> str:
    """An exit status of `rum exec` in words.

    >>> how_it_ended(7, 30), how_it_ended(137, 30), how_it_ended(124, 30)
    ('exit code 7', 'killed by signal 9 (SIGKILL)', 'no end within 30 s')
    """
    if status == EXIT_TIMED_OUT:
        return f"no end within {round(limit_s, 1):g} s"
    if status > EXIT_SIGNAL_BASE:
        return f"killed by signal {status - EXIT_SIGNAL_BASE}{signal_name(status - EXIT_SIGNAL_BASE)}"
    return f"exit code {status}"
