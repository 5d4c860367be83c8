"""The vocabulary that host and agent share: types, frames, handshake, phases. Standard library only, no I/O."""

from rum.protocol.conversation import Conversation, Received
from rum.protocol.errors import (
    ErrorCode,
    HandshakeError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    RequestError,
)
from rum.protocol.frames import (
    OUTPUT_KINDS,
    Frame,
    FrameDecoder,
    Kind,
    encode_frame,
    encode_output,
    split_output,
)
from rum.protocol.handshake import AgentHandshake, HostHandshake, parse_key
from rum.protocol.messages import Message, encode_message, parse_message
from rum.protocol.phases import Phase, Role
from rum.protocol.results import LogEvent, ProvisionResult
from rum.protocol.scripts import (
    After,
    Mode,
    ProvisionScript,
    RunOn,
    in_order,
    scripts_from_wire,
)

__all__ = [
    "OUTPUT_KINDS",
    "After",
    "AgentHandshake",
    "Conversation",
    "ErrorCode",
    "Frame",
    "FrameDecoder",
    "HandshakeError",
    "HostHandshake",
    "Kind",
    "LocalProtocolError",
    "LogEvent",
    "Message",
    "Mode",
    "Phase",
    "ProtocolError",
    "ProvisionResult",
    "ProvisionScript",
    "Received",
    "RemoteProtocolError",
    "RequestError",
    "Role",
    "RunOn",
    "encode_frame",
    "encode_message",
    "encode_output",
    "in_order",
    "parse_key",
    "parse_message",
    "scripts_from_wire",
    "split_output",
]
