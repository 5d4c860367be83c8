"""python -m e2e.bench: measure rum beside what people would use instead, and fill in docs/performance.md.

A whole run fills in the page and leaves docs/performance.json beside it; --only and --quick leave both as they are.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from e2e.bench import anatomy, environment, first_boot, table
from e2e.bench.context import Bench
from e2e.bench.experiment import Experiment
from e2e.bench.experiments import EXPERIMENTS
from e2e.bench.results import Results
from e2e.bench.run import run
from e2e.images.recipes import RECIPES
from rum.host import HostError

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs/performance.md"
PUBLISHED = CHECKOUT / "docs/performance.json"
IMAGE = "debian-12-bench"

EXIT_INCOMPLETE = 1
EXIT_HOST = 3
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if every row was measured, and with --strict none missed its target."""
    options = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        return _list() if options.list else _fill(options) if options.fill else _measure(options)
    except (OSError, ValueError, HostError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return EXIT_HOST
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted; what was measured before is kept\n")
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.bench", description=__doc__, allow_abbrev=False)
    names = [experiment.name for experiment in EXPERIMENTS]
    parser.add_argument("--list", action="store_true", help="the experiments and the rows that each of them fills")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="may be given again")
    parser.add_argument("--quick", action="store_true", help="everything once and small, to try things out")
    parser.add_argument("--strict", action="store_true", help="fail also where a target is missed")
    parser.add_argument("--image", default=IMAGE, metavar="NAME|PATH|URL", help=f"what is booted ({IMAGE})")
    results = CHECKOUT / "build/bench.json"
    parser.add_argument(
        "--results", type=Path, default=results, metavar="FILE", help="written as they come (%(default)s)"
    )
    parser.add_argument(
        "--fill", type=Path, metavar="FILE", help="measure nothing, fill in the page with these results"
    )
    return parser


def _list() -> int:
    for experiment in EXPERIMENTS:
        sys.stdout.write(f"{experiment.name}\n")
        for row in experiment.rows:
            against = f" / {row.against}" if row.against else ""
            sys.stdout.write(f"    {row.what}{against}\n")
    return 0


def _fill(options: argparse.Namespace) -> int:
    results = Results.read(options.fill)
    _publish(results)
    return _status(results, EXPERIMENTS, strict=options.strict)


def _measure(options: argparse.Namespace) -> int:
    if os.geteuid() == 0:
        raise HostError("the benchmark runs as an ordinary user: root has no qemu:///session")
    chosen = [one for one in EXPERIMENTS if not options.only or one.name in options.only]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(image_of(options.image), environment.patience(), quick=options.quick)
    try:
        results = run(bench, chosen, options.results, EXPERIMENTS)
    finally:
        bench.close()
    sys.stdout.write(f"{table.report(results.judge(chosen), results.environment)}\n")
    if len(chosen) == len(EXPERIMENTS) and not options.quick:
        _publish(results)
    return _status(results, chosen, strict=options.strict)


def image_of(name: str) -> str:
    """The path of a built image, else the name."""
    if name not in RECIPES:
        return name
    build = [sys.executable, "-m", "e2e.images", "build", name]
    built = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    return built.stdout.splitlines()[-1]


def _publish(results: Results) -> None:
    results.write(PUBLISHED, EXPERIMENTS)
    table.fill(PAGE, table.report(results.judge(EXPERIMENTS), results.environment))
    if measured := results.attempts[first_boot.EXPERIMENT.name].measured:
        table.fill(PAGE, anatomy.table(measured), anatomy.BEGIN, anatomy.END)


def _status(results: Results, experiments: Sequence[Experiment], *, strict: bool) -> int:
    verdicts = results.judge(experiments)
    missing = any(verdict.problem for verdict in verdicts)
    missed = any(not verdict.met for verdict in verdicts)
    return EXIT_INCOMPLETE if missing or (strict and missed) else 0


def leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
