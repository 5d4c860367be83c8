"""What commands print, as text and as JSON."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import pty
import time

import pytest

from rum.host.errors import ConfigError, GuestError
from rum.host.events import ConsoleLine, Event, Notice, Phase, Progress, RunEvent
from rum.host.outcome import Outcome, how_it_ended, interrupted
from rum.host.show.capability import same_terminal
from rum.host.show.render import Ending, PlainRenderer, QuietErrors, Verbosity
from rum.host.show.render_json import JsonRenderer
from rum.protocol import LogEvent, ProvisionResult

EXITED = {"type": "script_exited", "name": "one", "signal": None, "timed_out": False, "duration_ms": 12340}
RUN: list[Event] = [
    RunEvent({"type": "run_started", "run_id": "r", "scripts": ["one"], "skipped": ["zero"]}),
    RunEvent({"type": "waiting", "for": "cloud-init"}),
    RunEvent({"type": "script_started", "name": "one", "order": 100, "run_on": "system", "index": 1, "total": 3}),
    LogEvent("one", "stdout", 1, b"10 %\r100 %\npart"),
    LogEvent("one", "stderr", 2, b"\x1b[31merr\x1b[0m\n"),
    LogEvent("one", "stdout", 3, b"ial \xc3"),
    RunEvent({"type": "truncated", "name": "one", "bytes": 5}),
    RunEvent({"type": "warning", "code": "x", "message": "late"}),
    RunEvent({**EXITED, "exit_code": 0}),
]


def plain(
    events: list[Event], ending: Ending | None = None, verbosity: Verbosity = Verbosity.NORMAL
) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    renderer = PlainRenderer(out, err, verbosity)
    for event in events:
        renderer.emit(event)
    if ending:
        renderer.end(ending)
    return out.getvalue(), err.getvalue()


def as_json(events: list[Event], ending: Ending, verbosity: Verbosity = Verbosity.NORMAL) -> list[dict[str, object]]:
    out = io.StringIO()
    renderer = JsonRenderer(out, io.StringIO(), verbosity)
    for event in events:
        renderer.emit(event)
    renderer.end(ending)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_run_as_lines() -> None:
    out, err = plain(RUN)
    assert err == ""
    assert out.splitlines() == [
        "not needed: zero",
        "waiting for cloud-init to finish",
        "[1/3] one (system, order 100)",
        "one | 100 %",
        "one ! err",
        "one | partial \ufffd",
        "one: 5 bytes of output were left out here, the log is full",
        "warning: late",
        "[1/3] one ok (12.3 s)",
    ]


def test_phases_notices_and_the_console() -> None:
    events: list[Event] = [
        Phase("image", "started"),
        Phase("image", "done", 83, "cached debian-12"),
        Phase("disk", "skipped"),
        Notice("said"),
        Notice("warned", warning=True),
        ConsoleLine("boot"),
    ]
    out, err = plain(events)
    assert out.splitlines() == ["image    cached debian-12 (0.1 s)", "disk     skipped", "said"]
    assert err == "rum: warning: warned\n"
    assert "console  boot" in plain(events, verbosity=Verbosity.VERBOSE)[0]
    assert plain(events, verbosity=Verbosity.QUIET) == ("", "")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (ProvisionResult(success=False, exit_code=7), "failed with exit code 7"),
        (ProvisionResult(success=False, exit_code=127), "failed with exit code 127 (command or interpreter not found)"),
        (ProvisionResult(success=False, signal=9), "was killed by signal 9 (SIGKILL)"),
        (ProvisionResult(success=False, signal=99), "was killed by signal 99"),
        (ProvisionResult(success=False, signal=15, timed_out=True), "timed out"),
        (ProvisionResult(success=False), "failed"),
    ],
)
def test_every_end_of_a_script_has_words(result: ProvisionResult, words: str) -> None:
    assert how_it_ended(result) == words


def test_a_failed_script_in_the_middle_is_marked() -> None:
    failed = RunEvent({**EXITED, "exit_code": 7})
    assert plain([*RUN[:3], failed])[0].splitlines()[-1] == "[1/3] one failed with exit code 7 (12.3 s)"


def test_errors_are_the_last_lines_of_stderr() -> None:
    error = GuestError("it is gone", hint="run it", tail=["last\x07 words"])
    out, err = plain([], Ending.of_error("up", error))
    assert (out, err) == ("", "rum: it is gone\n  | last words\nrum: run it\n")
    problems = ConfigError("2 problems", problems=["a", "b"])
    assert plain([], Ending.of_error("up", problems))[1] == "rum: 2 problems\n  a\n  b\n"


def test_a_tail_that_stands_right_above_is_not_repeated() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as out:
        assert same_terminal(out, out)
        renderer = PlainRenderer(out, out, Verbosity.NORMAL)
        renderer.end(Ending.of_outcome("up", Outcome("failed", 1, "script-failed", "fix it", ("shown above",))))
        renderer.end(Ending.of_outcome("up", Outcome("lost", 4, "guest", None, ("console",))))
    shown = b""
    # A terminal without users ends with EIO (tty_ioctl(4)); one read may return a part of what was written.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert b"shown above" not in shown
    assert b"console" in shown


@pytest.mark.parametrize("prose", [True, False])
def test_only_prose_is_broken_on_a_terminal(prose: bool) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as out:
        PlainRenderer(out, out, Verbosity.NORMAL, prose=prose).show({}, ["ok  disk  " + "word " * 20])
        shown = b""
        while shown.count(b"word") < 20:
            shown += os.read(ours, 4096)
    os.close(ours)
    assert (b"word\r\n          word" in shown) == prose


def test_json_keeps_events_and_joins_characters() -> None:
    events: list[Event] = [
        LogEvent("one", "stdout", 1, b"gr\xc3"),
        LogEvent("one", "stdout", 2, b"\xbc"),
        LogEvent("one", "stdout", 3, b"n\xc3"),
        RunEvent({**EXITED, "exit_code": 0}, replayed=True),
        Notice("n", warning=True),
        Phase("image", "done", 5),
        ConsoleLine("hidden"),
    ]
    lines = as_json(events, Ending("up", "fine", 0))
    assert [line["text"] for line in lines if line["type"] == "output"] == ["gr", "\u00fc", "n", "\ufffd"]
    assert {**EXITED, "exit_code": 0, "replayed": True} in lines
    assert {"type": "notice", "text": "n", "warning": True} in lines
    assert {"type": "phase", "name": "image", "status": "done", "duration_ms": 5} in lines
    assert not any(line["type"] == "console" for line in lines)
    assert lines[-1] == {"type": "done", "schema": 1, "command": "up", "ok": True, "exit": 0}


def test_what_a_script_left_unfinished_is_not_kept_for_the_next() -> None:
    out = io.StringIO()
    renderer = JsonRenderer(out, io.StringIO(), Verbosity.NORMAL)
    for number in range(100):
        renderer.emit(RunEvent({"type": "script_started", "name": f"s{number}"}))
        renderer.emit(LogEvent(f"s{number}", "stdout", 1, b"\xc3"))
    assert len(renderer._decoders) == len(renderer._last) == 1
    assert out.getvalue().count("\\ufffd") == 99


def test_json_ends_with_the_error_and_every_problem() -> None:
    error = ConfigError("2 problems", hint="mend it", problems=["a", "b"])
    [done] = as_json([], Ending.of_error("up", error))
    assert done["error"] == {
        "code": "config",
        "message": "2 problems\na\nb",
        "hint": "mend it",
        "problems": ["a", "b"],
    }
    [done] = as_json([Notice("x")], Ending.of_outcome("up", interrupted("stopped")), Verbosity.QUIET)
    assert (done["ok"], done["exit"]) == (False, 130)


def test_exec_shows_warnings_and_errors_only() -> None:
    err = io.StringIO()
    renderer = QuietErrors(err, Verbosity.NORMAL)
    renderer.emit(Notice("hidden"))
    renderer.emit(Notice("shown", warning=True))
    renderer.end(Ending("exec", "", 3))
    renderer.end(Ending.of_error("exec", GuestError("gone"), 125))
    assert err.getvalue() == "rum: warning: shown\nrum: gone\n"


def test_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 1)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    out, err = plain([Progress("a.img", done << 20, 100 << 20) for done in range(60)])
    assert err == ""
    assert out.splitlines() == [
        "a.img: 15 MiB of 100 MiB (15 %), 1 MiB/s, 1 min 25 s left",
        "a.img: 30 MiB of 100 MiB (30 %), 1 MiB/s, 1 min 10 s left",
        "a.img: 45 MiB of 100 MiB (45 %), 1 MiB/s, 55 s left",
    ]


def test_progress_as_json_begins_at_once_and_comes_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 0.25)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    lines = as_json([Progress("a.img", done, 10) for done in range(11)], Ending("up", "", 0))
    assert [line["done"] for line in lines if line["type"] == "progress"] == [0, 4, 8, 10]
    assert lines[0] == {"type": "progress", "name": "a.img", "done": 0, "total": 10}


def test_where_the_time_went_comes_before_the_outcome_with_v() -> None:
    expected = {Verbosity.VERBOSE: ["image", "image", "total", "fine"], Verbosity.NORMAL: ["image", "fine"]}
    for verbosity, words in expected.items():
        out = io.StringIO()
        renderer = PlainRenderer(out, io.StringIO(), verbosity, timed=True)
        renderer.emit(Phase("image", "done", 1500))
        renderer.end(Ending("up", "fine", 0))
        lines = out.getvalue().splitlines()
        assert [line.split()[0] for line in lines] == words
        assert lines[0] == "image    done (1.5 s)"
