"""The power fails at any moment of a first or a later boot; `rum up` then ends well, and what the guest kept is true.

QEMU is killed, and with it goes what the guest had not yet written to its disk. Each round is one loss. Most of them
come while the VM recovers from the one before: that is as good a moment as any, and what the first broke is there yet.
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
from e2e.project import Live, Outcome, Project, poll

STAGES = (
    "Linux version",
    "running 'init-local'",
    "Finished .*cloud-init-local",
    "running 'init'",
    "login:",
    "running 'modules:config'",
    "running 'modules:final'",
)
"""What the console shows in this order; from each of them on the power may fail."""

AFTER_STAGE_S = 1.5
"""At most so much later, times the project's patience."""

EVENTS = ("run_started", "waiting", "script_started", "output", "script_exited", "result")
"""What `rum up` tells of a run; from each of them on the power may fail."""

AFTER_EVENT_S = 0.1
"""The same; a script is over soon."""

LIFE = ("first", "first", "later", "later", "later")
"""The boots of a VM in which the power is lost. The one after the last of a kind is let through, and looked at."""

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
    """The VM of this round: a new one where a life begins."""
    if number % len(LIFE) == 0 or not projects:
        for old in projects:
            old.rum("destroy", "-y")
        made = make_project(f"power-{number}")
        made.configure(CONFIG)
        (made.directory / "script.sh").write_text(SCRIPT)
        if boot_of(number) == "later":
            made.up()
        projects[:] = [made]
    return projects[0]


def boot_of(number: int) -> str:
    """Which boot the power is lost in."""
    return LIFE[number % len(LIFE)]


@pytest.fixture
def is_last(request: pytest.FixtureRequest, number: int) -> bool:
    """Whether the boot after this round is let through."""
    return number + 1 == request.config.getoption("--rounds") or boot_of(number) != boot_of(number + 1)


@pytest.fixture
def is_running(number: int) -> bool:
    """Whether the VM runs as the round begins, because the boot before was let through."""
    return boot_of(number) == "later" and boot_of(number - 1) == "first"


@dataclass(frozen=True)
class Moment:
    """So many seconds after the console has shown something, or `rum up` has told of a run's event."""

    sign: str
    after_s: float

    def has_come(self, console: str, live: Live) -> bool:
        """Whether the sign has been seen."""
        if self.sign in EVENTS:
            return any(event["type"] == self.sign for event in live.seen)
        return re.search(self.sign, console) is not None


@pytest.fixture
def moment(seed: int, number: int, project: Project) -> Moment:
    """When the power fails, in this round: as often by the console as by the run."""
    chance = random.Random(f"{seed} {number}")
    signs, after_s = chance.choice([(STAGES, AFTER_STAGE_S), (EVENTS, AFTER_EVENT_S)])
    return Moment(chance.choice(signs), chance.uniform(0, after_s * project.patience))


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
    """`rum up`, whose VM is killed at that moment, or once it has ended: a boot need not show every sign."""
    old = len(project.console) if project.created else 0
    live = project.start("up")
    for _ in poll(120 * project.patience, f"{moment.sign!r}, or the end of `rum up`"):
        if not live.goes_on() or (project.created and moment.has_come(project.console[old:], live)):
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


def test_what_the_power_leaves_is_whole(
    project: Project, moment: Moment, seed: int, number: int, is_running: bool, is_last: bool, measured: Measured
) -> None:
    if is_running:
        lose_power(project)
    killed = up_without_power(project, moment)
    lost = f"seed {seed}, round {number}: {boot_of(number)} boot, {moment.after_s:.1f} s after {moment.sign!r}"
    measured(f"power lost, {lost}: {how_far(killed)}")
    assert "Traceback" not in sentences(killed)
    assert killed.exit in (0, 4), sentences(killed)
    if killed.exit == 4:
        assert "rum up" in killed.done["error"]["hint"]
    if is_last:
        again = project.rum("-o", "json", "up")
        assert again.exit == 0, sentences(again)
        assert "Traceback" not in sentences(again)
        found = check(project, again)
        measured(f"looked at, round {number}: {found}")


def how_far(killed: Outcome) -> str:
    """What `rum up` had seen of the guest."""
    started = [event["name"] for event in killed.of_type("script_started")]
    exited = [event["name"] for event in killed.of_type("script_exited")]
    scripts = f"started {', '.join(started)}; passed {', '.join(exited) or 'none'}" if started else "no script started"
    return f"exit {killed.exit} after {killed.seconds:.0f} s, {scripts}"


def check(project: Project, outcome: Outcome) -> str:
    """The invariants, after a `rum up` that has ended well; says what was there to be looked at."""
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
    boots = {boot for script in found.started.values() for boot in script}
    return f"scripts started in {len(boots)} boots, {len(found.runs)} records, all whole"
