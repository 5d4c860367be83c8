"""Ten VMs on one host at once: how commands grow with their number, and that nothing is left of them in the end.

`nox -s e2e_scale -- --vms 10`; with an emulated CPU a quarter of an hour. What is measured goes into the page that
`e2e.bench.growth` makes where `--curves` names its file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from e2e.bench import environment
from e2e.bench.growth.curve import Curve, Point, Subject, keep, table
from e2e.conftest import MakeProject, Measured
from e2e.project import Project, patient, poll, read_if_there

RUNS = 5
"""Of which the median is taken."""

COMMANDS = {"rum status": ("status",), "rum list": ("list",), "rum exec true": ("exec", "--", "true")}

MACHINE = """
[resources]
memory_mb = 384
cpus = 1
disk = "4G"
"""

HOMES = {"XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "XDG_RUNTIME_DIR": "run"}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """What all of the VMs share, and nobody else: state, sockets and libvirt."""
    made = Path(tempfile.mkdtemp(prefix="rum-e2e-", dir="/tmp"))
    for name in HOMES.values():
        (made / name).mkdir()
    yield made
    for daemon in ("libvirtd", "virtlogd"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((made / "run/libvirt" / f"{daemon}.pid").read_text()), signal.SIGTERM)
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def projects(request: pytest.FixtureRequest, home: Path, image: str, make_project: MakeProject) -> list[Project]:
    """Not up yet; all of one name."""
    env = {variable: str(home / name) for variable, name in HOMES.items()}
    made = []
    for number in range(1, request.config.getoption("--vms") + 1):
        directory = home / str(number) / "scale"
        directory.mkdir(parents=True)
        made.append(make_project("scale", directory=directory, env=env))
        text = f"[image]\nbase = {json.dumps(image)}\n{MACHINE}"
        (directory / "rum.toml").write_text(patient(text, made[-1].boot_timeout_s))
    return made


@pytest.fixture(scope="module")
def grown(projects: list[Project], image: str) -> Subject:
    """What commands take with ever more VMs. One after the other is started, and left until it is idle: what is to be
    seen is no shortage of processors.
    """
    points: dict[str, list[Point]] = {label: [] for label in ("rum up", *COMMANDS)}
    for vms, project in enumerate(projects, start=1):
        points["rum up"].append(Point(vms, project.up().seconds))
        project.guest("systemctl is-system-running --wait || true")
        for label, command in COMMANDS.items():
            points[label].append(Point(vms, median_s(project, command)))
    curves = tuple(Curve(label, tuple(found)) for label, found in points.items())
    return Subject("vms", "So many VMs on one host", "VMs", curves, environment.in_short(image))


def median_s(project: Project, command: Sequence[str]) -> float:
    """What the command takes, in seconds."""
    outcomes = [project.rum(*command) for _ in range(RUNS)]
    assert {outcome.exit for outcome in outcomes} == {0}, outcomes[-1].stderr
    return statistics.median(outcome.seconds for outcome in outcomes)


def test_commands_hardly_grow_with_the_number_of_vms(
    grown: Subject, measured: Measured, request: pytest.FixtureRequest
) -> None:
    measured(table(grown))
    if curves := request.config.getoption("--curves"):
        keep(curves, grown)
    seconds = {curve.label: [point.seconds for point in curve.points] for curve in grown.curves}
    vms = len(seconds["rum list"])
    one_by_one = seconds["rum list"][0] + (vms - 1) * seconds["rum exec true"][0]
    assert vms == 1 or seconds["rum list"][-1] < one_by_one, "`rum list` asks all of them at the same time"


def test_all_of_them_answer_each_with_its_own(projects: list[Project], grown: Subject) -> None:
    assert len({project.boot_id() for project in projects}) == len(projects)
    listed = projects[0].rum("-o", "json", "list")
    vms = [event for event in listed.events if event["type"] == "vm"]
    assert [(vm["name"], vm["state"], vm["problem"]) for vm in vms] == [("scale", "running", None)] * len(projects)
    assert {vm["config"] for vm in vms} == {str(project.directory / "rum.toml") for project in projects}
    cids = {json.loads((project.state_dir / "state.json").read_text())["started"]["cid"] for project in projects}
    assert len(cids) == len(projects)


def test_nothing_is_left_of_them(projects: list[Project], grown: Subject, home: Path) -> None:
    for project in projects:
        assert project.rum("destroy", "-y").exit == 0
    for _ in poll(30, "the end of all that served them"):
        if not serving(home):
            break
    assert list((home / "run/rum").iterdir()) == []
    kept = {path.parent.name for path in (home / "state/rum/vms").rglob("*") if path.is_file()}
    assert kept <= {"runs"}, "the copies of the runs, and the end of the console"
    domains = subprocess.run(
        ["virsh", "list", "--all", "--name"], env=projects[0].environment, capture_output=True, text=True, check=True
    )
    assert domains.stdout.split() == []


def serving(home: Path) -> list[bytes]:
    """The command lines of processes that work for the VMs."""
    words = [read_if_there(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [found for found in words if b"rum-scale" in found or os.fsencode(home / "run/rum") in found]
