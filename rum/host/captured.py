"""A command in the guest that is run to its end, with what it has written."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rum.host.channel.client import AgentConnection
from rum.host.events import Emit
from rum.host.exec import Ended, ExecRequest, ExecSession, Output

KEPT_MAX = 1 << 20
"""Bytes of each stream that rum's own commands keep: the guest says how much there is, and need not be trusted."""


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

    @property
    def complaint(self) -> str:
        """The last line of standard error, or what else is known of a command that has failed."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit {self.status}"


def run_captured(
    connection: AgentConnection,
    request: ExecRequest,
    stdin: bytes = b"",
    *,
    output: Output | None = None,
    kept_max: int | None = KEPT_MAX,
    emit: Emit = lambda _event: None,
) -> Completed:
    """Run it. Without an `output`, `kept_max` bytes of each stream are kept, all of them where that is None.

    Raises LostError, AgentError. Whatever is raised ends the command in the guest.
    """
    kept = {"stdout": bytearray(), "stderr": bytearray()}

    def keep(stream: str, _timestamp_us: int, data: bytes) -> None:
        room = None if kept_max is None else max(0, kept_max - len(kept[stream]))
        kept[stream].extend(data[:room])

    source = as_descriptor(stdin)
    try:
        ended = ExecSession(connection, output or keep, None, source, emit=emit).run(request)
    finally:
        os.close(source)
    end = (ended.exit_code, ended.signal, ended.timed_out)
    return Completed(*end, bytes(kept["stdout"]), bytes(kept["stderr"]))


def as_descriptor(data: bytes) -> int:
    """A descriptor from which these bytes can be read; to be closed."""
    if not data:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    descriptor = os.memfd_create("rum-stdin")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
