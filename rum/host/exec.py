"""`rum exec`: a command in the guest, its three streams, its signals and its exit status as if it ran here."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rum.host.channel.checked import BrokenProtocolError, check_message
from rum.host.channel.client import AgentConnection, AgentError, LostError, is_result
from rum.host.channel.guest import Guest
from rum.host.channel.reach import explained_loss, reach_agent
from rum.host.errors import EXIT_SIGNAL_BASE, ConfigError, HostError
from rum.host.events import Emit, Notice
from rum.host.interrupts import NotedSignals
from rum.host.outlet import Outlet
from rum.host.terminal import Terminal, is_ours
from rum.protocol import OUTPUT_KINDS, ErrorCode, Kind, LogEvent, Message, Received, split_output
from rum.protocol.limits import EXEC_MAX, PEER_LOST_S, SEND_MAX, STDIN_UNASKED

EXIT_TIMED_OUT = 124

STDIN = 0
STDOUT = 1
DESCRIPTORS = {"stdout": STDOUT, "stderr": 2}
NAMES = {"stdout": "standard output", "stderr": "standard error"}

LOOK_AGAIN_MS = 1000
"""How soon a job that was brought to the foreground reads its terminal again."""

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What reaches the command in the guest; at a terminal of its own its keys do."""

OF_THE_TERMINAL = (signal.SIGWINCH, signal.SIGCONT)

NO_INPUT = (errno.EBADF, errno.EIO)
"""What reading a standard input says that we were started without, or whose terminal is gone: that is its end."""

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

    def params(self, terminal: Terminal | None, *, window: bool = False) -> Message:
        """The parameters of the `exec` request; what is not set is left to the agent.

        Raises ConfigError for what cannot be sent.
        """
        if self.timeout_s is not None and not 0 < self.timeout_s < math.inf:
            raise ConfigError(f"the command's time limit, {self.timeout_s}, is no number of seconds")
        env = {name: as_sent(value) for name, value in self.env.items()}
        wanted: Message = {"argv": [as_sent(word) for word in self.argv], "stdin": True, "env": env}
        cwd = None if self.cwd is None else as_sent(self.cwd)
        optional = {"user": self.user, "cwd": cwd, "timeout_s": self.timeout_s}
        if window:
            wanted["window"] = True
        wanted.update({key: value for key, value in optional.items() if value is not None})
        if terminal is not None:
            wanted["tty"] = terminal.size()
            wanted["env"] = {"TERM": os.environ.get("TERM", "dumb"), **env}
        if (size := len(json.dumps(wanted))) > EXEC_MAX:
            raise ConfigError(
                f"the command has {size >> 20} MiB of arguments and environment, which is over {EXEC_MAX >> 20} MiB",
                hint="give it so much as its input, or in a file: see `rum cp --help`",
            )
        return wanted


@dataclass(frozen=True)
class Ended:
    """How a command ended: by its own exit code or by a signal, out of time or not."""

    exit_code: int | None
    signal: int | None
    timed_out: bool

    @property
    def status(self) -> int:
        """As a shell has it: 128 and the signal's number, 124 where the time was up."""
        if self.timed_out:
            return EXIT_TIMED_OUT
        return self.exit_code or 0 if self.signal is None else EXIT_SIGNAL_BASE + self.signal


def as_sent(argument: str) -> str:
    """An argument of this process as the protocol spells bytes, whatever the locale is that Python read them by.

    Raises ConfigError.
    """
    try:
        return os.fsencode(argument).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError(f"{argument[:40]!a} cannot be spelled in bytes, as arguments and variables are") from None


