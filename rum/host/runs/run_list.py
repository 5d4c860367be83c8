"""`rum logs --list`: one run per line."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rum.host.json_lines.answers import Run
from rum.host.outcome import seconds
from rum.host.runs.finder import ListedRun
from rum.host.runs.verdicts import summary_verdict
from rum.host.show.table import aligned

HEADINGS = ("RUN", "STARTED", "TRIGGER", "BOOT", "TOOK", "RESULT")


def run_fields(run: ListedRun) -> Run:
    """A run as `-o json` prints it."""
    return {"type": "run", **vars(run.summary), "in_guest": run.in_guest, "on_host": run.on_host}  # type: ignore[typeddict-item]


def run_table(runs: Sequence[ListedRun]) -> list[str]:
    """The runs for people, under headings; no lines where there is no run."""
    return aligned([HEADINGS, *map(row, runs)]) if runs else []


def row(run: ListedRun) -> tuple[str, ...]:
    """The cells of a run."""
    found = run.summary
    boot = str(found.boot_id or "-")[:8]
    first = " (first)" if found.first_boot else ""
    took = seconds(found.duration_ms) if found.started_us is not None else "-"
    how = summary_verdict(found) if run.in_guest or not found.running else "damaged copy"
    return (found.run_id, when(found.started_us), found.trigger or "-", boot + first, took, how)


def when(timestamp_us: int | None) -> str:
    """A time in the time zone of this host.

    >>> when(None)
    '-'
    """
    if timestamp_us is None:
        return "-"
    try:
        moment = datetime.datetime.fromtimestamp(timestamp_us / 1_000_000, datetime.UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        return "?"
    return moment.strftime("%Y-%m-%d %H:%M:%S")
