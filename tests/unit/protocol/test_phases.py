"""Who may say what, and when: every cell of the table, from both ends at once."""

from __future__ import annotations

import itertools

import pytest

from rum.protocol import Conversation, Kind, LocalProtocolError, Message, Phase, Received, RemoteProtocolError, Role
from rum.protocol.errors import ErrorCode, RequestError
from rum.protocol.frames import HEADER, encode_frame
from rum.protocol.limits import LARGE_MESSAGE
from rum.protocol.messages import ACK, HEARTBEAT, encode_message, error, request, welcome
from rum.protocol.phases import next_phase

WELCOME = welcome("1", "boot", "vm")
REQUEST = request("status", {})
RESULT: Message = {"type": "result"}
ERROR = error(ErrorCode.BUSY, "no")
RESIZE: Message = {"type": "resize", "rows": 1, "cols": 1}
SIGNAL: Message = {"type": "signal", "signal": 2}
EVENT: Message = {"type": "run_started"}
TIMED = bytes(8)

Item = tuple[Kind, Message | None]

ITEMS: dict[str, Item] = {
    **{
        str(message["type"]): (Kind.MESSAGE, message)
        for message in (WELCOME, REQUEST, RESULT, ERROR, RESIZE, SIGNAL, EVENT, HEARTBEAT, ACK)
    },
    **{kind.name: (kind, None) for kind in Kind if kind is not Kind.MESSAGE},
}

LEGAL: dict[tuple[Phase, Role], dict[str, Phase]] = {
    (Phase.WELCOME, Role.AGENT): {"welcome": Phase.REQUEST, "error": Phase.ACK},
    (Phase.REQUEST, Role.AGENT): {"error": Phase.ACK},
    (Phase.REQUEST, Role.HOST): {"request": Phase.ANSWER},
    (Phase.ANSWER, Role.AGENT): {
        **dict.fromkeys(["run_started", "heartbeat", "resize", "signal", "request", "ack"], Phase.ANSWER),
        **dict.fromkeys(["STDOUT", "STDERR", "BYTES"], Phase.ANSWER),
        **dict.fromkeys(["result", "error"], Phase.ACK),
    },
    (Phase.ANSWER, Role.HOST): dict.fromkeys(["resize", "signal", "STDIN", "BYTES"], Phase.ANSWER),
    (Phase.ACK, Role.HOST): {
        "ack": Phase.CLOSED,
        **dict.fromkeys(["resize", "signal", "STDIN", "BYTES"], Phase.ACK),
    },
}

ON_THE_WAY = {
    Phase.WELCOME: [],
    Phase.REQUEST: [(Role.AGENT, WELCOME)],
    Phase.ANSWER: [(Role.AGENT, WELCOME), (Role.HOST, REQUEST)],
    Phase.ACK: [(Role.AGENT, WELCOME), (Role.HOST, REQUEST), (Role.AGENT, RESULT)],
    Phase.CLOSED: [(Role.AGENT, WELCOME), (Role.HOST, REQUEST), (Role.AGENT, RESULT), (Role.HOST, ACK)],
}

CELLS = list(itertools.product(Phase, Role, ITEMS))


class ConversationPair:
    """Both ends back to back: what one sends, the other has received."""

    def __init__(self, phase: Phase = Phase.WELCOME) -> None:
        self.ends = {role: Conversation(role) for role in Role}
        for sender, message in ON_THE_WAY[phase]:
            self.send(sender, (Kind.MESSAGE, message))
        assert self.phases == {phase}

    @property
    def phases(self) -> set[Phase]:
        return {end.phase for end in self.ends.values()}

    def send(self, sender: Role, item: Item) -> list[Received]:
        kind, message = item
        end = self.ends[sender]
        data = end.send_message(message) if message else end.send_frame(kind, TIMED)
        return self.deliver(sender, data)

    def deliver(self, sender: Role, data: bytes) -> list[Received]:
        peer = self.ends[Role.HOST if sender is Role.AGENT else Role.AGENT]
        peer.feed(data)
        return list(peer.received())


@pytest.mark.parametrize(("phase", "sender", "name"), CELLS, ids=lambda cell: getattr(cell, "value", cell))
def test_every_cell(phase: Phase, sender: Role, name: str) -> None:
    item = ITEMS[name]
    pair = ConversationPair(phase)
    after = LEGAL.get((phase, sender), {}).get(name)
    assert next_phase(phase, sender, item[0], item[1]["type"] if item[1] else None) is after
    if after:
        assert [(got.frame.kind, got.message) for got in pair.send(sender, item)] == [item]
        assert pair.phases == {after}
        return
    with pytest.raises(LocalProtocolError, match=f"^the {sender.value} sent '{name}' in phase {phase.value}$"):
        pair.send(sender, item)
    wire = encode_message(item[1]) if item[1] else encode_frame(item[0], TIMED)
    with pytest.raises(RemoteProtocolError):
        pair.deliver(sender, wire)
    assert pair.phases == {phase}


def test_what_was_legal_before_a_broken_frame_is_still_received() -> None:
    host = Conversation(Role.HOST)
    host.feed(encode_message(WELCOME) + encode_message(RESULT))
    received = host.received()
    assert next(received).message == WELCOME
    with pytest.raises(RemoteProtocolError, match="the agent sent 'result' in phase request"):
        next(received)


def test_a_result_in_a_relayed_record_ends_the_answer() -> None:
    pair = ConversationPair(Phase.ANSWER)
    pair.ends[Role.AGENT].relayed_result()
    assert pair.ends[Role.AGENT].phase is Phase.ACK


def test_a_result_is_not_relayed_twice() -> None:
    pair = ConversationPair(Phase.ACK)
    with pytest.raises(LocalProtocolError):
        pair.ends[Role.AGENT].relayed_result()


def test_a_long_type_is_not_repeated_in_full() -> None:
    with pytest.raises(LocalProtocolError, match=r"^the host sent 'x{80}' in phase welcome$"):
        Conversation(Role.HOST).send_message({"type": "x" * 10_000})


def test_what_follows_the_last_frame_is_handed_out_once() -> None:
    host = Conversation(Role.HOST)
    host.feed(encode_message(WELCOME) + b"raw")
    assert [received.message for received in host.received()] == [WELCOME]
    assert host.rest() == b"raw"
    assert host.rest() == b""


class Elsewhere:
    """A large payload that is not kept in memory."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, data: bytes) -> None:
        self.size += len(data)

    def message(self) -> Message:
        return {"type": "welcome", "size": self.size}


def test_a_large_message_goes_to_what_was_made_for_it() -> None:
    host = Conversation(Role.HOST, Elsewhere)
    large = encode_message({**WELCOME, "padding": "x" * LARGE_MESSAGE})
    host.feed(large)
    assert [received.message for received in host.received()] == [{"type": "welcome", "size": len(large) - HEADER.size}]


def test_a_request_that_cannot_be_served_has_a_code_and_a_sentence() -> None:
    refused = RequestError(ErrorCode.BUSY, "another run goes on")
    assert (refused.code, refused.message, str(refused)) == (
        ErrorCode.BUSY,
        "another run goes on",
        "another run goes on",
    )
