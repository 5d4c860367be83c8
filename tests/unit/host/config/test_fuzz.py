"""Whatever stands in rum.toml, it is a configuration or a ConfigError in whole sentences, never anything else."""

from __future__ import annotations

import contextlib
import copy
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rum.host.config.load import load_config
from rum.host.config.model import Config
from rum.host.config.schema import json_schema
from rum.host.errors import ConfigError
from tests.unit.host.config.test_lines import places_of
from tests.unit.host.config.toml_text import documents, toml_of

COMPLETE = Path(__file__).with_name("complete.toml").read_text(encoding="utf-8")
VALUES = tomllib.loads(COMPLETE)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
PLACES = [place for place, _ in places_of(VALUES)]

in_one_directory = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)

scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["", "git", "~", "~x", "/", "/a", "0", "a" * 300, "\0", "[key]", "ü", "\u202e", "1-2", "::1", "%"]),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**500]),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.times(),
    st.datetimes(),
)
names = st.sampled_from(["a", "size", "[key]", "", "a.b", 'q"', "é", "\0", "drive", "mode"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=4
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=5
)


def holds(directory: Path, content: bytes) -> Config | ConfigError:
    """What the file comes to; anything else that is raised is the test's failure."""
    (directory / "boot.sh").touch()
    path = directory / "rum.toml"
    path.write_bytes(content)
    try:
        return load_config(path)
    except ConfigError as exc:
        lines = [str(exc), *exc.problems]
        assert all(line.startswith(str(path)) and "\n" not in line for line in lines)
        assert all(len(line) < 1000 for line in lines)
        return exc


def test_the_complete_file_is_valid(tmp_path: Path) -> None:
    assert isinstance(holds(tmp_path, COMPLETE.encode()), Config)


@in_one_directory
@given(content=st.binary(max_size=200))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    assert isinstance(holds(tmp_path, content), ConfigError)


@in_one_directory
@given(start=st.integers(0, len(COMPLETE)), length=st.integers(0, 40), piece=st.text(max_size=6))
def test_the_complete_file_with_a_piece_replaced(tmp_path: Path, start: int, length: int, piece: str) -> None:
    text = COMPLETE[:start] + piece + COMPLETE[start + length :]
    holds(tmp_path, text.encode("utf-8", "surrogatepass"))


@in_one_directory
@given(text=documents)
def test_any_valid_toml(tmp_path: Path, text: str) -> None:
    assert isinstance(holds(tmp_path, text.encode()), ConfigError)


def changed(changes: list[tuple[tuple[str | int, ...], str, Any]]) -> dict[str, Any]:
    """The complete file with values replaced, removed, and added to; changes may be in what another one removed."""
    values = copy.deepcopy(VALUES)
    for place, name, value in changes:
        holder: Any = values
        with contextlib.suppress(LookupError, TypeError):
            for key in place[:-1]:
                holder = holder[key]
            if name == "remove":
                del holder[place[-1]]
            elif name == "add":
                holder[place[-1]]["extra"] = value
            else:
                holder[place[-1]] = value
    return values


changes = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(["replace", "replace", "remove", "add"]), anything),
    min_size=1,
    max_size=3,
)


@settings(in_one_directory, max_examples=200)
@given(changes=changes)
def test_the_complete_file_with_values_changed(
    tmp_path: Path, changes: list[tuple[tuple[str | int, ...], str, Any]]
) -> None:
    values = changed(changes)
    if isinstance(holds(tmp_path, toml_of(values).encode()), Config):
        VALIDATOR.validate(values)


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ("{a = ", "}"), ("[{a = [", "]}]")], ids=["lists", "tables", "both"]
)
@pytest.mark.parametrize("depth", [20, 200, 100_000])
def test_deep_nesting_is_one_sentence(tmp_path: Path, opening: str, closing: str, depth: int) -> None:
    error = holds(tmp_path, f"x = {opening * depth}1{closing * depth}".encode())
    assert isinstance(error, ConfigError)
    assert ("nested more than 32 deep" in str(error)) == (depth > 20 or len(opening) > 5)


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "1" * 4301, "0x" + "f" * 5000, "1e999999"])
def test_huge_numbers(tmp_path: Path, number: str) -> None:
    error = holds(tmp_path, f'image.base = "debian-12"\nresources.cpus = {number}'.encode())
    assert isinstance(error, ConfigError)
    assert "of over 4300 digits" in str(error) or "must be an integer from 1 to 255" in error.problems[0]


STRINGS = [(place, value) for place, value in places_of(VALUES) if isinstance(value, str)]
NASTY = [
    "",
    " ",
    "\0",
    "\n",
    "\x7f",
    "\u202e",
    "a" * 5000,
    "/" + "a" * 5000,
    "~nobody-has-this-name",
    "/dev/zero",
    "[key]",
]


@pytest.mark.parametrize("nasty", NASTY, ids=lambda text: repr(text[:8]))
def test_all_strings_replaced_by_a_nasty_one(tmp_path: Path, nasty: str) -> None:
    text = toml_of(changed([(place, "replace", nasty) for place, _ in STRINGS]))
    assert isinstance(holds(tmp_path, text.encode()), ConfigError)


@pytest.mark.parametrize("nasty", ["a" * 5000, "/" + "a" * 5000], ids=["name", "path"])
def test_each_string_replaced_by_a_long_one(tmp_path: Path, nasty: str) -> None:
    for place, _ in STRINGS:
        holds(tmp_path, toml_of(changed([(place, "replace", nasty)])).encode())


def test_more_ports_than_there_are_is_said_at_once(tmp_path: Path) -> None:
    error = holds(tmp_path, b'image.base = "debian-12"\n' + b"[[ports]]\nhost = 80\nguest = 80\n" * 10_000)
    assert isinstance(error, ConfigError)
    assert len(error.problems) == 1
    assert error.problems[0].endswith("line 2: ports: has 10000 entries, at most 256 are allowed")
