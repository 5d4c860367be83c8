"""What every release must do, from its first boot to its shutdown, with the time that each phase took. One VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.project import Outcome, Project

FAILING = "echo 'the reason' >&2; exit 7"
FIXED = "echo system >> /var/tmp/system-runs"

CONFIG = """
[[mounts]]
source = "shared"
target = "/srv/shared"

[provision.system]
script = '''
{system}
'''

[provision.boot]
script = '''
echo boot >> /var/tmp/boot-runs
echo "boot number $(wc -l < /var/tmp/boot-runs), first=$RUM_FIRST_BOOT"
'''
"""

VERSIONS = """
echo "Python $(python3 -c 'import platform; print(platform.python_version())')"
systemctl --version | sed -n '1s/^systemd \\([^ ]*\\).*/systemd \\1/p'
cloud-init --version 2>&1 | sed 's/^[^ ]* /cloud-init /'
echo "kernel $(uname -r)"
"""

# Units that say of themselves whether the guest's network and cloud-init came up as they should.
FAILED_UNITS = "systemctl list-units --failed --plain --no-legend '*network*' 'Network*' 'cloud-*' 'rum-*'"


class Story:
    """The project, its rum.toml with the system script as it is told, and the row that each command adds."""

    def __init__(self, project: Project, release: str, measured: Measured) -> None:
        self.project = project
        self._release = release
        self._measured = measured

    def configure(self, system: str) -> None:
        """Write rum.toml."""
        self.project.configure(CONFIG.format(system=system))

    def note(self, test: str, text: str) -> None:
        """A row for the table of docs/testing.md."""
        status = self.project.status()
        row = (self._release, test, status["accelerator"], status["transport"], text)
        self._measured(f"| {' | '.join(row)} |")


def times(outcome: Outcome) -> str:
    """What each phase and script took; the rest of the command went into waiting for the guest's own boot."""
    phases = [(event["name"], event["duration_ms"]) for event in outcome.of_type("phase") if event["duration_ms"]]
    scripts = [(f"script {event['name']}", event["duration_ms"]) for event in outcome.of_type("script_exited")]
    spent = phases + scripts
    rest = outcome.seconds - sum(duration for _, duration in spent) / 1000
    shown = [*(f"{name} {duration / 1000:.1f}" for name, duration in spent), f"waits {rest:.1f}"]
    return f"{outcome.seconds:.1f} s: {', '.join(shown)}"


def figures(outcome: Outcome) -> str:
    """When the guest reached what, by its own clock, and its slowest modules of cloud-init."""
    (boot,) = outcome.of_type("guest_boot")
    reached = [(stage["name"], stage["start_ms"] + (stage["took_ms"] or 0)) for stage in boot["stages"]]
    modules = [f"{module['name']} {module['took_ms'] / 1000:.1f}" for module in boot["modules"]]
    return f"{', '.join(f'{name} {at / 1000:.1f}' for name, at in reached)}; {', '.join(modules)}"


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("releases")
    (made.directory / "shared").mkdir()
    (made.directory / "shared" / "from-the-host").write_text("seen\n")
    return made


@pytest.fixture
def story(project: Project, measured: Measured, request: pytest.FixtureRequest) -> Story:
    return Story(project, Path(request.config.getoption("image")).name, measured)


@pytest.fixture(scope="module")
def up(project: Project) -> Project:
    """A VM that is up, also where the test before this one is not selected."""
    if not project.created:
        project.configure(CONFIG.format(system=FIXED))
        project.up()
    return project


def test_a_failing_script_of_the_first_boot_is_named(story: Story) -> None:
    story.configure(FAILING)
    outcome = story.project.up("-v", expect=1)
    story.note("first boot, script fails", times(outcome))
    story.note("first boot, in the guest", figures(outcome))
    result = outcome.result()
    assert (result["failed_script"], result["exit_code"], result["first_boot"]) == ("system", 7, True)
    assert outcome.output("system", "stderr") == "the reason\n"


