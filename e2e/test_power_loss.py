"""The power fails at any moment of a first or a later boot; `rum up` then ends well, and what the guest kept is true.

QEMU is killed, and with it goes what the guest had not yet written to its disk.
"""

from __future__ import annotations

import os
import random
import re
import select
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.project import Outcome, Project, poll

STAGES = {
    "first": [
        "Linux version",
        "running 'init-local'",
        "Finished .*cloud-init-local",
        "running 'init'",
        "login:",
        "running 'modules:config'",
        "running 'modules:final'",
    ],
    "later": ["Linux version", "running 'init-local'", "Finished .*cloud-init-local", "login:"],
}
"""What the console shows in this order; from each of them on the power may fail."""

AFTER_STAGE_S = 1.5
"""At most so much later, times the project's patience."""

LINES = 300

PADDING = "# padding padding padding padding padding padding padding padding\n" * 1500

# Long enough to be half on the disk; it looks at itself before it does anything, and notes durably how it got on.
SCRIPT = f"""\
mkdir -p /var/lib/witness
note() {{
  echo "$1 $(cat /proc/sys/kernel/random/boot_id)" >> "/var/lib/witness/$RUM_SCRIPT"
  # A note must be there even where its script is cut off; what has passed is stored by the agent.
  [ "$1" = passed ] || sync "/var/lib/witness/$RUM_SCRIPT" /var/lib/witness /var/lib
}}
[ "$(sha256sum < "$0" | cut -d' ' -f1)" = "${{0##*/}}" ] || {{ note torn; exit 66; }}
note started
seq {LINES}
{PADDING}
note passed
"""

CONFIG = """
[advanced]
boot_timeout_s = 150

[[provision.script]]
name = "early"
order = 10
run_on = "system"
after = "local-fs"
file = "script.sh"

[provision.system]
file = "script.sh"

[provision.boot]
after = "local-fs"
file = "script.sh"
"""

EVIDENCE = """
for script in early system boot; do
  sed "s/^/$script /" /var/lib/witness/$script 2>/dev/null
done
[ -s /var/lib/rum/.system-provisioned ] && echo sentinel
for run in /var/lib/rum/runs/*; do echo "run ${run##*/}"; done
journalctl --no-pager -u rum-agent | grep -q Traceback && echo traceback
true
"""


@dataclass
class Evidence:
    """What the guest has kept: boots in which each script started and passed, and more."""

    started: dict[str, list[str]] = field(default_factory=lambda: {"early": [], "system": [], "boot": []})
    passed: dict[str, list[str]] = field(default_factory=lambda: {"early": [], "system": [], "boot": []})
    runs: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)

    @staticmethod
    def of(project: Project) -> Evidence:
        """Ask the guest."""
        found = Evidence()
        for line in project.guest(EVIDENCE).splitlines():
            match line.split():
                case ["run", run_id]:
                    found.runs.append(run_id)
                case [script, "started", boot]:
                    found.started[script].append(boot)
                case [script, "passed", boot]:
                    found.passed[script].append(boot)
                case words:
                    found.words.update(words)
        return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """As many rounds as were asked for."""
    metafunc.parametrize("number", range(metafunc.config.getoption("--rounds")))


@pytest.fixture(scope="module")
def seed(request: pytest.FixtureRequest) -> int:
    given: int | None = request.config.getoption("--seed")
    return random.SystemRandom().randrange(10**6) if given is None else given


@pytest.fixture(scope="module")
def projects(make_project: MakeProject) -> list[Project]:
    """The VM of the rounds so far, the last one of which is still there."""
    return []


@pytest.fixture
def project(projects: list[Project], make_project: MakeProject, number: int) -> Project:
    """A new VM for each round with an even number; the next round goes on with it."""
    if number % 2 == 0 or not projects:
        for old in projects:
            old.rum("destroy", "-y")
        made = make_project(f"power-{number}")
        made.configure(CONFIG)
        (made.directory / "script.sh").write_text(SCRIPT)
        if number % 2:
            made.up()
        projects[:] = [made]
    return projects[0]


@dataclass(frozen=True)
class Moment:
    """So many seconds after the console has shown something."""

    stage: str
    after_s: float


@pytest.fixture
def moment(seed: int, number: int, project: Project, measured: Measured) -> Moment:
    """When the power fails, in this round."""
    chance = random.Random(f"{seed} {number}")
    boot = "later" if number % 2 else "first"
    chosen = Moment(chance.choice(STAGES[boot]), chance.uniform(0, AFTER_STAGE_S * project.patience))
    measured(f"power lost, seed {seed}, round {number}: {boot} boot, {chosen.after_s:.1f} s after {chosen.stage!r}")
    return chosen


def lose_power(project: Project, after_s: float = 0) -> None:
    """Kill the VM's QEMU so many seconds from now."""
    descriptor = os.pidfd_open(project.qemu())
    try:
        assert not select.select([descriptor], [], [], after_s)[0], "QEMU ended by itself"
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], 30)[0]
    finally:
        os.close(descriptor)


def up_without_power(project: Project, moment: Moment) -> Outcome:
    """`rum up`, whose VM is killed at that moment; it may have ended before."""
    old = len(project.console) if project.created else 0
    live = project.start("up")
    for _ in poll(120 * project.patience, f"{moment.stage!r} on the console"):
        if project.created and re.search(moment.stage, project.console[old:]):
            break
    lose_power(project, moment.after_s)
    return live.finish(within_s=30 * project.patience)


def sentences(outcome: Outcome) -> str:
    """Everything the command has said."""
    return outcome.stdout[-4000:] + outcome.stderr[-4000:]


def numbered(project: Project, run_id: str) -> Iterator[tuple[str, list[str]]]:
    """Each script of a run with the lines it has printed."""
    shown = project.rum("-o", "json", "logs", "--run", run_id)
    assert shown.exit == 0, sentences(shown)
    for script in {event["script"] for event in shown.of_type("output")}:
        yield script, shown.output(script).splitlines()


def test_up_ends_well_and_nothing_is_half(project: Project, moment: Moment, number: int) -> None:
    if number % 2:
        lose_power(project)
    killed = up_without_power(project, moment)
    assert "Traceback" not in sentences(killed)
    assert killed.exit in (0, 4), sentences(killed)
    if killed.exit == 4:
        assert "rum up" in killed.done["error"]["hint"]
    again = project.rum("-o", "json", "up")
    assert again.exit == 0, sentences(again)
    assert "Traceback" not in sentences(again)
    check(project, again)


def check(project: Project, outcome: Outcome) -> None:
    """The invariants, after a `rum up` that has ended well."""
    boot = project.boot_id()
    found = Evidence.of(project)
    assert "sentinel" in found.words
    assert "torn" not in found.words, "what runs is whole"
    assert "traceback" not in found.words
    for script in ("early", "system"):
        assert found.passed[script], "the sentinel is there only if every System script has passed"
        if not outcome.result()["first_boot"]:
            assert boot not in found.started[script], "nor does it run once the sentinel is there"
    assert max(Counter(found.passed["boot"]).values()) == 1, "once in each boot"
    assert boot in found.passed["boot"]
    assert found.runs
    for run_id in found.runs:
        for script, lines in numbered(project, run_id):
            assert lines == [str(n + 1) for n in range(len(lines))], f"{run_id}, {script}"
    assert project.status()["provisioned"] is True
