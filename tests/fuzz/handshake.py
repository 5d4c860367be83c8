"""The handshake, as both sides read it from somebody who may not hold the key."""

from __future__ import annotations

from rum.protocol import AgentHandshake, HandshakeError, HostHandshake
from rum.protocol.handshake import MAGIC, proof
from tests.fuzz.cuts import Pieces, same_however_cut

KEY, NONCE_A, NONCE_H = bytes(range(32)), b"a" * 32, b"h" * 32
HOST_PROOF, AGENT_PROOF = (proof(KEY, role, NONCE_A, NONCE_H) for role in (b"host", b"agent"))
SEEDS = [
    NONCE_H + HOST_PROOF,
    NONCE_H + AGENT_PROOF,
    MAGIC + NONCE_A + AGENT_PROOF,
    MAGIC + NONCE_A + HOST_PROOF,
    b"RUM2" + NONCE_A,
]


def agent_events(stream: Pieces) -> list[str]:
    handshake = AgentHandshake(KEY, NONCE_A)
    for piece in stream:
        rest = piece
        while rest and handshake.missing:
            taken, rest = rest[: handshake.missing], rest[handshake.missing :]
            try:
                if answer := handshake.receive(taken):
                    return [f"authenticated {answer!r}"]
            except HandshakeError:
                return ["error"]
    return []


def host_events(stream: Pieces) -> list[str]:
    handshake = HostHandshake(KEY, NONCE_H)
    said = b""
    for piece in stream:
        rest = piece
        while rest and not handshake.done:
            taken, rest = rest[: handshake.missing], rest[handshake.missing :]
            try:
                said += handshake.receive(taken)
            except HandshakeError:
                return [f"error {said!r}"]
    return [f"done {handshake.done} {said!r}"]


def check(data: bytes) -> None:
    """Who has not sent the right proof is not authenticated, and is told nothing that depends on the key."""
    events = same_however_cut(data, agent_events)
    if events and events[0].startswith("authenticated"):
        assert data[32:64] == proof(KEY, b"host", NONCE_A, data[:32])
    (event,) = same_however_cut(data, host_events)
    if event.startswith("done True"):
        assert data[:4] == MAGIC
        assert data[36:68] == proof(KEY, b"agent", data[4:36], NONCE_H)
