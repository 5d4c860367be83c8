"""docs/terminal.md and the captures that it shows, as far as they can be checked without a VM."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from e2e.captures import COLUMNS
from rum.host.events import Event, Notice, Phase, RunEvent
from rum.host.outcome import script_failed
from rum.host.show.render import Ending, PlainRenderer, Verbosity
from rum.protocol import LogEvent, ProvisionResult

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "terminal.md").read_text(encoding="utf-8")
TEXTS = sorted((DOCS / "captures").glob("*.txt"))
TAIL_LINES = 20
SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_shows_every_capture_and_nothing_else() -> None:
    linked = set(re.findall(r"\(captures/([a-z]+\.(?:svg|txt))\)", PAGE))
    assert linked == {path.name for path in (DOCS / "captures").iterdir()}
    assert {"success.svg", "failure.svg", "retry.svg", "cancel.svg", "doctor.svg", "up.svg"} <= linked


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_picture_and_text_show_the_same(path: Path) -> None:
    picture = ElementTree.parse(path.with_suffix(".svg"))
    drawn = [element for element in picture.iter(f"{SVG}text") if "clip-path" in element.attrib]
    words = "".join("".join(element.itertext()) for element in drawn)
    assert re.sub(r"\s", "", words) == re.sub(r"\s", "", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_a_capture_fits_its_terminal_and_loads_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert not re.search(r"url\(http|href", path.with_suffix(".svg").read_text(encoding="utf-8"))


def test_a_failure_is_shown_as_it_is_told_now() -> None:
    lines = (DOCS / "captures/failure.txt").read_text(encoding="utf-8").splitlines()
    told = script_failed(ProvisionResult(success=False, failed_script="migrate", exit_code=7), None, (), "rum up")
    assert any(line.startswith(f"rum: {told.text} after ") for line in lines)
    assert lines[-1] == f"rum: {told.hint}"
    assert 1 <= sum(line.startswith("  | ") for line in lines) <= TAIL_LINES


def test_the_log_on_the_page_is_what_a_pipe_gets() -> None:
    ran = {"signal": None, "timed_out": False, "exit_code": 0}
    events: list[Event] = [
        Phase("image", "done", 1600, "debian-12 (qcow2, 3 GiB)"),
        Phase("disk", "done", 0),
        Phase("seed", "done", 100),
        Notice("accelerator kvm (/dev/kvm can be opened and the CPU has the extension for it)"),
        Notice("transport vhost-vsock (/dev/vhost-vsock can be opened)"),
        Phase("domain", "done", 1100, "rum-demo-c0b0845e"),
        Phase("boot", "done", 9800),
        Phase("agent", "done", 300, "rum-agent 0.1.0, Python 3.11.2"),
        RunEvent(
            {"type": "script_started", "name": "system", "run_on": "system", "order": 100, "index": 1, "total": 2}
        ),
        LogEvent("system", "stdout", 1, b"installing the database\n"),
        LogEvent("system", "stderr", 2, b"WARNING: no locale is set\n"),
        RunEvent({"type": "script_exited", "name": "system", **ran, "duration_ms": 1400}),
        RunEvent({"type": "script_started", "name": "boot", "run_on": "boot", "order": 200, "index": 2, "total": 2}),
        RunEvent({"type": "script_exited", "name": "boot", **ran, "duration_ms": 100}),
    ]
    out = io.StringIO()
    renderer = PlainRenderer(out, io.StringIO(), Verbosity.NORMAL)
    for event in events:
        renderer.emit(event)
    renderer.end(Ending("up", "VM demo is up: 2 scripts passed (14.5 s)", 0, hint="next: ..."))
    assert f"```\n{out.getvalue()}```\n" in PAGE
