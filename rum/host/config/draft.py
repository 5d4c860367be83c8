"""rum.toml before it is known to be right: what it says, and everything that is wrong with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rum.host.config.document import File
from rum.host.config.lines import lines_of
from rum.host.config.place import Place, path_of, show, suggestion
from rum.host.config.schema import Schema, json_schema, resolved, schema_at
from rum.host.config.types import ALLOWED

_T = TypeVar("_T")

KEY = "[key]"
"""How pydantic marks that a table's key is wrong, not what it holds."""


class Draft:
    """The values of a file and the problems found in them.

    `document` is the whole file if every value by itself is what it may be. Rules about several values look at those
    that are well-formed, the places of the others are in `malformed`: all problems are to be told at once.
    """

    def __init__(self, text: str, values: Mapping[str, object]) -> None:
        self.document: File | None = None
        self._text = text
        self._values = values
        self._problems: list[tuple[Place, str]] = []
        self.malformed: set[Place] = set()
        try:
            self.document = File.model_validate(values)
        except ValidationError as exc:
            for error in exc.errors(include_url=False, include_context=False):
                self._note_malformed(error)

    def find(self, pattern: str, wanted: type[_T]) -> Iterator[tuple[Place, _T]]:
        """Every value at a path in which `*` is any key or index, unless it or what it is in is malformed."""
        for place, value in self._matching((), self._values, pattern.split(".")):
            if isinstance(value, wanted):
                yield place, value

    def _matching(self, place: Place, value: object, pattern: list[str]) -> Iterator[tuple[Place, object]]:
        if place in self.malformed:
            return
        if not pattern:
            yield place, value
            return
        key, *rest = pattern
        members: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, member in members:
            if key in ("*", name):
                yield from self._matching((*place, name), member, rest)

    def get(self, table: Place, key: str | int, wanted: type[_T]) -> _T | None:
        """The well-formed value of a key, None where there is none."""
        value: object = self._values
        for step in (*table, key):
            value = member_of(value, step)
        return value if isinstance(value, wanted) and (*table, key) not in self.malformed else None

    def has(self, table: Place, *keys: str) -> list[str]:
        """Which of the keys a table has, well-formed or not."""
        return [key for key in keys if self.get(table, key, object) is not None or (*table, key) in self.malformed]

    def note(self, place: Place, text: str) -> None:
        """Note a problem of a key as a whole."""
        self._problems.append((place, f"{path_of(place)}: {text}"))

    def note_value(self, place: Place, value: object, text: str) -> None:
        """Note a value that is not allowed."""
        self._problems.append((place, f"{path_of(place)} = {show(value)}: {text}"))

    def refuse_repeated(self, values: Iterable[tuple[Place, Hashable]], owner: str, what: str) -> None:
        """Note every place with a value that an earlier line has; a place may be a table whose value is derived."""
        places: dict[Hashable, list[Place]] = defaultdict(list)
        for place, value in values:
            places[value].append(place)
        for value, repeated in places.items():
            # Lines are looked for only where something is wrong.
            first, *others = sorted(repeated, key=self.line) if len(repeated) > 1 else repeated
            for place in others:
                written = self.get(place[:-1], place[-1], object)
                line = self.line(first)
                if isinstance(written, dict):
                    self.note(place, f"another {owner} has the {what} {value} (line {line})")
                else:
                    self.note_value(place, written, f"another {owner} has this {what} (line {line})")

    def line(self, place: Place) -> int:
        """The line of a key, of the table that lacks it, or 0 if the file has neither."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 0)

    @cached_property
    def _lines(self) -> dict[Place, int]:
        return lines_of(self._text)

    def problems(self, file: str) -> list[str]:
        """Every problem as a sentence with its place, in the order of the file."""
        located = sorted(((self.line(place), text) for place, text in self._problems), key=lambda found: found[0])
        return [f"{file}, line {line}: {text}" if line else f"{file}: {text}" for line, text in located]

    def _note_malformed(self, error: ErrorDetails) -> None:
        place = error["loc"]
        if is_about_a_key(place):
            place = place[:-1]
            self.note(place, f"the name must be {schema_at(place[:-1])['propertyNames'][ALLOWED]}")
        elif error["type"] == "missing":
            # Of a table, what it has to hold.
            for missing in [(*place, key) for key in schema_at(place).get("required", [])] or [place]:
                self.note(missing, f"is required; it must be {allowed(schema_at(missing), missing)}")
        elif error["type"] == "extra_forbidden":
            self.note(place, f"there is no such key{where_else(place)}")
        elif error["type"] == "too_short" and isinstance(error["input"], list):
            self.note_value(place, error["input"], "must not be empty")
        elif error["type"] == "too_long" and isinstance(error["input"], list | dict):
            limit = schema_at(place)
            most = limit.get("maxItems") or limit.get("maxProperties")
            self.note(place, f"has {len(error['input'])} entries, at most {most} are allowed")
        else:
            self.note_value(place, error["input"], f"must be {allowed(schema_at(place), place)}")
        self.malformed.add(place)


def member_of(value: object, key: str | int) -> object:
    """What a table or a list has there; None, which TOML has not, where that is nothing."""
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def allowed(schema: Schema, place: Place) -> str:
    """What a value may be, as the end of the sentence "must be ..."."""
    if ALLOWED in schema:
        return str(schema[ALLOWED])
    if "enum" in schema:
        return "one of " + ", ".join(show(choice) for choice in schema["enum"])
    if schema["type"] == "integer":
        return f"an integer from {schema['minimum']} to {schema['maximum']}"
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "object":
        return "a table"
    items = resolved(schema["items"])
    if items["type"] == "object":
        return f"a list of tables, written as [[{path_of(place)}]]"
    return f"a list, each element {allowed(items, place)}"


def where_else(place: Place) -> str:
    """The end of a sentence about a key that there is not: the nearest one here, or one of this name elsewhere."""
    *table, key = place
    elsewhere = [path for path in paths_of(json_schema()) if path[-1] == key]
    near = suggestion(str(key), schema_at(tuple(table))["properties"])
    if elsewhere and "did you mean" not in near:
        return f"; did you mean {path_of(elsewhere[0])}?"
    return near


def paths_of(schema: Schema, above: Place = ()) -> Iterator[Place]:
    """Every key that is in a table which there is once."""
    for key, inner in schema.get("properties", {}).items():
        yield (*above, key)
        yield from paths_of(resolved(inner), (*above, key))


def is_about_a_key(place: Place) -> bool:
    """Whether pydantic's location is that of a name which the user has chosen; a key could be spelled like the mark."""
    return place[-1] == KEY and "propertyNames" in schema_at(place[:-2])
