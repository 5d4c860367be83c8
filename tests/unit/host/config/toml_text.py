"""TOML for tests: any document there could be, and any values as one."""

from __future__ import annotations

import datetime
import itertools
import json
import tomllib

from hypothesis import strategies as st

LEAVES = [
    "@",
    '"@ # ] } = , [x]"',
    "'@ \\'",
    '"""\n@ [[x]]\n\\""" # " ""\n"""',
    "'''@\n''it's''\n'''",
    '"""""a"""""',
    '""',
    "''",
    "[]",
    "{}",
    "1.5e-3",
    "-inf",
    "true",
    "2026-11-26 07:32:00.5Z",
    "07:32:00",
]
"""Values; each @ becomes a number of its own."""

KEYS = ["a", "b", "c-1", '"d"', "'e.f'", '"g]\\" h"', "3", '"\\u00fc"']

keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(lambda names: " . ".join(names))
values = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda items: "[ " + " , # ]\n".join(items) + "\n ]")
        | st.lists(inner, min_size=1, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
        | st.dictionaries(keys, inner, min_size=1, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs.items()) + "}"
        )
    ),
    max_leaves=6,
)
statements = st.one_of(
    keys.map(lambda key: f"[{key}] # ["),
    keys.map(lambda key: f"[[ {key} ]]"),
    st.builds(lambda key, value: f"  {key}={value}", keys, values),
    st.just('# "'),
    st.just(""),
)


def valid_part(lines: list[str]) -> str:
    """Those of the statements that make a valid document together."""
    numbers = itertools.count(100_001)
    text = ""
    for line in lines:
        longer = text + "".join(str(next(numbers)) if char == "@" else char for char in line) + "\n"
        try:
            tomllib.loads(longer)
        except tomllib.TOMLDecodeError:
            continue
        text = longer
    return text


documents = st.lists(statements, max_size=12).map(valid_part)
"""Valid TOML in all its spellings."""


def toml_of(values: dict[str, object]) -> str:
    """A document that holds these values."""
    return "".join(f"{spelled(key)} = {spelled(value)}\n" for key, value in values.items())


def spelled(value: object) -> str:
    """A value as TOML spells it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{spelled(key)} = {spelled(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelled, value)) + "]"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
