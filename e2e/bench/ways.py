"""The ways into the shared guest: rum's own, and what people would use instead, all of them ready."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from e2e.bench import user_network
from e2e.project import Project, poll
from rum.host import GuestVm

Json = dict[str, Any]

SSH_OPTIONS = (
    "-Fnone",
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oIdentitiesOnly=yes",
    "-oLogLevel=ERROR",
)

ANSWER_S = 60.0
"""How long one answer may take."""

AGENT_PORT = 2301
"""vsock port of qemu-guest-agent, which is otherwise at a virtio-serial port that rum's machine has not."""


@dataclass
class Ssh:
    """OpenSSH over QEMU's user network, with a port of this host that leads to the guest's 22."""

    project: Project
    directory: Path

    @cached_property
    def port(self) -> int:
        """The host's end of the forward, asked of QEMU's monitor."""
        return user_network.forward(f"rum-{self.project.state_dir.name}", 22, self.project.environment)

    def command(self, *words: str, master: bool = False) -> list[str]:
        """A command line for these words in the guest; with `master` over the one connection that stays open."""
        key = self.project.state_dir / "ssh_ed25519"
        control = ("-oControlMaster=auto", "-oControlPersist=600", f"-oControlPath={self.directory}/control")
        where = (f"-i{key}", f"-p{self.port}", "rum@127.0.0.1")
        return ["ssh", *SSH_OPTIONS, *(control if master else ()), *where, *words]

    def run(self, *words: str, master: bool = False, within_s: float = ANSWER_S) -> None:
        """Run it to its end. Raises CalledProcessError, TimeoutExpired."""
        command = self.command(*words, master=master)
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if master else subprocess.PIPE,
            timeout=within_s,
            check=True,
        )

    def prepare(self) -> None:
        """Wait until sshd serves, and open the connection that is shared."""
        for _ in poll(ANSWER_S * self.project.patience, "sshd in the guest"):
            with contextlib.suppress(subprocess.CalledProcessError):
                self.run("true")
                break
        self.run("true", master=True)

    def close(self) -> None:
        """End the connection that is shared."""
        control = f"-oControlPath={self.directory}/control"
        subprocess.run(["ssh", "-Fnone", control, "-Oexit", "rum@127.0.0.1"], capture_output=True, check=False)


@dataclass
class GuestAgent:
    """qemu-guest-agent at a vsock port of the guest; one connection that stays open, as libvirt has it."""

    project: Project
    guest: GuestVm
    _buffer: bytearray = field(default_factory=bytearray)

    @cached_property
    def _sock(self) -> socket.socket:
        cid = json.loads((self.project.state_dir / "state.json").read_text())["started"]["cid"]
        unit = ["systemd-run", "--quiet", "--collect", "--unit=bench-qemu-ga"]
        started = self.guest.run([*unit, "qemu-ga", "--method=vsock-listen", f"--path={cid}:{AGENT_PORT}"])
        assert started.ok, f"qemu-ga cannot be started in the guest: {started.stderr.decode()}"
        for _ in poll(ANSWER_S, "qemu-ga in the guest"):
            with contextlib.suppress(ConnectionError):
                return self.project.dial(AGENT_PORT, ANSWER_S)
        raise AssertionError

    def call(self, command: str, **arguments: object) -> Json:
        """One command of its protocol (qemu-ga-ref(7)) and what it returns."""
        self._sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while b"\n" not in self._buffer:
            data = self._sock.recv(65536)
            assert data, "qemu-ga has closed the connection"
            self._buffer += data
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        answer = json.loads(line)
        assert "return" in answer, answer
        returned: Json = answer["return"]
        return returned

    def run(self, argv: Sequence[str]) -> None:
        """Run a command to its end, asking for it without a pause, which is as soon as it can be known."""
        words: dict[str, object] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        pid = self.call("guest-exec", **words)["pid"]
        while not (status := self.call("guest-exec-status", pid=pid))["exited"]:
            pass
        assert status["exitcode"] == 0, status

    def close(self) -> None:
        """Leave it; the guest's end stops with the guest."""
        self._sock.close()
