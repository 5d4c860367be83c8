"""A rum project in a directory of its own, driven through the installed `rum` command as a user would."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pexpect.socket_pexpect

from e2e.json_lines import checked

RUM = Path(sys.executable).with_name("rum")

Json = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a finished command ended; the time is in seconds."""

    exit: int
    stdout: str
    stderr: str
    seconds: float

    @cached_property
    def events(self) -> list[Json]:
        """The JSON lines of a command that ran with `-o json`; fails where one is not as docs/json.md has it."""
        return [checked(line) for line in self.stdout.splitlines()]

    @property
    def done(self) -> Json:
        """The last event."""
        return self.events[-1]

    def output(self, script: str, stream: str = "stdout") -> str:
        """What a script has printed, of the JSON events."""
        return "".join(
            event["text"]
            for event in self.events
            if event["type"] == "output" and event["script"] == script and event["stream"] == stream
        )

    def of_type(self, kind: str) -> list[Json]:
        """The events of a type."""
        return [event for event in self.events if event["type"] == kind]

    def result(self) -> Json:
        """The last run result."""
        return self.of_type("result")[-1]


class Live:
    """A command that is still running, its JSON events read as they come."""

    def __init__(self, process: subprocess.Popen[str], stderr: Path) -> None:
        self.process = process
        self._stderr = stderr
        self.seen: list[Json] = []
        self._started = time.monotonic()
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, wanted: Callable[[Json], bool], within_s: float) -> Json:
        """The first event from here on that is wanted. Fails when there is none in time or the command ends."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no such event within {within_s:.0f} s; seen: {self.seen[-20:]}") from None
            assert line is not None, f"the command ended without such an event; seen: {self.seen[-20:]}"
            self.seen.append(checked(line))
            if wanted(self.seen[-1]):
                return self.seen[-1]

    def goes_on(self) -> bool:
        """Whether the command goes on; what it has printed so far is in `seen` then."""
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get_nowait()) is not None:
                self.seen.append(checked(line))
            # For `finish`.
            self._lines.put(None)
            return False
        return True

    def finish(self, within_s: float) -> Outcome:
        """The outcome once the command has ended."""
        deadline = time.monotonic() + within_s
        while (line := self._lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            self.seen.append(checked(line))
        return self.so_far(self.process.wait(timeout=10))

    def so_far(self, exit_status: int = -1) -> Outcome:
        """What has been seen, as if the command had ended here."""
        stdout = "\n".join(map(json.dumps, self.seen))
        return Outcome(exit_status, stdout, self._stderr.read_text(), time.monotonic() - self._started)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)


@dataclass
class Project:
    """One rum.toml and its VM. `patience` scales the deadlines for an emulated CPU."""

    directory: Path
    image: str
    patience: int
    env: Mapping[str, str] = field(default_factory=dict)
    boot_timeout_s: int | None = None
    """`advanced.boot_timeout_s` where its default is too short for this host."""
    program: Sequence[str] = (str(RUM),)
    """What the command line of `rum` begins with."""

    @property
    def environment(self) -> dict[str, str]:
        """What `rum` is started with: the user's own environment with this project's state apart."""
        return {**os.environ, "XDG_STATE_HOME": str(self.directory / "state"), **self.env}

    @property
    def state_dir(self) -> Path:
        """The VM's directory; there is exactly one."""
        (found,) = self._state_dirs()
        return found

    @property
    def created(self) -> bool:
        """Whether there is a VM."""
        return any((path / "state.json").exists() for path in self._state_dirs())

    def _state_dirs(self) -> list[Path]:
        """The VM's directory; others have theirs beside it where projects share XDG_STATE_HOME."""
        id8 = hashlib.sha256(os.path.realpath(self.directory / "rum.toml").encode()).hexdigest()[:8]
        return list(Path(self.environment["XDG_STATE_HOME"], "rum", "vms").glob(f"*-{id8}"))

    @property
    def console(self) -> str:
        """What the serial console has shown so far."""
        log = self.state_dir / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def domain(self) -> ElementTree.Element:
        """The definition of the VM's domain, as libvirt has it."""
        command = ["virsh", "dumpxml", f"rum-{self.state_dir.name}"]
        found = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return ElementTree.fromstring(found.stdout)

    def console_socket(self) -> str:
        """Where the serial port can be talked to."""
        return next(
            source.attrib["path"]
            for source in self.domain().iterfind("./devices/serial/source")
            if source.get("mode") == "bind"
        )

    def open_console(self) -> pexpect.socket_pexpect.SocketSpawn:
        """A terminal at the serial port; to be closed, because a guest waits for a terminal that does not read."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.console_socket())
        return pexpect.socket_pexpect.SocketSpawn(connection, timeout=30 * self.patience)

    def vsock_path(self) -> Path | None:
        """The socket of vhost-device-vsock, where that is the transport; it lies next to QEMU's."""
        arguments = [element.get("value", "") for element in self.domain().iter() if element.tag.endswith("}arg")]
        found = re.findall(r"path=([^,]*/vh\.sock)", " ".join(arguments))
        return Path(found[0]).with_name("vm.vsock") if found else None

    def dial(self, port: int, within_s: float = 30) -> socket.socket:
        """A stream to a vsock port of the guest, whatever the transport is. Raises ConnectionRefusedError."""
        path = self.vsock_path()
        if path is None:
            cid = next(element.attrib["address"] for element in self.domain().iterfind("./devices/vsock/cid"))
            try:
                return connected(socket.AF_VSOCK, (int(cid), port), within_s)
            except ConnectionResetError as exc:
                # What the guest's kernel answers for a port where nobody listens, or more wait than are let in.
                raise ConnectionRefusedError from exc
        sock = connected(socket.AF_UNIX, str(path), within_s)
        sock.sendall(f"CONNECT {port}\n".encode())
        answer = b""
        while not answer.endswith(b"\n"):
            byte = sock.recv(1)
            if not byte:
                sock.close()
                raise ConnectionRefusedError
            answer += byte
        assert answer.startswith(b"OK ")
        return sock

    def configure(self, text: str) -> None:
        """Write rum.toml: this text after the image and a small machine."""
        head = f'[image]\nbase = {json.dumps(self.image)}\n\n[resources]\nmemory_mb = 768\ncpus = 1\ndisk = "4G"\n\n'
        (self.directory / "rum.toml").write_text(patient(head + text, self.boot_timeout_s))

    def with_boot_timeout(self, seconds: int) -> str:
        """A table of rum.toml for so many seconds under KVM, longer on a host that rum's default is too short for."""
        return f"[advanced]\nboot_timeout_s = {seconds * (self.patience if self.boot_timeout_s else 1)}\n"

    def command(self, *arguments: str) -> list[str]:
        """The command line for these arguments."""
        return [*self.program, "-c", str(self.directory / "rum.toml"), *arguments]

    def rum(self, *arguments: str, within_s: float = 120, stdin: str | None = None) -> Outcome:
        """Run `rum` to its end."""
        started = time.monotonic()
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=within_s * self.patience,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    def up(self, *arguments: str, expect: int = 0) -> Outcome:
        """`rum -o json up`, which must end with that status."""
        outcome = self.rum("-o", "json", "up", *arguments)
        assert outcome.exit == expect, f"exit {outcome.exit}\n{outcome.stdout[-4000:]}\n{outcome.stderr[-4000:]}"
        return outcome

    def qemu(self) -> int:
        """The process id of this VM's QEMU."""
        named = f"guest=rum-{self.state_dir.name},".encode()
        found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if named in read_if_there(path)]
        (pid,) = found
        return pid

    def start(self, *arguments: str) -> Live:
        """Start `rum -o json ...` and leave it running."""
        descriptor, stderr = tempfile.mkstemp(prefix="stderr-", dir=self.directory)
        with open(descriptor, "wb") as written:
            process = subprocess.Popen(
                self.command("-o", "json", *arguments),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
                # What a test runner that was started in the background ignores rum would ignore, too.
                preexec_fn=heed_interrupts,
            )
        return Live(process, Path(stderr))

    def guest(self, script: str) -> str:
        """What a shell command prints in the guest; it must succeed."""
        outcome = self.rum("exec", "--", "sh", "-c", script)
        assert outcome.exit == 0, f"{script!r} ended with {outcome.exit}: {outcome.stderr}"
        return outcome.stdout

    def guest_python(self, program: str, *arguments: str, user: str = "root", within_s: float = 120) -> str:
        """What a Python program prints in the guest; its text is on no command line. It must succeed."""
        command = ("exec", "--user", user, "--", "python3", "-", *arguments)
        outcome = self.rum(*command, stdin=program, within_s=within_s)
        assert outcome.exit == 0, f"the program ended with {outcome.exit}: {outcome.stderr}"
        return outcome.stdout

    def boot_id(self) -> str:
        """The identity of the guest's boot."""
        return self.guest("cat /proc/sys/kernel/random/boot_id").strip()

    def status(self) -> Json:
        """`rum -o json status`."""
        outcome = self.rum("-o", "json", "status")
        assert outcome.exit == 0, outcome.stderr
        return next(event for event in outcome.events if "state" in event)

    def wait_for_console(self, text: str, times: int = 1, within_s: float = 60) -> None:
        """Wait until the serial console has shown the text so many times."""
        for _ in poll(within_s * self.patience, f"{text!r} {times} times on the console"):
            if self.console.count(text) >= times:
                return


