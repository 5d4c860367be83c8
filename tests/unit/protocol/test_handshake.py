"""The handshake: who does not hold the key gets nowhere, whatever he has overheard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.protocol import AgentHandshake, HandshakeError, HostHandshake, LocalProtocolError, parse_key
from rum.protocol.handshake import ANSWER_SIZE, GREETING_SIZE, proof

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
NONCE_A = b"a" * 32
NONCE_H = b"h" * 32
HOST_PROOF = "bdbe4af730a752a30f53161a7a3ddc9974fdfae642e3bb2db27b3366eafd38a3"
AGENT_PROOF = "42bfc70baf1d8eab08b4ef1550037bfbebe307ba7b0c229fd6650c4552eb5141"


def test_the_proofs_are_these_for_ever() -> None:
    # Computed once with `openssl dgst -sha256 -mac HMAC` from the definition in docs/protocol.md.
    assert proof(KEY, b"host", NONCE_A, NONCE_H).hex() == HOST_PROOF
    assert proof(KEY, b"agent", NONCE_A, NONCE_H).hex() == AGENT_PROOF


def test_both_sides_prove_themselves() -> None:
    agent, host = AgentHandshake(KEY, NONCE_A), HostHandshake(KEY, NONCE_H)
    assert agent.greeting == b"RUM1" + NONCE_A
    answer = host.receive(agent.greeting)
    assert answer == NONCE_H + bytes.fromhex(HOST_PROOF)
    agents_proof = agent.receive(answer)
    assert agents_proof == bytes.fromhex(AGENT_PROOF)
    assert host.done is False
    assert host.receive(agents_proof) == b""
    assert host.done


def test_byte_by_byte_and_never_a_byte_too_many() -> None:
    agent, host = AgentHandshake(KEY), HostHandshake(KEY)
    answer = b""
    for number in agent.greeting:
        assert 0 < host.missing <= GREETING_SIZE
        answer += host.receive(bytes([number]))
    agents_proof = None
    for number in answer:
        assert 0 < agent.missing <= ANSWER_SIZE
        agents_proof = agent.receive(bytes([number]))
    assert agents_proof is not None
    assert agent.missing == 0
    for number in agents_proof:
        assert host.receive(bytes([number])) == b""
    assert host.done


def test_a_truncated_answer_proves_nothing() -> None:
    agent = AgentHandshake(KEY)
    answer = HostHandshake(KEY).receive(agent.greeting)
    assert agent.receive(answer[:-1]) is None
    assert agent.missing == 1


@pytest.mark.parametrize("position", range(ANSWER_SIZE))
def test_one_wrong_byte_anywhere_in_the_answer(position: int) -> None:
    agent = AgentHandshake(KEY)
    answer = bytearray(HostHandshake(KEY).receive(agent.greeting))
    answer[position] ^= 1
    with pytest.raises(HandshakeError):
        agent.receive(bytes(answer))


def test_a_host_with_another_key() -> None:
    agent = AgentHandshake(KEY)
    with pytest.raises(HandshakeError, match=r"^the host's proof is wrong$"):
        agent.receive(HostHandshake(OTHER_KEY).receive(agent.greeting))


def test_an_agent_with_another_key() -> None:
    host = HostHandshake(KEY, NONCE_H)
    host.receive(b"RUM1" + NONCE_A)
    with pytest.raises(HandshakeError, match=r"^the agent's proof is wrong$"):
        host.receive(proof(OTHER_KEY, b"agent", NONCE_A, NONCE_H))
    assert not host.done


def test_an_answer_that_was_overheard_is_of_no_use() -> None:
    overheard = HostHandshake(KEY).receive(AgentHandshake(KEY).greeting)
    with pytest.raises(HandshakeError):
        AgentHandshake(KEY).receive(overheard)


def test_a_proof_that_is_reflected_is_of_no_use() -> None:
    host = HostHandshake(KEY, NONCE_H)
    answer = host.receive(b"RUM1" + NONCE_A)
    with pytest.raises(HandshakeError):
        host.receive(answer[32:])


@pytest.mark.parametrize("greeting", [b"RUM2", b"SSH-", b"X", b"\x00"])
def test_something_else_answers(greeting: bytes) -> None:
    with pytest.raises(HandshakeError, match=r"^what answers is not a rum agent$"):
        HostHandshake(KEY).receive(greeting)


@given(st.binary(min_size=1, max_size=ANSWER_SIZE))
def test_hostile_bytes_never_prove_anything(data: bytes) -> None:
    for handshake in (AgentHandshake(KEY), HostHandshake(KEY)):
        try:
            handshake.receive(data[: handshake.missing])
        except HandshakeError:
            continue
        assert handshake.missing > 0 or isinstance(handshake, HostHandshake)


def test_nonces_are_fresh() -> None:
    assert AgentHandshake(KEY).greeting != AgentHandshake(KEY).greeting


@pytest.mark.parametrize("key", [b"", b"short", bytes(31), bytes(33)])
def test_a_key_of_another_size_is_never_used(key: bytes) -> None:
    for side in (AgentHandshake, HostHandshake):
        with pytest.raises(LocalProtocolError, match=f"^a key has 32 bytes, not {len(key)}$"):
            side(key)


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex() + "\n", f" {KEY.hex().upper()}\n"])
def test_a_key_file(text: str) -> None:
    assert parse_key(text) == KEY


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "0 " * 32, "00" * 31 + "0", "00 " * 32])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        parse_key(text)


def test_a_short_one_is_told_how_long_a_key_is() -> None:
    with pytest.raises(ValueError, match=r"^a key is 64 hexadecimal digits$"):
        parse_key("00")
