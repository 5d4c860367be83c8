"""A run as the host reads it from the agent, copies it, reads the copy again, and shows it in every way."""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rum.host.channel.checked import BrokenProtocolError
from rum.host.errors import GuestError
from rum.host.events import Event
from rum.host.runs.finder import FoundRun
from rum.host.runs.logs import in_short, replay
from rum.host.runs.records import RunCopies, read_frames
from rum.host.runs.runview import RunView
from rum.host.runs.verdicts import header
from rum.host.show.render import PlainRenderer, Renderer, Verbosity
from rum.host.show.render_json import JsonRenderer
from rum.host.show.status_text import run_text
from rum.protocol import (
    Conversation,
    Kind,
    Message,
    Phase,
    Received,
    RemoteProtocolError,
    Role,
    encode_message,
    encode_output,
)
from tests.fuzz.cuts import Pieces, same_however_cut

RUN_ID = "000001-abcdef"
STARTED: Message = {
    "type": "run_started",
    "run_id": RUN_ID,
    "boot_id": "b",
    "trigger": "host",
    "scripts": ["a"],
    "skipped": [],
}
SCRIPT: Message = {"type": "script_started", "name": "a", "order": 1, "run_on": "boot", "index": 1, "total": 1}
EXITED: Message = {
    "type": "script_exited",
    "name": "a",
    "exit_code": 3,
    "signal": None,
    "timed_out": False,
    "duration_ms": 5,
}
RESULT: Message = {
    "type": "result",
    "success": False,
    "run_id": RUN_ID,
    "failed_script": "a",
    "exit_code": 3,
    "ran": ["a"],
}
SEEDS = [
    b"".join(map(encode_message, (STARTED, SCRIPT)))
    + encode_output(Kind.STDOUT, 1, b"\x1b[31mred\x1b[0m\xc3\n")
    + b"".join(map(encode_message, (EXITED, RESULT))),
    b"".join(map(encode_message, (STARTED, {"type": "waiting", "for": "cloud-init"}, RESULT))),
    encode_message(STARTED) + encode_message({"type": "warning", "code": "c", "message": "m\x1b]0;x\x07"}),
    encode_message(STARTED) + encode_message({"type": "truncated", "name": "a", "bytes": 5}) + encode_message(RESULT),
    encode_message({"type": "result", "success": None, "running": True}),
    encode_message({"type": "done", "ok": True}) + encode_message(RESULT),
]

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Shown:
    """What a user of each kind of output sees."""

    def __init__(self) -> None:
        self.plain, self.json = io.StringIO(), io.StringIO()
        self._renderers: list[Renderer] = [
            PlainRenderer(self.plain, self.plain, Verbosity.VERBOSE),
            JsonRenderer(self.json, io.StringIO(), Verbosity.VERBOSE),
        ]

    def __call__(self, event: Event) -> None:
        for renderer in self._renderers:
            renderer.emit(event)

    def require_clean(self) -> None:
        assert UNSAFE.search(self.plain.getvalue()) is None
        for line in self.json.getvalue().splitlines():
            assert line.isascii()
            assert json.loads(line)["type"] != "done"


def received(stream: Pieces) -> Iterator[Received]:
    conversation = Conversation(Role.HOST)
    conversation.phase = Phase.ANSWER
    for piece in stream:
        conversation.feed(piece)
        yield from conversation.received()


def events_of(stream: Pieces) -> list[str]:
    shown = Shown()
    with tempfile.TemporaryDirectory() as directory:
        view = RunView(shown, RunCopies(Path(directory)))
        end = "open"
        try:
            for item in received(stream):
                view.take(item)
                end = f"{view.result} {view.tail}"
        except (RemoteProtocolError, BrokenProtocolError):
            end = "error"
        view.close()
        for path in Path(directory).iterdir():
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*\.rec(\.part)?", path.name)
            show_again(path, shown)
    shown.require_clean()
    return [shown.plain.getvalue(), end]


def show_again(path: Path, shown: Shown) -> None:
    """As `logs` and `status` show a copy."""
    found = FoundRun(lambda: read_frames(path))
    replay(found.frames(), shown)
    started, result = found.ends()
    with suppress(GuestError):
        header(started, result)
    with suppress(GuestError):
        run_text(in_short(started, result))


def check(data: bytes) -> None:
    """Events, or the errors for a broken protocol; nothing but text is shown; files have the names of runs."""
    same_however_cut(data, events_of)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "x.rec"
        copy.write_bytes(data)
        shown = Shown()
        show_again(copy, shown)
        shown.require_clean()
