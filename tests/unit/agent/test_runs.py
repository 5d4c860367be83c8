"""The `runs` method: the kept runs in short, and word of every one that begins or ends."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import cast

import pytest

from rum.agent import runs
from rum.agent.connection import Connection
from rum.agent.loop import Loop
from rum.agent.settings import Settings
from rum.protocol import Message
from rum.protocol.summary import RunSummary
from tests.unit.agent.harness import Agent, boot, subset, system


def listed(agent: Agent) -> list[Message]:
    answer = agent.call("runs")
    assert answer.types == ["runs", "result"]
    runs: list[Message] = answer.messages[0]["runs"]
    return runs


def test_before_the_first_run(agent: Agent) -> None:
    assert listed(agent) == []


@pytest.mark.parametrize("restarted", [False, True])
def test_every_run_with_how_it_ended(agent: Agent, restarted: bool) -> None:
    passed = agent.provision(system("sleep 0.05"), boot("true"))
    agent.provision(boot("exit 3", "bad"), mode="boot")
    agent.provision(boot("kill -9 $$", "killed"), mode="boot")
    before = listed(agent)
    if restarted:
        agent.restart()
        assert listed(agent) == before
    assert [run["run_id"] for run in before] == agent.runs
    subset(before[0], boot_id="boot-1", trigger="host", first_boot=True, running=False, success=True)
    subset(before[1], failed_script="bad", exit_code=3, signal=None, success=False, first_boot=False)
    subset(before[2], failed_script="killed", exit_code=None, signal=9)
    assert before[0]["started_us"] == passed.of("script_started")[0]["timestamp_us"]
    assert before[0]["duration_ms"] == sum(event["duration_ms"] for event in passed.of("script_exited"))


def test_a_run_that_goes_on_and_one_that_was_cut_off(agent: Agent) -> None:
    client = agent.connect().request("provision", scripts=[system("echo begun; exec sleep 300")])
    client.wait_for_output(b"begun")
    [run] = listed(agent)
    subset(run, running=True, success=None, trigger="host")
    agent.kill()
    client.close()
    agent.start()
    [run] = listed(agent)
    subset(run, running=False, success=False, interrupted=True, failed_script="system")


def test_what_is_pruned_is_not_listed(agent: Agent) -> None:
    for _ in range(11):
        agent.provision(boot("true"), mode="boot")
    assert [run["run_id"] for run in listed(agent)] == agent.runs
    assert len(agent.runs) == 10


def test_a_follower_hears_of_every_beginning_and_end(guest: Agent) -> None:
    guest.limits = {"HEARTBEAT_S": 0.2}
    guest.start()
    client = guest.connect().request("runs", follow=True)
    assert client.wait_for("runs")["runs"] == []
    guest.provision(boot("exit 2"))
    client.read_until(lambda answer: len(answer.of("runs")) == 3)
    client.read_until(lambda answer: answer.heartbeats == 2)
    _, begun, ended = client.answer.of("runs")
    assert [len(begun["runs"]), len(ended["runs"])] == [1, 1]
    subset(begun["runs"][0], run_id=guest.runs[0], running=True, boot_id="boot-1", trigger="host")
    subset(ended["runs"][0], running=False, exit_code=2)
    client.close()
    guest.wait_for_descriptors(1)


def test_a_run_that_ends_before_it_has_begun_is_not_missed(agent: Agent) -> None:
    with agent.connect().request("runs", follow=True) as client:
        client.wait_for("runs")
        agent.provision(boot("#!/no/such/interpreter\n"))
        client.read_until(lambda answer: any(not run["running"] for run in answer.of("runs")[-1]["runs"]))
        subset(client.answer.of("runs")[-1]["runs"][0], exit_code=127, boot_id="boot-1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_follower_does_not_keep_the_agent(agent: Agent, number: int) -> None:
    client = agent.connect().request("runs", follow=True)
    client.wait_for("runs")
    agent.signal(number)
    assert agent.wait() == 0
    assert client.next() is None
    client.close()


class SlowReader:
    """A connection whose client has still to take what it was sent."""

    def __init__(self) -> None:
        self.backlog = 0
        self.sent: list[Message] = []

    def event(self, message: Message) -> None:
        self.sent.append(message)
        self.backlog = 1

    def close(self) -> None:
        pass


def test_lists_do_not_pile_up_for_a_follower_that_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RETRY_S", 0)
    loop, connection = Loop(), SlowReader()
    index = runs.RunIndex(Settings(root=str(tmp_path)), {})
    follower = runs.RunFollower(loop, index, cast(Connection, connection))
    follower.start()
    for number in range(3):
        index.add(RunSummary(f"r{number}"))
        index.changed()
    assert len(connection.sent) == 1
    connection.backlog = 0
    loop.call_later(0, loop.stop)
    loop.run()
    assert [run["run_id"] for run in connection.sent[1]["runs"]] == ["r2"]
    follower.client_gone()
    follower.client_gone()
    index.changed()
    assert len(connection.sent) == 2
