"""A cost at growing sizes, and whether it grows faster than the size does."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOLERANCE = 1.25
"""From one size to a larger one, the cost may grow by so much more than the size: a busy host makes runs longer."""

LARGER = 2
"""How many times as large: between seven VMs and six there is more chance than growth."""


@dataclass(frozen=True)
class Point:
    """What so much costs, in seconds."""

    size: float
    seconds: float


@dataclass(frozen=True)
class Curve:
    """`label` is the command or the step; the points are in the order of their sizes."""

    label: str
    points: tuple[Point, ...]

    def steepest(self) -> float:
        """How many times as much as the size the cost grows at most, from one size to the next that is twice as large.

        Up to 1 that is linear or better: a cost that does not depend on the size makes it less. Where there are not two
        such sizes, from the smallest to the largest.

        >>> Curve("linear", (Point(1, 2.0), Point(10, 20.0), Point(100, 100.0))).steepest()
        1.0
        >>> Curve("with one late", (Point(6, 1.0), Point(7, 2.0), Point(12, 2.0))).steepest()
        1.0
        """
        first_and_last = (self.points[0], self.points[-1])
        return max(
            (later.seconds / earlier.seconds) / (later.size / earlier.size)
            for earlier, later in tuple(self._steps()) or (first_and_last,)
        )

    def _steps(self) -> Iterator[tuple[Point, Point]]:
        for number, earlier in enumerate(self.points):
            larger = (later for later in self.points[number:] if later.size >= LARGER * earlier.size)
            yield from ((earlier, later) for later in itertools.islice(larger, 1))

    @property
    def is_linear(self) -> bool:
        """Whether it is linear or better."""
        return self.steepest() <= TOLERANCE

    def each_more(self) -> float:
        """Seconds for each more, between the smallest size and the largest."""
        first, last = self.points[0], self.points[-1]
        return (last.seconds - first.seconds) / (last.size - first.size)


@dataclass(frozen=True)
class Subject:
    """What grows: a picture and its table. `unit` is that of the sizes: "scripts", "MB"."""

    name: str
    title: str
    unit: str
    curves: tuple[Curve, ...]
    environment: str = ""


def keep(path: Path, subject: Subject) -> None:
    """Put a subject into the file, in place of what an earlier run has measured. Raises OSError, ValueError."""
    kept = {**(read(path) if path.exists() else {}), subject.name: subject}
    whole = {name: to_json(kept[name]) for name in sorted(kept)}
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read(path: Path) -> dict[str, Subject]:
    """The subjects of a file by name. Raises OSError, ValueError."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        return {name: from_json(name, kept) for name, kept in whole.items()}
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"{path} has no curves: {exc!r}") from exc


def to_json(subject: Subject) -> dict[str, Any]:
    """As it is kept."""
    curves = {
        curve.label: [[point.size, round(point.seconds, 4)] for point in curve.points] for curve in subject.curves
    }
    return {"title": subject.title, "unit": subject.unit, "environment": subject.environment, "seconds": curves}


def from_json(name: str, kept: Mapping[str, Any]) -> Subject:
    """The inverse of `to_json`. Raises KeyError, TypeError, AttributeError."""
    curves = tuple(
        Curve(label, tuple(Point(size, seconds) for size, seconds in points))
        for label, points in kept["seconds"].items()
    )
    return Subject(name, kept["title"], kept["unit"], curves, kept["environment"])


def table(subject: Subject) -> str:
    """A line for each size, and one for the verdict."""
    sizes = sorted({point.size for curve in subject.curves for point in curve.points})
    header = f"| {subject.unit} | {' | '.join(curve.label for curve in subject.curves)} |"
    verdicts = [f"{curve.steepest():.2f}" for curve in subject.curves]
    lines = [header, "|---" * (1 + len(subject.curves)) + "|", *rows(subject.curves, sizes)]
    return "\n".join([*lines, f"| steepest step, linear is 1 | {' | '.join(verdicts)} |"])


def rows(curves: Sequence[Curve], sizes: Sequence[float]) -> Iterator[str]:
    """The table's lines with figures."""
    for size in sizes:
        cells = [{point.size: spelled(point.seconds) for point in curve.points}.get(size, "") for curve in curves]
        yield f"| {size:g} | {' | '.join(cells)} |"


def spelled(seconds: float) -> str:
    """A duration with three digits at most.

    >>> spelled(0.0421), spelled(3.14159), spelled(61.2), spelled(1234.5)
    ('42 ms', '3.14 s', '61.2 s', '1234 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
