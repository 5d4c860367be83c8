"""The end that reads: what it leaves out, what it notices, what it cannot read."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from rum.protocol import FrameDecoder, Kind, parse_message
from rum.transfer.records import CHUNK, TransferError
from rum.transfer.source import TRIES, Source
from tests.unit.transfer.ends import copy, no_warning


def records(source: Source) -> list[str]:
    """The kinds of the records that a source sends."""
    decoder = FrameDecoder()
    found = []
    for frame in source.frames():
        decoder.feed(frame)
        found += [
            "data" if one.kind is Kind.BYTES else str(parse_message(one.payload)["type"]) for one in decoder.frames()
        ]
    return found


def source_of(*paths: Path) -> Source:
    return Source([os.fsencode(path) for path in paths], no_warning)


def test_special_files_are_left_out_and_named(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("x")
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tree / "socket"))
    seen: dict[bytes, str] = {}
    copy([tree], tmp_path / "copy", seen.__setitem__)
    assert seen == {os.fsencode(tree / "fifo"): "a FIFO", os.fsencode(tree / "socket"): "a socket"}
    assert list((tmp_path / "copy").iterdir()) == [tmp_path / "copy/file"]


def grow_while_reading(source: Source, path: Path, times: int) -> list[str]:
    """The records of a file that grows after each of its first pieces."""
    decoder = FrameDecoder()
    found = []
    for frame in source.frames():
        decoder.feed(frame)
        for one in decoder.frames():
            found.append("data" if one.kind is Kind.BYTES else str(parse_message(one.payload)["type"]))
            if one.kind is Kind.BYTES and times:
                times -= 1
                with open(path, "ab") as file:
                    file.write(b"more")
    return found


def test_a_file_that_changes_once_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("line\n")
    found = grow_while_reading(source_of(path), path, 1)
    assert found.count("again") == 1
    assert found[-2:] == ["end", "done"]


def test_a_file_that_never_stays_the_same_is_named(tmp_path: Path) -> None:
    """And is not followed for ever, however fast it grows."""
    path = tmp_path / "log"
    path.write_bytes(bytes(CHUNK))
    with pytest.raises(TransferError, match="log changed while it was read"):
        grow_while_reading(source_of(path), path, 1000)
    assert path.stat().st_size < 3 * TRIES * CHUNK


def test_a_file_of_the_kernels_has_more_than_its_size_says(tmp_path: Path) -> None:
    copy([Path("/proc/version")], tmp_path / "version")
    assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()


def test_what_is_gone_meanwhile_is_named(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "b"):
        (tree / name).write_text(name)
    seen: dict[bytes, str] = {}
    source = Source([os.fsencode(tree)], seen.__setitem__)
    frames = source.frames()
    next(frames)
    (tree / "b").unlink()
    list(frames)
    assert seen == {os.fsencode(tree / "b"): "gone since its directory was listed"}


@pytest.mark.parametrize("becomes", ["a link", "a FIFO"])
def test_what_takes_a_files_place_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    """Between the look at it and its opening: a link could lead anywhere, a FIFO would wait for ever."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("x")
    real = os.open

    def swap(path: bytes, *rest: int, **more: int) -> int:
        if path == b"file":
            (tree / "file").unlink()
            (tree / "file").symlink_to("/etc/passwd") if becomes == "a link" else os.mkfifo(tree / "file")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", swap)
    source = source_of(tree)
    with pytest.raises(TransferError, match=os.strerror(errno.ELOOP) if becomes == "a link" else "has become a FIFO"):
        records(source)
    source.close()


def test_a_total_counts_files_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/a").write_bytes(bytes(10))
    (tmp_path / "tree/link").symlink_to("deep/a")
    (tmp_path / "file").write_bytes(bytes(5))
    assert source_of(tmp_path / "tree", tmp_path / "file", tmp_path / "nothing").total() == (2, 15)


def test_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    source = source_of(tmp_path)
    frames = source.frames()
    for _ in range(3):
        next(frames)
    assert len(os.listdir("/proc/self/fd")) > before
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before
