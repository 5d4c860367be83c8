"""The `exec` method: one command for one client, which feeds it, reads it and takes it down when it goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from typing import Callable, NamedTuple

from rum.agent.connection import Connection
from rum.agent.containment import SESSION_SUFFIX, contain
from rum.agent.loop import WRITE, Loop
from rum.agent.output import Gatherer
from rum.agent.process import Ending, Process, start
from rum.agent.pump import Pump, open_fifo
from rum.agent.settings import Settings
from rum.agent.spawn import NOT_EXECUTABLE, Command, StartError
from rum.protocol.conversation import Received
from rum.protocol.fields import (
    get_bool,
    get_bytes,
    get_bytes_list,
    get_env,
    get_int,
    get_object,
    get_seconds,
    get_str,
    no_nul,
)
from rum.protocol.frames import TIMESTAMP, Kind, Payload
from rum.protocol.limits import STDIN_WINDOW
from rum.protocol.messages import Message

EXEC_PREFIX = "exec-"
"""What the labels of commands begin with; those of scripts begin with a run's number."""

RUNNING_SUFFIX = ".running"
"""Of a file that is there while a command runs: its cgroup stays for as long as something that it left behind lives."""

END_OF_TRANSMISSION = b"\x04"
"""Ends the input at a terminal, which cannot be closed in one direction (termios(3), VEOF)."""

BACKLOG_MAX = 64 * 1024
"""Output that may wait for the client in memory; what is more stays in the pipe and makes the command wait."""

SIGNAL_MAX = 64
"""The last of the real-time signals (signal(7))."""

STDIN_MAX = 512 * 1024
"""Input that may wait for the command in memory; what is more stays in the socket of a client that minds no window."""

GRANT_MIN = STDIN_WINDOW // 4
"""Bytes that the command has read since its client was last told that there is room again."""


class ExecRequest(NamedTuple):
    """The parameters of an `exec`. `size` is rows and columns of its terminal, None for pipes.

    `window`: the client wants to know how much input there is room for, and sends no more than that.
    """

    command: Command
    timeout_s: float | None
    stdin: bool
    size: tuple[int, int] | None
    window: bool

    @staticmethod
    def parse(params: Message) -> ExecRequest:
        """Raises ValueError."""
        argv = [no_nul("argv", argument) for argument in get_bytes_list(params, "argv")]
        if not argv or not argv[0]:
            raise ValueError("argv must name a command")
        terminal = params.get("tty") is not None
        command = Command(
            argv=argv,
            env=get_env(params, "env", get_bytes),
            cwd=no_nul("cwd", get_bytes(params, "cwd") if params.get("cwd") else "/"),
            user=None if params.get("user") is None else no_nul("user", get_str(params, "user")),
            terminal=terminal,
        )
        size = parse_size(get_object(params, "tty")) if terminal else None
        stdin, window = (get_bool(params, name, default=False) for name in ("stdin", "window"))
        return ExecRequest(command, get_seconds(params, "timeout_s"), stdin, size, window)


def parse_size(message: Message) -> tuple[int, int]:
    """Rows and columns. Raises ValueError."""
    return get_int(message, "rows", low=1, high=65535), get_int(message, "cols", low=1, high=65535)


