"""Reads rum.toml as TOML."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

from rum.host.config.identity import unreadable
from rum.host.errors import ConfigError
from rum.protocol.limits import MESSAGE_MAX

FILE_MAX = 2 * MESSAGE_MAX
"""Bytes: all scripts, which go in one message, with room for escapes."""

NESTING_MAX = 32
"""Tables and lists within each other: no rum.toml needs ten, and what walks one must not run out of stack."""


def read_text(path: Path) -> str:
    """The file. Raises ConfigError."""
    try:
        # Editors of Windows begin a file with a byte order mark.
        return read_regular(path, FILE_MAX).decode("utf-8-sig")
    except OSError as exc:
        raise unreadable(path, exc) from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text, so not TOML") from exc
    except ValueError as exc:
        raise ConfigError(f"{path} {exc}") from exc


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a file, at most so many. Raises OSError; ValueError with the end of a sentence where that is not it.

    A pipe would be waited for, a device may have no end.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError("is not a regular file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"is over {most >> 20} MiB, the most that is read")
    return content


def parse_toml(path: Path, text: str) -> dict[str, object]:
    """The text as TOML. Raises ConfigError."""
    try:
        values = tomllib.loads(text)
        if depth_of(values) <= NESTING_MAX:
            return values
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}, {describe_syntax_error(exc, text)}") from exc
    except ValueError as exc:
        # Python does not read decimal numbers of over 4300 digits.
        found = re.search(r"[0-9_]{4300,}", text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        raise ConfigError(f"{path}, line {line}: a number of over 4300 digits, which nothing in it can need") from exc
    except RecursionError:
        pass
    raise ConfigError(f"{path}: tables and lists are nested more than {NESTING_MAX} deep in it")


def depth_of(value: object) -> int:
    """How many tables and lists are within each other."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def describe_syntax_error(exc: tomllib.TOMLDecodeError, text: str) -> str:
    """The parser's sentence with the place in front, and tables as TOML writes them."""
    found = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", str(exc), re.DOTALL)
    sentence, place = (found[1], found[2]) if found else (str(exc), "")
    if not place.startswith("line"):
        lines = text.rstrip().split("\n")
        place = f"line {len(lines)}, column {len(lines[-1]) + 1}"
    sentence = re.sub(r"\(('.*'),?\)", as_header, sentence)
    return f"{place}: not valid TOML: {sentence}"


def as_header(names: re.Match[str]) -> str:
    """A table's name, which the parser shows as a tuple."""
    return "[" + ".".join(re.findall(r"'(.*?)'", names[1])) + "]"
