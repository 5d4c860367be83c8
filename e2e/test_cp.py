"""`rum cp` with a real guest: trees both ways, as another user, against a full disk, and when it is killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import Measured
from e2e.project import Project, poll

HERE = "/root/cp"
"""What these tests have of the guest."""

FILES = 1000

MANIFEST = """
import hashlib, json, os, stat, sys
found = {}
top = os.fsencode(sys.argv[1])
for root, directories, names in os.walk(top):
    for name in [*directories, *names]:
        path = os.path.join(root, name)
        state = os.lstat(path)
        if stat.S_ISLNK(state.st_mode):
            what = os.fsdecode(os.readlink(path))
        elif stat.S_ISDIR(state.st_mode):
            what = ""
        else:
            with open(path, "rb") as file:
                what = hashlib.sha256(file.read()).hexdigest()
        mode = None if stat.S_ISLNK(state.st_mode) else oct(stat.S_IMODE(state.st_mode))
        found[path[len(top):].hex()] = [mode, state.st_uid if len(sys.argv) > 2 else 0, what]
print(json.dumps(found))
"""
"""Prints what is in a directory: of each path, in hexadecimal digits, mode, owner if that is wanted, and contents."""


@pytest.fixture(scope="module")
def guest(vm: Project) -> Iterator[Project]:
    vm.guest(f"mkdir -p {HERE}")
    yield vm
    vm.guest(f"umount {HERE}/small 2>/dev/null; rm -rf {HERE} /home/rum/work")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What people have in their trees, and what few have."""
    tree = tmp_path_factory.mktemp("cp") / "tree"
    (tree / "deep/er/still").mkdir(parents=True)
    (tree / "empty").mkdir(mode=0o700)
    (tree / "deep/er/still/file").write_bytes(os.urandom(300_000))
    (tree / "program").write_text("#!/bin/sh\n")
    (tree / "program").chmod(0o755)
    (tree / "secret").write_text("secret")
    (tree / "secret").chmod(0o400)
    (tree / "link").symlink_to("deep/er")
    (tree / "dangling").symlink_to("/no/such/place")
    for name in (b"-rf", b"new\nline", b"\xff\xfe", b"x" * 255, " ü ".encode()):
        (tree / os.fsdecode(name)).write_bytes(name)
    (tree / "deep/er").chmod(0o555)
    return tree


