"""What scripts leave in the background: any number of processes, writing for ever, costing next to nothing."""

from __future__ import annotations

import os
import resource
import signal

from tests.unit.agent.harness import Agent, Answer, boot, is_running

HOLD = "sleep 300 & echo $!"
"""Leaves a process that holds both pipes, and says which."""


def left_by(agent: Agent, answer: Answer) -> list[int]:
    """The processes that the scripts have named."""
    return [agent.outlives(int(line)) for line in answer.stdout.split()]


def end_all(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_more_of_them_than_a_service_has_descriptors(guest: Agent) -> None:
    """systemd starts services with 1024, of which each process that holds its pipes would take two for ever."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    guest.before_start = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    guest.limits = {"STRAGGLER_S": 0.01}
    guest.start()
    count = 60
    scripts = [boot(HOLD, f"s{number}", order=number) for number in range(count)]
    answer = guest.provision(*scripts, boot("ulimit -n >&2", "z", order=count))
    assert answer.end["success"]
    pids = left_by(guest, answer)
    assert len(pids) == count
    assert all(map(is_running, pids))
    assert answer.stderr == b"40\n"
    assert guest.call("exec", argv=["sh", "-c", "ulimit -n"]).stdout == b"40\n"
    end_all(pids)
    guest.wait_for_descriptors(1)
    assert list((guest.root / "run/rum/fifo").iterdir()) == []
