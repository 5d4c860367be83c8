"""The end that writes: refuses what leaves the destination, and never shows anything by halves."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rum.transfer import new_file
from rum.transfer.new_file import TEMPORARY
from rum.transfer.records import BrokenStreamError, EscapeError, TransferError, data, message
from rum.transfer.sink import BATCH_MAX
from tests.unit.transfer.ends import feed, file_frames, sink_for

CHECKOUT = Path(__file__).resolve().parents[3]

NOT_KNOWN = os.O_RDWR
"""What O_TMPFILE is to a file system that does not have it: a directory opened for writing, which fails alike."""

BEGIN = message("directory", mode=0o755)
LEAVE = message("leave")
DONE = message("done")


@pytest.fixture(params=["unnamed", "named"])
def kind_of_file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Files without a name until they are whole, and what file systems without O_TMPFILE get."""
    if request.param == "named":
        monkeypatch.setattr(new_file, "UNNAMED", NOT_KNOWN)
    return str(request.param)


def below(path: Path) -> list[str]:
    """Everything there, hidden names as well."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


@pytest.mark.parametrize("name", ["..", ".", "../x", "a/b", "/etc/passwd", "x/"])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_a_name_that_leaves_the_destination_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    target = tmp_path / "target"
    with sink_for(target) as sink, pytest.raises(EscapeError, match="refused: an entry is named"):
        feed(sink, [BEGIN, message(kind, name=name, mode=0o644, target="x"), data(b"x")])
    assert below(tmp_path) == ["target"]


@pytest.mark.parametrize("name", ["", "a\0b", None, 7, [], "\ud800"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: object) -> None:
    with sink_for(tmp_path / "target") as sink, pytest.raises(BrokenStreamError, match="name is no name of a file"):
        feed(sink, [BEGIN, message("file", name=name, mode=0o644)])
    assert below(tmp_path) == ["target"]


def test_a_link_is_not_gone_through(tmp_path: Path) -> None:
    """Neither one that came in the same copy nor one that was there."""
    (tmp_path / "outside").mkdir()
    target = tmp_path / "target"
    through = [message("directory", name="way", mode=0o755), *file_frames(b"x", name="file")]
    with sink_for(target) as sink, pytest.raises(TransferError, match="way is a symbolic link"):
        feed(sink, [BEGIN, message("link", name="way", target="../outside"), *through])
    with sink_for(target, b"") as sink, pytest.raises(TransferError, match="way is a symbolic link"):
        feed(sink, [BEGIN, *through])
    assert below(tmp_path) == ["outside", "target", "target/way"]


def test_a_link_to_a_file_is_replaced_not_written(tmp_path: Path, kind_of_file: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("old")
    target = tmp_path / "target"
    link = message("link", name="file", target="../victim")
    with sink_for(target) as sink:
        feed(sink, [BEGIN, link, *file_frames(b"new", name="file"), LEAVE, DONE])
    assert victim.read_text() == "old"
    assert (target / "file").read_text() == "new"
    assert below(tmp_path) == ["target", "target/file", "victim"]


def test_a_link_takes_the_place_of_a_file_and_of_a_link(tmp_path: Path) -> None:
    links = [message("link", name="a", target="one"), message("link", name="b", target="two")]
    (tmp_path / "target").mkdir()
    (tmp_path / "target/a").write_text("file")
    (tmp_path / "target/b").symlink_to("old")
    with sink_for(tmp_path / "target", b"") as sink:
        feed(sink, [BEGIN, *links, LEAVE, DONE])
    assert [os.readlink(tmp_path / "target" / name) for name in "ab"] == ["one", "two"]
    assert below(tmp_path / "target") == ["a", "b"]


def test_only_what_was_asked_for_may_come(tmp_path: Path) -> None:
    with sink_for(tmp_path / "target") as sink, pytest.raises(BrokenStreamError, match="more came than was asked for"):
        feed(sink, [*file_frames(b"x"), *file_frames(b"y")])
    assert (tmp_path / "target").read_bytes() == b"x"


OUT_OF_TURN: dict[str, list[bytes]] = {
    "data without a file": [data(b"x")],
    "an end without a file": [message("end", size=0, sha256="0" * 64)],
    "a link by itself": [message("link", name="x", target="y")],
    "leaving what was not entered": [LEAVE],
    "done before anything": [DONE],
    "done within a directory": [BEGIN, DONE],
    "a file within a file": [message("file", mode=0o644), message("file", mode=0o644)],
    "done within a file": [message("file", mode=0o644), DONE],
    "what there is not": [message("surprise")],
    "a mode with more than rights": [message("file", mode=0o4755)],
    "a mode that is none": [message("directory", mode="rwx")],
    "no digest": [message("file", mode=0o644), message("end", size=0)],
    "something after the end": [*file_frames(b""), DONE, DONE],
}


@pytest.mark.parametrize("frames", OUT_OF_TURN.values(), ids=OUT_OF_TURN)
def test_what_comes_out_of_turn_ends_it(tmp_path: Path, frames: list[bytes]) -> None:
    with sink_for(tmp_path / "target") as sink, pytest.raises(BrokenStreamError):
        feed(sink, frames)
    assert set(below(tmp_path)) <= {"target"}


@pytest.mark.parametrize("lie", ["size", "sha256"])
def test_what_is_not_what_was_sent_replaces_nothing(tmp_path: Path, kind_of_file: str, lie: str) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    begin, contents, _end = file_frames(b"new")
    end = {"size": 3, "sha256": "0" * 64} if lie == "sha256" else {"size": 4, "sha256": "0" * 64}
    with sink_for(target) as sink, pytest.raises(TransferError, match="target: what arrived is not what was sent"):
        feed(sink, [begin, contents, message("end", **end)])
    assert target.read_text() == "old"
    assert below(tmp_path) == ["target"]


@pytest.mark.parametrize("old", ["old", None])
def test_half_a_file_is_no_file(tmp_path: Path, kind_of_file: str, old: str | None) -> None:
    target = tmp_path / "target"
    if old:
        target.write_text(old)
    with sink_for(target) as sink:
        feed(sink, file_frames(b"new")[:2])
        assert (target.read_text() if old else target.exists()) == (old or False)
    assert (target.read_text() if old else target.exists()) == (old or False)
    assert set(below(tmp_path)) <= {"target"}


def test_what_was_whole_before_the_source_failed_is_kept(tmp_path: Path, kind_of_file: str) -> None:
    first, half = file_frames(b"one", name="one", mode=0o640), file_frames(b"two", name="two")[:2]
    with sink_for(tmp_path / "target") as sink:
        feed(sink, [BEGIN, *first, *half, message("stop")])
        assert (sink.over, sink.complete, sink.files, sink.size) == (True, False, 1, 3)
    assert below(tmp_path) == ["target", "target/one"]
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "target/one").stat().st_mode) == 0o640


def test_a_file_that_begins_again_is_the_second_one(tmp_path: Path) -> None:
    begin, *rest = file_frames(b"second")
    with sink_for(tmp_path / "target") as sink:
        feed(sink, [begin, data(b"first and longer"), message("again"), *rest, DONE])
    assert (tmp_path / "target").read_bytes() == b"second"


def test_modes_that_let_nobody_in(tmp_path: Path) -> None:
    """Also a directory of whom nobody may write into it, with more in it than goes to the disk at once."""
    many = [frame for number in range(BATCH_MAX + 1) for frame in file_frames(b"", name=str(number), mode=0)]
    with sink_for(tmp_path / "target") as sink:
        feed(sink, [message("directory", mode=0), *many, LEAVE, DONE])
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0
    (tmp_path / "target").chmod(0o700)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "target").iterdir()} == {0}


def test_an_old_files_mode_stays_where_none_is_sent(tmp_path: Path, kind_of_file: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    old.chmod(0o600)
    for path in (old, new):
        with sink_for(path, b"") as sink:
            feed(sink, [*file_frames(b"x", mode=None), DONE])
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o600, 0o644]


def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o711)
    with sink_for(tmp_path / "target", b"") as sink:
        feed(sink, [BEGIN, LEAVE, DONE])
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o711


@pytest.mark.parametrize(("mode", "meanwhile"), [(0o750, 0o750), (0o555, 0o755), (0, 0o700)])
def test_others_see_a_directory_as_open_as_it_will_be(tmp_path: Path, mode: int, meanwhile: int) -> None:
    """Also while it is being filled: a copy whose end is killed must not leave it closed, for no later one opens it."""
    with sink_for(tmp_path / "target") as sink:
        feed(sink, [message("directory", mode=mode)])
        assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == meanwhile


def test_a_full_disk_is_said_and_clobbers_nothing(tmp_path: Path) -> None:
    """The kernel's limit for a process's files stands for the disk's."""
    (tmp_path / "target").write_text("old")
    program = """
import resource, signal, sys
from pathlib import Path
from rum.transfer.records import TransferError, data
from tests.unit.transfer.ends import feed, file_frames, sink_for
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with sink_for(Path(sys.argv[1])) as sink:
    try:
        feed(sink, [*file_frames(bytes(60_000))[:2], data(bytes(60_000))])
    except TransferError as exc:
        print(exc, exc.number)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "target")]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{tmp_path}/target: File too large {errno.EFBIG}\n"
    assert below(tmp_path) == ["target"]
    assert (tmp_path / "target").read_text() == "old"


def kill_a_copy(directory: Path, *, named: bool) -> None:
    """In the middle of a file."""
    program = f"""
