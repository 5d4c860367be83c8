"""A command in the guest that is run only to learn how it ends: what healthchecks and `rum wait` ask."""

from __future__ import annotations

import collections
from dataclasses import dataclass

from rum.host.channel.client import AgentConnection, AgentError, LostError
from rum.host.deadlines import Deadline
from rum.host.errors import EXIT_SIGNAL_BASE
from rum.host.exec import EXIT_TIMED_OUT, ExecRequest, exit_status
from rum.host.outcome import signal_name
from rum.host.text import LineAssembler
from rum.protocol import OUTPUT_KINDS, Received, split_output

TAIL_LINES = 20

KILLING_S = 60.0
"""Beyond a command's own limit: the agent asks for its end, kills it 5 s later, and the guest may be emulated."""


@dataclass(frozen=True)
class Tried:
    """How a try ended: in words, with the last lines of its output, oldest first."""

    passed: bool
    how: str
    tail: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.how}: {self.tail[-1]}" if self.tail else self.how


def probe(connection: AgentConnection, command: str, limit_s: float) -> Tried:
    """Run the command line once, as root and without input; it is killed after so many seconds.

    An agent that is lost meanwhile makes it a try that failed. Raises BrokenProtocolError.
    """
    output = Output()
    with connection:
        try:
            request = ExecRequest(["sh", "-c", command], timeout_s=limit_s).params(None)
            connection.send_request("exec", {**request, "stdin": False})
            for received in connection.events(deadline=Deadline(limit_s + KILLING_S)):
                output.take(received)
        except (AgentError, LostError) as exc:
            return Tried(False, str(exc), output.tail())
        connection.acknowledge()
    status = exit_status(received.message or {})
    return Tried(status == 0, how_it_ended(status, limit_s), output.tail())


class Output:
    """The last lines of both streams, in the order in which they came."""

    def __init__(self) -> None:
        self._lines = {"stdout": LineAssembler(), "stderr": LineAssembler()}
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)

    def take(self, received: Received) -> None:
        """Take a frame that the command has printed, or any other."""
        stream = OUTPUT_KINDS.get(received.frame.kind)
        if stream is not None:
            _, data = split_output(received.frame.payload)
            self._tail.extend(self._lines[stream].feed(data))

    def tail(self) -> tuple[str, ...]:
        """The lines, of which the last one of a stream need not have an end. Called once."""
        for assembler in self._lines.values():
            self._tail.extend(assembler.feed(b"", final=True))
        return tuple(self._tail)


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
