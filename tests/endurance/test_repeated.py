"""A thousand times and ten thousand times: each one right, nothing left of it, nothing grown by it."""

from __future__ import annotations

import os
import resource
import signal
import time

from tests.endurance.conftest import Figure
from tests.unit.agent.harness import Agent, boot, is_running, subset, wait_until

THOUSAND = 1000
GROWTH_KIB = 512
"""Resident memory that may come and go: the allocator takes some ten thousand requests to touch all that it has, and
then stands still. A hundred bytes kept of each of ten thousand requests are twice that."""

LINES = b"".join(b"line %d of fifty on standard error\n" % number for number in range(50))
FIFTY_LINES = "i=0; while [ $i -lt 50 ]; do echo line $i of fifty on standard error >&2; i=$((i+1)); done; exit 1"


def test_ten_thousand_requests(shipped: Agent, figure: Figure) -> None:
    """One in five is a command, one in five hundred a run; each command has a limit that is a day away."""
    agent = shipped.start()

    def ask(count: int) -> None:
        for number in range(count):
            if number % 500 == 0:
                assert agent.provision(boot("echo run"), mode="boot").end["success"]
            elif number % 5 == 0:
                assert agent.call("exec", argv=["echo", "x"], timeout_s=86400).stdout == b"x\n"
            else:
                assert agent.status()["run"] is None

    ask(2000)
    agent.wait_for_no_child()
    before, descriptors = agent.memory_kib("VmRSS"), agent.descriptors()
    figure("resident after 2000, KiB", before)
    for thousands in range(1, 11):
        ask(THOUSAND)
        if thousands in (5, 10):
            figure(f"resident after {thousands}000 more, KiB", agent.memory_kib("VmRSS"))
    agent.wait_for_no_child()
    wait_until(lambda: agent.descriptors() <= descriptors, "no more descriptors are open than before")
    assert agent.memory_kib("VmRSS") < before + GROWTH_KIB


def test_a_thousand_scripts_in_one_run(shipped: Agent, figure: Figure) -> None:
    agent = shipped.start()
    scripts = [boot("true", f"s{number}", order=number) for number in range(THOUSAND)]
    begun = time.monotonic()
    answer = agent.provision(*scripts)
    figure("ms per script", round((time.monotonic() - begun) * 1000 / THOUSAND, 1))
    subset(answer.end, success=True, ran=[script["name"] for script in scripts], system_provisioned=True)
    agent.wait_for_no_child()
    agent.wait_for_descriptors(1)
    assert list((agent.root / "run/rum/fifo").iterdir()) == []
    # With what is known of each of them: what a list of a thousand costs.
    figure("resident, KiB", agent.memory_kib("VmRSS"))
    assert agent.memory_kib() < 30 * 1024


def test_a_thousand_runs(shipped: Agent, figure: Figure) -> None:
    agent = shipped.start()

    def run(count: int) -> None:
        for _ in range(count):
            subset(agent.provision(boot("true"), mode="boot").end, success=True, ran=["boot"])

    run(200)
    before = agent.memory_kib("VmRSS")
    run(THOUSAND)
    agent.wait_for_no_child()
    agent.wait_for_descriptors(1)
    assert len(agent.runs) == 10
    figure("resident before and after, KiB", (before, agent.memory_kib("VmRSS")))
    assert agent.memory_kib("VmRSS") < before + GROWTH_KIB


def test_fifty_lines_and_a_failure_a_thousand_times(agent: Agent, figure: Figure) -> None:
    """What is written right before the end is what says why: none of the 50 000 lines is lost."""
    for _ in range(THOUSAND):
        answer = agent.provision(boot(FIFTY_LINES), mode="boot")
        assert answer.stderr == LINES
        subset(answer.end, success=False, failed_script="boot", exit_code=1)
    figure("runs, each with every line", THOUSAND)


def test_a_child_that_holds_both_pipes_a_thousand_times(guest: Agent, figure: Figure) -> None:
    """A thousand runs. Stragglers are given 50 ms instead of a second, so that it takes minutes and not half an hour.

    By turns the child ends before that time, right when it is over, after it, and not at all.
    """
    guest.limits = {"STRAGGLER_S": 0.05}
    guest.start()
    slowest = 0.0
    for number in range(THOUSAND):
        left_for = (0.02, 0.05, 0.07, 300)[number % 4]
        begun = time.monotonic()
        answer = guest.provision(boot(f"sleep {left_for} & echo $!; echo last"), mode="boot")
        slowest = max(slowest, time.monotonic() - begun)
        subset(answer.end, success=True, ran=["boot"])
        pid, last = answer.stdout.split()
        assert last == b"last"
        guest.outlives(int(pid))
        if left_for == 300:
            assert is_running(int(pid))
            os.kill(int(pid), signal.SIGKILL)
    guest.wait_for_no_child()
    guest.wait_for_descriptors(1)
    assert list((guest.root / "run/rum/fifo").iterdir()) == []
    figure("slowest run, s", round(slowest, 2))


def test_a_thousand_that_hold_their_pipes_at_once(guest: Agent, figure: Figure) -> None:
    """More than a service has descriptors for: 1024, and each script's two pipes stay open. Then nothing is left."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    guest.before_start = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    guest.limits = {"STRAGGLER_S": 0.01}
    guest.start()
    before = guest.memory_kib("VmRSS")
    scripts = [boot("sleep 1000 & echo $!", f"s{number}", order=number) for number in range(THOUSAND)]
    answer = guest.provision(*scripts)
    assert answer.end["success"]
    pids = [guest.outlives(int(line)) for line in answer.stdout.split()]
    assert len(pids) == THOUSAND
    assert all(map(is_running, pids))
    assert guest.descriptors() > 2 * THOUSAND
    assert guest.call("exec", argv=["echo", "alive"]).stdout == b"alive\n"
    figure("resident before, and with all of them, KiB", (before, guest.memory_kib("VmRSS")))
    assert guest.memory_kib() < 30 * 1024
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    guest.wait_for_descriptors(1)
    assert list((guest.root / "run/rum/fifo").iterdir()) == []
