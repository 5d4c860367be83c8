"""Output: every byte, in order, however much of it, and a record that is the same bytes."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from rum.agent import output
from rum.agent.loop import Loop
from rum.protocol import Kind, split_output
from rum.protocol.frames import Payload
from rum.protocol.limits import CHUNK_MAX, OUTPUT_CHUNK, RECORD_MAX, RECORD_TAIL
from tests.unit.agent.harness import Agent, Answer, boot, frames_of, subset, system
from tests.unit.agent.tally import count_to, read_to_end, tally_of

MIB = 1024 * 1024


def order_of(answer: Answer) -> list[str]:
    """Types of messages and streams of output in the order in which they came, runs of the same one once."""
    names = [str(got.message["type"]) if got.message else got.frame.kind.name for got in answer.frames]
    return [name for before, name in pairwise(["", *names]) if name != before]


def test_the_order_of_a_runs_events(agent: Agent) -> None:
    answer = agent.provision(system("echo out"), boot("echo err >&2; exit 1"), boot("true", "never", order=300))
    assert order_of(answer) == [
        "run_started",
        "script_started",
        "STDOUT",
        "script_exited",
        "script_started",
        "STDERR",
        "script_exited",
        "result",
    ]
    run_id = agent.runs[0]
    started = {
        "type": "run_started",
        "run_id": run_id,
        "boot_id": "boot-1",
        "first_boot": True,
        "trigger": "host",
        "scripts": ["system", "boot", "never"],
        "skipped": [],
    }
    assert answer.messages[0] == started
    first, second = answer.of("script_started")
    subset(first, name="system", order=100, run_on="system", index=1, total=3)
    subset(second, name="boot", order=200, run_on="boot", index=2, total=3)
    assert set(first) == {"type", "name", "order", "run_on", "index", "total", "timestamp_us"}
    exited = answer.of("script_exited")[1]
    subset(exited, name="boot", exit_code=1, signal=None, timed_out=False)
    assert set(exited) == {"type", "name", "exit_code", "signal", "timed_out", "duration_ms"}
    assert set(answer.end) == {
        "type",
        "success",
        "run_id",
        "failed_script",
        "exit_code",
        "signal",
        "timed_out",
        "cancelled",
        "interrupted",
        "first_boot",
        "ran",
        "skipped",
        "changed",
        "system_provisioned",
    }


def test_output_carries_the_time_at_which_it_was_read(agent: Agent) -> None:
    answer = agent.provision(system("echo one; sleep 0.2; echo two"))
    (one, _), (two, _) = (split_output(got.frame.payload) for got in answer.frames if got.frame.kind is Kind.STDOUT)
    assert answer.of("script_started")[0]["timestamp_us"] <= one
    assert 150_000 < two - one < 20_000_000


def test_small_writes_are_gathered(agent: Agent) -> None:
    answer = agent.provision(system("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done"))
    assert answer.stdout == b"".join(b"%d\n" % number for number in range(2000))
    frames = [got for got in answer.frames if got.frame.kind is Kind.STDOUT]
    assert len(frames) < 500


def test_the_first_piece_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "COALESCE_S", 3600.0)
    passed_on: list[bytes] = []
    gatherer = output.Gatherer(Loop(), lambda _kind, _when, data: passed_on.append(bytes(data)))
    for piece in (b"first", b"second", b"third"):
        gatherer.take(Kind.STDOUT, memoryview(piece))
    assert passed_on == [b"first"]
    gatherer.flush()
    assert passed_on == [b"first", b"secondthird"]


def test_what_is_gathered_is_passed_on_in_time() -> None:
    loop = Loop()
    passed_on: list[bytes] = []

    def take(_kind: Kind, _when: int, data: Payload) -> None:
        passed_on.append(bytes(data))
        if passed_on[-1].endswith(b"last"):
            loop.stop()

    gatherer = output.Gatherer(loop, take)
    for piece in (b"first", b"next", b"last"):
        gatherer.take(Kind.STDOUT, memoryview(piece))
    loop.run()
    assert b"".join(passed_on) == b"firstnextlast"


def test_a_full_pipe_is_whole_frames(agent: Agent) -> None:
    answer = agent.call("exec", argv=["head", "-c", str(8 * OUTPUT_CHUNK), "/dev/zero"])
    sizes = [len(split_output(got.frame.payload)[1]) for got in answer.frames if got.frame.kind is Kind.STDOUT]
    assert sum(sizes) == 8 * OUTPUT_CHUNK
    assert max(sizes) == OUTPUT_CHUNK


def test_no_frame_is_larger_than_the_protocol_has_it(agent: Agent) -> None:
    answer = agent.provision(system("head -c 1000000 /dev/zero"))
    assert len(answer.stdout) == 1_000_000
    assert max(len(got.frame.payload) for got in answer.frames) <= CHUNK_MAX


@pytest.mark.parametrize(
    "data",
    [bytes(range(256)) * 4000, bytes(1_000_000), os.urandom(1_000_000), b"\xff\xfe\xc3(\xed\xa0\x80\xf4\x90" * 50_000],
    ids=["every-byte", "nuls", "random", "invalid-utf-8"],
)
def test_binary_output_is_exact(agent: Agent, data: bytes) -> None:
    (agent.root / "data").write_bytes(data)
    answer = agent.provision(system(f"cat {agent.root}/data; cat {agent.root}/data >&2"))
    assert answer.stdout == data
    assert answer.stderr == data


def test_ten_megabytes_without_a_newline(agent: Agent) -> None:
    answer = agent.provision(system("head -c 10000000 /dev/zero | tr '\\0' x"))
    assert answer.stdout == b"x" * 10_000_000


def test_stdout_closed_early(agent: Agent) -> None:
    answer = agent.provision(system("echo out; exec >&-; head -c 340000 /dev/zero >&2; exit 7"))
    assert (answer.stdout, len(answer.stderr)) == (b"out\n", 340_000)
    assert answer.end["exit_code"] == 7


def test_both_streams_closed_early(agent: Agent) -> None:
    answer = agent.provision(system("exec >&- 2>&-; sleep 0.2; exit 7"))
    assert answer.end["exit_code"] == 7
    assert answer.of("script_exited")[0]["duration_ms"] >= 200


def test_what_is_in_the_pipe_at_the_end_is_not_lost(agent: Agent) -> None:
    """A hundred times, since it is a race."""
    lines = b"".join(b"line %d\n" % number for number in range(50))
    content = "i=0; while [ $i -lt 50 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"
    for _ in range(100):
        answer = agent.provision(boot(content), mode="boot")
        assert answer.stderr == lines
        assert answer.end["exit_code"] == 1


def test_the_record_is_what_was_streamed(agent: Agent) -> None:
    answer = agent.provision(system("echo out; echo err >&2; printf part"), boot("exit 1"))
    record = agent.record_path(agent.runs[0]).read_bytes()
    assert record == answer.record == agent.attach().record
    assert "heartbeat" not in [message["type"] for _, _, message in frames_of(record) if message]


class TestCap:
    def test_the_record_is_capped_and_the_end_is_kept(self, agent: Agent) -> None:
        """What came before the gap and after it is what was written there, byte for byte."""
        output = count_to(10_000_000)
        scripts = [system("echo before", "a"), system(f"{' '.join(output)}; exit 3", "b")]
        got = read_to_end(agent.connect().request("provision", scripts=scripts))
        subset(got.end, success=False, failed_script="b", exit_code=3)
        (truncated,) = (message for message in got.messages if message["type"] == "truncated")
        subset(truncated, name="b")
        written = tally_of(["sh", "-c", f"echo before; {' '.join(output)}"])
        assert got.head
        assert got.head.sha256 == tally_of(["sh", "-c", f"echo before; {' '.join(output)}"], got.head.size).sha256
        assert got.tail == written.tail
        assert got.size - got.head.size == RECORD_TAIL
        assert got.size + truncated["bytes"] == written.size
        assert RECORD_MAX - MIB < agent.record_path(agent.runs[0]).stat().st_size < RECORD_MAX + MIB
        assert agent.memory_kib() < 30 * 1024

    def test_every_later_script_keeps_its_end_too(self, guest: Agent) -> None:
        guest.limits = {"RECORD_MAX": 100_000, "RECORD_TAIL": 1000}
        guest.start()
        answer = guest.provision(
            system("head -c 200000 /dev/zero", "a"),
            system("head -c 50000 /dev/zero; echo end of b", "b"),
            system("echo short", "c"),
        )
        subset(answer.end, success=True, ran=["a", "b", "c"])
        assert [message["name"] for message in answer.of("truncated")] == ["a", "b"]
        assert answer.stdout.endswith(b"end of b\nshort\n")
        assert len(answer.stdout) + sum(message["bytes"] for message in answer.of("truncated")) == 200_000 + 50_000 + 15
        assert guest.attach().record == answer.record

    def test_output_that_the_tail_has_room_for_is_whole(self, guest: Agent) -> None:
        guest.limits = {"RECORD_MAX": 100_000, "RECORD_TAIL": 120_000}
        guest.start()
        answer = guest.provision(system("head -c 120000 /dev/zero"))
        assert len(answer.stdout) == 120_000
        assert answer.of("truncated") == []

    def test_the_two_streams_keep_their_order_beyond_it(self, guest: Agent) -> None:
        guest.limits = {"RECORD_MAX": 20_000, "RECORD_TAIL": 1000}
        guest.start()
        answer = guest.provision(
            system("head -c 60000 /dev/zero; sleep 0.1; echo one >&2; sleep 0.1; echo two; sleep 0.1; echo three >&2")
        )
        assert order_of(answer)[-6:] == ["STDOUT", "STDERR", "STDOUT", "STDERR", "script_exited", "result"]
        assert answer.stderr == b"one\nthree\n"
        assert answer.stdout.endswith(b"two\n")


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_flood_costs_no_memory(agent: Agent, stream: str) -> None:
    """Nobody reads it; and status is answered all the while."""
    with agent.connect().request("provision", scripts=[system(f"head -c 40000000 /dev/zero >&{stream}")]):
        while agent.status()["run"]:
            pass
    assert agent.memory_kib() < 30 * 1024
    assert agent.wait_idle()["success"]
