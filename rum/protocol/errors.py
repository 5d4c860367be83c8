"""Whose fault it is decides which error is raised.

ProtocolError
 +-- LocalProtocolError   this side broke the rules: a bug in rum, never caught
 +-- RemoteProtocolError  the peer broke the rules: answered once with `error` `protocol`, then closed
      +-- HandshakeError  the peer has not proved that it holds the key: closed without an explanation
RequestError              the peer's request cannot be served: answered with its code, the connection ends in order
"""

from __future__ import annotations

import enum


class ProtocolError(Exception):
    """A rule of docs/protocol.md was broken; raised only as one of its two subclasses."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow."""


class HandshakeError(RemoteProtocolError):
    """The peer did not prove that it holds the key."""


class ErrorCode(str, enum.Enum):
    """The closed list of codes in an `error` message."""

    BAD_REQUEST = "bad-request"
    BUSY = "busy"
    UNKNOWN_METHOD = "unknown-method"
    NOT_FOUND = "not-found"
    PROTOCOL = "protocol"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


class RequestError(Exception):
    """A request that is answered with an `error` message instead of a result.

    Attributes: `code`, from the closed list; `message`, one sentence for a person.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
