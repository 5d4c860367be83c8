"""rum from a Python program: commands in a VM that runs (docs/api.md).

Each command has a connection of its own, so a guest may be used from several threads, and outlives its reboots.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rum.host.captured import Completed, run_captured
from rum.host.channel.guest import Guest
from rum.host.channel.reach import explained_loss, reach_agent
from rum.host.config.identity import find_config
from rum.host.events import Emit, Event
from rum.host.exec import ExecRequest, Output
from rum.host.vm.known import find_vm


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
        request = ExecRequest(argv, user, cwd, env or {}, timeout_s)
        with explained_loss(self._vm), reach_agent(self._vm, self._emit) as connection:
            return run_captured(connection, request, stdin, output=output, kept_max=None, emit=self._emit)


def open_guest(config: str | os.PathLike[str] | None = None, *, emit: Emit | None = None) -> GuestVm:
    """The VM of a rum.toml; by default of the one here or in the nearest directory above.

    `emit` takes what `rum` would tell while it waits for the agent (`rum.host.events`). Raises ConfigError where there
    is neither such a file nor a VM of it.
    """
    tell = emit or unheard
    return GuestVm(find_vm(Path(config) if config is not None else find_config(), tell), tell)


def unheard(_event: Event) -> None:
    """Nobody wants to know."""
