"""Answers that are too long to keep: counted and hashed as they come, on both sides of what was dropped."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, field
from typing import IO

from rum.protocol import Kind, Message, split_output
from rum.protocol.limits import RECORD_TAIL
from rum.protocol.messages import ACK
from tests.unit.agent.harness import Client

PIECE = 1024 * 1024


def count_to(last: int) -> list[str]:
    """A command whose output is nowhere the same, and the same each time."""
    return ["seq", "1", str(last)]


@dataclass
class Tally:
    """One stream of an answer, and its messages. `head` is what came before the `truncated` event, if there was one."""

    size: int = 0
    sha256: str = ""
    head: Tally | None = None
    tail: bytes = b""
    messages: list[Message] = field(default_factory=list)

    @property
    def end(self) -> Message:
        assert self.messages, "the connection ended before the answer began"
        assert self.messages[-1]["type"] == "result", self.messages[-1]
        return self.messages[-1]


def read_to_end(client: Client, kind: Kind = Kind.STDOUT, *, keep: int = RECORD_TAIL) -> Tally:
    """Read the whole answer and acknowledge it; of the stream its last `keep` bytes are kept."""
    tally, digest = Tally(), hashlib.sha256()
    while received := client.next():
        if received.frame.kind is kind:
            data = split_output(received.frame.payload)[1]
            tally.size += len(data)
            tally.tail = (tally.tail + data)[-keep:]
            digest.update(data)
        if received.message and received.message["type"] != "heartbeat":
            tally.messages.append(received.message)
            if received.message["type"] == "truncated":
                tally.head = Tally(tally.size, digest.hexdigest(), tail=tally.tail)
            if received.message["type"] in ("result", "error"):
                client.message(ACK)
                break
    client.close()
    tally.sha256 = digest.hexdigest()
    return tally


def tally_of(argv: list[str], size: int | None = None, *, keep: int = RECORD_TAIL) -> Tally:
    """The same of what a command prints, or of the first `size` bytes of it."""
    tally, digest = Tally(), hashlib.sha256()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        while data := read_some(process.stdout, tally.size, size):
            tally.size += len(data)
            tally.tail = (tally.tail + data)[-keep:]
            digest.update(data)
        process.kill()
    tally.sha256 = digest.hexdigest()
    return tally


def read_some(stream: IO[bytes], so_far: int, size: int | None) -> bytes:
    return stream.read(PIECE if size is None else min(PIECE, size - so_far))
