"""Fixtures of the end-to-end tests: the image they boot and the projects they drive."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from e2e import artifacts
from e2e.images.recipes import RECIPES
from e2e.project import Project, patient
from rum.host import Accelerator, choose_accelerator, choose_transport

BOOT_TIMEOUT_S = 300
"""rum's default, under KVM (docs/config.md)."""

MakeProject = Callable[..., Project]
Measured = Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--image` and `--official`, and how much of what takes long."""
    group = parser.getgroup("rum")
    group.addoption("--image", default="debian-12", metavar="NAME|PATH|URL", help="what the tests boot")
    group.addoption("--official", action="store_true", help="download the image even where it could be built")
    group.addoption(
        "--require", default="", metavar="A,T", help="fail unless rum chooses this accelerator and transport"
    )
    group.addoption(
        "--patience", type=int, metavar="N", help="what deadlines are multiplied by; rum's own factor if left out"
    )
    group.addoption("--rounds", type=int, default=1, metavar="N", help="how often the power is lost")
    group.addoption("--seed", type=int, metavar="N", help="repeats the moments of an earlier run, which printed it")
    group.addoption("--vms", type=int, default=3, metavar="N", help="how many VMs are up at once in the end")
    group.addoption("--curves", type=Path, metavar="FILE", help="where to keep how commands grow with their number")
    group.addoption("--stream-mb", type=int, default=20, metavar="N", help="what goes through exec, in MB")
    group.addoption("--forward-mb", type=int, default=20, metavar="N", help="what goes through a port, in MB")


def pytest_configure(config: pytest.Config) -> None:
    """`--require`: where rum chooses something else, no test says anything about what was asked for."""
    require({name for name in config.getoption("--require").split(",") if name})


def require(wanted: set[str]) -> None:
    """Raises UsageError unless these are among what rum chooses on this host."""
    accelerator, transport = choose_accelerator("auto"), choose_transport("auto")
    chosen = {accelerator.accelerator.value: accelerator.reason, transport.transport.value: transport.reason}
    if wanted - chosen.keys():
        had = ", ".join(f"{name} ({reason})" for name, reason in chosen.items())
        raise pytest.UsageError(f"--require {','.join(sorted(wanted))}: rum chooses {had} on this host")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What rum chooses on this host."""
    accelerator, transport = choose_accelerator("auto"), choose_transport("auto")
    return [
        f"accelerator: {accelerator.accelerator.value} ({accelerator.reason})",
        f"transport: {transport.transport.value} ({transport.reason})",
        f"image: {config.getoption('image')}",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the tests have measured, wherever they ran."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    texts = [text for report in reports for name, text in report.user_properties if name == "measured"]
    if texts:
        terminalreporter.section("measured")
        terminalreporter.line("\n".join(map(str, texts)))


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measured:
    """Takes a text for the summary of the whole run."""
    return lambda text: record_property("measured", text)


def build_image(name: str) -> str:
    """The path of a built image; workers that ask at once share one build."""
    build = [sys.executable, "-m", "e2e.images", "build", name]
    built = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    return built.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """`image.base` of every project."""
    name: str = request.config.getoption("image")
    built = name in RECIPES and not request.config.getoption("official")
    return build_image(name) if built else name


@pytest.fixture(scope="session")
def patience(request: pytest.FixtureRequest) -> int:
    """Deadlines are for KVM; an emulated CPU gets five times as long, as in rum itself."""
    given: int | None = request.config.getoption("--patience")
    if given is not None:
        return given
    return 5 if choose_accelerator("auto").accelerator is Accelerator.TCG else 1


def boot_timeout_s(patience: int) -> int | None:
    """For a host with even less speed than rum reckons with, which is `--patience`: its default, made longer alike."""
    return (
        BOOT_TIMEOUT_S * patience
        if choose_accelerator("auto").accelerator is Accelerator.KVM and patience > 1
        else None
    )


@contextlib.contextmanager
def projects(
    image: str, patience: int, directories: pytest.TempPathFactory, session: pytest.Session
) -> Iterator[MakeProject]:
    """Makes projects whose VMs are destroyed at the block's end, their consoles shown where a test has failed."""
    made: list[Project] = []

    def make(
        name: str, base: str | None = None, directory: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Project:
        where = directory or directories.mktemp(name)
        made.append(Project(where, base or image, patience, env or {}, boot_timeout_s=boot_timeout_s(patience)))
        return made[-1]

    failed_before = session.testsfailed
    yield make
    for project in made:
        if session.testsfailed > failed_before:
            show_evidence(project)
        project.rum("destroy", "-y")


def show_evidence(project: Project) -> None:
    """Show the end of the console, and keep all of it where somebody wants it."""
    if project.created:
        sys.stderr.write(f"--- console of {project.directory.name}\n{project.console[-6000:]}\n")
    if into := artifacts.destination(project.directory):
        artifacts.keep(project.directory / "state", into)


@pytest.fixture(scope="module")
def make_project(
    image: str, patience: int, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[MakeProject]:
    """Makes projects whose VMs are destroyed at the module's end."""
    with projects(image, patience, tmp_path_factory, request.session) as make:
        yield make


@pytest.fixture(scope="session")
def vm(
    image: str, patience: int, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Project]:
    """A VM of what `rum init` writes, up and provisioned: tests leave it, and its rum.toml, as they found it."""
    with projects(image, patience, tmp_path_factory, request.session) as make:
        project = make("vm")
        initialise(project)
        project.up()
        yield project


def initialise(project: Project) -> None:
    """`rum init`, for the image and the memory of these tests."""
    file = project.directory / "rum.toml"
    assert project.rum("init").exit == 0
    template = file.read_text()
    assert template.count('base = "debian-12"') == template.count("memory_mb = 2048") == 1
    text = template.replace('"debian-12"', json.dumps(project.image)).replace("2048", "768")
    file.write_text(patient(text, project.boot_timeout_s))


@pytest.fixture(scope="session")
def worn(
    image: str, patience: int, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Project]:
    """A project whose VM one module after the other wears down; each brings its rum.toml and begins with `rum up`."""
    with projects(image, patience, tmp_path_factory, request.session) as make:
        yield make("worn")


SHARED = {
    "vm": ("console", "cp", "doctor", "exec", "logs", "status", "terminal"),
    "worn": ("clients", "host_dies", "service", "upgrade"),
}
"""Fixtures that are made once, and the modules that use them."""

SCOPES = {f"e2e/test_{module}.py": fixture for fixture, modules in SHARED.items() for module in modules}


class ByVm(LoadScopeScheduling):  # type: ignore[misc] # pytest-xdist tells nothing of its types
    """A worker gets a whole module, or all modules that share a VM."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return SCOPES.get(module, module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByVm:
    """How pytest-xdist deals out the tests, with `--dist loadscope`."""
    return ByVm(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """A module that uses a shared VM without being listed would boot one of its own."""
    for fixture in SHARED:
        if fixture in getattr(item, "fixturenames", ()) and SCOPES.get(item.nodeid.partition("::")[0]) != fixture:
            raise pytest.UsageError(f"{item.nodeid} uses {fixture}: list its module in SHARED of e2e/conftest.py")
