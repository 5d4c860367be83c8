"""Runs in words: the line above a run's output, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from rum.host.channel.wire import result_from_json
from rum.host.outcome import how_it_ended
from rum.protocol import Message, ProvisionResult
from rum.protocol.summary import RunSummary


def header(started: Message, result: Message | None) -> str:
    """The line above a run's output."""
    return f"{title(started)}: {verdict(result)}"


def title(started: Message) -> str:
    """A run with what makes it one among others."""
    names: Sequence[object] = started.get("scripts") or []
    first = ", first boot" if started.get("first_boot") else ""
    about = f"trigger {started.get('trigger')}, boot {str(started.get('boot_id'))[:8]}{first}"
    return f"run {started.get('run_id')} ({about}): {', '.join(map(str, names)) or 'no scripts'}"


def verdict(message: Message | None) -> str:
    """A result in a few words."""
    return "going on" if message is None else ending(result_from_json(message))


def ending(result: ProvisionResult) -> str:
    """How a run ended, in a few words.

    >>> ending(ProvisionResult(success=False, failed_script="migrate", exit_code=7))
    "'migrate' failed with exit code 7"
    """
    if result.interrupted or result.cancelled:
        return "interrupted" if result.interrupted else "cancelled"
    if result.success:
        return "passed"
    return f"'{result.failed_script}' {how_it_ended(result)}" if result.failed_script else "could not be recorded"


def summary_verdict(run: RunSummary) -> str:
    """A listed run in a few words."""
    if run.running:
        return "going on"
    return ending(
        ProvisionResult(
            success=run.success,
            failed_script=run.failed_script,
            exit_code=run.exit_code,
            signal=run.signal,
            timed_out=run.timed_out,
            cancelled=run.cancelled,
            interrupted=run.interrupted,
        )
    )
