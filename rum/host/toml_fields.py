"""Typed getters for a parsed TOML table that collect every problem instead of stopping at the first.

A getter that finds a problem notes it and returns the default: the caller builds on, and throws the result away if
any problem was noted.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

_T = TypeVar("_T")

NOT_YET = "not supported by this version of rum"


class Problems:
    """What is wrong with one file, in the order it was found."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.found: list[str] = []

    def note(self, key_path: str, text: str) -> None:
        """Note a problem of a key as a whole."""
        self.found.append(f"{self._file}: {key_path}: {text}")

    def note_value(self, key_path: str, value: object, allowed: str) -> None:
        """Note a value that is not allowed."""
        self.found.append(f"{self._file}: {key_path} = {show(value)}: {allowed}")


class Table:
    """One table of the file. `close` notes the keys that no getter asked for."""

    def __init__(self, problems: Problems, path: str, values: Mapping[str, object]) -> None:
        self.problems = problems
        self.path = path
        self._values = values
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def path_of(self, key: str) -> str:
        """The key's path from the file's root, as TOML writes it."""
        bare = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
        return f"{self.path}.{bare}" if self.path else bare

    def get(self, key: str, wanted: type[_T], default: _T, allowed: str) -> _T:
        """The value, strictly of the wanted type: true is no integer, and 1 is no string."""
        self._known.add(key)
        value = self._values.get(key, default)
        if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
            return value
        self.problems.note_value(self.path_of(key), value, f"must be {allowed}")
        return default

    def boolean(self, key: str, *, default: bool) -> bool:
        """A boolean."""
        return self.get(key, bool, default, "true or false")

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """An integer within the bounds, both included."""
        allowed = f"an integer from {low} to {high}"
        value = self.get(key, int, default, allowed)
        if low <= value <= high:
            return value
        self.problems.note_value(self.path_of(key), value, f"must be {allowed}")
        return default

    def text(self, key: str, default: str, allowed: str, accept: Callable[[str], object] | None = None) -> str:
        """A string that `accept` returns something true for. `allowed` completes the sentence "must be ..."."""
        value = self.get(key, str, default, allowed)
        if key not in self._values or accept is None or accept(value):
            return value
        self.problems.note_value(self.path_of(key), value, f"must be {allowed}")
        return default

    def optional_text(self, key: str, allowed: str, accept: Callable[[str], object] | None = None) -> str | None:
        """The string, None where the key is absent."""
        value = self.text(key, "", allowed, accept)
        return value if key in self._values else None

    def choice(self, key: str, default: str, choices: Collection[str]) -> str:
        """One of a few strings."""
        allowed = "one of " + ", ".join(json.dumps(choice) for choice in choices)
        return self.text(key, default, allowed, lambda value: value in choices)

    def seconds(self, key: str) -> float | None:
        """A positive number of seconds, None where the key is absent."""
        self._known.add(key)
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 315_360_000:
            return value
        self.problems.note_value(self.path_of(key), value, "must be a positive number of seconds")
        return None

    def texts(self, key: str, allowed: str, accept: Callable[[str], object]) -> tuple[str, ...]:
        """A list of strings; `allowed` says what each must be."""
        items: Sequence[object] = self.get(key, list, [], f"a list, each element {allowed}")
        for index, item in enumerate(items):
            if not isinstance(item, str) or not accept(item):
                self.problems.note_value(f"{self.path_of(key)}[{index}]", item, f"must be {allowed}")
        return tuple(item for item in items if isinstance(item, str))

    def table(self, key: str) -> Table:
        """A table; absent is an empty one."""
        return Table(self.problems, self.path_of(key), self.get(key, dict, {}, "a table"))

    def tables(self, key: str) -> list[Table]:
        """A list of tables, written as [[...]]."""
        path = self.path_of(key)
        items: Sequence[object] = self.get(key, list, [], f"a list of tables, written as [[{path}]]")
        found = []
        for index, item in enumerate(items):
            if isinstance(item, dict):
                found.append(Table(self.problems, f"{path}[{index}]", item))
            else:
                self.problems.note_value(f"{path}[{index}]", item, "must be a table")
        return found

    def named_tables(self) -> dict[str, Table]:
        """Every key of this table, each a table itself."""
        return {key: self.table(key) for key in self._values}

    def require(self, *keys: str) -> None:
        """Note the keys that are absent."""
        for key in keys:
            if key not in self._values:
                self.problems.note(self.path_of(key), "is required")

    def refuse(self, *keys: str) -> None:
        """Note the keys that a later version of rum will understand."""
        for key in keys:
            self._known.add(key)
            if key in self._values:
                self.problems.note(self.path_of(key), NOT_YET)

    def close(self) -> None:
        """Note every key that nothing asked for, with the nearest one that exists here."""
        for key in self._values:
            if key not in self._known:
                self.problems.note(self.path_of(key), f"there is no such key{suggestion(key, self._known)}")


def suggestion(word: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown word: what was meant, or what there is."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; allowed are {', '.join(sorted(known))}" if known else ""


def show(value: object) -> str:
    """A value as TOML writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
