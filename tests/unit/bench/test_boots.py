"""The experiments on boots: their rows find their series, and phases are told from other events."""

from __future__ import annotations

import pytest

from e2e.bench import first_boot, later_boot
from e2e.bench.experiment import Experiment, Measured
from e2e.bench.first_boot import Boot, Rounds, is_done
from e2e.bench.later_boot import Samples

MOMENTS = {"the kernel begins": 2.0, "the agent listens": 29.0}
FIRST = Rounds([Boot(30, 38, 50, MOMENTS), Boot(32, 40, 52, MOMENTS)], [Boot(60, 35, 80, MOMENTS)], [70.0])
LATER = Samples([10.0, 11.0], [10.5, 11.7], [4.0], [3.5])


@pytest.mark.parametrize(
    ("experiment", "measured"),
    [(first_boot.EXPERIMENT, FIRST.measured()), (later_boot.EXPERIMENT, LATER.measured())],
    ids=lambda given: given.name if isinstance(given, Experiment) else "",
)
def test_every_row_has_its_series(experiment: Experiment, measured: Measured) -> None:
    for row in experiment.rows:
        assert row.peer is not None
        row.target.value(measured[row.subject], measured[row.peer])


def test_which_of_them_is_compared_with_which() -> None:
    early, sshd, cold = (
        row.target.value(FIRST.measured()[row.subject], FIRST.measured()[row.peer or ""])
        for row in first_boot.EXPERIMENT.rows
    )
    assert early == pytest.approx(31 / 60)
    assert sshd == pytest.approx(31 - 39)
    assert cold == pytest.approx(51 / 70)


def test_the_end_of_a_phase() -> None:
    domain = is_done("domain")
    assert domain({"type": "phase", "name": "domain", "status": "done", "duration_ms": 3})
    assert not domain({"type": "phase", "name": "domain", "status": "started"})
    assert not domain({"type": "phase", "name": "domain", "status": "failed"})
    assert not domain({"type": "phase", "name": "boot", "status": "done"})
    assert not domain({"type": "notice", "text": "domain"})
