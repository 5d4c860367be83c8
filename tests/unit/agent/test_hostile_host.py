"""A host that holds the key and means harm: every field of every request, of every wrong kind.

Whatever it sends is answered with a result or with an error that blames the request; the agent neither complains on its
standard error, which the fixture checks, nor grows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from rum.protocol import Kind, Message, encode_frame
from rum.protocol.limits import LARGE_MESSAGE, MESSAGE_MAX, NESTING_MAX, SKELETON_MAX, STRUCTURE_MAX
from tests.unit.agent.harness import Agent, Answer, boot, is_running, subset, system, wait_until

BLAMES_THE_REQUEST = {"bad-request", "protocol", "not-found", "unknown-method", "busy"}

DIGITS = "@digits@"
"""Stands for a number that json.dumps refuses to spell."""


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


NASTY: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "large": 2**31,
    "u64": 2**64,
    "digits": 10**400,
    "many-digits": DIGITS,
    "fraction": 1.5,
    "tiny": 5e-324,
    "huge": 1e308,
    "negative-huge": -1e308,
    "nan": float("nan"),
    "infinity": float("inf"),
    "negative-infinity": float("-inf"),
    "empty": "",
    "nul": "a\0b",
    "surrogate": "a\udfff",
    "newline": "a\nb",
    "escape": "\x1b]0;title\x07",
    "upwards": "../../../etc/passwd",
    "absolute": "/etc/passwd",
    "long": "x" * 50_000,
    "array": [],
    "array-of-null": [None],
    "array-of-surrogate": ["\ud800"],
    "array-of-nul": ["\0"],
    "object": {},
    "object-of-objects": {"rows": {}, "cols": {}, "name": {}},
    "odd-names": {"": "x", "A=B": "x", "\0": "x", "\udfff": "x"},
    "nested": nested(NESTING_MAX - 8),
    "nested-deep": nested(600),
    "nested-deeper": nested(20_000),
}

SCRIPT = boot("true")
EXEC: Message = {"argv": ["true"]}
REQUESTS: dict[str, tuple[str, Message, list[str]]] = {
    "provision": ("provision", {"scripts": [SCRIPT], "mode": "boot"}, ["scripts", "mode"]),
    "attach": ("attach", {"run_id": None, "offset": 0, "follow": False}, ["run_id", "offset", "follow"]),
    "cancel": ("cancel", {"run_id": None}, ["run_id"]),
    "exec": ("exec", EXEC, ["argv", "cwd", "env", "user", "timeout_s", "stdin", "tty"]),
    "status": ("status", {}, ["surprise"]),
    "no-method": ("nothing", {}, ["surprise"]),
}

FIELDS = [(name, field) for name, (_, _, fields) in REQUESTS.items() for field in fields]
SCRIPT_FIELDS = ["name", "content", "order", "run_on", "timeout_s", "env", "after"]


def spell(message: Message) -> bytes:
    """JSON as a hostile host spells it: nested beyond what json.dumps does, with numbers that it refuses."""
    holes: list[int] = []

    def dig(value: object) -> object:
        if isinstance(value, list) and value and (depth := depth_of(value)) > 100:
            holes.append(depth)
            return f"@hole{len(holes) - 1}@"
        if isinstance(value, dict):
            return {key: dig(item) for key, item in value.items()}
        return [dig(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(dig(message)).replace(f'"{DIGITS}"', "9" * 20_000)
    for number, depth in enumerate(holes):
        text = text.replace(f'"@hole{number}@"', "[" * depth + "]" * depth)
    return text.encode()


def depth_of(value: object) -> int:
    depth = 0
    while isinstance(value, list) and value:
        value, depth = value[0], depth + 1
    return depth


def ask(agent: Agent, method: str, params: object) -> Answer:
    with agent.connect() as client:
        client.socket.sendall(
            encode_frame(Kind.MESSAGE, spell({"type": "request", "method": method, "params": params}))
        )
        # The conversation has to know that a request was sent, or it refuses the answer.
        client._conversation.send_message({"type": "request"})
        return client.finish()


def require_blame(agent: Agent, method: str, params: object, about: str) -> None:
    """The answer must be a result, or an error that blames the request."""
    end = ask(agent, method, params).end
    assert end["type"] == "result" or end["code"] in BLAMES_THE_REQUEST, (about, end)
    assert len(json.dumps(end)) < 2000, about


@pytest.fixture(scope="module", autouse=True)
def stays_small(resident: Agent) -> Iterator[None]:
    yield
    assert resident.memory_kib() < 30 * 1024


@pytest.mark.parametrize(("request_name", "field"), FIELDS)
def test_every_field_of_every_request(resident: Agent, request_name: str, field: str) -> None:
    method, params, _ = REQUESTS[request_name]
    for about, value in NASTY.items():
        require_blame(resident, method, {**params, field: value}, about)


@pytest.mark.parametrize("field", SCRIPT_FIELDS)
@pytest.mark.parametrize("padding", [0, LARGE_MESSAGE], ids=["small", "large"])
def test_every_field_of_a_script(resident: Agent, field: str, padding: int) -> None:
    """A large request takes another way through the agent."""
    for about, value in NASTY.items():
        script = {**SCRIPT, field: value, "pad": "p" * padding}
        require_blame(resident, "provision", {"scripts": [script], "mode": "boot"}, about)


@pytest.mark.parametrize("field", ["rows", "cols"])
def test_every_field_of_a_terminal(resident: Agent, field: str) -> None:
    for about, value in NASTY.items():
        require_blame(resident, "exec", {**EXEC, "tty": {"rows": 24, "cols": 80, field: value}}, about)


@pytest.mark.parametrize("about", NASTY)
def test_params_and_method_themselves(resident: Agent, about: str) -> None:
    require_blame(resident, "status", NASTY[about], about)
    require_blame(resident, NASTY[about], {}, about)


PARSES = [
    "null",
    "true",
    "zero",
    "negative",
    "large",
    "fraction",
    "empty",
    "nul",
    "surrogate",
    "array",
    "object",
    "nested",
]


def test_a_terminal_is_resized_to_nonsense(resident: Agent) -> None:
    with resident.connect().request("exec", argv=["cat"], tty={"rows": 1, "cols": 1}, stdin=True) as client:
        for about in PARSES:
            client.message({"type": "resize", "rows": NASTY[about], "cols": 5})
        client.send(Kind.STDIN, b"still here\n")
        client.send(Kind.STDIN, b"")
        answer = client.finish()
    assert b"still here" in answer.stdout
    subset(answer.end, exit_code=0)


def test_a_time_limit_of_years_is_waited_for(agent: Agent) -> None:
    """Nobody is connected, so the limit is all that the loop waits for."""
    gate = agent.root / "gate"
    content = f"echo $$ > {agent.root}/pid; until [ -e {gate} ]; do sleep 0.05; done"
    with agent.connect().request("provision", scripts=[system(content, timeout_s=315_360_000)]) as client:
        client.wait_for("script_started")
    wait_until(lambda: agent.descriptors() <= 14 and (agent.root / "pid").exists(), "the client is gone")
    assert is_running(agent.pid)
    gate.touch()
    assert agent.wait_idle()["success"]


MEBIBYTE = 1024 * 1024
LARGE_BODIES = {
    "arrays": b'{"type":"request","a":[' + b"[]," * (5 * MEBIBYTE),
    "objects": b'{"type":"request","a":[' + b"{}," * (5 * MEBIBYTE),
    "numbers": b'{"type":"request","a":[' + b"1," * (7 * MEBIBYTE),
    "strings": b'{"type":"request","a":[' + b'"a",' * (3 * MEBIBYTE),
    "one-string": b'{"type":"request","a":"' + b"s" * (15 * MEBIBYTE),
    "escapes": b'{"type":"request","a":"' + b"\\" * (15 * MEBIBYTE),
    "one-number": b'{"type":"request","a":' + b"9" * (SKELETON_MAX - 100),
    "blanks": b'{"type":"request"' + b" " * (15 * MEBIBYTE),
    "nesting": b'{"type":"request","a":' + b"[" * (15 * MEBIBYTE),
    "just-few-enough": b'{"type":"request","a":[' + b"[]," * (STRUCTURE_MAX // 2 - 10) + b"[]]}",
}


@pytest.mark.parametrize("about", LARGE_BODIES)
def test_a_message_of_many_mebibytes_costs_little(resident: Agent, about: str) -> None:
    body = LARGE_BODIES[about]
    assert len(body) <= MESSAGE_MAX
    with resident.connect() as client:
        client._conversation.send_message({"type": "request"})
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.socket.sendall(encode_frame(Kind.MESSAGE, body))
        answer = client.read_until(lambda answer: bool(answer.of("error")))
    assert [message["code"] for message in answer.of("error")] in (["protocol"], ["bad-request"], [])
    assert resident.status()["type"] == "result"
