"""Where each key of a TOML file stands: tomllib says which keys there are, so both must agree."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from hypothesis import given, settings

from rum.host.config.lines import lines_of
from rum.host.config.place import Place
from tests.unit.host.config.toml_text import documents


def places_of(value: object, place: Place = ()) -> Iterator[tuple[Place, object]]:
    """Every place below a value."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield (*place, key), inner
        yield from places_of(inner, (*place, key))


@settings(max_examples=200)
@given(documents)
def test_every_place_has_the_line_that_it_is_written_on(text: str) -> None:
    lines = lines_of(text)
    places = dict(places_of(tomllib.loads(text)))
    assert set(lines) == set(places)
    for place, value in places.items():
        if isinstance(value, int) and not isinstance(value, bool):
            assert str(value) in text.split("\n")[lines[place] - 1]


def test_the_line_of_a_table_is_its_headers_wherever_it_was_implied() -> None:
    text = "[a.b]\n\n[a]\nx = 1\n[[c]]\n[c.d]\n[[c]]\ny.z = '''\n\n'''\nu = [\n  1,\n  {v = 2}]\n"
    assert lines_of(text) == {
        ("a",): 3,
        ("a", "b"): 1,
        ("a", "x"): 4,
        ("c",): 5,
        ("c", 0): 5,
        ("c", 0, "d"): 6,
        ("c", 1): 7,
        ("c", 1, "y"): 8,
        ("c", 1, "y", "z"): 8,
        ("c", 1, "u"): 11,
        ("c", 1, "u", 0): 12,
        ("c", 1, "u", 1): 13,
        ("c", 1, "u", 1, "v"): 13,
    }


def test_line_breaks_of_windows() -> None:
    assert lines_of('[a]\r\nb = """\r\n"""\r\nc = 1\r\n')["a", "c"] == 4
