"""Where in rum.toml something is, as people write it, and what it holds, as TOML writes it."""

from __future__ import annotations

import datetime
import difflib
import json
import math
import re
from collections.abc import Collection

Place = tuple[str | int, ...]
"""Keys and, in lists, indices, from the root of the file."""

SHOWN = 80


def path_of(place: Place) -> str:
    """The key's path.

    >>> path_of(("fs", "ext4", 0, "drive")), path_of(("drives", "a b"))
    ('fs.ext4[0].drive', 'drives."a b"')
    """
    text = ""
    for key in place:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            bare = key if re.fullmatch(rf"[A-Za-z0-9_-]{{1,{SHOWN}}}", key) else show(key)
            text += f".{bare}" if text else bare
    return text


def show(value: object) -> str:
    """A value as TOML writes it, cut where it is long."""
    text = written(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def written(value: object) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, list):
        return f"[{', '.join(show(item) for item in value[:SHOWN])}]"
    if isinstance(value, dict):
        pairs = [f"{path_of((key,))} = {show(value[key])}" for key in list(value)[:SHOWN]]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > 8 * SHOWN:
        # Python refuses to spell the longest ones in decimal.
        return hex(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False)


def suggestion(word: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown word: what was meant, or what there is."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; allowed are {', '.join(sorted(known))}" if known else ""
