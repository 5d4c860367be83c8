"""The handshake: each side proves that it holds the VM's key before a single frame is read.

Everything has a fixed size, so neither side ever reads a byte that an unproven peer could choose the amount of.
The role labels keep a proof from being reflected, the two nonces keep it from being replayed.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from rum.protocol.errors import HandshakeError, LocalProtocolError
from rum.protocol.limits import KEY_SIZE, NONCE_SIZE

MAGIC = b"RUM1"
PROOF_SIZE = hashlib.sha256().digest_size
GREETING_SIZE = len(MAGIC) + NONCE_SIZE
ANSWER_SIZE = NONCE_SIZE + PROOF_SIZE


def proof(key: bytes, role: bytes, nonce_a: bytes, nonce_h: bytes) -> bytes:
    """HMAC-SHA256 of the role's label and both nonces."""
    return hmac.new(key, b"rum1 " + role + nonce_a + nonce_h, hashlib.sha256).digest()


def parse_key(text: str) -> bytes:
    """The key as its file spells it: 64 hexadecimal digits. Raises ValueError."""
    digits = text.strip()
    key = bytes.fromhex(digits) if len(digits) == 2 * KEY_SIZE else b""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key is {2 * KEY_SIZE} hexadecimal digits")
    return key


class AgentHandshake:
    """The agent's half: send `greeting`, receive exactly `missing` bytes, send what `receive` returns."""

    def __init__(self, key: bytes, nonce: bytes | None = None) -> None:
        self._key = check_key(key)
        self._nonce = nonce or os.urandom(NONCE_SIZE)
        self._answer = b""
        self.greeting = MAGIC + self._nonce

    @property
    def missing(self) -> int:
        """Bytes of the host's answer that are still to be read; reading more is never needed."""
        return ANSWER_SIZE - len(self._answer)

    def receive(self, data: bytes) -> bytes | None:
        """The agent's proof once the answer is whole, None before. Raises HandshakeError for a wrong one."""
        self._answer += data
        if self.missing:
            return None
        nonce_h, host_proof = self._answer[:NONCE_SIZE], self._answer[NONCE_SIZE:]
        if not hmac.compare_digest(host_proof, proof(self._key, b"host", self._nonce, nonce_h)):
            raise HandshakeError("the host's proof is wrong")
        return proof(self._key, b"agent", self._nonce, nonce_h)


class HostHandshake:
    """The host's half: receive exactly `missing` bytes at a time, send what `receive` returns, until `done`."""

    def __init__(self, key: bytes, nonce: bytes | None = None) -> None:
        self._key = check_key(key)
        self._nonce = nonce or os.urandom(NONCE_SIZE)
        self._received = b""
        self.done = False

    @property
    def missing(self) -> int:
        """Bytes of the agent's next step that are still to be read."""
        step_end = GREETING_SIZE if len(self._received) < GREETING_SIZE else GREETING_SIZE + PROOF_SIZE
        return step_end - len(self._received)

    def receive(self, data: bytes) -> bytes:
        """What to send now, often nothing. Raises HandshakeError where the peer is no agent or has another key."""
        self._received += data
        if not MAGIC.startswith(self._received[: len(MAGIC)]):
            raise HandshakeError("what answers is not a rum agent")
        if len(self._received) == GREETING_SIZE:
            return self._nonce + proof(self._key, b"host", self._agent_nonce, self._nonce)
        if len(self._received) == GREETING_SIZE + PROOF_SIZE:
            self._check_agent()
        return b""

    @property
    def _agent_nonce(self) -> bytes:
        return self._received[len(MAGIC) : GREETING_SIZE]

    def _check_agent(self) -> None:
        expected = proof(self._key, b"agent", self._agent_nonce, self._nonce)
        if not hmac.compare_digest(self._received[GREETING_SIZE:], expected):
            raise HandshakeError("the agent's proof is wrong")
        self.done = True


def check_key(key: bytes) -> bytes:
    """The key itself. Raises LocalProtocolError where it has the wrong size: a short key would still 'work'."""
    if len(key) != KEY_SIZE:
        raise LocalProtocolError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
    return key
