"""`rum up` is killed in the middle of a script; nothing is lost. The VM has no network card, which must not matter."""

from __future__ import annotations

import signal

import pytest

from e2e.conftest import MakeProject
from e2e.project import Live, Project, poll

CONFIG = """
[network]
mode = "none"

[provision.system]
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


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    return make_project("host-dies")


def test_a_failure_that_nobody_saw_is_shown_whole_and_is_the_result(project: Project) -> None:
    project.configure(CONFIG % 6)
    killed = kill_in_the_middle(project)
    assert "after" not in killed.so_far().output("system")
    outcome = project.up(expect=1)
    assert outcome.output("system") == COMPLETE
    assert outcome.result()["exit_code"] == 6
    assert project.guest("ls /var/lib/rum/runs | wc -l").strip() == "1", "it was not run a second time"


def test_a_success_that_nobody_saw_is_shown_whole(project: Project) -> None:
    project.guest("rm /run/go-on")
    project.configure(CONFIG % 0)
    kill_in_the_middle(project)
    outcome = project.up()
    assert outcome.output("system") == COMPLETE
    assert project.guest("ls /var/lib/rum/runs | wc -l").strip() == "2"
    assert project.status()["provisioned"] is True


def test_without_a_network_card_nothing_waits_for_the_network(project: Project) -> None:
    assert project.guest("ls /sys/class/net").split() == ["lo"]
    finished = float(project.guest("cut -d' ' -f1 /proc/uptime"))
    for _ in poll(60 * project.patience, "the end of the guest's boot"):
        if project.guest("systemctl is-system-running || true").strip() in ("running", "degraded"):
            break
    waited = project.guest(
        "systemctl show -P ActiveExitTimestampMonotonic systemd-networkd-wait-online.service"
    ).strip()
    assert waited in ("", "0") or int(waited) < 100_000_000, f"wait-online ended {waited} us after boot ({finished} s)"
