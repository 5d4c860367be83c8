"""Provisioning scripts as both sides know them: what to run, when, and how to tell two of them apart."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from rum.protocol import fields
from rum.protocol.limits import SCRIPTS_MAX

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ORDER_MAX = 2**31 - 1

_E = TypeVar("_E", bound=enum.Enum)


class RunOn(str, enum.Enum):
    """When a script runs."""

    SYSTEM = "system"
    """On the first boot: until it has passed once in the VM's life."""
    BOOT = "boot"
    """On every boot."""


class After(str, enum.Enum):
    """What a script waits for before it starts."""

    LOCAL_FS = "local-fs"
    NETWORK_ONLINE = "network-online"
    CLOUD_INIT = "cloud-init"


class Mode(str, enum.Enum):
    """Which of the scripts that were sent a `provision` request runs."""

    AUTO = "auto"
    SYSTEM = "system"
    BOOT = "boot"
    ALL = "all"


# System scripts default to cloud-init so that they never fight with it over the package manager's lock.
DEFAULT_AFTER = {RunOn.SYSTEM: After.CLOUD_INIT, RunOn.BOOT: After.NETWORK_ONLINE}


class ProvisionScript(NamedTuple):
    """One script of a list. `timeout_s` is in seconds, None for no limit; `after` None is the default of `run_on`."""

    name: str
    content: str
    order: int
    run_on: RunOn
    timeout_s: float | None = None
    env: Mapping[str, str] = {}
    after: After | None = None

    @property
    def waits_for(self) -> After:
        """What the script waits for, the default filled in."""
        return self.after or DEFAULT_AFTER[self.run_on]

    @property
    def content_sha256(self) -> str:
        """Hash of the script's text: its name in the guest's cache."""
        return hashlib.sha256(self.content.encode("utf-8")).hexdigest()

    @property
    def sha256(self) -> str:
        """Hash of what decides whether the script has to run again; see `identity`."""
        return identity(self.content_sha256, self.env)


def identity(content_sha256: str, env: Mapping[str, str]) -> str:
    """The `sha256` of a script in `status`: of its text alone without an environment, of both otherwise."""
    if not env:
        return content_sha256
    canonical = json.dumps([content_sha256, sorted(env.items())], separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def in_order(scripts: Iterable[ProvisionScript]) -> list[ProvisionScript]:
    """The scripts as they run: by order, numerically, then by name."""
    return sorted(scripts, key=lambda script: (script.order, script.name))


def script_from_wire(item: object) -> ProvisionScript:
    """The script that an element of a request's `scripts` describes. Raises ValueError."""
    if not isinstance(item, dict):
        raise ValueError(f"a script must be an object, not {fields.describe(item)}")
    name = fields.get_str(item, "name", pattern=NAME)
    try:
        return ProvisionScript(
            name=name,
            content=fields.get_str(item, "content"),
            order=fields.get_int(item, "order", low=0, high=ORDER_MAX),
            run_on=get_choice(RunOn, item, "run_on"),
            timeout_s=fields.get_seconds(item, "timeout_s"),
            env=fields.get_env(item, "env"),
            after=get_choice(After, item, "after") if item.get("after") is not None else None,
        )
    except ValueError as exc:
        raise ValueError(f"script {name}: {exc}") from None


def check_list(items: list[object]) -> None:
    """Raises ValueError where a request's `scripts` are too many, or two of them have one name."""
    if len(items) > SCRIPTS_MAX:
        raise ValueError(f"scripts has {len(items)} elements, at most {SCRIPTS_MAX} are allowed")
    names = [item.get("name") for item in items if isinstance(item, dict)]
    duplicates = [name for name in names if isinstance(name, str) and names.count(name) > 1]
    if duplicates:
        raise ValueError(f"two scripts are named {duplicates[0]}")


def scripts_from_wire(items: list[object]) -> list[ProvisionScript]:
    """A request's whole list, in order. Raises ValueError."""
    check_list(items)
    return in_order(script_from_wire(item) for item in items)


def get_choice(choices: type[_E], item: Mapping[str, object], name: str) -> _E:
    """The member of an enumeration of strings that the field names. Raises ValueError."""
    value = fields.get_str(item, name)
    try:
        return choices(value)
    except ValueError:
        allowed = ", ".join(member.value for member in choices)
        raise ValueError(f"{name} is {value[:80]!r}, allowed are {allowed}") from None
