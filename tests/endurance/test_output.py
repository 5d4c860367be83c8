"""A gigabyte: none of it is lost, and the agent is afterwards as large as before."""

from __future__ import annotations

import time

import pytest

from rum.protocol.limits import HEARTBEAT_S, RECORD_MAX, RECORD_TAIL, STALLED_CLIENT_S
from tests.endurance.conftest import Figure
from tests.unit.agent.harness import Agent, boot, is_running, subset, system, wait_until
from tests.unit.agent.tally import Tally, count_to, read_to_end, tally_of
from tests.unit.agent.test_background import stored
from tests.unit.agent.test_memory import stall

MIB = 1024 * 1024
GIGABYTE = 1_000_000_000
MEMORY_KIB = 20 * 1024
"""What the agent may have resident afterwards, as one file under the interpreter that a guest has."""


def output_of(size: int) -> list[str]:
    """A command that prints exactly so many bytes, nowhere the same."""
    return ["sh", "-c", f"{' '.join(count_to(size // 8))} | head -c {size}"]


@pytest.fixture(scope="module")
def gigabyte() -> Tally:
    tally = tally_of(output_of(GIGABYTE))
    assert tally.size == GIGABYTE
    return tally


def check_memory(agent: Agent, figure: Figure) -> None:
    resident, peak = agent.memory_kib("VmRSS"), agent.memory_kib()
    figure("resident, KiB", resident)
    figure("peak, KiB", peak)
    assert resident < MEMORY_KIB
    assert peak < 30 * 1024


def test_a_gigabyte_from_a_command(shipped: Agent, gigabyte: Tally, figure: Figure) -> None:
    agent = shipped.start()
    figure("resident before, KiB", agent.memory_kib("VmRSS"))
    begun = time.monotonic()
    got = read_to_end(agent.connect().request("exec", argv=output_of(GIGABYTE)))
    figure("MB/s", round(GIGABYTE / 1e6 / (time.monotonic() - begun)))
    assert (got.size, got.sha256) == (GIGABYTE, gigabyte.sha256)
    check_memory(agent, figure)


@pytest.mark.parametrize("size", [500_000_000, GIGABYTE])
def test_so_much_from_a_script(shipped: Agent, size: int, figure: Figure) -> None:
    """Up to the record's cap every byte; then the event says how much is missing, and the true end follows."""
    agent = shipped.start()
    argv = output_of(size)
    got = read_to_end(agent.connect().request("provision", scripts=[system(argv[-1])]))
    subset(got.end, success=True, system_provisioned=True)
    (truncated,) = (message for message in got.messages if message["type"] == "truncated")
    assert got.head
    assert RECORD_MAX - MIB < got.head.size < RECORD_MAX
    assert got.head.sha256 == tally_of(argv, got.head.size).sha256
    assert got.size - got.head.size == RECORD_TAIL
    assert got.size + truncated["bytes"] == size
    assert got.tail == tally_of(argv).tail
    again = read_to_end(agent.connect().request("attach", run_id=None))
    assert (again.size, again.sha256, again.messages) == (got.size, got.sha256, got.messages)
    figure("bytes before the gap", got.head.size)
    figure("bytes missing, as the event says", truncated["bytes"])
    check_memory(agent, figure)


def test_a_gigabyte_from_a_daemon_after_the_end(shipped: Agent, figure: Figure) -> None:
    """No write of it fails, and it costs neither memory nor room on the disk."""
    agent = shipped.start()
    gate, done = agent.root / "gate", agent.root / "done"
    work = f"until [ -e {gate} ]; do sleep 0.01; done; head -c {GIGABYTE} /dev/zero && echo whole >{done}"
    answer = agent.provision(system(f"nohup sh -c '{work}' </dev/null & echo $!"))
    pid = agent.outlives(int(answer.stdout))
    before, state = agent.memory_kib("VmRSS"), stored(agent)
    gate.touch()
    wait_until(lambda: not is_running(pid), "the daemon has ended", within_s=300)
    assert done.read_text(encoding="ascii") == "whole\n"
    assert stored(agent) == state
    assert agent.attach().record == answer.record
    figure("resident before, KiB", before)
    check_memory(agent, figure)


def test_a_reader_that_pauses_for_longer_than_other_clients_may(shipped: Agent, figure: Figure) -> None:
    """The real limit of a minute and more: meanwhile nothing grows, nobody else waits, and its command waits."""
    agent = shipped.start()
    agent.provision(boot("true"))
    agent.call("exec", argv=["true"])
    before = agent.memory_kib("VmRSS")
    begun = time.monotonic()
    (client,), (pid,) = stall(agent, 1)
    with client:
        figure("one stalled reader costs, KiB", agent.memory_kib("VmRSS") - before)
        requests = 0
        while time.monotonic() - begun < STALLED_CLIENT_S + 2 * HEARTBEAT_S:
            assert agent.status()["agent_version"]
            assert agent.call("exec", argv=["echo", "alive"]).stdout == b"alive\n"
            requests += 2
        assert is_running(pid)
    wait_until(lambda: not is_running(pid), "the command is stopped when its reader goes")
    figure("other requests served meanwhile", requests)
    figure("resident before and after, KiB", (before, agent.memory_kib("VmRSS")))
    # Thousands of requests were served meanwhile: the allocator takes its time to touch all that it has.
    assert agent.memory_kib("VmRSS") < before + 1024
