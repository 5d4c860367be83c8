"""What both sides make of bytes they did not write: a target for each family of decoders.

A target has SEEDS and `check(data)`, which raises where an invariant is broken: events or the documented error and
nothing else, bounded memory, and the same events however the stream was cut. `tests/unit/test_fuzz.py` runs them on
what hypothesis makes up, `python -m tests.fuzz` for as long as wanted on what atheris finds to reach new code.
"""

TARGETS = (
    "frames",
    "messages",
    "large_message",
    "handshake",
    "conversation",
    "agent_files",
    "run",
    "answers",
    "preamble",
    "text",
)
