"""Every experiment, in the order in which they are made: first what must have the host for itself."""

from __future__ import annotations

from e2e.bench import bulk, commands, footprint, runs
from e2e.bench.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    *footprint.EXPERIMENTS,
    *commands.EXPERIMENTS,
    *runs.EXPERIMENTS,
    *bulk.EXPERIMENTS,
)
