"""Every experiment, in the order in which they are made: first what must have the host for itself."""

from __future__ import annotations

from e2e.bench import bulk, commands, first_boot, footprint, later_boot, runs
from e2e.bench.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    first_boot.EXPERIMENT,
    later_boot.EXPERIMENT,
    *footprint.EXPERIMENTS,
    *commands.EXPERIMENTS,
    *runs.EXPERIMENTS,
    *bulk.EXPERIMENTS,
)
