"""What a run has measured, as it is kept: every sample, and what it was measured with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from e2e.bench.experiment import Experiment, Measured, NotMeasuredError, Row, Series

FORMAT = 1

Json = dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """One experiment: what it has measured, or the problem that kept it from that. The time is in seconds."""

    seconds: float
    measured: Measured = field(default_factory=dict)
    problem: str = ""


@dataclass
class Results:
    """A run. `attempts` are by the experiments' names."""

    environment: Mapping[str, str]
    quick: bool = False
    attempts: dict[str, Attempt] = field(default_factory=dict)

    @property
    def is_kvm(self) -> bool:
        """Whether the guest's CPU was a real one."""
        return self.environment.get("accelerator") == "kvm"

    def judge(self, experiments: Sequence[Experiment]) -> list[Verdict]:
        """Every row of these experiments."""
        return [self._verdict(experiment, row) for experiment in experiments for row in experiment.rows]

    def _verdict(self, experiment: Experiment, row: Row) -> Verdict:
        attempt = self.attempts.get(experiment.name, Attempt(0, problem="this run left it out"))
        subject = attempt.measured.get(row.subject)
        peer = attempt.measured.get(row.peer) if row.peer else None
        target = row.under_kvm if self.is_kvm and row.under_kvm else row.target
        if subject is None or (row.peer and peer is None):
            missing = row.subject if subject is None else row.peer
            return Verdict(row, target.shown(""), attempt.problem or f"there is no series {missing}")
        value = target.value(subject, peer)
        shown = f"{target.shown_value(value, subject.unit)}"
        return Verdict(row, target.shown(subject.unit), "", value, shown, target.is_met(value), subject, peer)

    def write(self, path: Path, experiments: Sequence[Experiment]) -> None:
        """Write all of it, whole or not at all. Raises OSError."""
        whole = {
            "format": FORMAT,
            "quick": self.quick,
            "environment": dict(self.environment),
            "experiments": {name: attempt_to_json(attempt) for name, attempt in self.attempts.items()},
            "rows": [verdict.to_json() for verdict in self.judge(experiments)],
        }
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)

    @classmethod
    def read(cls, path: Path) -> Results:
        """What an earlier run has written. Raises OSError, ValueError."""
        try:
            whole = json.loads(path.read_text(encoding="utf-8"))
            if whole["format"] != FORMAT:
                raise ValueError(f"it has format {whole['format']}")
            attempts = {name: attempt_from_json(attempt) for name, attempt in whole["experiments"].items()}
            return cls(whole["environment"], whole["quick"], attempts)
        except (ValueError, LookupError, TypeError, AttributeError, NotMeasuredError) as exc:
            raise ValueError(f"{path} has no results of this benchmark: {exc}") from exc


@dataclass(frozen=True)
class Verdict:
    """A row as it was measured; with a `problem` there is no value."""

    row: Row
    target: str
    problem: str
    value: float = 0.0
    shown: str = ""
    met: bool = False
    subject: Series | None = None
    peer: Series | None = None

    def to_json(self) -> Json:
        """For who does not want to compute it again."""
        about = {"what": self.row.what, "against": self.row.against, "target": self.target}
        if self.problem:
            return {**about, "problem": self.problem}
        return {**about, "value": self.value, "shown": self.shown, "met": self.met}


def attempt_to_json(attempt: Attempt) -> Json:
    """As it is kept."""
    if attempt.problem:
        return {"seconds": attempt.seconds, "problem": attempt.problem}
    series = {name: {**asdict(series), "median": series.median} for name, series in attempt.measured.items()}
    return {"seconds": attempt.seconds, "series": series}


def attempt_from_json(kept: Json) -> Attempt:
    """The inverse of `attempt_to_json`."""
    series = kept.get("series", {})
    measured = {name: Series.of(one["label"], one["unit"], one["values"]) for name, one in series.items()}
    return Attempt(kept["seconds"], measured, kept.get("problem", ""))
