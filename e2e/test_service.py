"""The agent as a service of a real guest: its cgroups, its restarts, the OOM killer, its memory. One VM."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Measured
from e2e.project import Project, poll

NAP = "sleep 77777"
"""What the scripts below start, and nothing else in a guest."""

FORKS = 200

FORKING = f"""
for n in $(seq {FORKS // 4}); do
  {NAP} &
  setsid {NAP} &
  ({NAP} &)
  (setsid {NAP} &)
done
echo all-forked
wait
"""

# It writes more than a pipe holds between two restarts: where nobody reads it stands still, and where its output is
# closed it ends.
LOOP = """
import os, time
line = b"x" * 16383 + b"\\n"
for n in range(10**9):
    for stream in (1, 2):
        os.write(stream, line)
    with open("/run/beats.new", "w") as file:
        file.write(str(n))
    os.replace("/run/beats.new", "/run/beats")
    time.sleep(0.05)
"""

BEATING = f"""
cat > /run/loop.py <<'END'
{LOOP}
END
{{ python3 /run/loop.py; touch /run/loop-ended; }} &
setsid sleep 66666 &
until [ -e /run/beats ]; do sleep 0.2; done
"""

RESTARTS = 10
ENOUGH_BEATS = 12
"""Each of them writes 16 KiB to a pipe that holds 64."""

# Runs outside the agent's cgroup, so that it survives what it does.
RESTARTING = f"""
import subprocess, time
def beats():
    return int(open("/run/beats").read())
agents = set()
for n in range({RESTARTS}):
    subprocess.run(["systemctl", "restart", "rum-agent"], check=True)
    agents.add(subprocess.check_output(["systemctl", "show", "-P", "MainPID", "rum-agent"]))
    seen, deadline = beats(), time.monotonic() + 60
    while beats() < seen + {ENOUGH_BEATS}:
        assert time.monotonic() < deadline, f"restart {{n}}: nobody reads any more"
        time.sleep(0.05)
open("/run/restarted", "w").write(str(len(agents)))
"""

# Until a guest is out of memory by itself it may thrash for minutes; asked by sysrq, its OOM killer chooses at once.
HOG = """#!/usr/bin/python3
import time
print(open("/proc/self/oom_score_adj").read().strip(), flush=True)
hog = b"x" * (256 << 20)
open("/proc/sysrq-trigger", "w").write("f")
time.sleep(600)
"""

WAITING = f"""
echo attempt
[ -e /var/tmp/second-time ] && exit 0
touch /var/tmp/second-time
setsid {NAP} &
echo in-the-middle
wait
"""


def with_script(text: str) -> str:
    """A rum.toml with one boot script, which runs whenever its text is a new one."""
    return f"[provision.boot]\nafter = \"local-fs\"\nscript = '''{text}'''\n"


@pytest.fixture(scope="module")
def project(worn: Project) -> Project:
    worn.configure("")
    worn.up()
    return worn


@dataclass(frozen=True)
class Agent:
    """The agent's process, with its memory in KiB."""

    pid: int
    rss: int
    peak: int


def agent_of(project: Project) -> Agent:
    """The agent as systemd and the kernel see it."""
    shown = project.guest(
        "pid=$(systemctl show -P MainPID rum-agent); echo $pid;"
        " sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p; s/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status"
    )
    # The kernel lists the peak before the present.
    pid, peak, rss = map(int, shown.split())
    return Agent(pid, rss, peak)


def naps(project: Project) -> list[str]:
    """The cgroups of what the scripts have started and is still there."""
    pids = project.guest(f"pgrep -fx '{NAP}' || true").split()
    return [project.guest(f"cat /proc/{pid}/cgroup") for pid in pids]


def script_cgroups(project: Project) -> str:
    """The cgroups below the agent's own, but that of the command which asks."""
    return project.guest(
        "find /sys/fs/cgroup/system.slice/rum-agent.service -mindepth 1 -type d -not -name 'exec-*' -printf '%f\\n'"
    )


def test_protects_itself_from_the_oom_killer_and_nothing_that_it_starts(project: Project) -> None:
    own = project.guest("cat /proc/$(systemctl show -P MainPID rum-agent)/oom_score_adj").strip()
    assert int(own) == -500
    assert project.guest("cat /proc/self/oom_score_adj").strip() == "0"


def test_cancelling_leaves_none_of_200_processes(project: Project, patience: int) -> None:
    project.configure(with_script(FORKING))
    live = project.start("provision")
    live.wait_for(lambda event: "all-forked" in event.get("text", ""), within_s=60 * patience)
    assert len(project.guest(f"pgrep -fx '{NAP}'").split()) == FORKS
    live.process.send_signal(signal.SIGINT)
    outcome = live.finish(within_s=30 * patience)
    assert outcome.exit == 130
    assert outcome.result()["cancelled"] is True
    assert naps(project) == []
    assert script_cgroups(project) == ""


def test_restarts_neither_kill_what_scripts_started_nor_close_its_output(project: Project, patience: int) -> None:
    project.configure(with_script(BEATING))
    project.up()
    left = "pgrep -fx 'python3 /run/loop.py|sleep 66666'"
    before = project.guest(left)
    assert len(before.split()) == 2
    project.guest_python(f"open('/run/restarting.py', 'w').write({RESTARTING!r})")
    # It returns once the unit is active: one whose start is only queued is as inactive as one that has ended.
    project.rum("exec", "--", "systemd-run", "--unit=restarting", "python3", "/run/restarting.py")
    for _ in poll(120 * patience, f"{RESTARTS} restarts"):
        # While the agent is down a command fails, which is not what is looked at here.
        state = project.rum("exec", "--", "systemctl", "is-active", "restarting").stdout.strip()
        if state in ("inactive", "failed"):
            break
    assert project.guest("cat /run/restarted || journalctl --no-pager -u restarting") == str(RESTARTS)
    assert project.guest(left) == before
    project.guest(f"test ! -e /run/loop-ended; kill {' '.join(before.split())}")


def test_the_oom_killer_takes_the_script_and_not_the_agent(project: Project) -> None:
    before = agent_of(project)
    project.configure(with_script(HOG))
    outcome = project.up(expect=1)
    result = outcome.result()
    assert (result["failed_script"], result["exit_code"], result["signal"]) == ("boot", None, 9)
    assert outcome.output("boot") == "0\n", "a script is as likely a victim as any other process"
    assert "Out of memory: Killed process" in project.guest("dmesg")
    assert agent_of(project).pid == before.pid


def test_a_killed_agent_is_reported_and_the_next_up_goes_on(project: Project, patience: int) -> None:
    before = agent_of(project)
    project.configure(with_script(WAITING))
    live = project.start("provision")
    live.wait_for(lambda event: "in-the-middle" in event.get("text", ""), within_s=30 * patience)
    # Nobody can be told how this command ended: who would tell is gone.
    killed = project.rum("exec", "--", "sh", "-c", "kill -9 $(systemctl show -P MainPID rum-agent)")
    assert killed.exit == 125
    assert "Traceback" not in killed.stderr
    outcome = live.finish(within_s=60 * patience)
    assert outcome.exit == 4
    assert outcome.result()["interrupted"] is True
    assert outcome.result()["failed_script"] == "boot"
    assert "rum provision" in outcome.done["error"]["hint"]
    assert naps(project) == [], "what the interrupted script had started is gone"
    again = project.up()
    assert again.output("boot") == "attempt\n"
    assert agent_of(project).pid != before.pid


def sha256_of(path: Path) -> str:
    """Of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_loses_and_garbles_nothing_and_stays_small_whatever_streams_through_it(
    project: Project, request: pytest.FixtureRequest, tmp_path: Path, measured: Measured
) -> None:
    megabytes = request.config.getoption("--stream-mb")
    sent, back = tmp_path / "sent", tmp_path / "back"
    with sent.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    expected = sha256_of(sent)
    settings: dict[str, Any] = {"env": project.environment, "check": True}
    begun = time.monotonic()
    with sent.open("rb") as stdin:
        command = project.command("exec", "--", "sha256sum")
        summed = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE, text=True, **settings)
    assert summed.stdout.split()[0] == expected
    there = time.monotonic()
    with sent.open("rb") as stdin, back.open("wb") as stdout:
        subprocess.run(project.command("exec", "--", "cat"), stdin=stdin, stdout=stdout, **settings)
    and_back = time.monotonic()
    assert sha256_of(back) == expected
    sent.unlink()
    back.unlink()
    agent = agent_of(project)
    measured(
        f"exec, {megabytes} MB with equal sha256: {there - begun:.0f} s to the guest's sha256sum, "
        f"{and_back - there:.0f} s there and back through cat; agent: RSS {agent.rss} KiB, at most {agent.peak} KiB"
    )
    assert agent.rss < 20 * 1024
    assert agent.peak < 30 * 1024


def test_has_no_traceback_in_its_journal(project: Project) -> None:
    journal = project.guest("journalctl --no-pager -u rum-agent")
    assert "Started" in journal
    assert "Traceback" not in journal
