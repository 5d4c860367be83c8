"""Where a copy goes: as cp(1) has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rum.transfer.destination import copy_name
from rum.transfer.records import TransferError
from tests.unit.transfer.ends import copy


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file, a directory with a file in it, an old file, an old directory, links to both, a FIFO."""
    (tmp_path / "file").write_text("new")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/inside").write_text("inside")
    (tmp_path / "old").write_text("old")
    (tmp_path / "dir").mkdir()
    (tmp_path / "to-old").symlink_to("old")
    (tmp_path / "to-dir").symlink_to("dir")
    (tmp_path / "to-nothing").symlink_to("nothing")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "destination", "appears"),
    [
        (["file"], "name", "name"),
        (["file"], "dir", "dir/file"),
        (["file"], "dir/", "dir/file"),
        (["file"], "dir/name", "dir/name"),
        (["file"], "old", "old"),
        (["file"], "to-old", "old"),
        (["file"], "to-dir", "dir/file"),
        (["file"], "to-nothing", "nothing"),
        (["tree"], "name", "name/inside"),
        (["tree"], "name/", "name/inside"),
        (["tree/"], "dir", "dir/tree/inside"),
        (["tree"], "to-dir", "dir/tree/inside"),
        (["tree/."], "dir", "dir/inside"),
        (["tree/."], "name", "name/inside"),
        (["file", "tree", "old"], "dir", "dir/tree/inside"),
    ],
)
def test_where_it_appears(place: Path, sources: list[str], destination: str, appears: str) -> None:
    copy([f"{place}/{source}" for source in sources], f"{place}/{destination}")
    assert (place / appears).read_text() == ("inside" if "inside" in appears else "new")
    assert (place / "to-old").is_symlink()


@pytest.mark.parametrize(
    ("sources", "destination", "sentence"),
    [
        (["file"], "missing/name", "there is no directory {}/missing"),
        (["tree"], "missing/name", "there is no directory {}/missing"),
        (["file"], "missing/", "there is no directory {}/missing/"),
        (["file", "old"], "missing", "there is no directory {}/missing"),
        (["file", "tree"], "old", "{}/old is a file, not a directory"),
        (["file"], "old/name", "{}/old/name: Not a directory"),
        (["file"], "old/", "{}/old/: Not a directory"),
        (["tree"], "old", "{}/old is there and is no directory, so no directory can take its place"),
        (["file"], "fifo", "{}/fifo is neither a file nor a directory"),
        (["fifo"], "name", "{}/fifo is a FIFO, and only files and directories can be copied"),
        (["nothing"], "name", "{}/nothing: No such file or directory"),
        (["file/"], "name", "{}/file/: Not a directory"),
    ],
)
def test_what_cannot_be(place: Path, sources: list[str], destination: str, sentence: str) -> None:
    before = sorted(place.rglob("*"))
    with pytest.raises(TransferError) as caught:
        copy([f"{place}/{source}" for source in sources], f"{place}/{destination}")
    assert str(caught.value) == sentence.format(place)
    assert caught.value.path_is_wrong
    assert (caught.value.missing is not None) == ("there is no directory" in sentence)
    assert sorted(place.rglob("*")) == before
    assert (place / "old").read_text() == "old"


@pytest.mark.parametrize("inside", ["directory-for-file", "file-for-directory", "fifo-for-file"])
def test_a_file_and_a_directory_do_not_replace_each_other(place: Path, inside: str) -> None:
    there = place / "dir/tree/inside"
    if inside == "file-for-directory":
        (place / "tree/inside").unlink()
        (place / "tree/inside").mkdir()
        there.parent.mkdir()
        there.write_text("old")
    elif inside == "directory-for-file":
        there.mkdir(parents=True)
    else:
        there.parent.mkdir()
        os.mkfifo(there)
    with pytest.raises(TransferError, match="can take its place") as caught:
        copy([place / "tree"], place / "dir")
    assert str(there) in str(caught.value)
    assert list(there.parent.iterdir()) == [there]


NAMES = {b"a": b"a", b"/a/b": b"b", b"a/": b"a", b"a//": b"a", b"a/.": b"", b".": b"", b"..": b"", b"/": b""}


@pytest.mark.parametrize(("path", "name"), NAMES.items())
def test_what_a_copy_is_called(path: bytes, name: bytes) -> None:
    assert copy_name(path) == name
