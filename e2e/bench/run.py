"""Making the experiments: each within its time, a failure of one no loss for the others, results kept as they come."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from e2e.bench import environment
from e2e.bench.context import Bench
from e2e.bench.experiment import Experiment, NotMeasuredError
from e2e.bench.results import Attempt, Results
from rum.host import RumError

FAILURES = (
    NotMeasuredError,
    RumError,
    AssertionError,
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    ValueError,
    subprocess.SubprocessError,
)
"""What an experiment may raise: a row could not be measured, and why. Anything else is a bug of the benchmark's."""

REASON_MAX = 300
"""Characters of a reason, which has to fit the table."""


def run(bench: Bench, experiments: Sequence[Experiment], into: Path, known: Sequence[Experiment]) -> Results:
    """Make them in this order; what is known by then of all rows is in the file after each. Raises OSError."""
    results = Results(environment.of_host(bench.image), bench.quick)
    for experiment in experiments:
        bench.note(experiment.name)
        attempt = results.attempts[experiment.name] = attempted(bench, experiment)
        bench.note(f"{experiment.name}: {attempt.problem or 'measured'}, {attempt.seconds:.0f} s")
        results.write(into, known)
    if "shared" in vars(bench):
        with contextlib.suppress(*FAILURES), limited(60):
            results.environment = {**results.environment, **environment.of_guest(bench)}
        results.write(into, known)
    return results


def attempted(bench: Bench, experiment: Experiment) -> Attempt:
    """One experiment, within its time."""
    start = time.monotonic()
    try:
        with limited(experiment.within_s):
            measured = experiment.measure(bench)
    except FAILURES as exc:
        return Attempt(time.monotonic() - start, problem=reason(exc))
    return Attempt(time.monotonic() - start, measured)


def reason(error: BaseException) -> str:
    """Why it could not be measured, in one line."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    whole = " ".join(f"{str(error) or type(error).__name__} {text or ''}".split())
    return whole.replace("|", "/")[:REASON_MAX].rstrip(".")


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Within the block, whatever it waits for is given up after that time. Raises NotMeasuredError."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise NotMeasuredError(f"it was not done within {seconds:.0f} s")

    previous: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
