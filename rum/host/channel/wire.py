"""The protocol's types as JSON objects and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rum.host.channel.checked import check_message
from rum.protocol import LogEvent, ProvisionResult, ProvisionScript

JsonObject = dict[str, Any]


def script_to_json(script: ProvisionScript) -> JsonObject:
    """The script as an element of a `provision` request's `scripts`, its defaults filled in."""
    return {
        "name": script.name,
        "content": script.content,
        "order": script.order,
        "run_on": script.run_on.value,
        "timeout_s": script.timeout_s,
        "env": dict(script.env),
        "after": script.waits_for.value,
    }


def result_from_json(message: Mapping[str, object]) -> ProvisionResult:
    """The result in a `result` message; unknown fields are ignored. Raises BrokenProtocolError for a malformed one."""
    check_message("result", message)
    known: dict[str, Any] = {name: message[name] for name in ProvisionResult._fields if name in message}
    return ProvisionResult(**known)


def output_to_json(event: LogEvent, text: str) -> JsonObject:
    """A piece of output with its text, which the caller has decoded across the pieces."""
    about = {"script": event.script, "stream": event.stream, "timestamp_us": event.timestamp_us}
    return {"type": "output", **about, "text": text}