def test_the_fixed_script_passes_in_the_same_boot(story: Story, up: Project) -> None:
    story.configure(FIXED)
    boot_id = up.boot_id()
    outcome = up.up()
    story.note("retry", times(outcome))
    assert outcome.result()["first_boot"] is True
    assert outcome.result()["ran"] == ["system", "boot"]
    assert "boot number 1, first=1" in outcome.output("boot")
    assert up.boot_id() == boot_id


def test_versions(story: Story, up: Project) -> None:
    versions = up.guest(VERSIONS).splitlines()
    assert len(versions) == 4, versions
    story.note("versions", ", ".join(versions))


def moment(project: Project, unit: str, when: str) -> int:
    """A unit's timestamp of this boot, in microseconds since the kernel's start; 0 is never."""
    return int(project.guest(f"systemctl show --value -p {when}TimestampMonotonic {unit}"))


def test_the_agent_answered_by_the_early_start(up: Project) -> None:
    ready = moment(up, "rum-agent.service", "ActiveEnter")
    online = moment(up, "network-online.target", "ActiveEnter")
    backstop = moment(up, "cloud-final.service", "InactiveExit")
    assert 0 < ready < min(online, backstop), "started by bootcmd, before the network and before runcmd"


def test_nothing_of_the_boot_has_failed(up: Project) -> None:
    assert up.guest(FAILED_UNITS) == ""
    assert up.guest("ip -4 route show default").startswith("default via ")


def test_cloud_init_has_nothing_to_complain_of(up: Project) -> None:
    status = up.guest("cloud-init status --wait --long")
    assert "status: done" in status
    for errors in ("errors: []", "recoverable_errors: {}"):
        name = errors.partition(":")[0]
        assert f"\n{name}:" not in status or errors in status, status
    assert up.guest("grep -E 'WARNING|ERROR|CRITICAL' /var/log/cloud-init.log || true") == ""


def test_cloud_init_finds_the_seed_valid(up: Project) -> None:
    # cloud-init 20.4 cannot be asked.
    said = up.guest("if cloud-init schema --help >/dev/null 2>&1; then cloud-init schema --system 2>&1; fi")
    assert "rror" not in said
    assert "eprecat" not in said


def test_systemd_knows_every_line_of_the_unit(up: Project) -> None:
    said = up.guest("systemd-analyze verify rum-agent.service 2>&1; journalctl -b --no-pager -o cat _PID=1")
    assert [line for line in said.splitlines() if "rum-agent.service:" in line and "unknown" in line.lower()] == []


def test_commands_copies_and_mounts(up: Project, tmp_path: Path) -> None:
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(bytes(range(256)) * 1000)
    assert up.rum("exec", "--", "sh", "-c", "exit 3").exit == 3
    assert up.rum("cp", str(given), ":/var/tmp/copied").exit == 0
    assert up.rum("cp", ":/var/tmp/copied", str(got)).exit == 0
    assert got.read_bytes() == given.read_bytes()
    assert up.guest("cat /srv/shared/from-the-host") == "seen\n"
    up.guest("echo seen > /srv/shared/from-the-guest")
    assert (up.directory / "shared" / "from-the-guest").read_text() == "seen\n"


def test_a_later_boot_runs_the_boot_script_by_itself(story: Story, up: Project) -> None:
    before = up.boot_id()
    outcome = up.rum("-o", "json", "reboot")
    assert outcome.exit == 0, outcome.stderr
    story.note("reboot", times(outcome))
    assert up.boot_id() != before
    logs = up.rum("-o", "json", "logs")
    assert logs.of_type("run_started")[-1]["trigger"] == "boot"
    assert "boot number 2, first=0" in logs.output("boot")
    assert up.guest("wc -l < /var/tmp/system-runs") == "1\n"
    assert up.guest("cat /srv/shared/from-the-host") == "seen\n"
    test_nothing_of_the_boot_has_failed(up)


def test_down(story: Story, up: Project) -> None:
    outcome = up.rum("-o", "json", "down")
    assert outcome.exit == 0, outcome.stderr
    assert "forced" not in outcome.stdout
    story.note("down", times(outcome))
    assert up.status()["state"] == "stopped"
