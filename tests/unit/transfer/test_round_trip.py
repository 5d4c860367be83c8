"""Whatever is in a tree, its copy is the same."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rum.transfer.descriptors import allow_many
from rum.transfer.records import CHUNK
from rum.transfer.sink import BATCH_MAX
from rum.transfer.source import Source
from tests.unit.transfer.ends import File, Folder, Link, copy, make_tree, no_warning, read_tree, remove_tree

NAMES = (
    st.binary(min_size=1, max_size=12)
    .filter(lambda name: b"/" not in name and b"\0" not in name)
    .filter(lambda name: name not in (b".", b".."))
)
TARGETS = st.binary(min_size=1, max_size=40).filter(lambda target: b"\0" not in target)
# Readable by whoever runs this, or it could not be copied.
FILES = st.builds(File, st.integers(0, 0o777).map(lambda mode: mode | 0o400), st.binary(max_size=300))
FOLDER_MODES = st.integers(0, 0o777).map(lambda mode: mode | 0o500)
LINKS = st.builds(Link, TARGETS)
ENTRIES = st.recursive(
    st.dictionaries(NAMES, FILES | LINKS, max_size=4),
    lambda entries: st.dictionaries(NAMES, FILES | LINKS | st.builds(Folder, FOLDER_MODES, entries), max_size=4),
    max_leaves=8,
)


@given(st.builds(Folder, FOLDER_MODES, ENTRIES))
def test_a_tree_arrives_as_it_was(folder: Folder) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        try:
            make_tree(os.fsencode(source), folder)
            copy([source], target)
            assert read_tree(os.fsencode(target)) == folder
            # And once more, in the place of what is there now; only its directories must let it.
            for root, _dirs, _files in os.walk(target):
                os.chmod(root, 0o700)
            copy([f"{source}/."], target)
            assert without_modes(read_tree(os.fsencode(target))) == without_modes(folder)
        finally:
            remove_tree(os.fsencode(source))
            remove_tree(os.fsencode(target))


def without_modes(entry: File | Link | Folder) -> object:
    """A directory that was there keeps its mode."""
    if isinstance(entry, Folder):
        return {name: without_modes(inside) for name, inside in entry.entries.items()}
    return entry


def test_the_largest_and_the_most(tmp_path: Path) -> None:
    """Names of 255 bytes, files at the edges of a frame, more files than the disk is asked for at once."""
    sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]
    entries = {b"%03d-" % number + b"x" * 251: File(0o600, bytes(size)) for number, size in enumerate(sizes)}
    many = {b"%d" % number: File(0o644, b"%d" % number) for number in range(2 * BATCH_MAX + 1)}
    folder = Folder(0o755, {**entries, b"many": Folder(0o555, many), b"empty": Folder(0o711, {})})
    make_tree(os.fsencode(tmp_path / "source"), folder)
    sink = copy([tmp_path / "source"], tmp_path / "target")
    assert read_tree(os.fsencode(tmp_path / "target")) == folder
    assert (sink.files, sink.size) == (len(sizes) + len(many), sum(sizes) + sum(len(name) for name in many))
    for name in ("source", "target"):
        remove_tree(os.fsencode(tmp_path / name))


def test_a_tree_that_is_deeper_than_a_path_may_be_long(tmp_path: Path) -> None:
    """And deeper than Python's stack; each level takes a descriptor at each end."""
    depth = 1100
    name = "x" * 20
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    (tmp_path / "source").mkdir()
    try:
        descend(tmp_path / "source", name, depth, make=True)
        allow_many()
        assert Source([os.fsencode(tmp_path / "source")], no_warning).total().files <= 1
        copy([tmp_path / "source"], tmp_path / "target")
        descend(tmp_path / "target", name, depth, make=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        # Python's own would run out of stack.
        subprocess.run(["rm", "-rf", tmp_path / "source", tmp_path / "target"], check=True)


def descend(path: Path, name: str, depth: int, *, make: bool) -> None:
    """Go down so many levels and write, or look for, a file at the end."""
    fd = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        if make:
            os.mkdir(name, dir_fd=fd)
        deeper = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    flags = os.O_WRONLY | os.O_CREAT if make else os.O_RDONLY
    os.close(os.open("end", flags, dir_fd=fd))
    os.close(fd)


def test_a_file_by_itself(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"text")
    source.chmod(0o640)
    copy([source], tmp_path / "target")
    assert read_tree(os.fsencode(tmp_path / "target")) == File(0o640, b"text")


def test_rights_of_others_than_the_three_do_not_travel(tmp_path: Path) -> None:
    """Owners do not, so set-user-ID would mean somebody else."""
    source = tmp_path / "source"
    source.write_bytes(b"#!/bin/sh\n")
    source.chmod(0o6755)
    copy([source], tmp_path / "target")
    assert read_tree(os.fsencode(tmp_path / "target")) == File(0o755, b"#!/bin/sh\n")


def test_what_a_named_link_points_at_is_copied(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_bytes(b"text")
    (tmp_path / "to-tree").symlink_to("real")
    (tmp_path / "to-file").symlink_to("real/file")
    (tmp_path / "target").mkdir()
    copy([tmp_path / "to-tree", tmp_path / "to-file"], tmp_path / "target")
    assert (tmp_path / "target/to-tree/file").read_bytes() == b"text"
    assert not (tmp_path / "target/to-file").is_symlink()
