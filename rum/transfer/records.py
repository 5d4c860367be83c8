"""What the end that reads files tells the one that writes them, as frames of the wire protocol: messages and BYTES.

    source -> sink   total?, then for each source a `file` or a `directory`, then `done`
    file             {"mode": int or null}, BYTES..., again?, end
    again            what came of this file so far is void: it has changed while it was read
    end              {"size", "sha256"}
    directory        {"mode"}, then its entries, each with a "name": file, directory or link; then `leave`
    link             {"name", "target"}
    skipped          {"path", "what"}: no file, directory or link; for people
    stop             the source has failed: what has come whole so far is to stay
    sink -> source   `done` {"files", "bytes"}, or `failed`
    failed           {"text", "path_is_wrong", "missing", "errno", "files", "bytes"}, from the guest's end

Names are bytes; in JSON they are UTF-8 with surrogate escapes (PEP 383).
"""

from __future__ import annotations

from typing import Any

from rum.protocol.fields import Fields
from rum.protocol.frames import HEADER, Kind, encode_frame
from rum.protocol.limits import CHUNK_MAX
from rum.protocol.messages import encode_message

CHUNK = CHUNK_MAX - HEADER.size
"""Bytes of a file in one frame: with its header it fits the STDIN frame that carries it to the guest."""

SHOWN_MAX = 300
"""Bytes of a path in a sentence; a deep one is a screen long."""

PERMISSIONS = 0o777
"""What is kept of a mode. Owners are not kept, so set-user-ID and set-group-ID would mean somebody else."""


class TransferError(Exception):
    """What ended a copy, in one sentence. `path_is_wrong`: what was asked for cannot be; else an end has failed.

    Attributes for a hint: `missing`, the directory that there would have to be; `number`, the errno of what failed.
    """

    def __init__(
        self, text: str, *, path_is_wrong: bool = False, missing: bytes | None = None, number: int | None = None
    ) -> None:
        super().__init__(text)
        self.path_is_wrong = path_is_wrong
        self.missing = missing
        self.number = number


class BrokenStreamError(Exception):
    """The other end sent what no end of a copy sends."""


class EscapeError(TransferError):
    """The other end named something outside the directory that it was to fill."""


def shown(path: bytes) -> str:
    """The path for people, its middle left out where it is long.

    >>> shown(b"/etc/motd")
    '/etc/motd'
    """
    if len(path) > SHOWN_MAX:
        path = path[: SHOWN_MAX // 2] + b"..." + path[-SHOWN_MAX // 2 :]
    return path.decode("utf-8", "backslashreplace")


def failed(path: bytes, error: OSError) -> TransferError:
    """The sentence for a system call that failed."""
    return TransferError(f"{shown(path)}: {error.strerror or error}", number=error.errno)


def message(kind: str, **fields: object) -> bytes:
    """The frame of a record."""
    return encode_message({"type": kind, **fields})


def data(piece: bytes) -> bytes:
    """The frame of a piece of a file."""
    return encode_frame(Kind.BYTES, piece)


def spelled(name: bytes) -> str:
    """A name or path as JSON carries it."""
    return name.decode("utf-8", "surrogateescape")


def get_bytes(fields: Fields, name: str) -> bytes:
    """A name or path from JSON. Raises BrokenStreamError."""
    value: Any = fields.get(name)
    try:
        found = value.encode("utf-8", "surrogateescape")
    except (AttributeError, UnicodeEncodeError):
        raise BrokenStreamError(f"{name} is no name of a file") from None
    if not found or b"\0" in found:
        raise BrokenStreamError(f"{name} is no name of a file")
    return bytes(found)


def get_entry_name(fields: Fields) -> bytes:
    """The name of an entry of the directory that is being filled. Raises EscapeError, BrokenStreamError."""
    name = get_bytes(fields, "name")
    if b"/" in name or name in (b".", b".."):
        raise EscapeError(f"refused: an entry is named {shown(name)!r}, which is not in the directory that is copied")
    return name
