"""`rum cp` with a real agent, whose guest's file system is this one."""

from __future__ import annotations

import contextlib
import errno
import getpass
import hashlib
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import IO

import pytest

from e2e.json_lines import checked
from rum.host.cp import program, session
from rum.transfer.records import CHUNK
from tests.unit.host.cli.test_commands import command, with_streams
from tests.unit.host.cp.conftest import Cp, CpOf
from tests.unit.host.local_guest import LocalGuest, wait_until
from tests.unit.transfer.ends import File, Folder, Link, make_tree, read_tree, remove_tree

TREE = Folder(
    0o750,
    {
        b"file": File(0o644, b"text\n"),
        b"program": File(0o755, b"#!/bin/sh\n"),
        b"secret": File(0o400, bytes(range(256)) * 1000),
        b"empty": Folder(0o700, {}),
        b"read-only": Folder(0o555, {b"inside": File(0o444, b"x")}),
        b"link": Link(b"../outside"),
        b"dangling": Link(b"/no/such/place"),
        b"-rf": File(0o600, b""),
        b"new\nline": File(0o600, b"1"),
        b"\xe9t\xe9": File(0o600, b"2"),
        b"x" * 255: File(0o600, b"3"),
        b" ": Folder(0o711, {b"deeper": Folder(0o755, {b"\xf0\x9f\x98\x80": File(0o640, b"4")})}),
    },
)


def tree_at(path: Path) -> File | Link | Folder:
    """What is there."""
    return read_tree(os.fsencode(path))


def rum(
    guest: LocalGuest, *arguments: str, given: bytes = b"", stdout: int | IO[bytes] = subprocess.DEVNULL
) -> subprocess.CompletedProcess[bytes]:
    """The command as a process, for what needs streams of its own."""
    settings = command(guest, "cp", *arguments)
    return subprocess.run(**settings, input=given, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)


def test_a_tree_to_the_guest_and_back(cp: Cp, tmp_path: Path) -> None:
    make_tree(os.fsencode(tmp_path / "tree"), TREE)
    files = "9 files (250 KiB)"
    there = cp("tree", f":{tmp_path}/there")
    assert (there.status, there.out, there.err) == (0, f"copied {files} to :{tmp_path}/there\n", "")
    assert tree_at(tmp_path / "there") == TREE
    back = cp(f":{tmp_path}/there", "back")
    assert (back.status, back.out, back.err) == (0, f"copied {files} to back\n", "")
    assert tree_at(tmp_path / "back") == TREE
    for name in ("tree", "there", "back"):
        remove_tree(os.fsencode(tmp_path / name))