class ExecSession:
    """Moves bytes between this process and the command until its result is in.

    Without an `output` they go to our own standard output and error. `signals` are the command's, or the terminal's.
    `reader`: a descriptor that ends it with BrokenPipeError once nobody reads it, also while there is nothing to write.
    """

    def __init__(
        self,
        connection: AgentConnection,
        output: Output | None,
        terminal: Terminal | None,
        stdin: int,
        signals: NotedSignals | None = None,
        emit: Emit = lambda _event: None,
        reader: int | None = None,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._output = output or self._write
        self._terminal = terminal
        self._stdin: int | None = stdin
        self._signals = signals
        self._emit = emit
        self._signalled: int | None = None
        self._unsent = bytearray()
        self._room = math.inf
        self._heard = False
        self._silence_s = 0.0
        self._outlets: dict[str, Outlet] = {}

    def run(self, request: ExecRequest) -> Ended:
        """How the command ended. Raises LostError, AgentError, HostError where our own output cannot be written.

        Whatever is raised ends the command in the guest.
        """
        try:
            return self._run(request)
        finally:
            for outlet in self._outlets.values():
                outlet.close()

    def _run(self, request: ExecRequest) -> Ended:
        # Only signals could be kept waiting by input that the command does not read.
        window = self._signals is not None
        self._room = STDIN_UNASKED if window else math.inf
        self._connection.send_request("exec", request.params(self._terminal, window=window))
        while True:
            try:
                for received in self._connection.received():
                    if is_result(received):
                        self._connection.acknowledge()
                        return ending(received.message or {})
                    self._show(received)
                self._mind_heartbeat()
            except AgentError as exc:
                # An agent from before there were signals: it has ended the connection, and the command with it.
                if self._signalled is None or exc.agent_code != ErrorCode.PROTOCOL.value:
                    raise
                return Ended(None, self._signalled, timed_out=False)
            self._move()

    def _show(self, received: Received) -> None:
        stream = OUTPUT_KINDS.get(received.frame.kind)
        self._mind_room(received.message)
        if stream is not None:
            self._output(stream, *split_output(received.frame.payload))

    def _mind_room(self, message: Message | None) -> None:
        """Input that the command does not read must not be what our signals wait behind."""
        if message is not None and message["type"] == "window":
            check_message("window", message)
            self._room += message["bytes"]
        elif not self._heard:
            # An agent that does not begin with it has no windows: there, the socket is what keeps us waiting.
            self._room = math.inf
        self._heard = True

    def _mind_heartbeat(self) -> None:
        if self._connection.heartbeats and not self._heard:
            self._mind_room(None)

    def _write(self, stream: str, _timestamp_us: int, data: bytes) -> None:
        """Write to our own stream. A reader that pauses is waited for, but signals go on meanwhile."""
        descriptor = DESCRIPTORS[stream]
        view = memoryview(data)
        while view:
            self._wait_for_room(descriptor)
            try:
                view = view[self._outlet(stream).write_some(view) :]
            except BrokenPipeError:
                raise
            except OSError as exc:
                raise HostError(f"{NAMES[stream]} cannot be written: {exc.strerror}") from exc

    def _outlet(self, stream: str) -> Outlet:
        if stream not in self._outlets:
            self._outlets[stream] = Outlet(DESCRIPTORS[stream])
        return self._outlets[stream]

    def _wait_for_room(self, descriptor: int) -> None:
        while True:
            ready = self._poll({descriptor: select.POLLOUT}, listening=False)
            if ready.get(self._connection.fileno()):
                self._send()
            if ready.get(descriptor):
                return

    def _move(self) -> None:
        """Wait until something can be moved, and move it."""
        start = time.monotonic()
        reads = self._stdin is not None and self._room > 0 and not self._unsent and is_ours(self._stdin)
        ready = self._poll({self._stdin: select.POLLIN} if reads and self._stdin is not None else {}, listening=True)
        event = ready.get(self._connection.fileno(), 0)
        if event & select.POLLOUT:
            self._send()
        if event & ~select.POLLOUT:
            self._silence_s = 0.0
            self._connection.take(self._connection.read_some())
        else:
            self._note_silence(time.monotonic() - start)
        if self._stdin is not None and self._stdin in ready and is_ours(self._stdin):
            self._read_stdin(self._stdin)

    def _note_silence(self, seconds: float) -> None:
        """Only time spent listening counts: while our own output was stuck, nobody could be heard."""
        self._silence_s += seconds
        if self._silence_s > PEER_LOST_S:
            raise LostError(f"the agent has been silent for {PEER_LOST_S:.0f} s")

    def _poll(self, also: Mapping[int, int], *, listening: bool) -> dict[int, int]:
        """What is ready of these and the connection, at the latest after a second; signals are passed on."""
        poller = select.poll()
        for descriptor, events in also.items():
            poller.register(descriptor, events)
        # Our own reader waits while the guest takes nothing: what it has not read stays in the pipe.
        wanted = (select.POLLIN if listening else 0) | (select.POLLOUT if self._unsent else 0)
        if wanted:
            poller.register(self._connection.fileno(), wanted)
        if self._signals:
            poller.register(self._signals.fileno(), select.POLLIN)
        if self._reader is not None and self._reader not in also:
            poller.register(self._reader, 0)
        ready = dict(poller.poll(LOOK_AGAIN_MS))
        if self._reader is not None and ready.get(self._reader, 0) & select.POLLERR:
            raise BrokenPipeError
        if self._signals and ready.pop(self._signals.fileno(), 0):
            self._pass_on(self._signals.take())
        return ready

    def _pass_on(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if self._terminal is None:
                self._signalled = number
                self._unsent += self._connection.encode_message({"type": "signal", "signal": number})
                continue
            if number == signal.SIGCONT:
                self._terminal.make_raw()
            self._unsent += self._connection.encode_message({"type": "resize", **self._terminal.size()})

    def _send(self) -> None:
        del self._unsent[: self._connection.send_some(self._unsent)]

    def _read_stdin(self, stdin: int) -> None:
        try:
            data = os.read(stdin, int(min(SEND_MAX, self._room)))
        except OSError as exc:
            if exc.errno not in NO_INPUT:
                text = f"standard input cannot be read: {exc.strerror}; the command gets nothing more of it"
                self._emit(Notice(text, warning=True))
            data = b""
        if not data:
            self._stdin = None
        self._room -= len(data)
        self._unsent += self._connection.encode(Kind.STDIN, data)


def execute(guest: Guest, emit: Emit, request: ExecRequest, *, tty: bool, raw: bool) -> int:
    """Run the command and return its exit status.

    With `tty` it has a terminal; with `raw` its bytes go to our standard output and error as they are, else they
    are emitted. Raises GuestError, HostError, BrokenPipeError where nobody reads our output any more.
    """
    output = None if raw else emitting(emit)
    with contextlib.ExitStack() as stack:
        stack.enter_context(explained_loss(guest))
        connection = stack.enter_context(reach_agent(guest, emit))
        terminal = stack.enter_context(Terminal(STDIN)) if tty else None
        signals = NotedSignals(OF_THE_TERMINAL if terminal else PASSED_ON, once=terminal is None)
        stack.enter_context(signals)
        return ExecSession(connection, output, terminal, STDIN, signals, emit, reader=STDOUT).run(request).status


def emitting(emit: Emit) -> Output:
    """An output that makes events of the pieces."""
    return lambda stream, timestamp_us, data: emit(LogEvent("exec", stream, timestamp_us, data))


def ending(result: Message) -> Ended:
    """How the command ended that has this result. Raises BrokenProtocolError for a malformed one."""
    check_message("exec", result)
    number, code = result.get("signal"), result.get("exit_code")
    if number is None and code is None and not result.get("timed_out"):
        raise BrokenProtocolError("the command's result has neither exit code nor signal")
    return Ended(code, number, timed_out=bool(result.get("timed_out")))


def exit_status(result: Message) -> int:
    """The status of a shell for such an end. Raises BrokenProtocolError for a malformed result."""
    return ending(result).status
