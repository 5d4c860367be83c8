"""The protocol's types as JSON objects and back, with dataclasses-json.

The library is imported on first use: it would double the start-up time of commands that send and receive none of them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rum.host.channel.checked import check_message
from rum.protocol import LogEvent, ProvisionResult, ProvisionScript

JsonObject = dict[str, Any]


@functools.cache
def _codecs() -> tuple[Any, Any, Any]:
    from dataclasses_json import Undefined, dataclass_json

    @dataclass_json(undefined=Undefined.EXCLUDE)
    @dataclass(frozen=True)
    class Result(ProvisionResult):
        """A run's result; fields of later protocol versions are ignored."""

    @dataclass_json(undefined=Undefined.EXCLUDE)
    @dataclass(frozen=True)
    class Script:
        """A script as a request carries it, its defaults filled in."""

        name: str
        content: str
        order: int
        run_on: str
        timeout_s: float | None
        env: dict[str, str]
        after: str

    @dataclass_json
    @dataclass(frozen=True)
    class Output:
        """A piece of output as `-o json` prints it."""

        script: str
        stream: str
        timestamp_us: int
        text: str

    return Result, Script, Output


def script_to_json(script: ProvisionScript) -> JsonObject:
    """The script as an element of a `provision` request's `scripts`."""
    _, codec, _ = _codecs()
    encoded: JsonObject = codec(
        name=script.name,
        content=script.content,
        order=script.order,
        run_on=script.run_on.value,
        timeout_s=script.timeout_s,
        env=dict(script.env),
        after=script.waits_for.value,
    ).to_dict()
    return encoded


def result_from_json(message: Mapping[str, object]) -> ProvisionResult:
    """The result in a `result` message; unknown fields are ignored. Raises BrokenProtocolError for a malformed one."""
    check_message("result", message)
    codec, _, _ = _codecs()
    result: ProvisionResult = codec.from_dict(dict(message))
    return ProvisionResult(**asdict(result))


def output_to_json(event: LogEvent, text: str) -> JsonObject:
    """A piece of output with its text, which the caller has decoded across the pieces."""
    _, _, codec = _codecs()
    encoded: JsonObject = codec(event.script, event.stream, event.timestamp_us, text).to_dict()
    return {"type": "output", **encoded}
