"""What is drawn of the events of a command, without a terminal."""

from __future__ import annotations

import io
import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from rum.host.events import ConsoleLine, Event, Notice, Phase, Progress, RunEvent
from rum.host.show import live_region
from rum.host.show.glyphs import ASCII, UNICODE, Glyphs, glyphs_for
from rum.host.show.ink import Ink, inert
from rum.host.show.live_region import LiveRegion
from rum.host.show.live_view import LiveView
from rum.protocol import LogEvent

MIB = 1 << 20
STARTED = {"type": "script_started", "name": "one", "order": 100, "run_on": "system", "index": 2, "total": 3}
EXITED = {"type": "script_exited", "name": "one", "exit_code": 0, "signal": None, "timed_out": False}
SIZE = os.terminal_size((80, 24))
SGR = re.compile(r"\x1b\[[0-9;]*m")


class Shown:
    """A view, and the text of its lines."""

    def __init__(self, *events: Event, all_output: bool = False, glyphs: Glyphs = UNICODE) -> None:
        self.view = LiveView(Ink(io.StringIO(), glyphs.more), glyphs, all_output=all_output)
        for event in events:
            self.view.take(event)

    def above(self) -> list[str]:
        return [SGR.sub("", line) for line in self.view.take_above(SIZE)]

    def live(self, size: os.terminal_size = SIZE) -> list[str]:
        return [SGR.sub("", line.text) for line in self.view.lines(size)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the display goes by, for the test to set."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_boot_shows_the_console_and_its_time(clock: list[float]) -> None:
    shown = Shown(Phase("boot", "started"), *[ConsoleLine(f"[  OK  ] line {number}") for number in range(20)])
    clock[0] += 23.5
    head, *console = shown.live()
    assert head == "⠴ boot" + " " * 68 + "23.5 s"
    assert console == [f"  │ [  OK  ] line {number}" for number in range(12, 20)]
    assert shown.above() == []
    shown.view.take(Phase("boot", "done", 23500))
    assert (shown.live(), shown.above()) == ([], ["✓ boot" + " " * 68 + "23.5 s"])


def test_a_sign_of_life_is_shown_for_as_long_as_nothing_else_is(clock: list[float]) -> None:
    shown = Shown(Phase("boot", "started"), Notice("still booting, 15 s", passing=True))
    assert shown.live()[0].startswith("⠋ boot     still booting, 15 s  ")
    shown.view.take(ConsoleLine("Linux version"))
    assert shown.live()[0].split() == ["⠋", "boot", "0.0", "s"]
    assert shown.above() == []


def test_a_sign_of_life_outside_of_everything_is_a_line() -> None:
    assert Shown(Notice("still waiting", passing=True)).above() == ["• still waiting"]


def test_a_sentence_is_broken_between_words() -> None:
    text = "accelerator tcg (the CPU has no vmx or svm): everything in the guest takes about five times as long"
    [shown] = Shown(Notice(text)).above()
    assert shown.splitlines() == [
        "• accelerator tcg (the CPU has no vmx or svm): everything in the guest takes",
        "  about five times as long",
    ]


def test_a_wait_of_a_run_is_the_line_at_work_and_stays_if_it_was_long(clock: list[float]) -> None:
    shown = Shown(RunEvent({"type": "run_started", "skipped": []}), RunEvent({"type": "waiting", "for": "cloud-init"}))
    assert shown.live()[0].startswith("⠋ wait     for cloud-init to finish")
    clock[0] += 12
    shown.view.take(RunEvent({"type": "waiting", "for": "network-online"}))
    clock[0] += 0.5
    shown.view.take(RunEvent(STARTED))
    assert [line.split("  ")[0] for line in shown.above()] == ["✓ wait"]
    assert shown.live()[0].startswith("⠋ [2/3] one  system script  ")


def test_what_needed_no_run_and_what_was_left_out_is_told() -> None:
    shown = Shown(
        RunEvent({"type": "run_started", "skipped": ["zero", "boot"]}),
        RunEvent(STARTED),
        RunEvent({"type": "truncated", "name": "one", "bytes": 5}),
        RunEvent({"type": "warning", "code": "x", "message": "the network is late"}),
    )
    assert shown.above() == [
        "- not needed: zero, boot",
        "• one: 5 bytes of output were left out here, the log is full",
        "warning: the network is late",
    ]


def test_a_download_has_a_bar_a_rate_and_an_end(clock: list[float]) -> None:
    shown = Shown(Phase("image", "started"), Progress("debian.qcow2", 0, 400 * MIB))
    clock[0] += 10
    shown.view.take(Progress("debian.qcow2", 100 * MIB, 400 * MIB))
    assert [line.rstrip() for line in shown.live()] == [
        "⠋ image    debian.qcow2" + " " * 51 + "10.0 s",
        "  " + "━" * 6 + "─" * 18 + " 100 MiB of 400 MiB (25 %), 10 MiB/s, 30 s left",
    ]
    shown.view.take(Progress("debian.qcow2", 400 * MIB, 400 * MIB))
    assert len(shown.live()) == 1


def test_a_transfer_in_no_phase_shows_itself_until_it_ends() -> None:
    shown = Shown(Progress("copy", 1, 4))
    assert shown.live()[0].startswith("⠋ copy  ")
    assert "1 byte of 4 bytes (25 %)" in shown.live()[1]
    shown.view.take(Progress("copy", 4, 4))
    assert (shown.live(), shown.above()) == ([], [])


def test_the_time_of_a_replayed_script_is_the_guests(clock: list[float]) -> None:
    shown = Shown(
        RunEvent({**STARTED, "timestamp_us": 5_000_000}, replayed=True),
        LogEvent("one", "stdout", 65_000_000, b"late\n"),
    )
    assert shown.live()[0].endswith("60.0 s")


def test_nor_does_a_guest_whose_clock_jumps_change_the_time_of_what_is_live(clock: list[float]) -> None:
    shown = Shown(
        RunEvent({**STARTED, "timestamp_us": 5_000_000}),
        LogEvent("one", "stdout", 99_999_000_000, b"late\n"),
    )
    assert shown.live()[0].endswith(" 0.0 s")


def test_a_guest_whose_scripts_have_no_end_does_not_fill_the_memory() -> None:
    shown = Shown(*[RunEvent({**STARTED, "name": f"script-{number}"}) for number in range(1000)])
    assert len(shown.view._open) == 1
    assert "script-999" in shown.live()[0]


def test_what_the_command_leaves_behind_has_no_time() -> None:
    shown = Shown(Phase("boot", "started"), RunEvent(STARTED))
    shown.view.leave_open()
    assert shown.above() == ["- boot", "- [2/3] one  system script"]


def test_all_output_stays_with_the_name_of_what_printed_it() -> None:
    shown = Shown(
        RunEvent(STARTED),
        ConsoleLine("boots"),
        LogEvent("one", "stdout", 1, b"out\npart"),
        LogEvent("one", "stderr", 2, b"err\n"),
        RunEvent({**EXITED, "duration_ms": 1500}),
        all_output=True,
    )
    lines = shown.above()
    assert lines[:4] == ["console │ boots", "one │ out", "one ┃ err", "one │ part"]
    assert lines[4].split() == ["✓", "[2/3]", "one", "1.5", "s"]


@pytest.mark.parametrize(("columns", "rows"), [(20, 5), (8, 2), (1, 1), (200, 60)])
def test_it_fits_every_terminal(columns: int, rows: int) -> None:
    shown = Shown(Phase("image", "started"), Progress("x" * 300, 1, 2), *[ConsoleLine("y" * 300)] * 20)
    lines = shown.view.lines(os.terminal_size((columns, rows)))
    assert 1 <= len(lines) <= max(1, rows - 2)
    assert max(line.width for line in lines) <= columns


class Encoded(io.StringIO):
    """A stream of an encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def test_marks_that_the_terminal_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert glyphs_for(Encoded("utf-8")) is UNICODE
    assert glyphs_for(Encoded("ascii")) is glyphs_for(Encoded("latin-1")) is glyphs_for(Encoded("none")) is ASCII
    monkeypatch.setenv("TERM", "linux")
    assert glyphs_for(Encoded("utf-8")) is ASCII


OURS = [getattr(live_region, name) for name in ("ERASE_LINE", "HIDE_CURSOR", "SHOW_CURSOR", "WRAP_OFF", "WRAP_ON")]
HARMLESS = re.compile("|".join([r"\x1b\[[0-9;]*m", r"\r(?:\x1b\[\d+A)?", r"\n", *map(re.escape, OURS)]))
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
ANY = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(["\x1b", "[", "]", "31m", "2J", "\x07", "\x9b", "\r", "\t", "[red]", ":smile:"])).map(
        "".join
    ),
)


@given(
    ANY, ANY, st.one_of(st.binary(max_size=60), ANY.map(lambda text: text.encode("utf-8", "replace"))), st.booleans()
)
def test_nothing_that_a_guest_says_is_more_than_text(name: str, text: str, output: bytes, all_output: bool) -> None:
    shown = Shown(
        Phase(name, "started"),
        ConsoleLine(text),
        Notice(text),
        Notice(text, warning=True),
        Notice(text, passing=True),
        RunEvent({**STARTED, "name": name, "run_on": text}),
        LogEvent(name, "stdout", 1, output),
        LogEvent(name, "stderr", 1, output),
        all_output=all_output,
    )
    region = LiveRegion(reflows=True)
    written = region.redrawn(shown.view.take_above(SIZE), shown.view.lines(SIZE), SIZE)
    shown.view.take(RunEvent({**EXITED, "name": name, "duration_ms": 1}))
    shown.view.take(Phase(name, "failed", 1, text))
    shown.view.leave_open()
    written += region.redrawn(shown.view.take_above(SIZE), shown.view.lines(SIZE), SIZE)
    assert not UNSAFE.search(HARMLESS.sub("", written))
    assert "\n" not in inert(text).plain


@given(st.lists(st.tuples(ANY, st.sampled_from(["", "dim", "bold red"]))))
def test_what_was_not_cleaned_before_is_cleaned_where_it_is_written(parts: list[tuple[str, str]]) -> None:
    ink = Ink(io.StringIO(), ">")
    text = Text.assemble(*parts)
    for written in (ink.whole(text), ink.cut(text, 20).text):
        assert not UNSAFE.search(SGR.sub("", written))


@pytest.mark.parametrize("columns", ["0", "1", "x"])
def test_a_line_that_stays_is_whole_whatever_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert "what is said" in Ink(io.StringIO(), ">").whole(Text("what is said"))


def test_what_looks_like_markup_is_text() -> None:
    assert Shown(Notice("[bold]x[/bold] :smile: [link=http://x]y[/link]")).above() == [
        "• [bold]x[/bold] :smile: [link=http://x]y[/link]"
    ]
