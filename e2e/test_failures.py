"""A script fails or is interrupted: the command says which and how, the VM stays up, and the next `rum up` goes on.

One VM, which logs its user in on the serial console: who debugs a failing script may want that.
"""

from __future__ import annotations

import signal
from contextlib import closing

import pytest

from e2e.conftest import MakeProject
from e2e.project import Outcome, Project, poll
from e2e.terminal import status_of, terminal


def config(system: str, limits: str = "") -> str:
    """A rum.toml whose system script is given; what runs after it leaves a trace."""
    return f"""
[advanced]
autologin = true

[user]
name = "developer"

[provision.system]
{limits}
script = '''
echo "about to fail, in step one"
{system}
'''

[[provision.script]]
name = "later"
order = 150
run_on = "system"
script = "echo later >> /var/tmp/later"

[provision.boot]
script = "echo boot >> /var/tmp/boot-runs"
"""


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    return make_project("failures")


@pytest.fixture(scope="module")
def interrupted(project: Project) -> str:
    """What `rum up` has shown in a terminal in which Ctrl+C was typed while the VM booted."""
    project.configure(config("echo 'the reason' >&2; exit 7"))
    with terminal(project, "up") as child:
        child.expect("domain")
        for _ in poll(60 * project.patience, "the guest to boot"):
            if project.created and "Linux version" in project.console:
                break
        child.sendintr()
        child.expect("interrupted")
        assert status_of(child) == 130
    return str(child.before)


@pytest.fixture(scope="module")
def first_failure(project: Project, interrupted: str) -> Outcome:
    project.configure(config("echo 'the reason' >&2; exit 7"))
    return project.rum("up")


@pytest.fixture(scope="module")
def boot_id(project: Project, first_failure: Outcome) -> str:
    return project.boot_id()


def test_control_c_while_it_boots_costs_nothing(project: Project, first_failure: Outcome) -> None:
    """A terminal's Ctrl+C goes to the whole foreground group: neither QEMU nor any daemon is in it."""
    assert "runs already" in first_failure.stdout
    assert "died" not in first_failure.stdout + first_failure.stderr


def test_exit_7_is_named_with_its_output_and_what_to_do(project: Project, first_failure: Outcome) -> None:
    assert first_failure.exit == 1
    last = first_failure.stderr.splitlines()[-25:]
    assert any("system" in line and "exit code 7" in line for line in last), first_failure.stderr
    assert any("about to fail, in step one" in line for line in last)
    assert any("the reason" in line for line in last)
    assert any("rum up" in line for line in last[-3:])


def test_the_vm_still_runs_unprovisioned(project: Project, boot_id: str) -> None:
    status = project.status()
    assert (status["state"], status["provisioned"]) == ("running", False)
    assert status["last_run"]["failed_script"] == "system"
    project.guest("test ! -e /var/lib/rum/.system-provisioned -a ! -e /var/tmp/later -a ! -e /var/tmp/boot-runs")


def test_killed_by_a_signal(project: Project, boot_id: str) -> None:
    project.configure(config("kill -9 $$"))
    result = project.up(expect=1).result()
    assert (result["failed_script"], result["exit_code"], result["signal"]) == ("system", None, 9)


def test_out_of_time(project: Project, boot_id: str) -> None:
    # What leaves its session does not leave its cgroup.
    project.configure(config("setsid sleep 600 & sleep 600", limits="timeout_s = 2"))
    outcome = project.up(expect=1)
    assert (outcome.result()["failed_script"], outcome.result()["timed_out"]) == ("system", True)
    assert project.guest("pgrep -x sleep || true") == "", "the whole process tree was stopped"


HOLDING = "echo %s; until [ -e /run/go-on ]; do sleep 0.2; done; echo 'let go'"


def wait_until_idle(project: Project) -> None:
    """Wait until no run goes on in the guest."""
    for _ in poll(30 * project.patience, "the end of the run in the guest"):
        if project.status()["agent"]["run"] is None:
            return


def test_control_c_cancels_the_script(project: Project, boot_id: str) -> None:
    project.configure(config(HOLDING % "held-once"))
    with terminal(project, "up") as child:
        child.expect("held-once")
        child.sendintr()
        child.expect("cancelled")
        assert status_of(child) == 130
    assert project.boot_id() == boot_id


def test_control_c_twice_leaves_at_once(project: Project, boot_id: str) -> None:
    project.configure(config(f"trap '' TERM; {HOLDING % 'held-twice'}; exit 9"))
    with terminal(project, "up") as child:
        child.expect("held-twice")
        child.sendintr()
        child.expect(r"press Ctrl\+C again to leave at once")
        child.sendintr()
        child.expect("interrupted")
        assert status_of(child) == 130
    # Whether the guest was still told to cancel it or not: it does not take TERM for an end.
    project.guest("touch /run/go-on")
    wait_until_idle(project)
    project.guest("rm /run/go-on")
    assert project.boot_id() == boot_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_rum_and_the_run_goes_on(project: Project, boot_id: str, number: signal.Signals) -> None:
    project.configure(config(f"{HOLDING % number.name}; exit {number.value}"))
    live = project.start("up")
    live.wait_for(lambda event: number.name in event.get("text", ""), within_s=30 * project.patience)
    live.process.send_signal(number)
    ended = live.finish(within_s=30)
    assert (ended.exit, ended.done["error"]["code"]) == (128 + number, "interrupted")
    assert "a run in it goes on" in ended.stderr
    project.guest("touch /run/go-on")
    outcome = project.up(expect=1)
    assert outcome.output("system").endswith(f"about to fail, in step one\n{number.name}\nlet go\n")
    assert outcome.result()["exit_code"] == number
    project.guest("rm /run/go-on")


def test_the_fixed_script_passes_in_the_same_boot(project: Project, boot_id: str) -> None:
    project.configure(config("echo fixed"))
    outcome = project.up()
    assert outcome.result()["ran"] == ["system", "later", "boot"]
    assert outcome.result()["first_boot"] is True
    assert project.boot_id() == boot_id
    project.guest("test -s /var/lib/rum/.system-provisioned -a -e /var/tmp/later")


def test_a_failing_boot_script_does_not_make_system_run_again(project: Project, boot_id: str) -> None:
    project.configure(config("echo fixed").replace("echo boot >>", "exit 5; echo boot >>"))
    outcome = project.up(expect=1)
    assert outcome.result()["ran"] == ["boot"]
    assert outcome.result()["exit_code"] == 5
    project.configure(config("echo fixed"))
    assert project.up().result()["failed_script"] is None
    assert project.guest("wc -l < /var/tmp/later").strip() == "1"


def test_autologin_reaches_a_shell(project: Project, boot_id: str) -> None:
    project.wait_for_console("(automatic login)", within_s=120)
    with closing(project.open_console()) as console:
        console.send(b"\n")
        console.expect(rb"developer@.*\$ ")
        console.send(b"echo answer-$((40 + 2))\n")
        console.expect(b"answer-42")
    dropin = project.guest("cat /etc/systemd/system/serial-getty@ttyS0.service.d/*.conf")
    assert "--autologin developer" in dropin
    assert "After=" not in dropin
