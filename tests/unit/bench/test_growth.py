"""Curves: the verdict on them, the file that keeps them, and the page that is made of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.bench.growth import page
from e2e.bench.growth.curve import Curve, Point, Subject, keep, read, table

SIZES = (1, 10, 100, 1000)


def curve(label: str, *seconds: float) -> Curve:
    return Curve(label, tuple(map(Point, SIZES, seconds)))


LINEAR = curve("linear", 1, 10, 100, 1000)
LEVEL = curve("level", 1, 1, 1, 1)
SQUARE = curve("square", 1, 1.1, 10, 1000)
SUBJECT = Subject("scripts", "So many scripts", "scripts", (LINEAR, LEVEL), "accelerator tcg")


def test_what_grows_as_its_size_does_is_linear() -> None:
    assert LINEAR.steepest() == 1
    assert LINEAR.is_linear


def test_what_does_not_grow_is_better() -> None:
    assert LEVEL.steepest() == 0.1
    assert LEVEL.is_linear


def test_one_step_that_is_too_steep_is_not_hidden_by_the_others() -> None:
    assert SQUARE.steepest() == 10
    assert not SQUARE.is_linear


@given(st.floats(0, 100), st.floats(0.001, 100))
def test_a_start_that_costs_something_does_not_make_it_steeper(start: float, each: float) -> None:
    assert curve("affine", *(start + each * size for size in SIZES)).steepest() <= 1 + 1e-9


def test_a_file_keeps_what_it_is_given_and_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "curves.json"
    other = dataclasses.replace(SUBJECT, name="vms", unit="VMs")
    keep(path, SUBJECT)
    keep(path, other)
    assert read(path) == {"scripts": SUBJECT, "vms": other}
    newer = dataclasses.replace(SUBJECT, curves=(LEVEL,))
    keep(path, newer)
    assert read(path) == {"scripts": newer, "vms": other}
    assert [found.name for found in tmp_path.iterdir()] == ["curves.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"vms": 3}', '{"vms": {"title": "x"}}', '{"vms": {"seconds": {"a": [[1]]}}}']
)
def test_a_file_of_something_else_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "curves.json"
    path.write_text(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - json's own says where in the file
        read(path)
    assert str(caught.value)


def test_the_table_has_a_line_for_every_size_and_the_verdict() -> None:
    shorter = Curve("shorter", LEVEL.points[:2])
    lines = table(dataclasses.replace(SUBJECT, curves=(LINEAR, shorter))).splitlines()
    assert lines == [
        "| scripts | linear | shorter |",
        "|---|---|---|",
        "| 1 | 1 s | 1 s |",
        "| 10 | 10 s | 1 s |",
        "| 100 | 100 s |  |",
        "| 1000 | 1000 s |  |",
        "| steepest step, linear is 1 | 1.00 | 0.10 |",
    ]


def test_pictures_have_words() -> None:
    assert page.described(SUBJECT) == (
        "So many scripts: linear takes 1 s for 1 and 1000 s for 1000 scripts;"
        " level takes 1 s for 1 and 1 s for 1000 scripts"
    )


def test_the_page_is_made_of_what_is_kept() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(read(page.CURVES)), "`nox -s growth -- --draw`"


def test_every_subject_is_linear_described_and_drawn() -> None:
    subjects = read(page.CURVES)
    assert subjects.keys() == page.REMARKS.keys()
    for subject in subjects.values():
        assert [found.label for found in subject.curves if not found.is_linear] == []
        picture = (page.DOCS / page.picture(subject)).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 60_000


def test_what_is_kept_can_be_read_by_others() -> None:
    for kept in json.loads(page.CURVES.read_text(encoding="utf-8")).values():
        assert set(kept) == {"title", "unit", "environment", "seconds"}
