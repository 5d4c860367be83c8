"""One run as the host reads it: frames become events and a copy, and what its outcome needs is remembered."""

from __future__ import annotations

import collections
from typing import Protocol

from rum.host.channel.checked import BrokenProtocolError, check_message
from rum.host.channel.wire import result_from_json
from rum.host.events import Emit, Notice, RunEvent
from rum.host.text import LineAssembler
from rum.protocol import OUTPUT_KINDS, Frame, LogEvent, Message, ProvisionResult, Received, encode_frame, split_output
from rum.protocol.limits import RECORD_MAX

TAIL_LINES = 20
"""Lines of a failed script's output that are repeated where the command ends."""

RUN_MAX = 2 * RECORD_MAX
"""Bytes of one run: an honest record has its cap, the kept tails and the events. A run may last for ever, not grow."""


class Copy(Protocol):
    """Where the frames of one run are kept. Every method but `close` raises OSError."""

    def append(self, frame: bytes) -> None:
        """Take the next frame."""

    def complete(self) -> None:
        """The result is in."""

    def close(self) -> None:
        """Nothing more comes."""


class Copies(Protocol):
    """Where copies of runs are kept: RunCopies, or a Spool."""

    def has(self, run_id: str, /) -> bool:
        """Whether the whole run is here."""

    def open_copy(self, run_id: str) -> Copy:
        """Begin a copy. Raises OSError, BlockingIOError where somebody else makes it, ValueError."""

    def prune(self) -> None:
        """Remove what is too old. Raises OSError."""


class RunView:
    """Takes the frames of one run in order, over however many connections they come.

    `run_id` names the run to attach to, `offset` is where an `attach` goes on, and `result` is set once the run has
    ended. `replayed` marks what is emitted as older than this command; `quiet` only copies.
    """

    def __init__(
        self, emit: Emit, copies: Copies, *, replayed: bool = False, quiet: bool = False, run_id: str | None = None
    ) -> None:
        self._emit = emit
        self._copies = copies
        self._copy: Copy | None = None
        self.replayed = replayed
        self.quiet = quiet
        self._only_result = False
        self._taken = 0
        self.started: Message = {"run_id": run_id}
        self.script = ""
        self.script_duration_ms: int | None = None
        self.result: ProvisionResult | None = None
        self.offset = 0
        self._lines: dict[str, LineAssembler] = {}
        self._tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)

    @property
    def run_id(self) -> str | None:
        """The run's id, None before its first event and for an answer without a run."""
        run_id = self.started.get("run_id")
        return run_id if isinstance(run_id, str) else None

    @property
    def boot_id(self) -> object:
        """The boot that the run belongs to."""
        return self.started.get("boot_id")

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of the last script's output."""
        rest = [line for assembler in self._lines.values() for line in assembler.feed(b"", final=True)]
        self._tail.extend(rest)
        return tuple(self._tail)

    def skip_to_result(self) -> None:
        """From the record's start on, pass over the frames, which are here already, and take only the result."""
        self._only_result, self.offset, self._taken = True, 0, 0

    def take(self, received: Received) -> None:
        """Take the next frame. Raises BrokenProtocolError for what cannot be part of a run."""
        message = received.message
        ends = message is not None and message["type"] == "result"
        self._count(received.frame)
        if message is not None:
            check_message(message["type"], message)
        if (ends and message is not None and message.get("running")) or (self._only_result and not ends):
            return
        if message is not None:
            self._take_message(message)
        else:
            self._take_output(received.frame)
        self.offset += received.frame.size
        self._append(received.frame)
        if ends and message is not None:
            self.result = result_from_json(message)
            self._complete()

    def show_to(self, emit: Emit) -> None:
        """From here on, emit what is taken."""
        self._emit, self.quiet = emit, False

    def close(self) -> None:
        """Give up the copy of a run that has not been read to its end."""
        if self._copy:
            self._copy.close()

    def _count(self, frame: Frame) -> None:
        self._taken += frame.size
        if self._taken > RUN_MAX:
            raise BrokenProtocolError(f"a run of more than {RUN_MAX} bytes, which no record holds")

    def _begin(self, started: Message) -> None:
        if self.offset or self.run_id not in (None, started["run_id"]):
            raise BrokenProtocolError(f"run {started['run_id']} began where run {self.run_id} goes on")
        self.started = started
        self._open_copy()

    def _take_message(self, message: Message) -> None:
        if message["type"] == "run_started":
            self._begin(message)
        elif message["type"] == "script_started":
            self.script = str(message.get("name"))
            self._lines.clear()
            self._tail.clear()
        elif message["type"] == "script_exited":
            duration = message.get("duration_ms")
            self.script_duration_ms = duration if isinstance(duration, int) else None
        if not self.quiet:
            self._emit(RunEvent(message, self.replayed))

    def _take_output(self, frame: Frame) -> None:
        stream = OUTPUT_KINDS.get(frame.kind)
        if stream is None:
            return
        timestamp_us, data = split_output(frame.payload)
        self._tail.extend(self._lines.setdefault(stream, LineAssembler()).feed(data))
        if not self.quiet:
            self._emit(LogEvent(self.script, stream, timestamp_us, data))

    def _open_copy(self) -> None:
        if self._copy or self.run_id is None or self._copies.has(self.run_id):
            return
        try:
            self._copy = self._copies.open_copy(self.run_id)
        except BlockingIOError:
            pass
        except (OSError, ValueError) as exc:
            self._no_copy(exc)

    def _append(self, frame: Frame) -> None:
        if self._copy:
            try:
                self._copy.append(encode_frame(frame.kind, frame.payload))
            except OSError as exc:
                self._no_copy(exc)

    def _complete(self) -> None:
        if self._copy:
            try:
                self._copy.complete()
                self._copies.prune()
            except BlockingIOError:
                self.close()
            except OSError as exc:
                self._no_copy(exc)

    def _no_copy(self, cause: Exception) -> None:
        """A copy is a convenience: without one the run goes on, and the guest keeps its own record."""
        self.close()
        self._copy = None
        self._emit(Notice(f"the host's copy of the run's output cannot be written: {cause}", warning=True))
