"""What a run produced: its result and its output."""

from __future__ import annotations

from typing import NamedTuple


class ProvisionResult(NamedTuple):
    """The result of a run, field by field as the `result` message carries it.

    `exit_code` and `signal` are those of the failed script; at most one of them is set. `success` is None only in a
    snapshot of a run that goes on, which has `running` set.
    """

    success: bool | None
    run_id: str | None = None
    failed_script: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    interrupted: bool = False
    first_boot: bool = False
    ran: list[str] = []
    skipped: list[str] = []
    changed: list[str] = []
    system_provisioned: bool = False


class LogEvent(NamedTuple):
    """A piece of a script's output, split wherever it was read. `stream` is "stdout" or "stderr"."""

    script: str
    stream: str
    timestamp_us: int
    data: bytes