def test_files_into_a_directory_both_ways(cp: Cp, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    assert cp("a", "b", f":{tmp_path}/there/").status == 0
    assert cp(f":{tmp_path}/there/a", f":{tmp_path}/there/b", "back").status == 0
    assert {path.name: path.read_text() for path in (tmp_path / "back").iterdir()} == {"a": "a", "b": "b"}


def test_a_file_replaces_one_and_is_told_with_json(cp: Cp, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(bytes(3 * CHUNK))
    (tmp_path / "old").write_bytes(b"old")
    ended = cp("new", f":{tmp_path}/old", before=("-o", "json"))
    *progress, done = map(checked, ended.out.splitlines())
    assert done == {
        "type": "done",
        "schema": 1,
        "command": "cp",
        "ok": True,
        "exit": 0,
        "files": 1,
        "bytes": 3 * CHUNK,
    }
    assert progress[0] == {"type": "progress", "name": "copy", "done": CHUNK, "total": 3 * CHUNK}
    assert progress[-1] == {"type": "progress", "name": "copy", "done": 3 * CHUNK, "total": 3 * CHUNK}
    assert (tmp_path / "old").read_bytes() == bytes(3 * CHUNK)


def test_quiet_says_nothing_and_copies(cp: Cp, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ended = cp("file", f":{tmp_path}/copy", before=("-q",))
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert (tmp_path / "copy").read_text() == "x"


def test_a_path_without_a_slash_begins_at_home(cp: Cp, tmp_path: Path) -> None:
    """The agent gives what it starts the home of root."""
    for path in ("surely/not/there", "~/surely/not/there"):
        ended = cp(f":{path}", "x")
        assert ended.status == 2
        assert ended.err == "rum: in the guest: /root/surely/not/there: No such file or directory\n"


def test_standard_input_becomes_a_file(guest: LocalGuest, tmp_path: Path) -> None:
    contents = os.urandom(3 * CHUNK + 5)
    done = rum(guest, "-", f":{tmp_path}/file", given=contents)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "file").read_bytes() == contents
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_standard_input_that_is_closed_is_no_empty_file(guest: LocalGuest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    done = with_streams(command(guest, "cp", "-", f":{tmp_path}/file"), "<&-")
    assert (done.returncode, done.stderr) == (3, b"rum: standard input cannot be read: Bad file descriptor\n")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_goes_to_standard_output(guest: LocalGuest, tmp_path: Path) -> None:
    contents = os.urandom(3 * CHUNK + 5)
    (tmp_path / "file").write_bytes(contents)
    done = rum(guest, f":{tmp_path}/file", "-", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, contents, b"")


def test_a_reader_that_has_enough_ends_it_quietly(guest: LocalGuest, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10_000_000))
    settings = command(guest, "cp", f":{tmp_path}/file", "-")
    process = subprocess.Popen(**settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


def test_a_full_standard_output_is_said(guest: LocalGuest, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with open("/dev/full", "wb") as full:
        done = rum(guest, f":{tmp_path}/file", "-", stdout=full)
    assert done.returncode == 3
    assert done.stderr == b"rum: standard output cannot be written: No space left on device\nrum: make room: df -h\n"


WRONG: dict[str, tuple[list[str], str]] = {
    "no guest": (["file", "copy"], "cp copies between the host and the guest, but neither side is in the guest"),
    "two guests": ([":a", ":b"], "cp copies between the host and the guest, but both sides are in the guest"),
    "mixed": (["file", ":a", "dir"], "cp cannot take sources from the host and from the guest at once"),
    "nothing": (["", ":a"], "cp got an empty path"),
    "one": (["file"], "cp takes a source and a destination"),
    "stdin and more": (["-", "file", ":{}/dir"], "standard input can only be copied alone"),
    "one name twice": (["file", "dir/../file", ":{}/dir"], "cp got two sources named file, which have one place"),
    "two to stdout": ([":{}/file", ":{}/other", "-"], "only one file can go to standard output"),
    "a tree to stdout": ([":{}/dir", "-"], "a directory cannot go to standard output, only a file can"),
    "missing here": (["missing", ":{}/x"], "missing: No such file or directory"),
    "missing there": ([":{}/missing", "x"], "in the guest: {}/missing: No such file or directory"),
    "no parent here": ([":{}/file", "missing/x"], "there is no directory {}/missing"),
    "no parent there": (["file", ":{}/missing/x"], "in the guest: there is no directory {}/missing"),
    "a tree onto a file": (
        ["dir", ":{}/file"],
        "in the guest: {}/file is there and is no directory, so no directory can take its place",
    ),
    "input onto a directory": (["-", ":{}/dir"], "in the guest: {}/dir is a directory; name a file in it"),
    "a device": (
        ["/dev/null", ":{}/x"],
        "/dev/null is a character device, and only files and directories can be copied",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_a_sentence_and_exit_2(cp: Cp, tmp_path: Path, case: str) -> None:
    arguments, sentence = WRONG[case]
    (tmp_path / "file").write_text("file")
    (tmp_path / "dir").mkdir()
    ended = cp(*(argument.format(tmp_path) for argument in arguments))
    assert ended.status == 2
    assert ended.err.splitlines()[0] == f"rum: {sentence.format(tmp_path)}"
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "dir", tmp_path / "file"]


def test_a_missing_directory_comes_with_the_command_that_makes_it(cp: Cp, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    there = cp("file", f":{tmp_path}/a b/c/file")
    assert there.err.splitlines()[1] == f"rum: make it first: rum exec -- mkdir -p '{tmp_path}/a b/c'"
    here = cp(f":{tmp_path}/file", "a b/c/file")
    assert here.err.splitlines()[1] == f"rum: make it first: mkdir -p '{tmp_path}/a b/c'"


def test_json_and_standard_output_are_two_things(cp: Cp, tmp_path: Path) -> None:
    ended = cp(f":{tmp_path}", "-", before=("-o", "json"))
    assert ended.status == 2
    assert "-o json needs standard output, and so does -" in ended.err


def test_no_such_user(cp: Cp, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ended = cp("--user", "nobody-of-this-name", "file", f":{tmp_path}/x")
    assert ended.status == 4
    assert "there is no user 'nobody-of-this-name' in the guest" in ended.err


def test_what_failed_in_the_middle_says_what_was_copied(cp: Cp, tmp_path: Path) -> None:
    """A directory stands in a file's place: what came before it stays, what would come after it does not."""
    (tmp_path / "tree").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "tree" / name).write_text(name)
    for place in ("there", "here"):
        (tmp_path / place / "b").mkdir(parents=True)
    sentence = "{}{}/b is a directory, so no file can take its place; before that, 1 file (1 byte) was copied"
    up = cp("tree/.", f":{tmp_path}/there")
    assert (up.status, up.err) == (2, f"rum: {sentence.format('in the guest: ', tmp_path / 'there')}\n")
    down = cp(f":{tmp_path}/tree/.", "here")
    assert (down.status, down.err) == (2, f"rum: {sentence.format('', 'here')}\n")
    for place in ("there", "here"):
        assert sorted(path.name for path in (tmp_path / place).iterdir()) == ["a", "b"]


def test_special_files_are_named_but_not_more_of_them_than_one_reads(cp: Cp, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(25):
        os.mkfifo(tmp_path / f"tree/{number:02}")
    for arguments in (["tree", f":{tmp_path}/there"], [f":{tmp_path}/tree", "here"]):
        ended = cp(*arguments)
        assert ended.status == 0
        assert ended.err.count(" (a FIFO)\n") == 20
        assert "tree/07 (a FIFO)" in ended.err
        assert ended.err.endswith("rum: warning: not copied: 5 more of this kind\n")


def interrupted(guest: LocalGuest, number: signal.Signals, *arguments: str) -> subprocess.Popen[bytes]:
    """A copy from standard input that got a signal in the middle; it has ended."""
    settings = command(guest, "cp", *arguments)
    process = subprocess.Popen(**settings, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(bytes(5 * CHUNK))
    process.stdin.flush()
    place = Path(arguments[-1].removeprefix(":")).parent
    wait_until(lambda: is_written_to(place), "the guest's end to have something")
    process.send_signal(number)
    process.wait(60)
    return process


def is_written_to(place: Path) -> bool:
    """Whether a process has begun to write a file in this directory."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            # A file without a name, or one where the file system has none such.
            if os.readlink(link).startswith((f"{place}/#", f"{place}/.rum-cp-")) and link.stat().st_size:
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_nothing_is_there_by_halves(guest: LocalGuest, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "file").write_text("old")
    with interrupted(guest, number, "-", f":{tmp_path}/file") as process:
        assert process.stderr is not None
        said = process.stderr.read()
    wait_until(lambda: not is_written_to(tmp_path), "the guest's end to have ended")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        assert b"nothing is there by halves" in said


def test_a_guest_that_goes_away_in_the_middle(guest_of_its_own: LocalGuest, cp_of: CpOf, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "big").write_bytes(bytes(2_000_000))
    assert guest_of_its_own.proxy is not None
    guest_of_its_own.proxy.cut_after = 1_000_000
    ended = cp_of(guest_of_its_own)(f":{tmp_path}/big", "old")
    assert ended.status == 4
    assert "the connection to the agent ended before the result" in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big", "old"]
    assert (tmp_path / "old").read_text() == "old"


def test_a_guest_without_python_is_said(
    guest: LocalGuest, cp: Cp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = program.exec_params

    def without(text: bytes, user: str | None) -> dict[str, object]:
        return {**params(text, user), "argv": ["no-such-python", "-c", ""]}

    monkeypatch.setattr(session, "exec_params", without)
    (tmp_path / "file").write_text("x")
    ended = cp("file", f":{tmp_path}/copy")
    assert ended.status == 4
    assert "cannot start no-such-python: no such file" in ended.err


def test_the_same_user_may_be_named(cp: Cp, tmp_path: Path) -> None:
    """Only root may become another one; what it is for is shown in a real guest."""
    (tmp_path / "file").write_text("x")
    ended = cp("--user", getpass.getuser(), "file", f":{tmp_path}/copy")
    if os.geteuid() == 0:
        assert ended.status == 0
        assert (tmp_path / "copy").read_text() == "x"
    else:
        assert ended.status == 4
        assert os.strerror(errno.EPERM) in ended.err or "cannot start" in ended.err


def test_many_megabytes_are_equal(guest: LocalGuest, cp: Cp, tmp_path: Path) -> None:
    contents = os.urandom(1_000_003) * 20
    (tmp_path / "file").write_bytes(contents)
    assert cp("file", f":{tmp_path}/there").status == 0
    assert cp(f":{tmp_path}/there", "back").status == 0
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(contents).digest()
