"""Typed getters for JSON that came from the other side; each error names the field and what was expected.

All of them raise ValueError; the caller knows whether that is a bad request or a broken peer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Callable

from rum.protocol.limits import TIMEOUT_MAX_S

Fields = Mapping[str, object]


def get_str(fields: Fields, name: str, *, pattern: re.Pattern[str] | None = None) -> str:
    """A string that encodes as UTF-8 and, where given, matches `pattern` as a whole."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {describe(value)}")
    if pattern is not None and not pattern.fullmatch(value):
        raise ValueError(f"{name} is {value[:80]!r}, which does not match {pattern.pattern}")
    return require_utf8(name, value)


def get_optional_str(fields: Fields, name: str) -> str | None:
    """The string, or None where the field is absent or null."""
    return None if fields.get(name) is None else get_str(fields, name)


def get_int(fields: Fields, name: str, *, low: int, high: int) -> int:
    """An integer within the bounds, both included; true and 1.0 are not integers."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, not {describe(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, which is not between {low} and {high}")
    return value


def get_optional_int(fields: Fields, name: str, *, low: int, high: int) -> int | None:
    """The integer, or None where the field is absent or null."""
    return None if fields.get(name) is None else get_int(fields, name, low=low, high=high)


def get_seconds(fields: Fields, name: str) -> float | None:
    """A positive number of seconds, at most TIMEOUT_MAX_S; None where the field is absent or null."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number of seconds, not {describe(value)}")
    if not 0 < value <= TIMEOUT_MAX_S:
        raise ValueError(f"{name} is {value}, which is not a positive number of seconds")
    return value


def get_bool(fields: Fields, name: str, *, default: bool) -> bool:
    """A boolean; absent or null is the default."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {describe(value)}")
    return value


def get_object(fields: Fields, name: str) -> dict[str, object]:
    """A JSON object; absent or null is an empty one."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, not {describe(value)}")
    return value


def get_list(fields: Fields, name: str) -> list[object]:
    """A JSON array."""
    value = fields.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name} must be an array, not {describe(value)}")
    return value


def get_str_list(fields: Fields, name: str) -> list[str]:
    """A JSON array of strings."""
    return [get_str({name: item}, name) for item in get_list(fields, name)]


def get_bytes(fields: Fields, name: str) -> str:
    """A string for os.fsencode: bytes in UTF-8, and those that are none as U+DC80 to U+DCFF (PEP 383)."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {describe(value)}")
    require_utf8(name, ESCAPED_BYTE.sub("", value))
    return value


def get_bytes_list(fields: Fields, name: str) -> list[str]:
    """A JSON array of strings for os.fsencode."""
    return [get_bytes({name: item}, name) for item in get_list(fields, name)]


ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def get_env(fields: Fields, name: str, get: Callable[[Fields, str], str] = get_str) -> dict[str, str]:
    """Environment variables: names that a shell can refer to, values without NUL (environ(7))."""
    env = get_object(fields, name)
    for key in env:
        if not ENV_NAME.fullmatch(key):
            raise ValueError(f"{name} has a variable {key[:80]!r}, which is not a shell variable's name")
    return {key: no_nul(f"{name}.{key}", get(env, key)) for key in env}


def no_nul(name: str, value: str) -> str:
    """The value itself, which execve(2) can pass on."""
    if "\0" in value:
        raise ValueError(f"{name} must not contain a NUL character")
    return value


def require_utf8(name: str, value: str) -> str:
    """The value itself; JSON can spell lone surrogates, which no file can hold."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{name} contains a lone surrogate, which is not Unicode text") from None
    return value


def describe(value: object) -> str:
    """What a JSON value is, in JSON's words."""
    names: dict[type, str] = {
        type(None): "null or absent",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "an array",
    }
    return names.get(type(value), "an object")
