"""The real agent as a process, and a client that speaks to it as the host does.

RUM_AGENT_PYTHON names the interpreter the agent runs under; without it, it is this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rum.protocol import (
    Conversation,
    FrameDecoder,
    HostHandshake,
    Kind,
    Message,
    Received,
    Role,
    encode_frame,
    parse_message,
    split_output,
)
from rum.protocol.messages import ACK, request

CHECKOUT = Path(__file__).resolve().parents[3]
PYTHON = os.environ.get("RUM_AGENT_PYTHON", sys.executable)
IDLE_DESCRIPTORS = 7
"""Of an agent without clients and runs: three standard ones, the selector, the listener, two for signals."""

DEADLINE_S = 300.0 if "RUM_AGENT_PYTHON" in os.environ else 60.0
"""Far beyond what anything here takes on a loaded machine: only a hang gets there. Under an interpreter of their own
agents count their lines, and start many times more slowly."""

VM_ID = "5f1f6a2e-0000-4000-8000-000000000001"

START = """
import sys
from rum.protocol import limits
limits.__dict__.update({limits!r})
{setup}
from rum.agent.__main__ import main
sys.exit(main(sys.argv[1:]))
"""

PR_SET_CHILD_SUBREAPER = 36


def wait_until(condition: Callable[[], Any], what: str, *, within_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds; failing to is the test's failure."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:.0f} s in vain until {what}"
        time.sleep(0.005)


def process_state(pid: int) -> str | None:
    """The state letter of /proc/PID/stat, None where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    return process_state(pid) not in (None, "Z", "X")


def adopt_orphans() -> None:
    """From now on orphans of this process's children become its own children, so that none can get lost."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def children() -> set[int]:
    """Processes whose parent is this one."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        # A thread may have ended meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.update(map(int, (task / "children").read_text(encoding="ascii").split()))
    return found


def script(name: str, content: str, *, order: int, run_on: str, **more: object) -> Message:
    """A script of a request."""
    return {"name": name, "content": content, "order": order, "run_on": run_on, **more}


def system(content: str, name: str = "system", *, order: int = 100, **more: object) -> Message:
    """A System script."""
    return script(name, content, order=order, run_on="system", **more)


def boot(content: str, name: str = "boot", *, order: int = 200, **more: object) -> Message:
    """A Boot script."""
    return script(name, content, order=order, run_on="boot", **more)


@dataclass
class Answer:
    """Everything a request was answered with; heartbeats are counted only."""

    frames: list[Received] = field(default_factory=list)
    heartbeats: int = 0

    @property
    def messages(self) -> list[Message]:
        return [received.message for received in self.frames if received.message]

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    @property
    def end(self) -> Message:
        """The result or error; a test that gets none fails here."""
        assert self.messages, "the connection ended before the answer began"
        assert self.messages[-1]["type"] in ("result", "error"), f"the answer ended after {self.messages[-1]}"
        return self.messages[-1]

    @property
    def record(self) -> bytes:
        """The answer as bytes, which for a run is its record."""
        return b"".join(encode_frame(received.frame.kind, received.frame.payload) for received in self.frames)

    def of(self, message_type: str) -> list[Message]:
        """The messages of a type."""
        return [message for message in self.messages if message["type"] == message_type]

    def data(self, kind: Kind) -> bytes:
        """The whole output of one stream."""
        return b"".join(split_output(got.frame.payload)[1] for got in self.frames if got.frame.kind is kind)

    @property
    def stdout(self) -> bytes:
        return self.data(Kind.STDOUT)

    @property
    def stderr(self) -> bytes:
        return self.data(Kind.STDERR)


