"""`rum up` is killed in the middle of a script; nothing is lost."""

from __future__ import annotations

import signal

import pytest

from e2e.project import Live, Project, poll

CONFIG = """
[provision.boot]
after = "local-fs"
script = '''
for n in $(seq 1 5); do echo "before $n"; done
until [ -e /run/go-on ]; do sleep 0.2; done
for n in $(seq 1 5); do echo "after $n"; done
exit %d
'''
"""

COMPLETE = "".join(f"{word} {n}\n" for word in ("before", "after") for n in range(1, 6))


def kill_in_the_middle(project: Project) -> Live:
    """Start `rum up`, kill it once the script waits, and let the script go on without it."""
    live = project.start("up")
    live.wait_for(lambda event: "before 5" in event.get("text", ""), within_s=120 * project.patience)
    live.process.send_signal(signal.SIGKILL)
    live.process.wait(timeout=10)
    project.guest("touch /run/go-on")
    for _ in poll(30 * project.patience, "the script's end in the guest"):
        if project.status()["agent"]["run"] is None:
            return live
    raise AssertionError


@pytest.fixture
def project(worn: Project) -> Project:
    worn.configure("")
    worn.up()
    worn.guest("rm -f /run/go-on")
    return worn


def runs_of(project: Project) -> set[str]:
    """The runs that the guest has kept."""
    return set(project.guest("ls /var/lib/rum/runs").split())


def test_a_failure_that_nobody_saw_is_shown_whole_and_is_the_result(project: Project) -> None:
    before = runs_of(project)
    project.configure(CONFIG % 6)
    killed = kill_in_the_middle(project)
    assert "after" not in killed.so_far().output("boot")
    outcome = project.up(expect=1)
    assert outcome.output("boot") == COMPLETE
    assert outcome.result()["exit_code"] == 6
    assert len(runs_of(project) - before) == 1, "it was not run a second time"


def test_a_success_that_nobody_saw_is_shown_whole(project: Project) -> None:
    before = runs_of(project)
    project.configure(CONFIG % 0)
    kill_in_the_middle(project)
    outcome = project.up()
    assert outcome.output("boot") == COMPLETE
    assert len(runs_of(project) - before) == 1
    assert project.status()["provisioned"] is True
