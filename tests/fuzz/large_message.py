"""Large messages, whose long strings the agent keeps in a file."""

from __future__ import annotations

import contextlib
import json
import tempfile

from rum.agent.large_message import LargeMessage
from rum.protocol import RemoteProtocolError
from tests.fuzz.cuts import Pieces, same_however_cut

LONG = b"l" * 300
SEEDS = [
    b'{"type":"request","params":{"scripts":[{"content":"' + LONG + b'","name":"a"}]}}',
    b'{"type":"x","' + LONG + b'":["' + LONG + b'\\n\\"\\\\\\u00e9"]}',
    b'{"type":"x","a":"' + LONG + b"\\",
    b'{"type":"x","a":"\xff' + LONG + b'"}',
]


def events_of(stream: Pieces) -> list[str]:
    large = LargeMessage(tempfile.gettempdir())
    try:
        for piece in stream:
            large.take(piece)
        return [repr(large.expand(large.message()))]
    except RemoteProtocolError:
        return ["error"]
    except ValueError:
        return ["bad value"]
    finally:
        large.close()


def check(data: bytes) -> None:
    """What json.loads makes of the whole, RemoteProtocolError, or ValueError for a string that is none."""
    (event,) = same_however_cut(data, events_of)
    if event.startswith("{"):
        with contextlib.suppress(RecursionError):
            assert event == repr(json.loads(data.decode()))