class Client:
    """One connection. Reading blocks until something arrives, with a deadline."""

    def __init__(self, path: str, key: bytes) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.answer = Answer()
        self._conversation = Conversation(Role.HOST)
        self._arrived: list[Received] = []
        try:
            self.socket.connect(path)
            self._shake_hands(key)
            received = self.next()
        except BaseException:
            self.socket.close()
            raise
        assert received is not None
        assert received.message is not None
        self.welcome = received.message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Go without a word."""
        self.socket.close()

    def request(self, method: str, **params: object) -> Client:
        """Send the request."""
        self.socket.sendall(self._conversation.send_message(request(method, params)))
        return self

    def send(self, kind: Kind, payload: bytes) -> None:
        """Send a frame of bytes."""
        self.socket.sendall(self._conversation.send_frame(kind, payload))

    def message(self, message: Message) -> None:
        """Send a message."""
        self.socket.sendall(self._conversation.send_message(message))

    def next(self) -> Received | None:
        """The next frame, None at the end of the stream."""
        while not self._arrived:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._conversation.feed(data)
            self._arrived += self._conversation.received()
        return self._arrived.pop(0)

    def read_until(self, wanted: Callable[[Answer], bool]) -> Answer:
        """Read until the answer has what is wanted, or to the end of the stream."""
        while not wanted(self.answer):
            received = self.next()
            if received is None:
                break
            if received.message == {"type": "heartbeat"}:
                self.answer.heartbeats += 1
            else:
                self.answer.frames.append(received)
        return self.answer

    def wait_for(self, message_type: str) -> Message:
        """Read until a message of this type has come."""
        return self.read_until(lambda answer: bool(answer.of(message_type))).of(message_type)[-1]

    def wait_for_output(self, data: bytes) -> None:
        """Read until the output has these bytes."""
        self.read_until(lambda answer: data in answer.stdout)
        assert data in self.answer.stdout

    def wait_for_size(self, size: int) -> None:
        """Read until there are so many bytes of output."""
        self.read_until(lambda answer: len(answer.stdout) >= size)

    def finish(self) -> Answer:
        """Read the rest of the answer and acknowledge it."""
        self.read_until(lambda answer: bool(answer.of("result") or answer.of("error")))
        if self.answer.of("result") or self.answer.of("error"):
            with contextlib.suppress(OSError):
                self.message(ACK)
        self.close()
        return self.answer

    def _shake_hands(self, key: bytes) -> None:
        handshake = HostHandshake(key)
        while not handshake.done:
            data = self.socket.recv(handshake.missing)
            if not data:
                raise ConnectionAbortedError("the agent closed the connection during the handshake")
            self.socket.sendall(handshake.receive(data))


class Agent:
    """A guest without a VM: a root directory, and the agent's process in it."""

    def __init__(self, root: Path, socket_dir: str) -> None:
        self.root = root
        self.key = os.urandom(32)
        self.key_file = root / "key"
        self.socket_path = os.path.join(socket_dir, "s")
        self.stderr_file = root / "stderr"
        self.limits: dict[str, float] = {}
        self.environment: dict[str, str] = {}
        self.setup = 'from rum.agent import disk_sync; disk_sync.COMMAND = ["true"]'
        """Statements that the agent's process begins with: the disks of this machine are not its guest's to sync."""
        self.program = ["-S", "-W", "error", "-m", "rum.agent"]
        self.before_start: Callable[[], None] | None = None
        self.may_complain = False
        self._process: subprocess.Popen[bytes] | None = None
        self._outliving: set[int] = set()
        self._of_others = children()
        self.key_file.write_text(self.key.hex(), encoding="ascii")
        self.play_boot("boot-1")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def state_dir(self) -> Path:
        return self.root / "var/lib/rum"

    @property
    def sentinel(self) -> Path:
        return self.state_dir / ".system-provisioned"

    @property
    def runs(self) -> list[str]:
        """Run ids, oldest first."""
        return sorted(path.name for path in (self.state_dir / "runs").iterdir())

    def record_path(self, run_id: str) -> Path:
        return self.state_dir / "runs" / run_id / "record"

    def play_boot(self, boot_id: str) -> None:
        """Have the kernel say that this is another boot."""
        file = self.root / "proc/sys/kernel/random/boot_id"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(boot_id + "\n", encoding="ascii")

    def start(self) -> Agent:
        """Start the process and wait until it answers."""
        self.launch()
        wait_until(lambda: self._answers(), "the agent answered")
        return self

    def launch(self, *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start the process."""
        assert self._process is None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket_path)
        start = START.format(limits=self.limits, setup=self.setup)
        program = [*self.program[:-2], "-c", start] if self.limits or self.setup else self.program
        arguments = ["--listen", f"unix:{self.socket_path}", "--root", str(self.root), "--key", str(self.key_file)]
        with open(self.stderr_file, "ab") as stderr:
            self._process = subprocess.Popen(
                [PYTHON, *program, *arguments, "--vm-id", VM_ID],
                cwd=CHECKOUT,
                env={"PATH": os.environ["PATH"], **self.environment},
                stdin=stdin,
                stderr=stderr,
                preexec_fn=self.before_start,
            )
        return self._process

    def signal(self, number: int) -> None:
        """Send the agent a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; the code that subprocess gives it."""
        assert self._process is not None
        code = self._process.wait(DEADLINE_S)
        self._process = None
        return code

    def stop(self) -> None:
        """Stop it as systemd does."""
        self.signal(signal.SIGTERM)
        assert self.wait() == 0

    def kill(self) -> None:
        """Kill it."""
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def restart(self) -> Agent:
        """Stop and start within the same boot."""
        self.stop()
        return self.start()

    def reboot(self, boot_id: str) -> Agent:
        """Stop, and start in another boot."""
        self.stop()
        self.play_boot(boot_id)
        return self.start()

    def connect(self, key: bytes | None = None) -> Client:
        """A client that has been welcomed."""
        return Client(self.socket_path, key or self.key)

    def connect_raw(self) -> socket.socket:
        """A connection that has said nothing yet."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE_S)
        connection.connect(self.socket_path)
        return connection

    def call(self, method: str, **params: object) -> Answer:
        """One request and its whole answer."""
        return self.connect().request(method, **params).finish()

    def provision(self, *scripts: Message, mode: str = "auto") -> Answer:
        """Provision and wait for the end."""
        return self.call("provision", scripts=list(scripts), mode=mode)

    def attach(self, run_id: str | None = None, **params: object) -> Answer:
        """Read a run."""
        return self.call("attach", run_id=run_id, **params)

    def status(self) -> Message:
        """The result of `status`."""
        return self.call("status").end

    def wait_idle(self) -> Message:
        """Wait until no run goes on; the latest one's result."""
        return self.attach().end

    def memory_kib(self, what: str = "VmHWM") -> int:
        """A line of /proc/PID/status."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
        raise AssertionError(f"there is no {what}")

    def descriptors(self) -> int:
        """How many the agent has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wait_for_descriptors(self, more: int) -> None:
        """Wait until it has so many open beyond those of an idle agent; the latest run's record is one."""
        wait_until(lambda: self.descriptors() == IDLE_DESCRIPTORS + more, f"{more} more descriptors are open")

    def wait_for_no_child(self) -> None:
        """Wait until nothing that it started runs or waits to be waited for."""
        wait_until(lambda: not self.children(), "every child is gone")

    def children(self) -> list[int]:
        """Processes that it started, zombies included."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in listed.split()]

    def zombies(self) -> list[int]:
        """Children that it has not waited for."""
        return [pid for pid in self.children() if process_state(pid) == "Z"]

    def outlives(self, pid: int) -> int:
        """A process that the test leaves running on purpose; it is killed at the end."""
        self._outliving.add(pid)
        return pid

    def clean_up(self) -> None:
        """Stop the agent; fail where it complained or left a process behind."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        # What was killed last may take a moment to go.
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._left_behind(), "nothing was left running", within_s=5.0)
        names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self._left_behind()}
        bury(children() - self._of_others, spared=self._of_others)
        complaints = self.stderr_file.read_text(encoding="utf-8") if self.stderr_file.exists() else ""
        assert not names, f"processes were left running: {names}"
        assert self.may_complain or not complaints, complaints

    def _left_behind(self) -> list[int]:
        return [pid for pid in children() - self._of_others - self._outliving if is_running(pid)]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.stderr_file.read_text(encoding="utf-8")
        try:
            self.connect().close()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def bury(pids: set[int], *, spared: set[int]) -> None:
    """Kill these children of this process and those that become its children thereby."""
    while pids:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        pids = children() - spared


def frames_of(record: bytes) -> Iterator[tuple[int, Kind, Message | None]]:
    """Each frame of a record: where it begins, its kind and, for messages, the message."""
    decoder = FrameDecoder()
    decoder.feed(record)
    offset = 0
    for frame in decoder.frames():
        yield offset, frame.kind, parse_message(frame.payload) if frame.kind is Kind.MESSAGE else None
        offset += frame.size
    assert decoder.buffered == 0, "the record ends in the middle of a frame"


def subset(message: Mapping[str, object], **expected: object) -> bool:
    """Whether the message has these fields; fails with the difference, so that a test says what was wrong."""
    assert {name: message.get(name) for name in expected} == expected
    return True
