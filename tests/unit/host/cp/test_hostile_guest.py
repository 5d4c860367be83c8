"""A guest that means harm: its end of a copy cannot leave the destination, lie about the end, or reach the terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rum.host.cp.guest_says import RECORDS
from rum.protocol import Kind, encode_frame
from rum.protocol.limits import CHUNK_MAX
from rum.transfer.records import data, message
from tests.unit.host.channel.hostile_agent import Play, hostile_guest, output, saying
from tests.unit.host.channel.test_hostile_agent import NASTY, TROUBLE
from tests.unit.host.cli.in_process import Ended
from tests.unit.host.cp.conftest import CpOf
from tests.unit.transfer.ends import file_frames

ENDED = {"type": "result", "exit_code": 0, "signal": None, "timed_out": False}
TOTAL = message("total", files=1, bytes=1)
DONE = message("done")
BEGIN = message("directory", mode=0o755)
LEAVE = message("leave")

Download = Callable[..., Ended]

HONEST: dict[str, dict[str, object]] = {
    "total": {"files": 1, "bytes": 1},
    "skipped": {"path": "/run/x", "what": "a socket"},
    "done": {"files": 1, "bytes": 1},
    "failed": {"text": "no", "path_is_wrong": False, "missing": None, "errno": None, "files": 0, "bytes": 0},
}


def sends(*frames: bytes, ended: dict[str, object] = ENDED) -> Play:
    """A guest's end that writes this, in frames of the agent's that are cut anywhere."""
    written = b"".join(frames)
    pieces = [output(written[start : start + 1000]) for start in range(0, len(written), 1000)]
    return saying(*pieces, ended)


@pytest.fixture
def download(cp_of: CpOf, tmp_path: Path) -> Download:
    """Have a guest send this to `target`, next to which there is nothing that it may touch."""

    def call(play: Play, *arguments: str) -> Ended:
        (tmp_path / "guest").mkdir(exist_ok=True)
        with hostile_guest(tmp_path / "guest", {"exec": play}) as (guest, _):
            ended = cp_of(guest)(*(arguments or (":/source", "target")))
        ended.require_clean()
        return ended

    return call


def left(tmp_path: Path) -> list[str]:
    """Everything but the guest's own directory."""
    found = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    return sorted(name for name in found if not name.startswith("guest"))


@pytest.mark.parametrize("name", ["..", "../target2", "a/b", "/tmp/x", "target/../../x"])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_names_that_leave_the_destination(download: Download, tmp_path: Path, kind: str, name: str) -> None:
    record = message(kind, name=name, mode=0o644, target="x")
    ended = download(sends(TOTAL, BEGIN, record, data(b"x"), LEAVE, DONE))
    assert ended.status == 4
    assert ended.err.startswith("rum: refused: an entry is named ")
    assert left(tmp_path) == ["target"]


