"""rum from a Python program: commands in a VM that runs (docs/api.md).

Each command has a connection of its own, so a guest may be used from several threads, and outlives its reboots.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rum.host.channel.guest import Guest
from rum.host.channel.reach import explained_loss, reach_agent
from rum.host.config.identity import find_config
from rum.host.events import Emit, Event
from rum.host.exec import Ended, ExecRequest, ExecSession, Output
from rum.host.vm.known import find_vm


@dataclass(frozen=True)
class Completed(Ended):
    """A command that has ended, with what it has written.

    Attributes: `exit_code` and `signal`, of which one is set; `timed_out`, whether it was stopped because its time was
    up; `status`, its end as a shell has it. What was given to `output` is not in `stdout` and `stderr`.
    """

    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output as text, without the line break at its end; what is no UTF-8 is replaced."""
        return self.stdout.decode("utf-8", "replace").removesuffix("\n")


class GuestVm:
    """A VM whose agent can be asked to run commands. Nothing is asked of it before that."""

    def __init__(self, vm: Guest, emit: Emit) -> None:
        self._vm = vm
        self._emit = emit

    @property
    def name(self) -> str:
        """The VM's name, as `rum status` has it."""
        return self._vm.name

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        user: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        output: Output | None = None,
    ) -> Completed:
        """Run a command in the guest to its end, as `rum exec` does: as root and in `/` unless told otherwise.

        `output` takes each piece as it comes: the stream's name, the time in microseconds since the epoch, the bytes.
        Without it all of them are in memory at the end.

        A command that fails, or cannot be started (127, 126, with the reason in `stderr`), is no error. Raises
        GuestError where the guest was not reached, was lost, or refuses; HostError where this host cannot do it. After
        any exception, KeyboardInterrupt included, the command does not go on in the guest.
        """
        kept = {"stdout": bytearray(), "stderr": bytearray()}

        def keep(stream: str, _timestamp_us: int, data: bytes) -> None:
            kept[stream].extend(data)

        request = ExecRequest(argv, user, cwd, env or {}, timeout_s)
        with explained_loss(self._vm), reach_agent(self._vm, self._emit) as connection:
            source = as_descriptor(stdin)
            try:
                ended = ExecSession(connection, output or keep, None, source, emit=self._emit).run(request)
            finally:
                os.close(source)
        end = (ended.exit_code, ended.signal, ended.timed_out)
        return Completed(*end, bytes(kept["stdout"]), bytes(kept["stderr"]))


def open_guest(config: str | os.PathLike[str] | None = None, *, emit: Emit | None = None) -> GuestVm:
    """The VM of a rum.toml; by default of the one here or in the nearest directory above.

    `emit` takes what `rum` would tell while it waits for the agent (`rum.host.events`). Raises ConfigError where there
    is neither such a file nor a VM of it.
    """
    tell = emit or unheard
    return GuestVm(find_vm(Path(config) if config is not None else find_config(), tell), tell)


def unheard(_event: Event) -> None:
    """Nobody wants to know."""


def as_descriptor(data: bytes) -> int:
    """A descriptor from which these bytes can be read; to be closed."""
    if not data:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    descriptor = os.memfd_create("rum-stdin")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
