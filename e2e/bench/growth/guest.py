"""What one guest can show: the number of scripts, how much they print, how many runs there have been."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from e2e.bench import environment
from e2e.bench.context import Bench
from e2e.bench.growth.curve import Curve, Point, Subject
from e2e.project import Project

MB = 10**6
READ_SIZE = 1 << 20

MACHINE = """
[resources]
cpus = 1
memory_mb = 768
disk = "4G"
"""

SCRIPTS = (1, 3, 10, 30, 100, 300, 1000)
MEGABYTES = (1, 3, 10, 30, 100, 300, 1000)
RUNS = (1, 3, 10, 30, 100)
SMALLEST = 3
"""So many of the sizes are enough to try it out."""

REPEATS = 3
"""Of a command that is short; the median is taken."""

LINE = "0123456789" * 8


def measure(bench: Bench, names: Sequence[str]) -> Iterator[Subject]:
    """These subjects, on one VM. Raises AssertionError where a command fails."""
    with bench.project("growth", MACHINE) as project:
        bench.note("the guest is started")
        project.up()
        project.guest("systemctl is-system-running --wait || true")
        for name in names:
            yield SUBJECTS[name](bench, project)


def scripts(bench: Bench, project: Project) -> Subject:
    """One run of so many scripts that do nothing."""
    points = []
    for count in some(bench, SCRIPTS):
        bench.note(f"{count} scripts")
        # Others than before: what has passed in this boot would not run.
        configure(project, {f"of-{count}-{index}": ":" for index in range(count)})
        points.append(Point(count, timed(project, "provision")))
    return subject(bench, "scripts", "One run of so many scripts", "scripts", {"rum provision": points})


def output(bench: Bench, project: Project) -> Subject:
    """So much on the stdout of a command, of a script, and of that script shown again."""
    points: dict[str, list[Point]] = {"rum exec": [], "rum provision": [], "rum logs": []}
    for size in some(bench, MEGABYTES):
        bench.note(f"{size} MB of output")
        prints = f"yes {LINE} | head -c {size * MB}"
        configure(project, {f"prints-{size}": prints})
        points["rum exec"].append(Point(size, timed(project, "exec", "--", "sh", "-c", prints, prints=size * MB)))
        points["rum provision"].append(Point(size, timed(project, "provision")))
        points["rum logs"].append(Point(size, timed(project, "logs")))
    return subject(bench, "output", "So much output", "MB", points)


def earlier_runs(bench: Bench, project: Project) -> Subject:
    """Commands after so many runs, of which guest and host keep the last ten."""
    commands = {"rum logs --list": ("logs", "--list"), "rum status": ("status",)}
    points: dict[str, list[Point]] = {"rum provision --boot": [], **{label: [] for label in commands}}
    configure(project, {"again": "echo again"})
    made = 0
    for count in some(bench, RUNS):
        bench.note(f"{count} runs")
        took = [timed(project, "provision", "--boot") for _ in range(made, count)]
        made = count
        points["rum provision --boot"].append(Point(count, statistics.median(took[-REPEATS:])))
        for label, command in commands.items():
            again = [timed(project, *command) for _ in range(REPEATS)]
            points[label].append(Point(count, statistics.median(again)))
    return subject(bench, "runs", "After so many runs", "runs", points)


SUBJECTS: Mapping[str, Callable[[Bench, Project], Subject]] = {
    "runs": earlier_runs,
    "scripts": scripts,
    "output": output,
}
"""By their names, in an order in which none disturbs the next: the first counts the VM's runs."""


def subject(bench: Bench, name: str, title: str, unit: str, points: Mapping[str, list[Point]]) -> Subject:
    """A subject of curves by their labels."""
    curves = tuple(Curve(label, tuple(found)) for label, found in points.items())
    return Subject(name, title, unit, curves, environment.in_short(bench.image))


def some(bench: Bench, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """All of them, or with `--quick` the smallest."""
    return sizes[: bench.many(len(sizes), SMALLEST)]


def configure(project: Project, boot_scripts: Mapping[str, str]) -> None:
    """Write rum.toml: boot scripts by name."""
    tables = "".join(
        f'\n[[provision.script]]\nname = "{name}"\norder = 1\nrun_on = "boot"\nscript = {json.dumps(text)}\n'
        for name, text in boot_scripts.items()
    )
    head = f"[image]\nbase = {json.dumps(project.image)}\n{MACHINE}"
    (project.directory / "rum.toml").write_text(head + tables, encoding="utf-8")


def timed(project: Project, *arguments: str, prints: int | None = None) -> float:
    """Seconds that a command takes, its output read as it comes; `prints` is how many bytes of it there must be.

    Raises AssertionError.
    """
    begun = time.monotonic()
    command = subprocess.Popen(
        project.command(*arguments), env=project.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    with command:
        assert command.stdout is not None
        size = 0
        while data := os.read(command.stdout.fileno(), READ_SIZE):
            size += len(data)
    took = time.monotonic() - begun
    assert command.returncode == 0, f"rum {' '.join(arguments[:2])} ended with {command.returncode}"
    assert prints in (None, size), f"{size} bytes came, not {prints}"
    return took
