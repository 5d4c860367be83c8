"""What the agent sends, checked before anything is made of it: a guest that was broken into holds the key, too.

What is absent is left to its default and what is not known is ignored, as the protocol has it; what is there has the
documented type and a size that a terminal, a file name and this process's memory can bear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from rum.host.errors import GuestError
from rum.protocol.fields import Fields, describe, get_int, get_list, get_object, get_str
from rum.protocol.limits import PORTS_MAX, SCRIPTS_MAX
from rum.protocol.scripts import NAME

WORD = re.compile(r"[!-~]{0,128}")
"""Versions, ids, triggers, codes: ASCII without blanks."""

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""The guest chooses run ids; they become file names."""

SENTENCE_MAX = 500
"""Characters of a text for people: longer than any of the agent's own."""

COUNT_MAX = 2**63
SIGNAL_MAX = 127

Check = Callable[[Fields, str], object]


class BrokenProtocolError(GuestError):
    """The agent sent what the protocol does not allow: it is broken, or somebody else's."""

    code = "protocol"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the agent broke the protocol: {what}",
            hint="the agent in the VM was changed or damaged; `rum destroy` and `rum up` create the VM anew",
        )


def check_message(kind: str, message: Mapping[str, object]) -> None:
    """Raises BrokenProtocolError unless every known field is what a message of this kind may carry."""
    try:
        check_fields(message, FIELDS.get(kind, {}), REQUIRED.get(kind))
    except ValueError as exc:
        raise BrokenProtocolError(f"{kind}: {exc}") from None


def check_fields(fields: Fields, checks: Mapping[str, Check], required: str | None = None) -> None:
    """Raises ValueError."""
    if required is not None and required not in fields:
        raise ValueError(f"{required} is missing")
    for name, check in checks.items():
        if name in fields:
            check(fields, name)


def sentence(message: Mapping[str, object], name: str) -> str:
    """A text for people, cut to what fits. Raises ValueError."""
    return get_str(message, name)[:SENTENCE_MAX]


def nullable(check: Check) -> Check:
    """The check of a field that may be null."""
    return lambda fields, name: None if fields[name] is None else check(fields, name)


def text(pattern: re.Pattern[str]) -> Check:
    """The check of a string that matches as a whole."""
    return lambda fields, name: get_str(fields, name, pattern=pattern)


def integer(low: int, high: int) -> Check:
    """The check of an integer within these bounds."""
    return lambda fields, name: get_int(fields, name, low=low, high=high)


def boolean(fields: Fields, name: str) -> None:
    """The check of true and false. Raises ValueError."""
    if not isinstance(fields[name], bool):
        raise ValueError(f"{name} must be true or false, not {describe(fields[name])}")


def duration(fields: Fields, name: str) -> None:
    """The check of a number of seconds. Raises ValueError."""
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < COUNT_MAX:
        raise ValueError(f"{name} must be a number of seconds")


def names(fields: Fields, name: str) -> None:
    """The check of a list of scripts' names. Raises ValueError."""
    items = bounded_list(fields, name)
    for item in items:
        get_str({name: item}, name, pattern=NAME)


def bounded_list(fields: Fields, name: str) -> list[object]:
    """An array with an element for each script at most. Raises ValueError."""
    items = get_list(fields, name)
    if len(items) > SCRIPTS_MAX:
        raise ValueError(f"{name} has {len(items)} elements, at most {SCRIPTS_MAX} are allowed")
    return items


def ports(fields: Fields, name: str) -> None:
    """The check of a list of TCP ports. Raises ValueError."""
    items = get_list(fields, name)
    if len(items) > PORTS_MAX:
        raise ValueError(f"{name} has {len(items)} elements, at most {PORTS_MAX} are allowed")
    for item in items:
        get_int({name: item}, name, low=1, high=65535)


def tcp_ports(message: Mapping[str, object]) -> list[int]:
    """The list of a `ports` event. Raises BrokenProtocolError."""
    check_message("ports", message)
    return [port for port in get_list(message, "tcp") if isinstance(port, int)]


def nested(checks: Mapping[str, Check]) -> Check:
    """The check of an object with such fields."""
    return lambda fields, name: check_fields(get_object(fields, name), checks)


def list_of(checks: Mapping[str, Check], required: str | None = None) -> Check:
    """The check of an array of objects with such fields."""

    def check(fields: Fields, name: str) -> None:
        for item in bounded_list(fields, name):
            check_fields(get_object({name: item}, name), checks, required)

    return check


word, run_id, name_ = text(WORD), text(RUN_ID), text(NAME)
count = integer(0, COUNT_MAX)

ENDING: dict[str, Check] = {
    "exit_code": nullable(integer(0, 255)),
    "signal": nullable(integer(1, SIGNAL_MAX)),
    "timed_out": boolean,
}

RUN_EVENTS: dict[str, dict[str, Check]] = {
    "run_started": {
        "run_id": run_id,
        "boot_id": word,
        "first_boot": boolean,
        "trigger": word,
        "scripts": names,
        "skipped": names,
    },
    "script_started": {
        "name": name_,
        "order": count,
        "run_on": word,
        "index": count,
        "total": count,
        "timestamp_us": count,
    },
    "script_exited": {"name": name_, **ENDING, "duration_ms": count},
    "waiting": {"for": word},
    "warning": {"code": word, "message": sentence},
    "truncated": {"name": name_, "bytes": count},
    "result": {
        "success": nullable(boolean),
        "run_id": nullable(run_id),
        "failed_script": nullable(name_),
        **ENDING,
        "cancelled": boolean,
        "interrupted": boolean,
        "first_boot": boolean,
        "ran": names,
        "skipped": names,
        "changed": names,
        "system_provisioned": boolean,
        "running": boolean,
    },
}
"""The events of a run, its result included, and what their fields hold."""

LAST: dict[str, Check] = {"run_id": run_id, "boot_id": word, "sha256": word, **ENDING}
POSITION: dict[str, Check] = {
    "run_id": run_id,
    "trigger": word,
    "script": nullable(name_),
    "index": count,
    "total": count,
}
SCRIPT: dict[str, Check] = {
    "name": name_,
    "order": count,
    "run_on": word,
    "sha256": word,
    "last": nullable(nested(LAST)),
}

SUMMARY: dict[str, Check] = {
    "run_id": run_id,
    "boot_id": nullable(word),
    "trigger": nullable(word),
    "first_boot": boolean,
    "started_us": nullable(count),
    "duration_ms": count,
    "running": boolean,
    "success": nullable(boolean),
    "failed_script": nullable(name_),
    **ENDING,
    "cancelled": boolean,
    "interrupted": boolean,
}

FIELDS: dict[str, dict[str, Check]] = {
    **RUN_EVENTS,
    "welcome": {"agent_version": word, "boot_id": word, "vm_id": word, "build": nullable(word)},
    "error": {"code": word, "message": sentence},
    "status": {
        "agent_version": word,
        "python": word,
        "boot_id": word,
        "vm_id": word,
        "uptime_s": duration,
        "system_provisioned": boolean,
        "run": nullable(nested(POSITION)),
        "scripts": list_of(SCRIPT),
    },
    "exec": ENDING,
    "window": {"bytes": count},
    "forward": {"reset": boolean, "received": count, "sent": count},
    "ports": {"tcp": ports},
    "runs": {"runs": list_of(SUMMARY, "run_id")},
}

REQUIRED = {
    "run_started": "run_id",
    "script_started": "name",
    "result": "success",
    "ports": "tcp",
    "runs": "runs",
    "window": "bytes",
}
"""Fields without which a message says nothing."""
