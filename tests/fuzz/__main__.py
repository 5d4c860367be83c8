"""Run targets with atheris, one process each: `python -m tests.fuzz [SECONDS [TARGET...]]`; 1 where one has failed."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import TARGETS

EXECUTIONS = re.compile(r"stat::number_of_executed_units: *(\d+)")
PEAK_MIB = re.compile(r"stat::peak_rss_mb: *(\d+)")
COVERED = re.compile(r" cov: (\d+)")

LIMITS = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"]
"""An input that takes 20 seconds or a GiB is a finding, as is an exception."""


def main(argv: Sequence[str]) -> int:
    """Fuzz; print how often each target ran."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    options = parser.parse_args(argv)
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(TARGETS)}")
    failed = [name for name in options.targets or TARGETS if not passes(name, options.seconds)]
    if failed:
        sys.stdout.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def passes(name: str, seconds: int) -> bool:
    """Whether the target held for so long."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.worker", name, directory, f"-max_total_time={seconds}", *LIMITS],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        ran, peak, covered = (found[-1] if found else "?" for found in numbers(done.stdout))
        sys.stdout.write(f"{name:<14} {ran:>9} executions, {covered:>5} branches, peak {peak} MiB\n")
        if done.returncode:
            sys.stdout.write(done.stdout[-6000:] + inputs(Path(directory)))
    sys.stdout.flush()
    return done.returncode == 0


def numbers(output: str) -> list[list[str]]:
    """What libFuzzer's own report says."""
    return [pattern.findall(output) for pattern in (EXECUTIONS, PEAK_MIB, COVERED)]


def inputs(directory: Path) -> str:
    """What made the target fail, to be added to its SEEDS."""
    found = [path for path in directory.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
    return "".join(f"{path.name}: {path.read_bytes()!r}\n" for path in found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
