"""What scripts leave in the background: any number of processes, writing for ever, costing next to nothing."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from tests.unit.agent.harness import Agent, Answer, boot, is_running, subset, system, wait_until

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


def stored(agent: Agent) -> int:
    """Bytes in every file of the agent's state."""
    return sum(path.stat().st_size for path in agent.state_dir.rglob("*") if path.is_file())


@pytest.mark.parametrize("stream", [1, 2])
def test_a_daemon_that_writes_for_long_after_the_end(agent: Agent, stream: int) -> None:
    """Each of its writes succeeds, and nothing grows by it; ten times as much is in tests/endurance."""
    gate, done = agent.root / "gate", agent.root / "done"
    work = f"until [ -e {gate} ]; do sleep 0.01; done; head -c 100000000 /dev/zero >&{stream} && echo whole >{done}"
    answer = agent.provision(system(f"nohup sh -c '{work}' </dev/null & echo $!"))
    pid = agent.outlives(int(answer.stdout))
    assert answer.end["success"]
    agent.provision(boot("true", "later"), mode="boot")
    memory, state = agent.memory_kib("VmRSS"), stored(agent)
    gate.touch()
    wait_until(lambda: not is_running(pid), "the daemon has ended")
    assert done.read_text(encoding="ascii") == "whole\n"
    assert stored(agent) == state
    assert agent.memory_kib("VmRSS") < memory + 512
    assert agent.attach(agent.runs[0]).record == answer.record
    agent.wait_for_descriptors(1)


def test_the_same_run_again_and_again(guest: Agent) -> None:
    """Its child ends before the time that stragglers have, with it, or not at all; a thousand in tests/endurance."""
    guest.limits = {"STRAGGLER_S": 0.05}
    guest.start()
    for number in range(30):
        answer = guest.provision(boot(f"sleep {(0.02, 0.05, 300)[number % 3]} & echo $!", "b"), mode="boot")
        subset(answer.end, success=True, ran=["b"])
        (pid,) = left_by(guest, answer)
        assert number % 3 != 2 or is_running(pid)
        if number % 3 == 2:
            os.kill(pid, signal.SIGKILL)
    guest.wait_for_no_child()
    guest.wait_for_descriptors(1)
    assert list((guest.root / "run/rum/fifo").iterdir()) == []