class Stdin:
    """The command's input: bounded, written as fast as the command reads it. `grant` is told what it has taken."""

    def __init__(
        self, loop: Loop, fd: int, on_room: Callable[[bool], None], grant: Callable[[int], None] = lambda _size: None
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._watch = loop.watch(fd, lambda _events: self._write())
        self._on_room = on_room
        self._grant = grant
        self._taken = 0
        self._pending = bytearray()
        self._ending = False
        self._closed = False

    def take(self, data: bytes) -> None:
        """Pass on these bytes; none is the end."""
        if self._closed:
            # Nobody wants it any more, and whoever sends it must not wait for that.
            self._took(len(data))
            return
        self._pending += data
        self._ending = self._ending or not data
        self._write()

    def close(self) -> None:
        """The end; what is pending is dropped. May be called again."""
        if not self._closed:
            self._closed = True
            self._watch.want(0)
            os.close(self._fd)
            self._on_room(True)
            self._took(len(self._pending))

    def _write(self) -> None:
        try:
            while self._pending:
                written = os.write(self._fd, self._pending)
                del self._pending[:written]
                self._took(written)
        except BlockingIOError:
            pass
        except OSError:
            # The command does not want any more of it, which is its right.
            self.close()
            return
        if self._ending and not self._pending:
            self.close()
            return
        self._watch.want(WRITE if self._pending else 0)
        self._on_room(len(self._pending) < STDIN_MAX)

    def _took(self, size: int) -> None:
        self._taken += size
        if self._taken >= GRANT_MIN:
            taken, self._taken = self._taken, 0
            self._grant(taken)


class Exec:
    """One command from start to result. Raises RequestError from the constructor where it cannot even be tried."""

    holds_up = True

    def __init__(self, loop: Loop, settings: Settings, connection: Connection, request: ExecRequest) -> None:
        self._loop = loop
        self._connection = connection
        self._request = request
        self._gatherer = Gatherer(loop, self._send)
        self._pumps: list[Pump] = []
        self._stdin: Stdin | None = None
        self._terminal: int | None = None
        self._process: Process | None = None
        label = f"{EXEC_PREFIX}{os.urandom(6).hex()}"
        os.makedirs(settings.fifo_dir, mode=0o700, exist_ok=True)
        self._prefix = os.path.join(settings.fifo_dir, label)
        self._held = contain(settings, self._prefix + SESSION_SUFFIX, label)
        self.on_end: Callable[[], None] = lambda: None
        """Called once, when the command is over."""
        # A pager may have been left open over lunch, and whoever stops the host's end of it with Ctrl+Z comes back.
        connection.patient = True
        connection.on_frame = self._take
        connection.on_drained = self._drained

    def start(self) -> None:
        """Start the command; where it cannot be started that is its result, with the reason on STDERR."""
        child_ends: list[int] = []
        # Before anything else: it is by this that the host knows that there will be more of them.
        self._grant(STDIN_WINDOW)
        if self._connection.closed:
            # That was how its going was noticed; nobody would ever stop the command.
            return
        try:
            self._held.prepare()
            self._open_terminal(child_ends) if self._request.size else self._open_pipes(child_ends)
            # A terminal is one descriptor for all three.
            stdin, stdout, stderr = child_ends if len(child_ends) == 3 else child_ends * 3
            standard = (stdin, stdout, stderr)
            self._note_running()
            self._process = start(self._loop, self._request.command, standard, self._held, self._pumps, self._ended)
            self._process.limit(self._request.timeout_s)
        except StartError as exc:
            self._cannot_start(exc)
        except OSError as exc:
            self._cannot_start(StartError(NOT_EXECUTABLE, f"cannot start: {exc}"))
        finally:
            for descriptor in child_ends:
                os.close(descriptor)

    def _note_running(self) -> None:
        """For the successor of an agent that is killed; where nothing can be written, commands run all the same."""
        with contextlib.suppress(OSError):
            os.close(os.open(self._prefix + RUNNING_SUFFIX, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def client_gone(self) -> None:
        """Nobody is left to run it for."""
        for pump in self._pumps:
            pump.detach()
        if not self._process:
            self.on_end()
        elif self._request.size:
            # Interactive shells ignore SIGTERM; this is what tells them to save their history and to end their jobs.
            self._process.hang_up()
        else:
            self._process.stop()

    def _open_pipes(self, child_ends: list[int]) -> None:
        if self._request.stdin:
            child_stdin, our_end = os.pipe2(os.O_CLOEXEC)
            child_ends.append(child_stdin)
            self._stdin = Stdin(self._loop, our_end, self._connection.read_more, self._grant)
        else:
            child_ends.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        child_ends.append(self._open_output(Kind.STDOUT))
        child_ends.append(self._open_output(Kind.STDERR))

    def _open_output(self, kind: Kind) -> int:
        path = f"{self._prefix}.{kind.name.lower()}"
        pump, writer = open_fifo(self._loop, path)
        self._add_pump(pump, kind)
        if self._request.command.user is not None:
            # The command may open /dev/stdout by name, which asks for permission anew.
            with contextlib.suppress(OSError):
                os.chmod(path, 0o666)
        return writer

    def _open_terminal(self, child_ends: list[int]) -> None:
        self._terminal, child_end = os.openpty()
        child_ends.append(child_end)
        self._set_size(self._request.size or (24, 80))
        self._add_pump(Pump(self._loop, os.dup(self._terminal)), Kind.STDOUT)
        self._stdin = Stdin(self._loop, os.dup(self._terminal), self._connection.read_more, self._grant)

    def _add_pump(self, pump: Pump, kind: Kind) -> None:
        pump.on_data = lambda data: self._gatherer.take(kind, data)
        self._pumps.append(pump)

    def _set_size(self, size: tuple[int, int]) -> None:
        if self._terminal is not None:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def _send(self, kind: Kind, timestamp_us: int, data: Payload) -> None:
        if self._connection.answered:
            return
        self._connection.frame(kind, TIMESTAMP.pack(timestamp_us), data)
        if self._connection.backlog > BACKLOG_MAX:
            for pump in self._pumps:
                pump.pause(True)

    def _drained(self) -> None:
        for pump in self._pumps:
            pump.pause(False)

    def _grant(self, size: int) -> None:
        """Tell the client that the command's input has room for so much more."""
        if self._request.window and not self._connection.answered:
            self._connection.event({"type": "window", "bytes": size})

    def _take(self, received: Received) -> None:
        if self._connection.answered:
            return
        if received.frame.kind is Kind.STDIN and self._stdin:
            end = END_OF_TRANSMISSION if self._request.size else b""
            self._stdin.take(received.frame.payload or end)
        elif received.message:
            with contextlib.suppress(ValueError):
                self._take_message(received.message)

    def _take_message(self, message: Message) -> None:
        if message["type"] == "resize":
            self._set_size(parse_size(message))
        elif message["type"] == "signal" and self._process:
            self._process.signal(get_int(message, "signal", low=1, high=SIGNAL_MAX))

    def _ended(self, ending: Ending) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._prefix + RUNNING_SUFFIX)
        self._gatherer.flush()
        self._close_input()
        if not self._connection.answered:
            self._connection.on_drained = lambda: None
            self._connection.read_more(True)
            self._connection.result(
                {"exit_code": ending.exit_code, "signal": ending.signal, "timed_out": ending.timed_out}
            )
        self.on_end()

    def _cannot_start(self, failure: StartError) -> None:
        for pump in self._pumps:
            pump.close()
        self._held.remove()
        self._gatherer.take(Kind.STDERR, f"rum-agent: {failure}\n".encode("utf-8", "surrogateescape"))
        self._ended(Ending(failure.exit_code, None, timed_out=False, duration_ms=0))

    def _close_input(self) -> None:
        if self._stdin:
            self._stdin.close()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None