import sys
from pathlib import Path
from rum.transfer import new_file
from tests.unit.transfer.ends import feed, file_frames, sink_for
if {named}:
    new_file.UNNAMED = {NOT_KNOWN}
with sink_for(Path(sys.argv[1]), b"file") as sink:
    feed(sink, file_frames(b"half")[:2])
    print("there", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program, str(directory)]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


def test_a_killed_copy_leaves_nothing(tmp_path: Path) -> None:
    kill_a_copy(tmp_path, named=False)
    assert below(tmp_path) == []


def test_what_a_killed_copy_had_to_give_a_name_is_removed_by_the_next(tmp_path: Path) -> None:
    kill_a_copy(tmp_path, named=True)
    [left] = below(tmp_path)
    assert left.encode().startswith(TEMPORARY)
    with sink_for(tmp_path, b"file") as sink:
        feed(sink, [*file_frames(b"x"), DONE])
    assert below(tmp_path) == ["file"]


def test_what_a_living_copy_is_writing_is_not_removed(tmp_path: Path, kind_of_file: str) -> None:
    """And nothing of others."""
    stale, living, foreign = (tmp_path / name for name in (".rum-cp-stale", ".rum-cp-living", ".rum-cpx"))
    for path in (stale, living, foreign):
        path.write_text("half")
    with open(living, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with sink_for(tmp_path, b"file") as sink:
            feed(sink, [*file_frames(b"x"), DONE])
    assert below(tmp_path) == [".rum-cp-living", ".rum-cpx", "file"]


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for frames in ([*file_frames(b"x"), DONE], file_frames(b"x")[:2], [BEGIN, *file_frames(b"x", name="x")], [BEGIN]):
        with sink_for(tmp_path / f"target{len(frames)}{len(frames[0])}") as sink:
            feed(sink, frames)
    assert len(os.listdir("/proc/self/fd")) == len(before)
