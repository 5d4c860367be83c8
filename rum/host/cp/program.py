"""The guest's end of a copy, which the host sends along: it is always of the host's own version."""

from __future__ import annotations

import json
from importlib import resources

from rum.protocol import Message

MODULES = (
    "rum.protocol.errors",
    "rum.protocol.limits",
    "rum.protocol.fields",
    "rum.protocol.frames",
    "rum.protocol.messages",
    "rum.transfer.records",
    "rum.transfer.descriptors",
    "rum.transfer.destination",
    "rum.transfer.durable",
    "rum.transfer.new_file",
    "rum.transfer.source",
    "rum.transfer.arriving",
    "rum.transfer.sink",
    "rum.transfer.guest",
)
"""Each before those that import it."""

LOADER = """\
import json, sys, types
for name, text in json.loads(sys.stdin.buffer.read(int(sys.argv[1]))):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
sys.exit(module.main())
"""


def guest_program() -> bytes:
    """What the guest's end reads before anything else."""
    return json.dumps([(name, source(name)) for name in MODULES]).encode("ascii")


def source(module: str) -> str:
    """The text of a module."""
    package, _, name = module.rpartition(".")
    return (resources.files(package) / f"{name}.py").read_text(encoding="utf-8")


def exec_params(program: bytes, user: str | None) -> Message:
    """The parameters of the `exec` that runs it."""
    argv = ["python3", "-I", "-S", "-c", LOADER, str(len(program))]
    return {"argv": argv, "stdin": True, **({} if user is None else {"user": user})}
