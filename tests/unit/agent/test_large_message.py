"""Large messages: however they are cut, what is read back is what json.loads would have made of the whole."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.agent.large_message import LargeMessage
from rum.protocol import RemoteProtocolError
from rum.protocol.limits import LONG_STRING, SKELETON_MAX, STRING_MAX, STRUCTURE_MAX
from tests.unit.agent.harness import Agent, subset, system

texts = st.text(max_size=20) | st.tuples(st.text(min_size=1, max_size=5), st.integers(1, 4 * LONG_STRING)).map(
    lambda pair: pair[0] * pair[1]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@contextlib.contextmanager
def large_message(directory: Path | str) -> Iterator[LargeMessage]:
    message = LargeMessage(str(directory))
    try:
        yield message
    finally:
        message.close()


@given(st.dictionaries(texts, values, max_size=3), st.booleans(), st.integers(1, 2000))
def test_cuts_and_spelling_do_not_matter(fields: dict[str, object], ascii_only: bool, step: int) -> None:
    message = {**fields, "type": "request"}
    payload = json.dumps(message, ensure_ascii=ascii_only).encode()
    with large_message(tempfile.gettempdir()) as large:
        for start in range(0, len(payload), step):
            large.take(payload[start : start + step])
        assert large.expand(large.message()) == message


@given(st.binary(max_size=300), st.integers(1, 50))
def test_hostile_bytes_make_a_message_or_a_protocol_error(payload: bytes, step: int) -> None:
    with large_message(tempfile.gettempdir()) as large, contextlib.suppress(RemoteProtocolError):
        for start in range(0, len(payload), step):
            large.take(payload[start : start + step])
        assert large.expand(large.message()) == json.loads(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type": "' + b"x" * 1000,
        b'{"type": "x' + b"\\",
        b'{"type": ' + b" " * (SKELETON_MAX + 1),
        b'{"type": "x", "a": [' + b"1," * STRUCTURE_MAX,
        b'{"a": "' + b"x" * (STRING_MAX + 1),
    ],
    ids=["unended", "unended-escape", "skeleton", "structure", "string"],
)
def test_what_is_refused(tmp_path: Path, payload: bytes) -> None:
    with large_message(tmp_path) as large, pytest.raises(RemoteProtocolError):
        take_whole(large, payload)


def take_whole(large: LargeMessage, payload: bytes) -> None:
    large.take(payload)
    large.message()


def test_the_file_has_no_name(tmp_path: Path) -> None:
    with large_message(tmp_path) as large:
        large.take(b'{"a": "' + b"x" * 10_000)
        assert list(tmp_path.iterdir()) == []


def test_a_large_request_attaches_to_the_same_one(agent: Agent) -> None:
    gate = agent.root / "gate"
    long = {**system(f"echo begun; until [ -e {gate} ]; do sleep 0.01; done"), "env": {"A": "\u00fc" * 40_000}}
    with agent.connect().request("provision", scripts=[long]) as first:
        first.wait_for_output(b"begun")
        with agent.connect().request("provision", scripts=[long]) as second:
            second.wait_for_output(b"begun")
            gate.touch()
            assert first.finish().record == second.finish().record


def test_other_methods_are_never_that_large(agent: Agent) -> None:
    subset(agent.call("read_file", path="x" * 100_000).end, type="error", code="bad-request")
