"""Where a guest's vsock ports are reached: through this kernel, or through a vhost-user daemon's Unix socket."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from rum.protocol.limits import AGENT_PORT


@dataclass(frozen=True)
class VsockEndpoint:
    """A guest port that this kernel's AF_VSOCK reaches."""

    cid: int
    port: int = AGENT_PORT


@dataclass(frozen=True)
class UnixEndpoint:
    """A guest port behind the Unix socket of a vhost-user daemon, asked for with `CONNECT <port>`."""

    path: Path
    port: int = AGENT_PORT


Endpoint = VsockEndpoint | UnixEndpoint


class Transport(enum.StrEnum):
    """The two ways, by the names of `advanced.transport`."""

    VHOST_VSOCK = "vhost-vsock"
    VHOST_USER = "vhost-user"
