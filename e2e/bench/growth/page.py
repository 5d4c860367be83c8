"""docs/growth.md and its pictures, made of the curves that are kept beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from e2e.bench.growth.curve import TOLERANCE, Curve, Subject, spelled, table

DOCS = Path(__file__).parents[3] / "docs"
CURVES = DOCS / "growth.json"
PAGE = DOCS / "growth.md"

HEAD = f"""\
# Growth

What rum does costs time in proportion to how much of it there is, or less. `nox -s growth` measures the first three on
one guest, `nox -s e2e_scale -- --curves docs/growth.json` the fourth, and `nox -s growth -- --draw` makes this page of
what both have kept in [growth.json](growth.json). Both axes of the pictures are logarithmic: what is proportional runs
along the dotted line, and what does not depend on the size is level. The last line of each table says how much faster
than the size the time has grown from one size to one twice as large, at worst: 1 is proportional. Over {TOLERANCE:g} it
fails.
"""

REMARKS = {
    "scripts": "Scripts that do nothing, after a start that costs the same for any number of them.",
    "output": (
        "What a command prints arrives whole. What a script prints is recorded in the guest up to 64 MiB; what comes"
        " after that is only read, and neither passed on nor shown again."
    ),
    "runs": "Guest and host keep the last ten runs, so the hundredth costs what the tenth does.",
    "vms": (
        "One VM after the other is started and left until it is idle; `rum up` is that of the last one. `rum list` asks"
        " all of them at the same time; the other commands know of their own VM only, and are slowed down by what idle"
        " guests take of the host's processors."
    ),
}
"""By the subjects' names, in the page's order."""


def text(subjects: Mapping[str, Subject]) -> str:
    """The page."""
    return "\n".join([HEAD, *(section(subjects[name], remark) for name, remark in REMARKS.items() if name in subjects)])


def section(subject: Subject, remark: str) -> str:
    """What the page says of a subject."""
    image = f"![{described(subject)}]({picture(subject)})"
    parts = [f"## {subject.title}", remark, image, table(subject), f"Measured with {subject.environment}."]
    return "\n\n".join(parts) + "\n"


def picture(subject: Subject) -> str:
    """The name of its file, beside the page."""
    return f"growth-{subject.name}.png"


def described(subject: Subject) -> str:
    """The picture in words, for who does not see it."""
    return f"{subject.title}: " + "; ".join(in_words(curve, subject.unit) for curve in subject.curves)


def in_words(curve: Curve, unit: str) -> str:
    """A curve's two ends."""
    first, last = curve.points[0], curve.points[-1]
    return (
        f"{curve.label} takes {spelled(first.seconds)} for {first.size:g}"
        f" and {spelled(last.seconds)} for {last.size:g} {unit}"
    )
