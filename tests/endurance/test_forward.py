"""A gigabyte through a forward, each way: none of it is lost, and the agent is afterwards as large as before."""

from __future__ import annotations

import hashlib
import time

from rum.protocol import Kind
from tests.endurance.conftest import Figure
from tests.endurance.test_output import GIGABYTE, check_memory
from tests.unit.agent.harness import Agent
from tests.unit.agent.tcp_servers import digest, sending, serving
from tests.unit.agent.test_forward import framed

BLOCK = bytes(range(250)) * 64
COUNT = GIGABYTE // len(BLOCK)


def expected() -> str:
    """The hash of what is sent."""
    sha256 = hashlib.sha256()
    for _ in range(COUNT):
        sha256.update(BLOCK)
    return sha256.hexdigest()


def test_a_gigabyte_to_the_guest(shipped: Agent, figure: Figure) -> None:
    agent = shipped.start()
    with serving(digest) as port:
        client = framed(agent, port)
        begun = time.monotonic()
        for _ in range(COUNT):
            client.send(Kind.BYTES, BLOCK)
        client.send(Kind.BYTES, b"")
        client.read_until(lambda answer: bool(answer.of("result")))
        figure("MB/s", round(GIGABYTE / 1e6 / (time.monotonic() - begun)))
        got = b"".join(frame.frame.payload for frame in client.answer.frames if frame.frame.kind is Kind.BYTES)
        assert got.decode() == expected()
        assert client.finish().end["sent"] == GIGABYTE
    check_memory(agent, figure)


def test_a_gigabyte_from_the_guest(shipped: Agent, figure: Figure) -> None:
    agent = shipped.start()
    sha256, size = hashlib.sha256(), 0
    with serving(sending(*[BLOCK] * COUNT)) as port:
        client = framed(agent, port)
        client.send(Kind.BYTES, b"")
        begun = time.monotonic()
        while (received := client.next()) is not None and (data := received.frame.payload):
            if received.frame.kind is Kind.BYTES:
                sha256.update(data)
                size += len(data)
        figure("MB/s", round(GIGABYTE / 1e6 / (time.monotonic() - begun)))
        client.finish()
    assert (size, sha256.hexdigest()) == (GIGABYTE, expected())
    check_memory(agent, figure)
