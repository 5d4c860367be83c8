"""`rum logs --timestamps`: the time at the beginning of every line of output."""

from __future__ import annotations

import datetime
import re

from rum.host.events import Emit, Event
from rum.protocol import LogEvent

LINE_START = re.compile(rb"(?:^|(?<=[\r\n]))(?=[^\r\n])")
"""Also after a carriage return: of a line that was rewritten, the last state is what is shown."""


def stamped(emit: Emit) -> Emit:
    """Passes on events; lines of output begin with the time at which the agent read their first byte, in UTC."""
    at_start: dict[tuple[str, str], bool] = {}

    def pass_on(event: Event) -> None:
        if isinstance(event, LogEvent) and event.data:
            key = (event.script, event.stream)
            begins = at_start.get(key, True)
            at_start[key] = event.data[-1:] in (b"\r", b"\n")
            event = event._replace(data=with_stamps(event.data, stamp(event.timestamp_us), begins=begins))
        emit(event)

    return pass_on


def with_stamps(data: bytes, text: str, *, begins: bool) -> bytes:
    """The output with this text at the beginning of its lines; `begins`: its first byte is the first of a line.

    >>> with_stamps(b"a\\nb", "T ", begins=True), with_stamps(b"a\\r\\n\\nb\\n", "T ", begins=False)
    (b'T a\\nT b', b'a\\r\\n\\nT b\\n')
    """
    stamped_data = LINE_START.sub(text.encode("ascii"), data)
    return stamped_data if begins else stamped_data.removeprefix(text.encode("ascii"))


def stamp(timestamp_us: int) -> str:
    """A time in ISO 8601 with milliseconds.

    >>> stamp(1_700_000_000_123_456)
    '2023-11-14T22:13:20.123Z '
    """
    try:
        moment = datetime.datetime.fromtimestamp(timestamp_us / 1_000_000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_us}us "
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z "
