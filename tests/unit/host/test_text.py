"""Bytes from a guest become lines that cannot harm a terminal."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.host.text import LINE_MAX, LineAssembler, clean, last_state


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttab", "plain\ttab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq...\x1b\\after", "after"),
        ("a\x08b\x07\x9b31m", "ab31m"),
        ("\x1b(Bx\x1b7", "x"),
        ("ends in \x1b", "ends in "),
    ],
)
def test_escapes_and_controls_go_and_text_stays(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_a_line_that_was_rewritten_shows_its_last_state() -> None:
    assert last_state("10 %\r50 %\r100 %") == "100 %"
    assert last_state("text\r") == "text"
    assert last_state("\r\r") == ""


def test_the_end_of_a_line_without_an_end_comes_at_the_end() -> None:
    lines = LineAssembler()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\nthree") == ["two"]
    assert lines.feed(b"", final=True) == ["three"]
    assert lines.feed(b"", final=True) == []


def test_a_progress_bar_of_any_length_is_one_line() -> None:
    lines = LineAssembler()
    for percent in range(101):
        assert lines.feed(f"\r{percent:3} % {'#' * 1000}".encode()) == []
        assert lines.unfinished == f"{percent:3} % {'#' * 1000}"
    assert lines.feed(b"\r") == []
    assert lines.feed(b"\n") == [f"100 % {'#' * 1000}"]
    assert lines.unfinished == ""


@given(st.lists(st.text(alphabet="ab\r\n", max_size=8), max_size=20))
def test_rewritten_lines_are_the_same_however_they_are_cut(pieces: list[str]) -> None:
    cut, whole = LineAssembler(), LineAssembler()
    shown = [line for piece in pieces for line in cut.feed(piece.encode())]
    assert shown + cut.feed(b"", final=True) == whole.feed("".join(pieces).encode(), final=True)


def test_what_is_no_utf8_is_replaced_also_when_it_is_cut_off() -> None:
    lines = LineAssembler()
    assert lines.feed(b"a\xffb\nz\xc3") == ["a\ufffdb"]
    assert lines.feed(b"", final=True) == ["z\ufffd"]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    lines = LineAssembler()
    shown = [line for _ in range(100) for line in lines.feed(b"x" * 1000)]
    assert "".join(shown).count("x") >= 100_000 - LINE_MAX
    assert max(map(len, shown)) <= LINE_MAX + 1000


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs"))), st.lists(st.integers(0, 200)))
def test_any_cut_gives_the_same_lines(text: str, cuts: list[int]) -> None:
    data = text.replace("|", "\n").encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    lines = LineAssembler()
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    found = [line for piece in pieces for line in lines.feed(piece)] + lines.feed(b"", final=True)
    expected = data.decode().split("\n")
    assert found == (expected if expected[-1] else expected[:-1])
