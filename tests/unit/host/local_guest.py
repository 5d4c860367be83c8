"""A guest without a VM: the real agent as a process, behind a stand-in for vhost-device-vsock that can be cut."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rum.host.channel.endpoint import Endpoint, UnixEndpoint
from rum.host.config.identity import VmIdentity
from rum.host.config.load import Config, load_config
from rum.host.console import read_console
from rum.host.events import Event, Notice, RunEvent
from rum.host.guest.settings import GuestSettings, seeded_settings
from rum.host.paths import VmPaths
from rum.host.store import LastStart, VmState
from rum.protocol import LogEvent, ProvisionScript

TIMEOUT_S = 20.0
CHECKOUT = Path(__file__).resolve().parents[3]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, fail after a while."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(0.01)


def is_served(path: Path) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


class VsockProxy:
    """Speaks the preamble of vhost-device-vsock and passes bytes on to the agent's socket.

    `cut_after`: bytes from the agent after which a connection is cut, once: the next one that gets so far, or the one
    whose number is `cut_connection`.
    """

    def __init__(self, path: Path, agent: Path) -> None:
        self.path = path
        self._agent = agent
        self.cut_after: int | None = None
        self.cut_connection: int | None = None
        self.connections = 0
        self._live: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, self.connections), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        agent = socket.socket(socket.AF_UNIX)
        self._live += [client, agent]
        try:
            if client.recv(64) != b"CONNECT 2222\n":
                return
            agent.connect(str(self._agent))
            client.sendall(b"OK 1024\n")
            up = threading.Thread(target=self._pump, args=(client, agent, False), daemon=True)
            up.start()
            self._pump(agent, client, self.cut_connection in (None, number))
            up.join()
        except OSError:
            pass
        finally:
            for sock in (client, agent):
                sock.close()
                self._live.remove(sock)

    def _pump(self, source: socket.socket, target: socket.socket, cuttable: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                passed += len(data)
                if cuttable and self.cut_after is not None and passed > self.cut_after:
                    data = data[: self.cut_after - passed]
                    self.cut_after = None
                    target.sendall(data)
                    break
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT_S)
        for sock in list(self._live):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._live, "the proxy's connections to end")


@dataclass
class LocalGuest:
    """Everything that rum.host.channel.guest.Guest promises, with knobs for the ways a VM can die."""

    config: Config
    paths: VmPaths
    directory: Path
    running: bool = True
    daemon_alive: bool = True
    out_of_space: bool = False
    there: bool = True
    the_key: bytes = field(default_factory=lambda: os.urandom(32))
    the_vm_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    the_drives_script: ProvisionScript | None = None
    leaving: list[str] = field(default_factory=list)
    proxy: VsockProxy | None = None
    process: subprocess.Popen[bytes] | None = None
    told: GuestSettings | None = None
    answers: int = 0
    started: LastStart | None = field(default_factory=lambda: LastStart("tcg", "vhost-user", 70_000, 0))

    def __post_init__(self) -> None:
        self.told = seeded_settings(self.config)

    @property
    def identity(self) -> VmIdentity:
        return self.config.identity

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def boot_timeout_s(self) -> int:
        return self.config.advanced.boot_timeout_s

    @property
    def root(self) -> Path:
        """The agent's root directory."""
        return self.directory / "root"

    def start(self) -> None:
        """Start the agent and wait until it listens."""
        boot_id = self.root / "proc/sys/kernel/random/boot_id"
        if not boot_id.exists():
            self.new_boot()
        key_file = self.directory / "key"
        key_file.write_text(self.the_key.hex() + "\n", encoding="ascii")
        listen = self.directory / "agent.sock"
        listen.unlink(missing_ok=True)
        command = [sys.executable, "-m", "rum.agent", "--listen", f"unix:{listen}", "--root", str(self.root)]
        self.process = subprocess.Popen([*command, "--key", str(key_file), "--vm-id", self.the_vm_id], cwd=CHECKOUT)
        wait_until(lambda: is_served(listen), "the agent's socket")
        if self.proxy is None:
            self.proxy = VsockProxy(self.directory / "vm.vsock", listen)

    def described(self) -> str:
        """What cli_with_agent needs to know of it."""
        about = {"directory": str(self.directory), "key": self.the_key.hex(), "vm_id": self.the_vm_id}
        return json.dumps({**about, "running": self.running})

    def new_boot(self) -> None:
        """Play a reboot; the agent has to be stopped meanwhile."""
        boot_id = self.root / "proc/sys/kernel/random/boot_id"
        boot_id.parent.mkdir(parents=True, exist_ok=True)
        boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")

    def stop(self, *, kill: bool = False) -> None:
        """Stop the agent."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(TIMEOUT_S)
            self.process = None

    def close(self) -> None:
        """Stop everything."""
        self.stop()
        if self.proxy is not None:
            self.proxy.close()

    def drives_script(self) -> ProvisionScript | None:
        return self.the_drives_script

    def leaving_drives(self) -> list[str]:
        return self.leaving

    def endpoint(self) -> Endpoint:
        return UnixEndpoint(self.directory / "vm.vsock")

    def key(self) -> bytes:
        return self.the_key

    def vm_id(self) -> str:
        return self.the_vm_id

    def user(self) -> str:
        return self.config.user.name

    def settings(self) -> GuestSettings | None:
        return self.told

    def note_settings(self, settings: GuestSettings) -> None:
        self.told = settings

    def note_answer(self) -> None:
        self.answers += 1

    def last_start(self) -> LastStart | None:
        return self.started

    def load_state(self) -> VmState | None:
        return None

    def exists(self) -> bool:
        return self.there

    def state(self) -> str:
        return "paused" if self.out_of_space else "running" if self.running else "stopped"

    def is_running(self) -> bool:
        return self.state() == "running"

    def is_out_of_space(self) -> bool:
        return self.out_of_space

    def transport_alive(self) -> bool:
        return self.daemon_alive

    def timeout_factor(self) -> int:
        return 1

    def console_tail(self, lines: int) -> list[str]:
        return read_console(self.paths.console_log)[-lines:]

    def diagnose_boot(self) -> str:
        return "the console shows nothing unusual"


@contextlib.contextmanager
def local_guest(directory: Path, toml: str = "", *, started: bool = True) -> Iterator[LocalGuest]:
    """A guest whose rum.toml has these lines besides the image."""
    (directory / "demo").mkdir(parents=True, exist_ok=True)
    path = directory / "demo" / "rum.toml"
    path.write_text(f'[image]\nbase = "debian-12"\n{toml}', encoding="utf-8")
    state = directory / "state"
    state.mkdir(exist_ok=True)
    paths = VmPaths("demo", state, directory / "run", directory / "lock")
    paths.console_log.write_text("Linux version\nlogin:\n", encoding="utf-8")
    guest = LocalGuest(load_config(path), paths, directory)
    try:
        if started:
            guest.start()
        yield guest
    finally:
        guest.close()


class Seen(list[Event]):
    """Takes events and answers questions about them."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def notices(self) -> list[str]:
        return [event.text for event in self if isinstance(event, Notice)]

    def types(self) -> list[str]:
        return [str(event.message["type"]) for event in self if isinstance(event, RunEvent)]

    def output(self, stream: str = "stdout") -> bytes:
        return b"".join(event.data for event in self if isinstance(event, LogEvent) and event.stream == stream)


def script_toml(name: str, text: str, *, order: int = 50, run_on: str = "system", more: str = "") -> str:
    """A `[[provision.script]]`; the text must not hold three quotes."""
    table = f'[[provision.script]]\nname = "{name}"\norder = {order}\nrun_on = "{run_on}"\n'
    return f"{table}script = '''\n{text}\n'''\n{more}\n"
