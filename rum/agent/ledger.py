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


class Ledger:
    """Kept in /var/lib/rum/state.json and in the sentinel. Every method that changes it raises OSError."""

    def __init__(self, settings: Settings, boot_id: str) -> None:
        self._file = os.path.join(settings.state_dir, "state.json")
        self._sentinel = settings.sentinel
        self._boot_id = boot_id
        self._state = self._load()

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
            self._state["boot_tried"] = self._boot_id
            self._save()

    def note_end(self, script: CachedScript, outcome: Outcome, *, passed: bool) -> None:
        """To be called once the script has ended by itself or was stopped."""
        self._state["last"][script.name] = outcome
        if passed and script.run_on is RunOn.SYSTEM:
            self._state["system"][script.name] = script.sha256
        elif passed and not self.has_passed(script):
            self._passed_in_this_boot().setdefault(script.name, []).append(script.sha256)
        self._save()

    def write_sentinel(self, vm_id: str, run_id: str | None) -> None:
        """End the first boot."""
        text = json.dumps({"vm_id": vm_id, "boot_id": self._boot_id, "run_id": run_id})
        try:
            durable.write_file(self._sentinel, text.encode("utf-8") + b"\n")
        except OSError:
            # It may be there, but not for good: a first boot that ends for one boot only must not end.
            durable.remove(self._sentinel)
            raise

    def _passed_in_this_boot(self) -> dict[str, list[str]]:
        boot = self._state["boot"]
        if boot["boot_id"] != self._boot_id:
            boot.update(boot_id=self._boot_id, passed={})
        passed: dict[str, list[str]] = boot["passed"]
        return passed

    def _save(self) -> None:
        durable.write_file(self._file, json.dumps(self._state).encode("utf-8"))

    def _load(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"boot_tried": None, "system": {}, "boot": {"boot_id": None, "passed": {}}, "last": {}}
        try:
            with open(self._file, encoding="utf-8") as file:
                loaded = json.load(file)
        except (OSError, ValueError, RecursionError):
            return empty
        return {**empty, **loaded} if is_well_formed(loaded, empty) else empty


def is_well_formed(loaded: object, empty: dict[str, Any]) -> bool:
    """Whether what was read is a ledger; anything else counts as absent, so that it can never stop the agent."""
    if not isinstance(loaded, dict):
        return False
    tables = [key for key, value in empty.items() if isinstance(value, dict)]
    if not all(isinstance(loaded.get(key), dict) for key in tables):
        return False
    passed = loaded["boot"].get("passed")
    if "boot_id" not in loaded["boot"] or not isinstance(passed, dict):
        return False
    return all(isinstance(hashes, list) for hashes in passed.values()) and all(map(is_outcome, loaded["last"].values()))


def is_outcome(value: object) -> bool:
    """Whether this is how a script ended, as it goes into `status`."""
    return isinstance(value, dict) and not any(isinstance(value.get(key, []), (dict, list)) for key in OUTCOME)
