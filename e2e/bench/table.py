"""The table of docs/performance.md, which the benchmark fills in, and the same for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.bench.experiment import Series, number
from e2e.bench.results import Verdict

BEGIN = "<!-- Between these two lines nox -s bench writes. -->"
END = "<!-- The bench's part ends here. -->"

HEADER = "| what | measured against | target | measured | |\n|---|---|---|---|---|"
REASON_MISSING = "nobody has looked into it yet"


def fill(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the text between the two markers of the page. Raises ValueError where they are not there, OSError."""
    before, found_begin, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"{page} has not both of the lines that the table belongs between")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def report(verdicts: Sequence[Verdict], environment: Mapping[str, str]) -> str:
    """Where it was measured, the table, and what is to be said of rows that are not as they should be."""
    table = "\n".join([HEADER, *(line(verdict) for verdict in verdicts)])
    parts = [", ".join(f"{name}: {value}" for name, value in environment.items()) + ".", table]
    remarks = [remark(verdict) for verdict in verdicts if not verdict.met]
    return "\n\n".join([*parts, "\n".join(remarks)] if remarks else parts)


def line(verdict: Verdict) -> str:
    """One line of the table."""
    row = verdict.row
    if verdict.subject is None:
        measured, mark = verdict.problem, "not measured"
    else:
        medians = " / ".join(shown(series) for series in (verdict.subject, verdict.peer) if series)
        measured = f"{verdict.shown}: {medians}" if verdict.peer else medians
        mark = "met" if verdict.met else "**missed**"
    return f"| {row.what} | {row.against} | {verdict.target} | {measured} | {mark} |"


def shown(series: Series) -> str:
    """The median with the quartiles."""
    low, high = series.spread
    around = f" ({number(low)} to {number(high)})" if len(series.values) > 1 else ""
    return f"{number(series.median)} {series.unit}{around}"


def remark(verdict: Verdict) -> str:
    """A point of the list below the table."""
    about = f"- *{verdict.row.what}*" + (f", against {verdict.row.against}" if verdict.row.against else "")
    if verdict.problem:
        return f"{about}: not measured: {verdict.problem}."
    return f"{about}: missed: {verdict.row.reason or REASON_MISSING}."
