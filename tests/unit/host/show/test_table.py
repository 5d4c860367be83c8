"""Tables of text."""

from __future__ import annotations

import pytest

from rum.host.show.table import aligned, display_width, folded


def test_columns_line_up_and_lines_end_without_blanks() -> None:
    lines = aligned([("NAME", "STATE", "NOTE"), ("web", "running", ""), ("database", "off", "old")])
    assert lines == ["NAME      STATE    NOTE", "web       running", "database  off      old"]


def test_wide_and_combining_characters_take_the_columns_that_a_terminal_gives_them() -> None:
    lines = aligned([("\u78c1\u76d8", "x"), ("e\u0301e", "x"), ("abcde", "x")])
    assert {display_width(line) for line in lines} == {8}


def test_what_a_guest_put_into_a_cell_is_inert() -> None:
    assert aligned([("\x1b[31mred\x1b[0m\n", "x")]) == ["red  x"]


def test_no_rows_are_no_lines() -> None:
    assert aligned([]) == []


def test_every_row_has_the_same_columns() -> None:
    with pytest.raises(ValueError, match="zip"):
        aligned([("a", "b"), ("c",)])


def test_a_line_that_is_too_wide_goes_on_below_its_last_column() -> None:
    line = "slower    accelerator  tcg: /dev/kvm cannot be opened: Permission denied"
    assert folded(line, 50) == [
        "slower    accelerator  tcg: /dev/kvm cannot be",
        "                       opened: Permission denied",
    ]
    assert folded(line, 72) == [line]


def test_what_has_no_blank_is_not_broken() -> None:
    path = "/a/rather/long/path/that/somebody/may/want/to/copy"
    assert folded(f"disk  free under {path}", 30) == ["disk  free under", f"      {path}"]
    assert folded(path, 10) == [path]
    assert folded("", 1) == [""]
