"""`rum exec`: a command in the guest, its three streams and its exit status as if it ran here."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rum.host.channel.checked import BrokenProtocolError, check_message
from rum.host.channel.client import AgentConnection, LostError, is_result
from rum.host.channel.guest import Guest
from rum.host.channel.reach import reach_agent
from rum.host.events import Emit
from rum.host.terminal import Terminal
from rum.protocol import OUTPUT_KINDS, Kind, LogEvent, Message, Received, split_output
from rum.protocol.limits import PEER_LOST_S, SEND_MAX

EXIT_TIMED_OUT = 124
EXIT_SIGNAL_BASE = 128

STDIN = 0
DESCRIPTORS = {"stdout": 1, "stderr": 2}

Output = Callable[[str, int, bytes], None]
"""Takes the stream's name, the time in microseconds since the epoch, and the bytes."""


@dataclass(frozen=True)
class ExecRequest:
    """What to run. `timeout_s` is in seconds."""

    argv: Sequence[str]
    user: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None

    def params(self, terminal: Terminal | None) -> Message:
        """The parameters of the `exec` request; what is not set is left to the agent."""
        wanted: Message = {"argv": list(self.argv), "stdin": True, "env": dict(self.env)}
        optional = {"user": self.user, "cwd": self.cwd, "timeout_s": self.timeout_s}
        wanted.update({key: value for key, value in optional.items() if value is not None})
        if terminal is not None:
            wanted["tty"] = terminal.size()
        return wanted


class ExecSession:
    """Moves bytes between this process and the command until its result is in."""

    def __init__(self, connection: AgentConnection, output: Output, terminal: Terminal | None, stdin: int) -> None:
        self._connection = connection
        self._output = output
        self._terminal = terminal
        self._stdin: int | None = stdin
        self._unsent = bytearray()
        self._silence_s = 0.0

    def run(self, request: ExecRequest) -> int:
        """The exit status. Raises LostError, AgentError; whatever `output` raises ends the command in the guest."""
        self._connection.send_request("exec", request.params(self._terminal))
        while True:
            for received in self._connection.received():
                if is_result(received):
                    self._connection.acknowledge()
                    return exit_status(received.message or {})
                self._show(received)
            self._move()

    def _show(self, received: Received) -> None:
        stream = OUTPUT_KINDS.get(received.frame.kind)
        if stream is not None:
            self._output(stream, *split_output(received.frame.payload))

    def _move(self) -> None:
        """Wait until something can be moved, and move it."""
        if self._terminal is not None and self._terminal.resized():
            self._unsent += self._connection.encode_message({"type": "resize", **self._terminal.size()})
        start = time.monotonic()
        ready = self._poll()
        if self._connection.fileno() in ready:
            self._move_socket(ready[self._connection.fileno()])
        else:
            self._note_silence(time.monotonic() - start)
        if self._stdin is not None and self._stdin in ready:
            self._read_stdin(self._stdin)

    def _note_silence(self, seconds: float) -> None:
        """Only time spent listening counts: while our own output was stuck, nobody could be heard."""
        self._silence_s += seconds
        if self._silence_s > PEER_LOST_S:
            raise LostError(f"the agent has been silent for {PEER_LOST_S:.0f} s")

    def _poll(self) -> dict[int, int]:
        poller = select.poll()
        poller.register(self._connection.fileno(), select.POLLIN | (select.POLLOUT if self._unsent else 0))
        # Our own reader waits while the guest takes nothing: what it has not read stays in the pipe.
        if self._stdin is not None and not self._unsent:
            poller.register(self._stdin, select.POLLIN)
        return dict(poller.poll(1000))

    def _move_socket(self, event: int) -> None:
        if event & select.POLLOUT:
            del self._unsent[: self._connection.send_some(self._unsent)]
        if event & ~select.POLLOUT:
            self._silence_s = 0.0
            self._connection.take(self._connection.read_some())

    def _read_stdin(self, stdin: int) -> None:
        try:
            data = os.read(stdin, SEND_MAX)
        except OSError:
            # A terminal of a process in the background, or one that was closed: there is no more input.
            data = b""
        if not data:
            self._stdin = None
        self._unsent += self._connection.encode(Kind.STDIN, data)


def execute(guest: Guest, emit: Emit, request: ExecRequest, *, tty: bool, raw: bool) -> int:
    """Run the command; the exit status. `raw`: its bytes go to our standard output and error as they are, else they
    are emitted. Raises GuestError, BrokenPipeError where nobody reads our output any more.
    """
    output = write_raw if raw else emitting(emit)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(reach_agent(guest, emit))
        terminal = stack.enter_context(Terminal(STDIN)) if tty else None
        return ExecSession(connection, output, terminal, STDIN).run(request)


def write_raw(stream: str, _timestamp_us: int, data: bytes) -> None:
    """Write the bytes to the stream of the same name, whatever they are."""
    view = memoryview(data)
    while view:
        view = view[os.write(DESCRIPTORS[stream], view) :]


def emitting(emit: Emit) -> Output:
    """An output that makes events of the pieces."""
    return lambda stream, timestamp_us, data: emit(LogEvent("exec", stream, timestamp_us, data))


def exit_status(result: Message) -> int:
    """The status of a shell for such an end. Raises BrokenProtocolError for a malformed result."""
    check_message("exec", result)
    if result.get("timed_out"):
        return EXIT_TIMED_OUT
    number, code = result.get("signal"), result.get("exit_code")
    if isinstance(number, int):
        return EXIT_SIGNAL_BASE + number
    if isinstance(code, int):
        return code
    raise BrokenProtocolError("the command's result has neither exit code nor signal")
