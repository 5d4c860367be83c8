"""Messages, and the requests that are made of them in the guest."""

from __future__ import annotations

import contextlib
import json

from rum.agent.exec import ExecRequest, parse_size
from rum.protocol import FrameDecoder, RemoteProtocolError, encode_message, parse_message, scripts_from_wire
from rum.protocol.fields import get_list

SEEDS = [
    b'{"type":"request","method":"attach","params":{"run_id":null,"offset":0}}',
    b'{"type":"x","argv":["sh","-c","true"],"env":{"A":"1"},"cwd":"/","user":"root","timeout_s":1.5,"tty":{"rows":1}}',
    b'{"type":"resize","rows":24,"cols":80}',
    b'{"type":"signal","signal":2,"argv":["\\udcff"],"cwd":"/\\udcfc"}',
    b'{"type":"x","scripts":[{"name":"a","content":"true","order":1,"run_on":"boot","env":{"A":"b"},"timeout_s":5}]}',
    b'{"type":"x","a":NaN,"b":[[[[]]]],"c":1e999,"d":"\\ud800"}',
]


def check(data: bytes) -> None:
    """A message that survives being sent, or RemoteProtocolError; its parts a value or ValueError."""
    try:
        message = parse_message(data)
    except RemoteProtocolError:
        return
    assert json.loads(data.decode()) == message
    decoder = FrameDecoder()
    decoder.feed(encode_message(message))
    (frame,) = decoder.frames()
    assert parse_message(frame.payload) == message
    with contextlib.suppress(ValueError):
        ExecRequest.parse(message)
    with contextlib.suppress(ValueError):
        parse_size(message)
    with contextlib.suppress(ValueError):
        for script in scripts_from_wire(get_list(message, "scripts")):
            assert len(script.sha256) == 64
