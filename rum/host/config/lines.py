"""On which line of a TOML file each key stands; tomllib does not say.

For a text that tomllib has parsed: what is malformed is not looked for here.
"""

from __future__ import annotations

import re
import tomllib

from rum.host.config.place import Place

TOKEN = re.compile(
    r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']++|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[ \t\r]+"
    r"|\n"
    r"|[][{}=,.]"
    r"|[^][{}=,.\"'#\s]+",
    re.DOTALL,
)


def lines_of(text: str) -> dict[Place, int]:
    """The line, from 1, of every table, key and element; of a table that is only implied, its first mention's."""
    scanner = Scanner(text)
    scanner.document()
    return scanner.lines


class Scanner:
    """Walks over the tokens of a document and notes where each place begins."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._last_of: dict[Place, int] = {}
        self._tokens: list[tuple[str, int]] = []
        self._at = 0
        line = 1
        for token in TOKEN.findall(text):
            if token.strip(" \t\r") and not token.startswith("#"):
                self._tokens.append((token, line))
            line += token.count("\n")

    def document(self) -> None:
        """Walk over all of it."""
        table: Place = ()
        while self._at < len(self._tokens):
            if not self._skip("\n"):
                table = self._header() if self._next() == "[" else self._pair(table)

    def _next(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else "\n"

    def _line(self) -> int:
        return self._tokens[self._at][1]

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1][0]

    def _skip(self, *tokens: str) -> bool:
        """Whether there were any of these."""
        start = self._at
        while self._at < len(self._tokens) and self._next() in tokens:
            self._at += 1
        return self._at > start

    def _header(self) -> Place:
        """`[a.b]` or `[[a.b]]`; the table that follows."""
        line = self._line()
        self._take()
        is_list = self._skip("[")
        *parents, name = self._keys()
        self._skip("]")
        place: Place = ()
        for key in parents:
            place = self._into((*place, key), line)
        place = (*place, name)
        if is_list:
            self.lines.setdefault(place, line)
            self._last_of[place] = self._last_of.get(place, -1) + 1
            place = (*place, self._last_of[place])
        self.lines[place] = line
        return place

    def _into(self, place: Place, line: int) -> Place:
        """A table that a header goes through: of a list of tables, the last one."""
        self.lines.setdefault(place, line)
        return (*place, self._last_of[place]) if place in self._last_of else place

    def _keys(self) -> list[str]:
        """A dotted key."""
        keys = [unquoted(self._take())]
        while self._skip("."):
            keys.append(unquoted(self._take()))
        return keys

    def _pair(self, table: Place) -> Place:
        """`a.b = value`; the table that it is in."""
        line = self._line()
        place = table
        for key in self._keys():
            place = (*place, key)
            self.lines.setdefault(place, line)
        self._skip("=")
        self._value(place)
        return table

    def _value(self, place: Place) -> None:
        if self._next() == "[":
            self._array(place)
        elif self._next() == "{":
            self._take()
            while not self._ends("}"):
                self._pair(place)
        else:
            while self._next() not in ("\n", ",", "]", "}"):
                self._take()

    def _array(self, place: Place) -> None:
        self._take()
        index = 0
        while not self._ends("]"):
            self.lines[(*place, index)] = self._line()
            self._value((*place, index))
            index += 1

    def _ends(self, bracket: str) -> bool:
        """Whether nothing more is in these brackets."""
        self._skip(",", "\n")
        if self._next() != bracket:
            return False
        self._take()
        return True


def unquoted(key: str) -> str:
    """A key as a string."""
    if key[0] not in "\"'":
        return key
    return str(tomllib.loads(f"key = {key}")["key"])
