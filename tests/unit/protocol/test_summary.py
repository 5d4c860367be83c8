"""A run in short, from its events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rum.protocol import Message
from rum.protocol.summary import RunSummary

STARTED: Message = {"type": "run_started", "run_id": "r", "boot_id": "b", "first_boot": True, "trigger": "host"}
FIRST: Message = {"type": "script_started", "name": "one", "timestamp_us": 1_000_000}
FIRST_EXITED: Message = {"type": "script_exited", "name": "one", "exit_code": 0, "duration_ms": 1500}
SECOND: Message = {"type": "script_started", "name": "two", "timestamp_us": 9_000_000}
SECOND_EXITED: Message = {"type": "script_exited", "name": "two", "exit_code": 4, "duration_ms": 250}
RESULT: Message = {"type": "result", "success": False, "failed_script": "two", "exit_code": 4, "signal": None}


def summary_of(*messages: Message) -> RunSummary:
    summary = RunSummary("r")
    for message in messages:
        summary.take(message)
    return summary


def test_a_run_that_goes_on() -> None:
    assert summary_of() == RunSummary("r")
    waiting = RunSummary("r", boot_id="b", trigger="host", first_boot=True)
    assert summary_of(STARTED) == waiting
    assert summary_of(STARTED, FIRST).started_us == 1_000_000
    assert summary_of(STARTED, FIRST).running


def test_of_one_that_nothing_has_been_told_of() -> None:
    assert vars(RunSummary("r")) == {
        "run_id": "r",
        "boot_id": None,
        "trigger": None,
        "first_boot": False,
        "started_us": None,
        "duration_ms": 0,
        "running": True,
        "success": None,
        "failed_script": None,
        "exit_code": None,
        "signal": None,
        "timed_out": False,
        "cancelled": False,
        "interrupted": False,
    }


def test_a_run_that_has_ended() -> None:
    summary = summary_of(STARTED, FIRST, FIRST_EXITED, SECOND, SECOND_EXITED, RESULT)
    assert summary == RunSummary(
        "r",
        boot_id="b",
        trigger="host",
        first_boot=True,
        started_us=1_000_000,
        duration_ms=1750,
        running=False,
        success=False,
        failed_script="two",
        exit_code=4,
    )


def test_what_has_a_wrong_type_is_passed_over() -> None:
    assert summary_of({**STARTED, "boot_id": 5, "first_boot": 1}).boot_id is None
    assert summary_of(STARTED, {**FIRST, "timestamp_us": True}).started_us is None
    assert summary_of(STARTED, {**FIRST_EXITED, "duration_ms": "long"}).duration_ms == 0
    assert summary_of({**RESULT, "exit_code": [], "success": "yes"}).success is None


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=1)
MESSAGES = st.builds(
    lambda base, changes: {**base, **changes},
    st.sampled_from([STARTED, FIRST, FIRST_EXITED, RESULT]),
    st.dictionaries(st.sampled_from(["boot_id", "timestamp_us", "duration_ms", "success", "signal"]), VALUES),
)


@given(st.lists(MESSAGES, max_size=5))
def test_every_field_has_its_type_whatever_is_taken(messages: list[Message]) -> None:
    summary = summary_of(*messages)
    assert isinstance(summary.boot_id, str | None)
    assert isinstance(summary.started_us, int | None)
    assert type(summary.duration_ms) is int
    assert summary.success in (None, True, False)
    assert type(summary.signal) in (int, type(None))