def patient(text: str, boot_timeout_s: int | None) -> str:
    """A rum.toml with this `advanced.boot_timeout_s`, unless that is None or the text has its own."""
    if boot_timeout_s is None or re.search("^boot_timeout_s", text, re.MULTILINE):
        return text
    line = f"boot_timeout_s = {boot_timeout_s}\n"
    table = "[advanced]\n"
    return (
        text.replace(table, table + line, 1)
        if re.search(r"^\[advanced]$", text, re.MULTILINE)
        else f"{text}\n{table}{line}"
    )


def connected(family: int, address: tuple[int, int] | str, within_s: float) -> socket.socket:
    """A socket with that many seconds for everything. Raises OSError."""
    with contextlib.ExitStack() as opened:
        sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.settimeout(within_s)
        sock.connect(address)
        opened.pop_all()
    return sock


def read_if_there(path: Path) -> bytes:
    """The file of a process that may be ending."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def heed_interrupts() -> None:
    """In a child: signals end it, as in a terminal, also where the test runner was started in the background."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def poll(within_s: float, what: str, seen: Sequence[object] = ()) -> Iterator[None]:
    """Yield again and again until the caller stops asking; fails after the deadline, in seconds.

    The failure shows the last of what the caller has `seen`.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    raise AssertionError(f"waited {within_s:.0f} s in vain for {what}; last seen: {seen[-1:]}")
