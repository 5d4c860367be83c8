"""The scripts the host last sent, kept in the guest so that boot scripts run when nobody is connected.

A script's text is a file named by its hash, so a torn or foreign file can never be run under a script's name; the list
is one file that is replaced as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from rum.agent import durable
from rum.agent.settings import Settings
from rum.protocol.fields import describe, get_env, get_int, get_seconds, get_str
from rum.protocol.limits import CHUNK_MAX
from rum.protocol.scripts import NAME, ORDER_MAX, After, ProvisionScript, RunOn, get_choice, identity

SHA256 = re.compile(r"[0-9a-f]{64}")


class CachedScript(NamedTuple):
    """A script without its text, which lies in the cache under `content_sha256`. Equal where every field is."""

    name: str
    order: int
    run_on: RunOn
    content_sha256: str
    timeout_s: float | None
    env: dict[str, str]
    after: After

    @property
    def sha256(self) -> str:
        """See `rum.protocol.scripts.identity`."""
        return identity(self.content_sha256, self.env)

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "run_on": self.run_on.value, "after": self.after.value}

    @staticmethod
    def from_json(item: object) -> CachedScript:
        """Raises ValueError for what no agent has written."""
        if not isinstance(item, dict):
            raise ValueError(f"a cached script must be an object, not {describe(item)}")
        return CachedScript(
            name=get_str(item, "name", pattern=NAME),
            order=get_int(item, "order", low=0, high=ORDER_MAX),
            run_on=get_choice(RunOn, item, "run_on"),
            content_sha256=get_str(item, "content_sha256", pattern=SHA256),
            timeout_s=get_seconds(item, "timeout_s"),
            env=get_env(item, "env"),
            after=get_choice(After, item, "after"),
        )

    @staticmethod
    def of(script: ProvisionScript) -> CachedScript:
        """The script with its defaults filled in."""
        return CachedScript(
            script.name,
            script.order,
            script.run_on,
            script.content_sha256,
            script.timeout_s,
            dict(script.env),
            script.waits_for,
        )


def in_order(scripts: Iterable[CachedScript]) -> list[CachedScript]:
    """By order, numerically, then by name."""
    return sorted(scripts, key=lambda script: (script.order, script.name))


class ScriptCache:
    """The list and the texts below /var/lib/rum."""

    def __init__(self, settings: Settings) -> None:
        self._dir = settings.scripts_dir
        self._list_file = os.path.join(settings.state_dir, "scripts.json")
        self.scripts = self._load()

    def store_content(self, script: ProvisionScript) -> None:
        """Keep the script's text; it is dropped again at the next change of the list that does not name it.

        Raises OSError.
        """
        try:
            self.content_path(CachedScript.of(script))
        except OSError:
            path = os.path.join(self._dir, script.content_sha256)
            durable.write_file(path, script.content.encode("utf-8"), 0o700)

    def replace(self, scripts: list[CachedScript]) -> None:
        """Keep exactly these, whose texts are stored. Raises OSError; the list is then the old one."""
        entries = in_order(scripts)
        if entries != self.scripts:
            text = json.dumps([entry.to_json() for entry in entries])
            durable.write_file(self._list_file, text.encode("utf-8"))
            self.scripts = entries
        self._drop_unused()

    def merge(self, scripts: list[CachedScript]) -> None:
        """Keep these and every other one that is there. Raises OSError; the list is then the old one."""
        names = {script.name for script in scripts}
        self.replace(scripts + [script for script in self.scripts if script.name not in names])

    def content_path(self, script: CachedScript) -> str:
        """The script's file. Raises OSError where it is not there or not what it was, so that it is never run."""
        path = os.path.join(self._dir, script.content_sha256)
        if file_sha256(path) != script.content_sha256:
            raise OSError(f"the cached script {path} is damaged")
        return path

    def _drop_unused(self) -> None:
        used = {script.content_sha256 for script in self.scripts}
        for name in os.listdir(self._dir) if os.path.isdir(self._dir) else []:
            if name not in used:
                durable.remove(os.path.join(self._dir, name))

    def _load(self) -> list[CachedScript]:
        try:
            with open(self._list_file, encoding="utf-8") as file:
                return in_order(CachedScript.from_json(item) for item in json.load(file))
        except (OSError, ValueError, TypeError, RecursionError):
            # Absent, or written by something that is not this agent: either way there is nothing to run.
            return []


def file_sha256(path: str) -> str:
    """The hash of a file's content, which is never in memory as a whole. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(CHUNK_MAX):
            digest.update(piece)
    return digest.hexdigest()
