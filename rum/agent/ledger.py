"""What has passed, what was tried, and the sentinel: the agent's memory between runs and boots."""

from __future__ import annotations

import json
import os
from typing import Any

from rum.agent import durable
from rum.agent.cache import CachedScript
from rum.agent.settings import Settings
from rum.protocol.scripts import RunOn

Outcome = dict[str, Any]
"""`run_id, boot_id, sha256, exit_code, signal, timed_out`: a script's `last` in `status`."""

OUTCOME = ("run_id", "boot_id", "sha256", "exit_code", "signal", "timed_out")

State = dict[str, Any]
"""The ledger as it is in memory, and as the first line of its file."""

Entry = dict[str, Any]
"""A change of it, as any further line: `{"boot_tried": ...}`, or `script, run_on, passed, outcome`."""

APPENDED_MAX = 64 * 1024
"""Bytes of changes before the file is written anew, which costs as much as there are scripts: not for each of them."""


class Ledger:
    """Kept in the sentinel and in /var/lib/rum/state.json: a line of JSON, and a line for each change since.

    Every method that changes it raises OSError.
    """

    def __init__(self, settings: Settings, boot_id: str) -> None:
        self._file = os.path.join(settings.state_dir, "state.json")
        self._sentinel = settings.sentinel
        self._boot_id = boot_id
        self._state = empty_state()
        self._room = 0
        """How much may still be appended; none where the file has to be written anew."""
        self._load()

    @property
    def system_provisioned(self) -> bool:
        """Whether the first boot is over."""
        return os.path.exists(self._sentinel)

    @property
    def boot_tried(self) -> bool:
        """Whether a boot script has been started in this boot, by whomever and however it ended."""
        return bool(self._state["boot_tried"] == self._boot_id)

    def has_passed(self, script: CachedScript) -> bool:
        """Whether it has passed in its scope: a System script as its last version, a Boot script in this boot."""
        if script.run_on is RunOn.SYSTEM:
            return bool(self._state["system"].get(script.name) == script.sha256)
        boot = self._state["boot"]
        return boot["boot_id"] == self._boot_id and script.sha256 in boot["passed"].get(script.name, [])

    def last(self, name: str) -> Outcome | None:
        """How the script ended the last time, None where it never has."""
        outcome: Outcome | None = self._state["last"].get(name)
        return outcome

    def note_start(self, script: CachedScript) -> None:
        """To be called before the script is started."""
        if script.run_on is RunOn.BOOT and not self.boot_tried:
            self._note({"boot_tried": self._boot_id})

    def note_end(self, script: CachedScript, outcome: Outcome, *, passed: bool) -> None:
        """To be called once the script has ended by itself or was stopped."""
        self._note({"script": script.name, "run_on": script.run_on.value, "passed": passed, "outcome": outcome})

    def write_sentinel(self, vm_id: str, run_id: str | None) -> None:
        """End the first boot."""
        text = json.dumps({"vm_id": vm_id, "boot_id": self._boot_id, "run_id": run_id})
        try:
            durable.write_file(self._sentinel, text.encode("utf-8") + b"\n")
        except OSError:
            # It may be there, but not for good: a first boot that ends for one boot only must not end.
            durable.remove(self._sentinel)
            raise

    def _note(self, entry: Entry) -> None:
        apply(self._state, entry)
        line = encode_line(entry)
        if len(line) <= self._room:
            try:
                durable.append(self._file, line)
            except OSError:
                # What has become of the line nobody knows; a file that is written anew has it.
                self._room = 0
            else:
                self._room -= len(line)
                return
        durable.write_file(self._file, encode_line(self._state))
        self._room = APPENDED_MAX

    def _load(self) -> None:
        """Take what the file has up to the first line that is damaged, or that a crash has cut off.

        The last line of an agent that was killed may not be synced. It was at work on a run, whose end is noted next.
        """
        try:
            with open(self._file, "rb") as file:
                first, *lines = file.read().split(b"\n")
        except OSError:
            return
        state: Any = parse_line(first)
        if not is_well_formed(state):
            return
        self._state.update(state)
        appended = 0
        for line in lines[:-1]:
            entry: Any = parse_line(line)
            if not is_entry(entry):
                return
            apply(self._state, entry)
            appended += len(line) + 1
        if lines and not lines[-1]:
            self._room = max(0, APPENDED_MAX - appended)


def empty_state() -> State:
    """The ledger of a guest in which nothing has run."""
    return {"boot_tried": None, "system": {}, "boot": {"boot_id": None, "passed": {}}, "last": {}}


def apply(state: State, entry: Entry) -> None:
    """Change the state; again with the same entry changes nothing."""
    if "boot_tried" in entry:
        state["boot_tried"] = entry["boot_tried"]
        return
    name, outcome = entry["script"], entry["outcome"]
    state["last"][name] = outcome
    if not entry["passed"]:
        return
    if entry["run_on"] == RunOn.SYSTEM.value:
        state["system"][name] = outcome["sha256"]
        return
    if state["boot"]["boot_id"] != outcome["boot_id"]:
        state["boot"] = {"boot_id": outcome["boot_id"], "passed": {}}
    hashes = state["boot"]["passed"].setdefault(name, [])
    if outcome["sha256"] not in hashes:
        hashes.append(outcome["sha256"])


def encode_line(content: object) -> bytes:
    """A line of the file."""
    return json.dumps(content).encode("utf-8") + b"\n"


def parse_line(line: bytes) -> object:
    """What a line says; None where it says nothing."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def is_well_formed(loaded: object) -> bool:
    """Whether what was read is a ledger; anything else counts as absent, so that it can never stop the agent."""
    if not isinstance(loaded, dict):
        return False
    if not all(isinstance(loaded.get(key), dict) for key in ("system", "boot", "last")):
        return False
    passed = loaded["boot"].get("passed")
    if "boot_id" not in loaded["boot"] or not isinstance(passed, dict):
        return False
    return all(isinstance(hashes, list) for hashes in passed.values()) and all(map(is_outcome, loaded["last"].values()))


def is_entry(loaded: object) -> bool:
    """Whether what was read is a change that a ledger can take."""
    if not isinstance(loaded, dict):
        return False
    if "boot_tried" in loaded:
        return isinstance(loaded["boot_tried"], str)
    known = isinstance(loaded.get("script"), str) and {"run_on", "passed"} <= loaded.keys()
    return known and is_outcome(loaded.get("outcome"))


def is_outcome(value: object) -> bool:
    """Whether this is how a script ended, as it goes into `status`."""
    return isinstance(value, dict) and not any(isinstance(value.get(key, []), (dict, list)) for key in OUTCOME)
