"""What the guest's end of a copy says about it, checked before anything is made of it."""

from __future__ import annotations

from rum.host.channel.checked import (
    COUNT_MAX,
    BrokenProtocolError,
    Check,
    boolean,
    check_fields,
    integer,
    nullable,
    sentence,
)
from rum.host.outcome import Copied
from rum.protocol import Message
from rum.transfer.records import BrokenStreamError, get_bytes

count = integer(0, COUNT_MAX)

RECORDS: dict[str, dict[str, Check]] = {
    "total": {"files": count, "bytes": count},
    "skipped": {"path": get_bytes, "what": sentence},
    "done": {"files": count, "bytes": count},
    "failed": {
        "text": sentence,
        "path_is_wrong": boolean,
        "missing": nullable(get_bytes),
        "errno": nullable(integer(1, 4095)),
        "files": count,
        "bytes": count,
    },
}
"""The records that are about the copy, each with every field it has; what is in the copy is checked by the sink."""


def check_record(record: Message) -> None:
    """Raises BrokenProtocolError unless the record has all of its fields, each of its kind."""
    kind = record["type"]
    for field, check in RECORDS[kind].items():
        try:
            check_fields(record, {field: check}, required=field)
        except (ValueError, BrokenStreamError) as exc:
            raise BrokenProtocolError(f"cp: {kind}: {exc}") from None


def copied(record: Message) -> Copied:
    """The numbers in a record that has passed."""
    return Copied(record["files"], record["bytes"])
