"""Copies of runs: whole or absent, the last ten, safe from the guest's choice of names."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.host.errors import HostError
from rum.host.runs import records
from rum.host.runs.records import RunCopies, message_of
from rum.host.runs.spool import IN_MEMORY, Spool
from rum.protocol import Frame, FrameDecoder, Kind, encode_message, encode_output

STARTED = encode_message({"type": "run_started", "run_id": "r1"})
OUTPUT = encode_output(Kind.STDOUT, 7, b"text")


def write(copies: RunCopies, run_id: str) -> None:
    copy = copies.open_copy(run_id)
    copy.append(STARTED)
    copy.append(OUTPUT)
    copy.complete()


def test_a_copy_exists_only_once_it_is_complete(tmp_path: Path) -> None:
    copies = RunCopies(tmp_path / "runs")
    copy = copies.open_copy("r1")
    copy.append(STARTED)
    copy.close()
    assert not copies.has("r1")
    assert copies.ids() == []
    write(copies, "r1")
    assert copies.has("r1")
    assert [frame.kind for frame in copies.frames("r1")] == [Kind.MESSAGE, Kind.STDOUT]
    assert (tmp_path / "runs").stat().st_mode & 0o777 == 0o700
    assert copies.path("r1").stat().st_mode & 0o777 == 0o600


def test_the_last_ten_are_kept(tmp_path: Path) -> None:
    copies = RunCopies(tmp_path)
    for number in range(12):
        write(copies, f"r{number}")
        os.utime(copies.path(f"r{number}"), (number, number))
    copies.prune()
    assert copies.ids() == [f"r{number}" for number in range(2, 12)]


@pytest.mark.parametrize("run_id", ["../x", "", ".hidden", "a/b", "a\0", "x" * 200])
def test_a_run_id_cannot_leave_the_directory(tmp_path: Path, run_id: str) -> None:
    copies = RunCopies(tmp_path)
    assert not copies.has(run_id)
    with pytest.raises(ValueError, match="no run id"):
        copies.open_copy(run_id)


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    copies = RunCopies(tmp_path)
    copy = copies.open_copy("r1")
    with pytest.raises(BlockingIOError):
        copies.open_copy("r1")
    copy.complete()
    assert copies.has("r1")


def test_a_guest_cannot_fill_the_hosts_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "COPY_MAX", 10)
    copy = RunCopies(tmp_path).open_copy("r1")
    with pytest.raises(OSError, match="more than"):
        copy.append(bytes(11))
    copy.close()


def test_a_damaged_end_is_left_out(tmp_path: Path) -> None:
    copies = RunCopies(tmp_path)
    write(copies, "r1")
    with copies.path("r1").open("ab") as file:
        file.write(b"\x00\x00\x00\x05\x11abc")
    assert len(list(copies.frames("r1"))) == 2
    with copies.path("r1").open("ab") as file:
        file.write(b"\xff" * 20)
    assert len(list(copies.frames("r1"))) == 2


def test_messages_that_do_not_parse_are_none() -> None:
    assert message_of(next(iter(_frames(b"\x00\x00\x00\x01\x01{")))) is None


def test_runs_are_ordered_by_when_they_began_but_never_after_they_were_copied(tmp_path: Path) -> None:
    copies = RunCopies(tmp_path)
    for run_id, began_us, copied_s in (("late", 9_000_000, 20), ("early", 5_000_000, 30), ("liar", 2**62, 7)):
        copy = copies.open_copy(run_id)
        copy.append(encode_message({"type": "run_started", "run_id": run_id}))
        copy.append(encode_message({"type": "script_started", "name": "one", "timestamp_us": began_us}))
        copy.append(encode_message({"type": "result", "success": True}))
        copy.complete()
        os.utime(copies.path(run_id), (copied_s, copied_s))
    assert [run.run_id for run in copies.summaries()] == ["early", "liar", "late"]
    assert copies.newest() == "late"
    assert copies.ids() == ["liar", "late", "early"]
    assert RunCopies(tmp_path / "none").newest() is None


FRAMES = st.builds(
    lambda length, kind, rest: length.to_bytes(4, "big") + bytes([kind]) + rest,
    st.integers(0, 40),
    st.sampled_from([1, 0x10, 0x11, 0x12, 0x13, 0x77]),
    st.binary(max_size=40) | st.just(STARTED[5:]) | st.just(b'{"type":"result","success":5}'),
)


@given(st.lists(FRAMES | st.just(STARTED) | st.just(OUTPUT) | st.binary(max_size=9), max_size=6))
def test_no_damage_keeps_a_copy_from_being_listed(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        copies = RunCopies(Path(directory))
        copies.path("r1").write_bytes(b"".join(pieces))
        assert [run.run_id for run in copies.summaries()] == ["r1"]
        assert copies.newest() == "r1"


def _frames(data: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    decoder.feed(data)
    return list(decoder.frames())


def full(**_how: object) -> IO[bytes]:
    return open("/dev/full", "wb")


def nowhere(**_how: object) -> IO[bytes]:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")


@pytest.mark.parametrize("file", [full, nowhere])
def test_a_spool_without_room_says_so(monkeypatch: pytest.MonkeyPatch, file: Callable[..., IO[bytes]]) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", file)

    def use(spool: Spool) -> None:
        spool.append(bytes(IN_MEMORY))
        spool.append(bytes(10))
        spool.frames()

    with Spool() as spool, pytest.raises(HostError, match=r"cannot be put aside in .*: No (space|usable)"):
        use(spool)


def test_a_run_that_has_said_little_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    with Spool() as spool:
        spool.append(STARTED)
        spool.append(OUTPUT)
        assert len(list(spool.frames())) == 2


def test_a_spool_hands_a_complete_run_to_the_copies_and_forgets_others(tmp_path: Path) -> None:
    copies = RunCopies(tmp_path)
    with Spool(copies) as spool:
        assert spool.open_copy("r1") is spool
        spool.append(STARTED)
        assert len(list(spool.frames())) == 1
        assert not copies.has("r1")
        spool.append(OUTPUT)
        spool.complete()
        spool.prune()
    assert len(list(copies.frames("r1"))) == 2
