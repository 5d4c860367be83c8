"""Messages: objects with a type, or a broken peer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.protocol import ErrorCode, FrameDecoder, LocalProtocolError, RemoteProtocolError
from rum.protocol.limits import DIGITS_MAX, LARGE_MESSAGE, MESSAGE_MAX, NESTING_MAX, STRUCTURE_MAX
from rum.protocol.messages import (
    ACK,
    HEARTBEAT,
    Message,
    bounded,
    check_structure,
    encode_message,
    error,
    finite,
    parse_message,
    request,
    welcome,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_the_messages_have_these_fields() -> None:
    assert welcome("1.2", "b", "v") == {
        "type": "welcome",
        "protocol": 1,
        "agent_version": "1.2",
        "boot_id": "b",
        "vm_id": "v",
        "build": None,
    }
    assert request("attach", {"offset": 0}) == {"type": "request", "method": "attach", "params": {"offset": 0}}
    assert error(ErrorCode.BUSY, "later") == {"type": "error", "code": "busy", "message": "later"}
    assert HEARTBEAT == {"type": "heartbeat"}
    assert ACK == {"type": "ack"}


def test_the_list_of_error_codes_is_closed() -> None:
    assert [code.value for code in ErrorCode] == [
        "bad-request",
        "busy",
        "unknown-method",
        "not-found",
        "protocol",
        "unsupported",
        "internal",
    ]


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_what_is_sent_is_what_arrives(fields: Message) -> None:
    message = {**fields, "type": "event"}
    decoder = FrameDecoder()
    decoder.feed(encode_message(message))
    (frame,) = decoder.frames()
    assert parse_message(frame.payload) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"type": null}',
        b'{"type": 1}',
        b'{"type": "a"} trailing',
        b"[" * 100_000,
        b'{"type": "\xc3\x28"}',
        b'{"type": "x", "a": NaN}',
        b'{"type": "x", "a": -Infinity}',
        b'{"type": "x", "a": 1e999}',
        b'{"type": "x", "a": %s}' % (b"9" * (DIGITS_MAX + 1)),
        b'{"type": "x", "a": %s}' % (b"[" * NESTING_MAX + b"]" * NESTING_MAX),
        '{"type": "x"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"type": "x"}',
        b'{"type": "x", "a": [' + b"[]," * STRUCTURE_MAX + b"[]]}",
        b'{"type": "x", "a": {' + b'"":1,' * STRUCTURE_MAX + b'"":1}}',
        b'{"type": "x", "a": "' + b'","' * 4 * STRUCTURE_MAX + b'"}',
    ],
)
def test_what_is_no_message(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_message(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type": "x", "a": %s}' % (b"9" * DIGITS_MAX),
        b'{"type": "x", "a": %s}' % (b"[" * (NESTING_MAX - 1) + b"]" * (NESTING_MAX - 1)),
        b'{"type": "x", "a": [' + b"[]," * (STRUCTURE_MAX // 2 - 2) + b"[]]}",
        b'{"type": "x", "a": "' + b'[{,\\"\\\\' * STRUCTURE_MAX + b'"}',
        b'{"type": "' + b"x" * (MESSAGE_MAX - 100) + b'"}',
    ],
    ids=["digits", "nesting", "structure", "brackets-in-a-string", "long-string"],
)
def test_what_is_just_within_the_limits(payload: bytes) -> None:
    assert parse_message(payload) == json.loads(payload)


@given(st.binary(max_size=200))
def test_hostile_bytes_make_a_message_or_a_protocol_error(payload: bytes) -> None:
    try:
        message = parse_message(payload)
    except RemoteProtocolError:
        return
    assert json.loads(payload) == message


def test_a_message_over_the_limit_is_never_sent() -> None:
    with pytest.raises(LocalProtocolError):
        encode_message({"type": "x", "text": "a" * MESSAGE_MAX})


ENOUGH = b"x" * LARGE_MESSAGE
"""Makes a message so large that its structure is looked at first."""


@pytest.mark.parametrize(
    ("mark", "rest"), [(b"0,", b"0"), (b"[[", b"]]"), (b"{{", b"}}"), (b"[],", b"0"), (b"{},", b"0")]
)
def test_every_element_counts_and_the_last_one_is_allowed(mark: bytes, rest: bytes) -> None:
    room = STRUCTURE_MAX - 3
    counted = sum(map(mark.count, (b"[", b"{", b",")))
    assert counted in (1, 2)
    within, over = room // counted, room // counted + 1
    check_structure(b'{"type": "%s", "a": [%s%s]}' % (ENOUGH, mark * within, rest))
    with pytest.raises(RemoteProtocolError, match=f"^a message has more than {STRUCTURE_MAX} elements$"):
        check_structure(b'{"type": "%s", "a": [%s%s]}' % (ENOUGH, mark * over, rest))


def test_strings_alone_are_elements_too() -> None:
    check_structure(b'"' * 4 * STRUCTURE_MAX)
    with pytest.raises(RemoteProtocolError, match="elements"):
        check_structure(b'"' * (4 * STRUCTURE_MAX + 1))


def test_a_string_may_end_in_a_backslash() -> None:
    payload = rb'{"type": "x", "a": "\\", "b": "' + b"[" * LARGE_MESSAGE + b'"}'
    assert parse_message(payload) == json.loads(payload)


def test_a_long_number_is_not_repeated_in_full() -> None:
    with pytest.raises(ValueError, match=r"^9{80} is no finite number$"):
        finite("9" * 1000)


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"{", "a message is not JSON in UTF-8"),
        (b"{}", "a message is not an object with a type"),
        (b'{"type": "x", "a": %s}' % (b"[" * NESTING_MAX + b"]" * NESTING_MAX), f"nested more than {NESTING_MAX} deep"),
    ],
)
def test_what_is_no_message_is_told_in_a_sentence(payload: bytes, sentence: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{sentence}$") as caught:
        parse_message(payload)
    assert str(caught.value).startswith("a message is ")


def test_a_long_integer_is_told_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=f"^an integer has more than {DIGITS_MAX} digits$"):
        bounded("9" * (DIGITS_MAX + 1))


def test_nothing_is_sent_that_says_nothing() -> None:
    assert encode_message({"type": "x", "a": [1, 2]}) == b'\0\0\0\x16\x01{"type":"x","a":[1,2]}'
