"""The agent's own files as it finds them at its start, after whatever has happened to the disk."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from unittest import mock

from rum.agent.cache import ScriptCache
from rum.agent.ledger import Ledger
from rum.agent.plan import changed_scripts, make_plan
from rum.agent.record import StoredRecord
from rum.agent.recovery import close_interrupted_runs
from rum.agent.settings import Settings
from rum.protocol import Kind, Mode, encode_message, encode_output

RUN_ID = "000001-abcdef"
STARTED = encode_message({"type": "run_started", "run_id": RUN_ID, "first_boot": True, "skipped": ["x"]})
SCRIPT = encode_message({"type": "script_started", "name": "a", "index": 1})
RESULT = encode_message({"type": "result", "success": True})
LIST = [
    {
        "name": "a",
        "order": 1,
        "run_on": "boot",
        "content_sha256": "0" * 64,
        "timeout_s": None,
        "env": {"A": "1"},
        "after": "local-fs",
    }
]
STATE = {
    "boot_tried": "b",
    "system": {"a": "0"},
    "boot": {"boot_id": "b", "passed": {"a": ["0"]}},
    "last": {"a": dict.fromkeys(["run_id", "boot_id", "sha256", "exit_code", "signal", "timed_out"])},
}
SEEDS = [
    b"\x00" + json.dumps(STATE).encode(),
    b"\x01" + json.dumps(LIST).encode(),
    b"\x01" + json.dumps([{**LIST[0], "run_on": "system"}]).encode(),
    b"\x02" + STARTED + SCRIPT + encode_output(Kind.STDOUT, 1, b"x") + RESULT,
    b"\x02" + STARTED + SCRIPT + encode_output(Kind.STDOUT, 1, b"x"),
    b"\x02" + STARTED + SCRIPT[:-3],
]


def check(data: bytes) -> None:
    """A damaged file counts as absent or as what is whole of it; it never keeps the agent from starting."""
    number = data[0] % 3 if data else 0
    with tempfile.TemporaryDirectory() as root:
        settings = Settings(root=root)
        run_dir = Path(settings.runs_dir) / RUN_ID
        run_dir.mkdir(parents=True)
        (run_dir / "record").write_bytes(data[1:] if number == 2 else STARTED + SCRIPT)
        for kind, name in enumerate(("state.json", "scripts.json")):
            if kind == number:
                (Path(settings.state_dir) / name).write_bytes(data[1:])
        # What it costs to make files durable is paid for elsewhere.
        with mock.patch("os.fsync"):
            start(settings)


def start(settings: Settings) -> None:
    """What the agent does with its files before and when it serves its first client."""
    ledger, cache = Ledger(settings, "b"), ScriptCache(settings)
    close_interrupted_runs(settings, ledger, cache)
    for mode in Mode:
        make_plan(mode, cache.scripts, ledger)
    shown = [
        {**script.to_json(), "sha256": script.sha256, "last": ledger.last(script.name)} for script in cache.scripts
    ]
    encode_message({"type": "result", "scripts": shown, "changed": changed_scripts(cache.scripts, ledger)})
    for script in cache.scripts:
        ledger.note_start(script)
        ended = {"run_id": RUN_ID, "boot_id": "b", "sha256": script.sha256}
        ledger.note_end(script, {**ended, "exit_code": 0, "signal": None, "timed_out": False}, passed=True)
        assert ledger.has_passed(script)
    cache.merge(cache.scripts)
    if os.path.exists(os.path.join(settings.runs_dir, RUN_ID)):
        StoredRecord(os.path.join(settings.runs_dir, RUN_ID)).retire()