def manifest(directory: Path) -> dict[str, list[object]]:
    """What is in a directory here."""
    command = [sys.executable, "-c", MANIFEST, str(directory)]
    found: dict[str, list[object]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def manifest_in_guest(guest: Project, directory: str, *, owner: bool = False) -> dict[str, list[object]]:
    """What is in a directory there."""
    arguments = ("owner",) if owner else ()
    found: dict[str, list[object]] = json.loads(guest.guest_python(MANIFEST, directory, *arguments))
    return found


def sha256_in_guest(guest: Project, path: str) -> str:
    return guest.guest(f"sha256sum {path}").split()[0]


def test_a_tree_is_the_same_there_and_back(guest: Project, tree: Path, tmp_path: Path) -> None:
    there = guest.rum("-o", "json", "cp", str(tree), f":{HERE}/tree")
    assert there.exit == 0, there.stderr
    assert manifest_in_guest(guest, f"{HERE}/tree") == manifest(tree)
    back = guest.rum("-o", "json", "cp", f":{HERE}/tree", str(tmp_path))
    assert back.exit == 0, back.stderr
    assert manifest(tmp_path / "tree") == manifest(tree)
    assert (there.done["files"], there.done["bytes"]) == (back.done["files"], back.done["bytes"]) == (8, 300_288)


def test_files_of_a_user_belong_to_it(guest: Project, tree: Path) -> None:
    copied = guest.rum("cp", "--user", "rum", f"{tree}/.", ":work")
    assert copied.exit == 0, copied.stderr
    found = manifest_in_guest(guest, "/home/rum/work", owner=True)
    rum_uid = int(guest.guest("id -u rum"))
    assert {entry[1] for entry in found.values()} == {rum_uid}
    assert {path: [mode, 0, what] for path, (mode, _, what) in found.items()} == manifest(tree)


def test_a_user_has_its_own_rights_only(guest: Project, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    written = guest.rum("cp", "--user", "rum", str(tmp_path / "file"), ":/etc/cp-test")
    assert (written.exit, written.stderr.splitlines()) == (
        4,
        [
            "rum: in the guest: /etc/cp-test: Permission denied",
            "rum: rum may not do that; without --user it is done as root",
        ],
    )
    read = guest.rum("cp", "--user", "rum", ":/etc/shadow", "-")
    assert (read.exit, read.stdout) == (4, "")
    assert "/etc/shadow: Permission denied" in read.stderr


def test_streams(guest: Project) -> None:
    """An old file's mode and owner stay."""
    guest.guest(f"echo old > {HERE}/motd; chmod 640 {HERE}/motd; chown rum {HERE}/motd")
    assert guest.rum("cp", "-", f":{HERE}/motd", stdin="new\n").exit == 0
    assert guest.guest(f"stat -c '%a %U' {HERE}/motd") == "640 rum\n"
    assert guest.rum("cp", f":{HERE}/motd", "-").stdout == "new\n"


def test_a_large_file_both_ways(
    guest: Project, tmp_path: Path, pytestconfig: pytest.Config, measured: Measured
) -> None:
    size_mb = pytestconfig.getoption("stream_mb")
    digest = hashlib.sha256()
    with open(tmp_path / "large", "wb") as file:
        for _ in range(size_mb):
            piece = os.urandom(1_000_000)
            digest.update(piece)
            file.write(piece)
    there = guest.rum("cp", str(tmp_path / "large"), f":{HERE}/large", within_s=60 + size_mb)
    assert there.exit == 0, there.stderr
    assert sha256_in_guest(guest, f"{HERE}/large") == digest.hexdigest()
    back = guest.rum("cp", f":{HERE}/large", str(tmp_path / "back"), within_s=60 + size_mb)
    assert back.exit == 0, back.stderr
    assert (tmp_path / "large").read_bytes() == (tmp_path / "back").read_bytes()
    guest.guest(f"rm {HERE}/large")
    measured(f"cp of {size_mb} MB: {size_mb / there.seconds:.1f} MB/s there, {size_mb / back.seconds:.1f} MB/s back")


def test_many_small_files(guest: Project, tmp_path: Path, measured: Measured) -> None:
    (tmp_path / "many").mkdir()
    for number in range(FILES):
        (tmp_path / f"many/{number}").write_text(str(number))
    there = guest.rum("cp", str(tmp_path / "many"), f":{HERE}/many")
    assert there.exit == 0, there.stderr
    back = guest.rum("cp", f":{HERE}/many", str(tmp_path / "back"))
    assert back.exit == 0, back.stderr
    assert manifest(tmp_path / "back") == manifest(tmp_path / "many")
    measured(f"cp of {FILES} files: {there.seconds:.1f} s there, {back.seconds:.1f} s back")


def test_a_full_disk_is_said_and_clobbers_nothing(guest: Project, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(4_000_000))
    guest.guest(f"mkdir {HERE}/small; mount -t tmpfs -o size=2m none {HERE}/small; echo old > {HERE}/small/large")
    full = guest.rum("cp", str(tmp_path / "large"), f":{HERE}/small")
    assert (full.exit, full.stderr.splitlines()) == (
        4,
        [
            f"rum: in the guest: {HERE}/small/large: No space left on device",
            "rum: make room in the guest: rum exec -- df -h",
        ],
    )
    assert guest.guest(f"cat {HERE}/small/large; ls -A {HERE}/small") == "old\nlarge\n"
    assert guest.guest(f"df --output=used {HERE}/small | tail -n 1").strip() == "4"


def test_a_copy_to_the_guest_that_is_killed_leaves_nothing(guest: Project) -> None:
    guest.guest(f"mkdir -p {HERE}/killed; echo old > {HERE}/killed/file")
    with started(guest, "-", f":{HERE}/killed/file") as process:
        assert process.stdin is not None
        process.stdin.write(bytes(1_000_000))
        process.stdin.flush()
        wait_for(guest, f"ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q '{HERE}/killed/#'", "the guest's end to write")
        process.kill()
    wait_for(guest, ENDED, "the guest's end to be gone")
    assert guest.guest(f"cat {HERE}/killed/file; ls -A {HERE}/killed") == "old\nfile\n"


def test_a_copy_from_the_guest_that_is_killed_leaves_nothing(guest: Project, tmp_path: Path) -> None:
    guest.guest(f"truncate -s 20G {HERE}/endless")
    (tmp_path / "file").write_text("old")
    with started(guest, f":{HERE}/endless", str(tmp_path / "file")) as process:
        for _ in poll(30 * guest.patience, "something to be written"):
            if has_written(process.pid):
                break
        process.kill()
    wait_for(guest, ENDED, "the guest's end to be gone")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


ENDED = "! pgrep -f '[j]son.loads.sys.stdin' >/dev/null"


@contextlib.contextmanager
def started(guest: Project, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A copy that goes on, at most until the block's end, however that comes."""
    with subprocess.Popen(guest.command("cp", *arguments), env=guest.environment, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(guest: Project, condition: str, what: str) -> None:
    """Wait until a shell's condition holds in the guest."""
    for _ in poll(30 * guest.patience, what):
        if guest.rum("exec", "--", "sh", "-c", condition).exit == 0:
            return


def has_written(pid: int) -> bool:
    """Whether a process has a file without a name that is not empty."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        # Descriptors come and go meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if "/#" in os.readlink(link) and link.stat().st_size:
                return True
    return False


def test_a_link_is_no_way_out(guest: Project, tmp_path: Path) -> None:
    """On either side: the host writes with its user's rights, and the agent with root's."""
    (tmp_path / "tree/way").mkdir(parents=True)
    (tmp_path / "tree/way/file").write_text("x")
    guest.guest(f"mkdir -p {HERE}/links {HERE}/outside; ln -s ../outside {HERE}/links/way")
    there = guest.rum("cp", f"{tmp_path}/tree/.", f":{HERE}/links")
    assert (there.exit, there.stderr) == (
        2,
        f"rum: in the guest: {HERE}/links/way is a symbolic link, and the copy of a directory would go through it\n",
    )
    assert guest.guest(f"ls -A {HERE}/outside") == ""
    guest.guest(f"rm {HERE}/links/way; mkdir {HERE}/links/way; echo x > {HERE}/links/way/file")
    (tmp_path / "here").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "here/way").symlink_to("../outside")
    back = guest.rum("cp", f":{HERE}/links/.", f"{tmp_path}/here")
    assert back.exit == 2
    assert "here/way is a symbolic link" in back.stderr
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_is_not_there(guest: Project, tmp_path: Path) -> None:
    missing = guest.rum("cp", ":/no/such/file", str(tmp_path))
    assert (missing.exit, missing.stderr) == (2, "rum: in the guest: /no/such/file: No such file or directory\n")
    (tmp_path / "file").write_text("x")
    parent = guest.rum("cp", str(tmp_path / "file"), ":/srv/no/such/file")
    assert (parent.exit, parent.stderr.splitlines()) == (
        2,
        [
            "rum: in the guest: there is no directory /srv/no/such",
            "rum: make it first: rum exec -- mkdir -p /srv/no/such",
        ],
    )
