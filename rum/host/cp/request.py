"""What the command line of `rum cp` asks for: which way, from where, to where."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from rum.host.errors import ConfigError
from rum.transfer.destination import copy_name
from rum.transfer.records import shown

GUEST_MARK = b":"
STREAM = b"-"
"""Standard input or output."""
HOME = b"."
"""What a colon alone stands for."""

HOW = "one side is a path on the host or -, the other one :PATH in the guest: rum cp app.conf :/etc/app.conf"


@dataclass(frozen=True)
class CopyRequest:
    """Paths are bytes, those of the guest without their colon. `user` None is root."""

    sources: tuple[bytes, ...]
    destination: bytes
    to_guest: bool
    user: str | None = None

    @property
    def from_stdin(self) -> bool:
        """Whether standard input is what is copied."""
        return self.to_guest and self.sources == (STREAM,)

    @property
    def to_stdout(self) -> bool:
        """Whether standard output is where it goes."""
        return not self.to_guest and self.destination == STREAM

    def names(self) -> list[bytes]:
        """What the copies are called; empty where only what is in a directory is copied, and for a stream."""
        return [b"" if self.from_stdin else copy_name(path) for path in self.sources]


def parse_request(paths: Sequence[str], user: str | None = None) -> CopyRequest:
    """Sources, then the destination. Raises ConfigError unless exactly one side is the guest's.

    >>> parse_request(["a", ":/b"])
    CopyRequest(sources=(b'a',), destination=b'/b', to_guest=True, user=None)
    """
    given = [os.fsencode(path) for path in paths]
    in_guest = [path.startswith(GUEST_MARK) for path in given]
    if len(set(in_guest[:-1])) > 1:
        raise ConfigError("cp cannot take sources from the host and from the guest at once", hint=HOW)
    if in_guest[0] == in_guest[-1]:
        both = "both sides are in the guest" if in_guest[0] else "neither side is in the guest"
        raise ConfigError(f"cp copies between the host and the guest, but {both}", hint=HOW)
    *sources, destination = [HOME if path == GUEST_MARK else path.removeprefix(GUEST_MARK) for path in given]
    request = CopyRequest(tuple(sources), destination, in_guest[-1], user)
    check(request)
    return request


def check(request: CopyRequest) -> None:
    """Raises ConfigError for what makes no sense."""
    if b"" in (*request.sources, request.destination):
        raise ConfigError("cp got an empty path", hint=HOW)
    if request.to_guest and STREAM in request.sources[1:] + request.sources[:-1]:
        raise ConfigError("standard input can only be copied alone", hint="give one source, -, and the file's name")
    if request.to_stdout and len(request.sources) > 1:
        raise ConfigError("only one file can go to standard output", hint="copy one after the other")
    names = [name for name in request.names() if name]
    if twice := sorted({shown(name) for name in names if names.count(name) > 1}):
        raise ConfigError(f"cp got two sources named {twice[0]}, which have one place", hint="copy one after the other")
