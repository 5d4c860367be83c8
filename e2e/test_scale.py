"""Ten VMs on one host at once: how commands grow with their number, and that nothing is left of them in the end.

`nox -s e2e_scale -- --vms 10`; with an emulated CPU a quarter of an hour.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.project import Project, poll, read_if_there

RUNS = 5
"""Of which the median is taken."""

COMMANDS = {"status": ("status",), "list": ("list",), "exec true": ("exec", "--", "true")}

MACHINE = """
[resources]
memory_mb = 384
cpus = 1
disk = "4G"
"""

HOMES = {"XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "XDG_RUNTIME_DIR": "run"}


@dataclass(frozen=True)
class Step:
    """What commands take while so many VMs are up: medians, in seconds; `up` is that of the last one."""

    vms: int
    up: float
    medians: dict[str, float]

    def row(self) -> str:
        """A line of the table."""
        cells = [str(self.vms), f"{self.up:.0f} s", *(f"{1000 * self.medians[name]:.0f} ms" for name in COMMANDS)]
        return f"| {' | '.join(cells)} |"


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
        (directory / "rum.toml").write_text(f"[image]\nbase = {json.dumps(image)}\n{MACHINE}")
    return made


def measure(project: Project, vms: int, up: float) -> Step:
    """Run each of the commands some times."""
    medians = {}
    for name, command in COMMANDS.items():
        outcomes = [project.rum(*command) for _ in range(RUNS)]
        assert {outcome.exit for outcome in outcomes} == {0}, outcomes[-1].stderr
        medians[name] = statistics.median(outcome.seconds for outcome in outcomes)
    return Step(vms, up, medians)


@pytest.fixture(scope="module")
def steps(projects: list[Project]) -> list[Step]:
    """One VM after the other is started."""
    return [measure(project, number, project.up().seconds) for number, project in enumerate(projects, start=1)]


def test_commands_hardly_grow_with_the_number_of_vms(steps: list[Step], measured: Measured) -> None:
    header = f"| VMs | `up` of this one | {' | '.join(f'`{name}`' for name in COMMANDS)} |"
    measured("\n".join([header, "|---" * (2 + len(COMMANDS)) + "|", *(step.row() for step in steps)]))
    first, last = steps[0], steps[-1]
    one_by_one = first.medians["list"] + (last.vms - 1) * first.medians["exec true"]
    assert last.vms == 1 or last.medians["list"] < one_by_one, "`rum list` asks all of them at the same time"


def test_all_of_them_answer_each_with_its_own(projects: list[Project], steps: list[Step]) -> None:
    assert len({project.boot_id() for project in projects}) == len(projects)
    listed = projects[0].rum("-o", "json", "list")
    vms = [event for event in listed.events if event["type"] == "vm"]
    assert [(vm["name"], vm["state"], vm["problem"]) for vm in vms] == [("scale", "running", None)] * len(projects)
    assert {vm["config"] for vm in vms} == {str(project.directory / "rum.toml") for project in projects}
    cids = {json.loads((project.state_dir / "state.json").read_text())["started"]["cid"] for project in projects}
    assert len(cids) == len(projects)


def test_nothing_is_left_of_them(projects: list[Project], steps: list[Step], home: Path) -> None:
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
