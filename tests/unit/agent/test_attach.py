"""attach: the same run again, from anywhere in it."""

from __future__ import annotations

import pytest

from tests.unit.agent.harness import Agent, boot, frames_of, subset, system


@pytest.fixture
def finished(agent: Agent) -> tuple[Agent, bytes]:
    agent.provision(system("echo one; sleep 0.05; echo two >&2; sleep 0.05; echo three"), boot("echo four; exit 1"))
    return agent, agent.record_path(agent.runs[0]).read_bytes()


@pytest.mark.parametrize("kept_open", [True, False], ids=["latest", "from-file"])
def test_every_boundary_gives_the_same_end(finished: tuple[Agent, bytes], kept_open: bool) -> None:
    agent, record = finished
    run_id = agent.runs[0]
    if not kept_open:
        agent.restart()
    for offset, _, _ in frames_of(record):
        assert agent.attach(run_id, offset=offset).record == record[offset:]


@pytest.mark.parametrize("kept_open", [True, False], ids=["latest", "from-file"])
def test_at_the_end_only_the_result_is_repeated(finished: tuple[Agent, bytes], kept_open: bool) -> None:
    agent, record = finished
    if not kept_open:
        agent.restart()
    answer = agent.attach(agent.runs[0], offset=len(record))
    assert answer.types == ["result"]
    subset(answer.end, success=False, failed_script="boot")


@pytest.mark.parametrize("kept_open", [True, False], ids=["latest", "from-file"])
def test_no_boundary_is_a_bad_request(finished: tuple[Agent, bytes], kept_open: bool) -> None:
    agent, record = finished
    if not kept_open:
        agent.restart()
    boundaries = {offset for offset, _, _ in frames_of(record)}
    wrong = [1, 4, 5, len(record) - 1, len(record) + 1, 2**40, *(boundary + 1 for boundary in boundaries)]
    for offset in wrong:
        subset(agent.attach(offset=offset).end, type="error", code="bad-request")
    agent.wait_for_descriptors(1 if kept_open else 0)


def test_any_run_that_is_kept(agent: Agent) -> None:
    records = [agent.provision(boot(f"echo {number}"), mode="boot").record for number in range(3)]
    for run_id, record in zip(agent.runs, records, strict=True):
        assert agent.attach(run_id).record == record
    assert agent.attach().record == records[-1]
    assert agent.attach(None, follow=False).record == records[-1]


@pytest.mark.parametrize("run_id", ["000001-000000", "", "..", "../../..", "000001", "x" * 10_000])
def test_a_run_that_is_not_there(resident: Agent, run_id: str) -> None:
    resident.provision(boot("true"))
    answer = resident.attach(run_id)
    subset(answer.end, type="error", code="not-found")
    assert len(answer.end["message"]) < 200


def test_before_the_first_run(agent: Agent) -> None:
    subset(agent.attach().end, type="error", code="not-found")


class TestRunGoingOn:
    def test_from_where_the_client_was_cut_off(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        content = f"echo begun; until [ -e {gate} ]; do sleep 0.01; done; echo ended"
        with agent.connect().request("provision", scripts=[system(content)]) as client:
            client.wait_for_output(b"begun")
            seen = client.answer.record
        with agent.connect().request("attach", run_id=agent.runs[0], offset=len(seen)) as client:
            gate.touch()
            rest = client.finish().record
        assert seen + rest == agent.record_path(agent.runs[0]).read_bytes()

    def test_a_snapshot_does_not_wait(self, agent: Agent) -> None:
        with agent.connect().request("provision", scripts=[system("echo begun; exec sleep 300")]) as client:
            client.wait_for_output(b"begun")
            seen = client.answer.record
            snapshot = agent.attach(follow=False)
            assert snapshot.end == {"type": "result", "success": None, "running": True, "run_id": agent.runs[0]}
            assert snapshot.stdout == b"begun\n"
            empty = agent.attach(follow=False, offset=len(seen))
            assert empty.types == ["result"]
            agent.call("cancel", run_id=None)
            client.finish()
        assert agent.attach(follow=False).end["cancelled"] is True

    def test_many_clients_get_the_same(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        content = f"until [ -e {gate} ]; do sleep 0.01; done; head -c 300000 /dev/zero"
        first = agent.connect().request("provision", scripts=[system(content)])
        first.wait_for("script_started")
        others = [agent.connect().request("attach", run_id=None) for _ in range(20)]
        gate.touch()
        record = first.finish().record
        assert {other.finish().record for other in others} == {record}

    def test_a_slow_client_slows_nobody(self, agent: Agent) -> None:
        with agent.connect().request("provision", scripts=[system("head -c 20000000 /dev/zero")]) as slow:
            assert agent.attach().end["success"]
            assert len(slow.finish().stdout) == 20_000_000
        assert agent.memory_kib() < 30 * 1024

    def test_a_client_of_an_older_run_is_served_to_its_end_while_newer_ones_push_it_out(self, agent: Agent) -> None:
        with agent.connect().request("provision", scripts=[boot("head -c 3000000 /dev/zero")]) as slow:
            slow.wait_for("script_started")
            agent.attach()
            for _ in range(11):
                agent.provision(boot("true", "other"), mode="boot")
            assert len(agent.runs) == 10
            assert len(slow.finish().stdout) == 3_000_000