def test_a_link_and_then_through_it(download: Download, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    inside = [message("directory", name="way", mode=0o755), *file_frames(b"x", name="file"), LEAVE]
    ended = download(sends(BEGIN, message("link", name="way", target="../outside"), *inside, LEAVE, DONE))
    assert ended.status == 2
    assert "way is a symbolic link, and the copy of a directory would go through it" in ended.err
    assert left(tmp_path) == ["outside", "target", "target/way"]


LIES: dict[str, list[bytes]] = {
    "nothing at all": [],
    "an end too early": [TOTAL, BEGIN, DONE],
    "no end": [TOTAL, *file_frames(b"x")],
    "a stop for an end": [TOTAL, *file_frames(b"x"), message("stop")],
    "more than was asked for": [TOTAL, *file_frames(b"x"), *file_frames(b"y"), DONE],
    "more after the end": [TOTAL, *file_frames(b"x"), DONE, *file_frames(b"y")],
    "data of no file": [data(b"x"), DONE],
    "no frames": [b"Traceback (most recent call last)\n" * 3],
    "a frame that is too long": [(CHUNK_MAX + 1).to_bytes(4, "big") + bytes([Kind.BYTES])],
    "a frame of another kind": [encode_frame(Kind.STDIN, b"x"), DONE],
    "no JSON": [encode_frame(Kind.MESSAGE, b"{"), DONE],
    "a record that there is not": [message("surprise"), DONE],
}


@pytest.mark.parametrize("frames", LIES.values(), ids=LIES)
def test_what_is_no_copy_is_no_success(download: Download, tmp_path: Path, frames: list[bytes]) -> None:
    ended = download(sends(*frames))
    assert ended.status == 4
    assert ended.err.startswith("rum: the agent broke the protocol: cp: ")
    assert set(left(tmp_path)) <= {"target"}


@pytest.mark.parametrize("old", [b"old", None])
def test_what_is_not_what_was_announced_replaces_nothing(download: Download, tmp_path: Path, old: bytes | None) -> None:
    if old:
        (tmp_path / "target").write_bytes(old)
    begin, _, end = file_frames(b"what was announced")
    ended = download(sends(begin, data(b"something else"), end, DONE))
    assert ended.status == 3
    assert "what arrived is not what was sent, so nothing was replaced" in ended.err
    assert ((tmp_path / "target").read_bytes() if old else None) == old
    assert set(left(tmp_path)) <= {"target"}


def test_standard_output_is_verified(download: Download, tmp_path: Path) -> None:
    begin, _, end = file_frames(b"what was announced")
    ended = download(sends(begin, data(b"something else"), end, DONE), ":/source", "-")
    assert ended.status == 3
    assert "what was written to standard output is not what the guest has sent" in ended.err


@pytest.mark.parametrize("frames", LIES.values(), ids=LIES)
def test_what_is_no_copy_is_none_to_standard_output(download: Download, tmp_path: Path, frames: list[bytes]) -> None:
    assert download(sends(*frames), ":/source", "-").status in (2, 4)
    assert left(tmp_path) == []


CELLS = [(kind, field) for kind, checks in RECORDS.items() for field in checks]


@pytest.mark.parametrize(("kind", "field"), CELLS)
def test_every_field_of_every_wrong_kind(download: Download, tmp_path: Path, kind: str, field: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    arguments = (":/source", "target") if kind in ("total", "skipped") else ("file", ":/target")
    for value in (*NASTY.values(), ...):
        fields = {key: value if key == field else honest for key, honest in HONEST[kind].items()}
        if value is ...:
            del fields[field]
        ended = download(sends(message(kind, **fields), *file_frames(b"x"), DONE), *arguments)
        assert ended.status in (0, 2, 4), (value, ended)
        assert left(tmp_path) in (["file"], ["file", "target"])
    # The last one was without the field.
    assert ended.err.startswith(f"rum: the agent broke the protocol: cp: {kind}: {field}")


def test_a_guest_that_takes_nothing_has_not_copied(download: Download, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    for counts in ({"files": 0, "bytes": 0}, {"files": 1, "bytes": 5}, {"files": 10**9, "bytes": 100_000}):
        ended = download(sends(message("done", **counts)), "file", ":/target")
        assert ended.status == 4
        assert ended.err.startswith("rum: the agent broke the protocol: cp: ")


def test_a_guest_that_says_it_is_done_and_talks_on(download: Download, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    done = message("done", files=1, bytes=1)
    assert download(sends(done, done), "file", ":/target").status == 4


def test_nothing_reaches_the_terminal_but_text(download: Download, tmp_path: Path) -> None:
    """In the sentence of a failure, the path of what is skipped, the reason, and what Python says."""
    failed = {**HONEST["failed"], "text": TROUBLE, "missing": TROUBLE, "path_is_wrong": True}
    skipped = {"path": f"/run/{TROUBLE}", "what": TROUBLE}
    for frames in ([message("failed", **failed)], [message("skipped", **skipped), *file_frames(b"x"), DONE]):
        ended = download(sends(*frames))
        assert "evil" in ended.err
    crashed = saying(output(TROUBLE.encode(errors="replace"), Kind.STDERR), {**ENDED, "exit_code": 1})
    ended = download(crashed)
    assert ended.status == 4
    assert ended.err.startswith("rum: the guest's end of the copy failed: ")


def test_a_flood_of_what_is_left_out_is_no_flood(download: Download, tmp_path: Path) -> None:
    flood = [message("skipped", path=f"/run/{number}", what="a socket") for number in range(10_000)]
    ended = download(sends(*flood, *file_frames(b"x"), DONE))
    assert ended.status == 0
    assert len(ended.err.splitlines()) == 21


def test_a_mode_cannot_be_more_than_rights(download: Download, tmp_path: Path) -> None:
    """A file that is set-user-ID would have the rights of whoever copied it, for everybody here."""
    ended = download(sends(message("file", mode=0o4755), *file_frames(b"x")[1:], DONE))
    assert ended.status == 4
    assert "mode is 2541" in ended.err
    assert not os.path.exists(tmp_path / "target")
