"""Stopping a script stops all that it has started, however many, whatever they do; with real cgroups where possible."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from rum.protocol import Message
from tests.unit.agent.cgroups import BASE, children_of, new_cgroup, scripts_in
from tests.unit.agent.harness import Agent, Client, is_running, subset, system, wait_until

CHILDREN = 200
FORK = f"trap '' TERM; for i in $(seq {CHILDREN}); do sleep 300 & echo $!; done; wait"
"""Two hundred children, none of which the shell's end or a TERM would end."""

ESCAPE = f"for i in $(seq 20); do setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & done; {FORK}"


@pytest.fixture(params=["session", "cgroup"] if BASE else ["session"])
def agent(request: pytest.FixtureRequest, guest: Agent) -> Iterator[Agent]:
    guest.limits = {"KILL_AFTER_S": 0.3}
    with contextlib.ExitStack() as stack:
        if request.param == "cgroup":
            guest.setup += scripts_in(stack.enter_context(new_cgroup()))
        yield guest.start()
        guest.stop()


def pids_of(client: Client, count: int) -> list[int]:
    client.read_until(lambda answer: answer.stdout.count(b"\n") >= count)
    pids = [int(line) for line in client.answer.stdout.split()]
    assert len(pids) == count
    assert all(map(is_running, pids))
    return pids


def started(agent: Agent, *scripts: Message, count: int = CHILDREN) -> tuple[Client, list[int]]:
    """The client that follows the run, and what the scripts have started."""
    client = agent.connect().request("provision", scripts=list(scripts))
    return client, pids_of(client, count)


def test_two_hundred_children_and_cancel(agent: Agent) -> None:
    client, pids = started(agent, system(FORK))
    assert agent.call("cancel", run_id=None).end["cancelled"]
    subset(client.finish().end, cancelled=True, signal=9)
    assert [pid for pid in pids if is_running(pid)] == []
    agent.wait_for_no_child()
    agent.wait_for_descriptors(1)


def test_two_hundred_children_and_no_time_left(agent: Agent) -> None:
    answer = agent.provision(system(FORK, timeout_s=1))
    subset(answer.end, timed_out=True, signal=9)
    pids = [int(line) for line in answer.stdout.split()]
    # A loaded machine may not have got to the last one.
    assert pids
    assert [pid for pid in pids if is_running(pid)] == []


def test_two_hundred_children_and_the_client_gone(agent: Agent) -> None:
    with agent.connect().request("exec", argv=["sh", "-c", FORK]) as client:
        pids = pids_of(client, CHILDREN)
    wait_until(lambda: not any(map(is_running, pids)), "they are gone")
    agent.wait_for_no_child()
    agent.wait_for_descriptors(0)


def test_two_hundred_children_of_an_agent_that_was_killed(agent: Agent) -> None:
    client, pids = started(agent, system(FORK))
    client.close()
    agent.kill()
    agent.start()
    assert [pid for pid in pids if is_running(pid)] == []
    assert agent.attach().end["interrupted"]


def test_what_forks_while_it_is_cancelled(agent: Agent) -> None:
    forks = "trap '' TERM; f() { f & }; for i in 1 2 3 4; do f; done; echo $$; while :; do sleep 0.01; done"
    client, _ = started(agent, system(forks), count=1)
    agent.call("cancel", run_id=None)
    subset(client.finish().end, cancelled=True, signal=9)
    agent.wait_for_no_child()
    # The pipes are gone once their last writer is.
    agent.wait_for_descriptors(1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_a_command_left_behind_outlives_the_agent(agent: Agent, number: int) -> None:
    pid = agent.outlives(int(agent.call("exec", argv=["sh", "-c", "sleep 300 >&2 & echo $!"]).stdout))
    agent.signal(number)
    agent.wait()
    agent.start()
    assert is_running(pid)
    agent.call("exec", argv=["kill", "-9", str(pid)])
    wait_until(lambda: not is_running(pid), "it is gone")


def restart(agent: Agent, **limits: float) -> None:
    agent.stop()
    agent.limits = limits
    agent.start()


MANY = 20
"""Enough of them that one meets the moment in which it is looked whether all is over, and killed what is left."""


def test_what_ignores_term_is_killed_although_its_parent_has_ended(agent: Agent) -> None:
    restart(agent, KILL_AFTER_S=0.3, STRAGGLER_S=0.05)
    ignores = "(trap '' TERM; exec sleep 1000) & echo $!; wait"
    clients = [agent.connect().request("exec", argv=["sh", "-c", ignores], timeout_s=0.5) for _ in range(MANY)]
    for client in clients:
        assert client.finish().end["timed_out"]
        assert not is_running(int(client.answer.stdout))
        client.close()


def test_the_last_words_of_what_heeds_term_are_read_although_its_parent_has_ended(agent: Agent) -> None:
    restart(agent, KILL_AFTER_S=30.0, STRAGGLER_S=0.05)
    heeds = "(trap 'sleep 0.2; echo last; exit' TERM; echo first; while :; do sleep 0.1; done) & wait"
    clients = [agent.connect().request("exec", argv=["sh", "-c", heeds], timeout_s=1) for _ in range(MANY)]
    assert [client.finish().stdout for client in clients] == [b"first\nlast\n"] * MANY
    for client in clients:
        client.close()


def test_what_has_left_its_session(agent: Agent) -> None:
    client, pids = started(agent, system(ESCAPE), count=CHILDREN + 20)
    agent.call("cancel", run_id=None)
    assert client.finish().end["cancelled"]
    assert [pid for pid in pids if is_running(pid)] == []


if BASE:

    @pytest.mark.parametrize("how", ["cancel", "client gone"])
    def test_what_was_moved_to_another_cgroup(guest: Agent, how: str) -> None:
        """As su(1) is by systemd-logind."""
        guest.limits = {"KILL_AFTER_S": 0.3}
        with new_cgroup() as base, new_cgroup() as scope:
            guest.setup += scripts_in(base)
            guest.start()
            moved = f"sh -c 'echo $$ >{scope}/cgroup.procs; trap \"\" TERM; echo $$; exec sleep 300' & wait"
            method = {"argv": ["sh", "-c", moved]} if how != "cancel" else {"scripts": [system(moved)]}
            client = guest.connect().request("exec" if "argv" in method else "provision", **method)
            (pid,) = pids_of(client, 1)
            if how == "cancel":
                guest.call("cancel", run_id=None)
                subset(client.finish().end, cancelled=True)
                assert not is_running(pid)
            client.close()
            wait_until(lambda: not is_running(pid), "it is gone")
            guest.stop()

    def test_no_cgroup_is_left(guest: Agent) -> None:
        guest.limits = {"STRAGGLER_S": 0.01}
        with new_cgroup() as base:
            guest.setup += scripts_in(base)
            guest.start()
            scripts = [system("sleep 300 >&2 & echo $!", f"s{number}", order=number) for number in range(20)]
            answer = guest.provision(*scripts)
            assert answer.end["success"]
            assert len(children_of(base)) == 20
            guest.call("exec", argv=["kill", "-9", *answer.stdout.decode().split()])
            wait_until(lambda: not any(is_running(int(pid)) for pid in answer.stdout.split()), "they are gone")
            guest.call("exec", argv=["true"])
            assert children_of(base) == []
            guest.stop()
