"""The vocabulary: series of samples, what their relation has to be, and which experiment takes them for which rows."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from e2e.bench.context import Bench

FEW = 4
"""Samples that have no quartiles yet."""


class NotMeasuredError(Exception):
    """An experiment could not be made; the text says why."""


@dataclass(frozen=True)
class Series:
    """Samples of one thing, in the order in which they were taken; `unit` is that of each: "ms", "MB/s", "MiB", "s"."""

    label: str
    unit: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise NotMeasuredError(f"there is no sample of {self.label}")

    @classmethod
    def of(cls, label: str, unit: str, values: Sequence[float]) -> Series:
        """Raises NotMeasuredError where there is no sample."""
        return cls(label, unit, tuple(values))

    @property
    def median(self) -> float:
        """What rows compare."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles, and of a few samples the extremes."""
        if len(self.values) < FEW:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


Measured = Mapping[str, Series]
"""What an experiment has measured, by the names that its rows know the series by."""


class Relation(enum.Enum):
    """What a row's value is made of."""

    FIGURE = "figure"
    RATIO = "ratio"
    SPEEDUP = "speedup"
    EXCESS = "excess"


@dataclass(frozen=True)
class Target:
    """What the value of a row has to be: `limit` at most, or with `least` at least. The value is

    the subject's median (FIGURE), that median by the peer's (RATIO), the peer's by that (SPEEDUP), or how much the
    subject's is more than the peer's (EXCESS).
    """

    relation: Relation
    limit: float
    least: bool = False

    def value(self, subject: Series, peer: Series | None) -> float:
        """The row's value, in the subject's unit where it is a figure or an excess."""
        if self.relation is Relation.FIGURE or peer is None:
            return subject.median
        if self.relation is Relation.EXCESS:
            return subject.median - peer.median
        return subject.median / peer.median if self.relation is Relation.RATIO else peer.median / subject.median

    def is_met(self, value: float) -> bool:
        """Whether the value is as it has to be."""
        return value >= self.limit if self.least else value <= self.limit

    def shown(self, unit: str) -> str:
        """The target in words; `unit` is that of the series."""
        bound = f"{'at least' if self.least else 'at most'} {number(self.limit)}"
        if self.relation is Relation.FIGURE:
            return f"{bound} {unit}"
        if self.relation is Relation.EXCESS:
            return f"{bound} {unit} more" if self.limit else "not after it"
        return f"{bound} times as fast" if self.relation is Relation.SPEEDUP else f"{bound} of it"

    def shown_value(self, value: float, unit: str) -> str:
        """The value in the same terms."""
        if self.relation is Relation.FIGURE:
            return f"{number(value)} {unit}"
        if self.relation is Relation.EXCESS:
            return f"{number(abs(value))} {unit} {'more' if value >= 0 else 'less'}"
        return f"{number(value)} times as fast" if self.relation is Relation.SPEEDUP else f"{number(value)} of it"


def ratio_at_most(limit: float) -> Target:
    """The subject may be so many times the peer."""
    return Target(Relation.RATIO, limit)


def ratio_at_least(limit: float) -> Target:
    """The subject, a rate, has to be so many times the peer."""
    return Target(Relation.RATIO, limit, least=True)


def times_as_fast(limit: float) -> Target:
    """The peer has to take so many times as long as the subject."""
    return Target(Relation.SPEEDUP, limit, least=True)


def excess_at_most(limit: float) -> Target:
    """The subject may be so much more than the peer, in the unit of both."""
    return Target(Relation.EXCESS, limit)


def at_most(limit: float) -> Target:
    """The subject itself may be so much, in its unit."""
    return Target(Relation.FIGURE, limit)


@dataclass(frozen=True)
class Row:
    """A line of the table. `subject` and `peer` name series; a figure has no peer.

    `reason`: where the target is missed, why, and what would be needed. `under_kvm` is the target where that differs.
    """

    what: str
    against: str
    target: Target
    subject: str
    peer: str | None = None
    reason: str = ""
    under_kvm: Target | None = None


@dataclass(frozen=True)
class Experiment:
    """Takes the samples for some rows; `name` is what `--only` calls it.

    `measure` may raise any of `e2e.bench.run.FAILURES`; it is interrupted after `within_s` seconds. What is `alone`
    has VMs of its own, and none beside them: it comes before the guest that the others share.
    """

    name: str
    measure: Callable[[Bench], Measured]
    rows: tuple[Row, ...] = field(default=())
    within_s: float = 600
    alone: bool = False


def number(value: float) -> str:
    """A number with three significant digits, and all that are before its point.

    >>> number(0.0312), number(1.5), number(33.333), number(1234.5), number(2.0)
    ('0.0312', '1.5', '33.3', '1234', '2')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
