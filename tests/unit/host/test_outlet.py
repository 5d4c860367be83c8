"""Our own output streams: as much at once as they take, and never a wait."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.outlet import Outlet

MUCH = memoryview(bytes(1 << 20))

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """The reading and the writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def outlet(pipe: Pipe) -> Iterator[Outlet]:
    made = Outlet(pipe[1])
    yield made
    made.close()


def is_writable(descriptor: int) -> bool:
    return bool(select.select([], [descriptor], [], 0)[1])


def test_a_pipe_is_filled_at_once_and_stays_blocking_for_everybody_else(pipe: Pipe, outlet: Outlet) -> None:
    reading, writing = pipe
    taken = outlet.write_some(MUCH)
    assert select.PIPE_BUF < taken < len(MUCH)
    assert outlet.write_some(MUCH) == 0
    assert os.get_blocking(writing)
    assert len(os.read(reading, taken)) == taken
    assert outlet.write_some(memoryview(b"more")) == 4
    assert os.read(reading, 10) == b"more"


def test_a_pipe_that_has_a_little_room_takes_a_little(pipe: Pipe, outlet: Outlet) -> None:
    reading, writing = pipe
    taken = outlet.write_some(MUCH)
    os.read(reading, select.PIPE_BUF)
    assert is_writable(writing)
    assert outlet.write_some(MUCH) == select.PIPE_BUF
    assert len(os.read(reading, len(MUCH))) == taken


def test_nobody_reads_the_pipe_any_more() -> None:
    reading, writing = os.pipe()
    before = Outlet(writing)
    os.close(reading)
    for outlet in (before, Outlet(writing)):
        with pytest.raises(BrokenPipeError):
            outlet.write_some(MUCH)
        outlet.close()
    os.close(writing)


def test_a_file_takes_everything(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"before")
        file.flush()
        outlet = Outlet(file.fileno())
        assert outlet.write_some(MUCH) == len(MUCH)
        outlet.close()
        file.write(b"after")
    assert (tmp_path / "file").read_bytes() == b"before" + bytes(MUCH) + b"after"


def test_a_terminal_takes_what_a_pipe_surely_would() -> None:
    ours, theirs = os.openpty()
    outlet = Outlet(theirs)
    assert 0 < outlet.write_some(MUCH) <= select.PIPE_BUF
    outlet.close()
    os.close(ours)
    os.close(theirs)


def test_a_pipe_that_is_not_ours_to_open_again(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str, _flags: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    outlet = Outlet(pipe[1])
    assert outlet.write_some(MUCH) == select.PIPE_BUF
    outlet.close()


def test_closing_it_leaves_the_stream_open(pipe: Pipe) -> None:
    before = set(os.listdir("/proc/self/fd"))
    outlet = Outlet(pipe[1])
    outlet.close()
    outlet.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert os.write(pipe[1], b"x") == 1
