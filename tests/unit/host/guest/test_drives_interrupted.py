"""The drives script after a power cut at its worst moments, and who owns what it has made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rum.host.config.model import Filesystem
from tests.unit.host.guest.drives_guest import FAKE_MKFS, OWNER, SYSTEM_PATH, DrivesGuest

NOBODY_YET = "rum-account-to-be"


@pytest.fixture
def guest(tmp_path: Path) -> DrivesGuest:
    guest = DrivesGuest.make(tmp_path)
    for name in "ab":
        guest.add_disk(name)
    return guest


def btrfs(guest: DrivesGuest) -> Filesystem:
    return Filesystem("btrfs", ("a", "b"), guest.target("data"))


def cut_power_during_mkfs(guest: DrivesGuest, *, written: int) -> None:
    """mkfs that dies once so many disks look formatted."""
    body = FAKE_MKFS.format(kind="btrfs").replace(
        "for disk;", f'for disk in $(printf "%s\\n" "$@" | grep / | head -n {written});'
    )
    guest.stub("mkfs.btrfs", f"{body}; kill -9 $PPID", PATH=SYSTEM_PATH)
    assert guest.run(btrfs(guest)).returncode == -9
    guest.stub("mkfs.btrfs", FAKE_MKFS.format(kind="btrfs"), PATH=SYSTEM_PATH)
    assert guest.calls
    assert guest.entries == []


@pytest.mark.parametrize("written", [0, 1, 2])
def test_an_interrupted_mkfs_is_done_again(guest: DrivesGuest, written: int) -> None:
    cut_power_during_mkfs(guest, written=written)
    guest.stub("mount", 'case "$2" in ro) exit 32 ;; esac')
    done = guest.run(btrfs(guest))
    assert (done.returncode, done.stderr) == (0, "")
    assert ("had not been formatted to the end" in done.stdout) is (written > 0)
    assert len([call for call in guest.calls if call.startswith("mkfs.btrfs -q")]) == 1
    assert len(guest.entries) == 1
    assert list(Path(guest.files.notes).glob("*.*")) == []


def test_what_has_files_was_formatted_to_the_end_and_is_kept(guest: DrivesGuest) -> None:
    cut_power_during_mkfs(guest, written=2)
    guest.stub("mount", 'case "$2" in ro) : >"$4/precious" ;; esac')
    guest.stub("umount", 'rm -f "$1/precious"')
    done = guest.run(btrfs(guest))
    assert (done.returncode, done.stderr) == (0, "")
    assert [call for call in guest.calls if call.startswith("mkfs.btrfs -q")] == []
    assert len(guest.entries) == 1
    assert list(Path(guest.files.notes).glob("*.*")) == []


def test_what_is_mounted_is_kept(guest: DrivesGuest) -> None:
    cut_power_during_mkfs(guest, written=2)
    guest.stub("findmnt", 'case "$1" in --source) exit 0 ;; esac; exit 1')
    assert guest.run(btrfs(guest)).returncode == 0
    assert [call for call in guest.calls if call.startswith("mkfs.btrfs -q")] == []


def test_only_what_was_being_formatted_is_formatted_again(guest: DrivesGuest) -> None:
    cut_power_during_mkfs(guest, written=1)
    guest.stub("mount", 'case "$2" in ro) exit 32 ;; esac')
    other = Filesystem("btrfs", ("a",), guest.target("data"))
    assert guest.run(other).returncode == 0
    assert [call for call in guest.calls if call.startswith("mkfs.btrfs -q")] == []


def test_a_foreign_disk_in_the_place_of_a_half_made_one_is_refused(guest: DrivesGuest) -> None:
    cut_power_during_mkfs(guest, written=1)
    disk = Path(guest.files.dev) / "disk-a"
    disk.write_bytes(b"FAKE crypto_LUKS 1\n" + bytes(8 << 20))
    before = disk.read_bytes()
    done = guest.run(btrfs(guest))
    assert (done.returncode, done.stderr) == (
        1,
        "drives: the drive a holds crypto_LUKS, not btrfs; it was left as it is\n",
    )
    assert disk.read_bytes() == before


def test_the_notes_are_on_the_disk_before_and_after_mkfs(guest: DrivesGuest) -> None:
    guest.run(btrfs(guest))
    calls = [call.split()[0] for call in guest.calls]
    mkfs = calls.index("mkfs.btrfs")
    assert "sync" in calls[:mkfs]
    assert calls[mkfs + 1] == "sync"


def test_a_new_file_system_is_its_owner_s_and_an_old_one_stays_whose_it_is(guest: DrivesGuest) -> None:
    guest.stub("chown", "")
    target = guest.target("data")
    assert guest.run(btrfs(guest)).returncode == 0
    ours = f"chown {os.getuid()}:{os.getgid()} {target}"
    assert ours in guest.calls
    assert guest.run(btrfs(guest)).returncode == 0
    assert ours not in guest.calls


def test_the_owner_comes_also_after_a_power_cut_before_it_was_set(guest: DrivesGuest) -> None:
    guest.stub("chown", "kill -9 $PPID")
    assert guest.run(btrfs(guest)).returncode == -9
    guest.stub("chown", "")
    assert guest.calls
    assert guest.run(btrfs(guest)).returncode == 0
    calls = guest.calls
    assert f"chown {os.getuid()}:{os.getgid()} {guest.target('data')}" in calls
    assert [call for call in calls if call.startswith("mkfs")] == []


def test_an_account_that_is_made_meanwhile_is_waited_for(guest: DrivesGuest) -> None:
    made = guest.root / "made"
    guest.stub("id", f'[ -e "{made}" ] || {{ echo "id: no such user" >&2; exit 1; }}; echo 1234')
    guest.stub("getent", 'echo "x:x:1234:1234::/nonexistent:/bin/sh"')
    guest.stub("sleep", f': >"{made}"')
    guest.stub("chown", "")
    done = guest.run(btrfs(guest), owner=NOBODY_YET)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"waiting for the account {NOBODY_YET}\n" in done.stdout
    assert f"chown 1234:1234 {guest.target('data')}" in guest.calls


def test_an_account_that_never_comes_is_an_error(guest: DrivesGuest) -> None:
    done = guest.run(btrfs(guest), owner=NOBODY_YET)
    assert done.returncode == 1
    assert done.stderr == (
        f"drives: the account {NOBODY_YET}, to which new file systems belong, has not appeared within 180 s\n"
    )


def test_directories_below_the_home_are_the_account_s(guest: DrivesGuest) -> None:
    guest.stub("chown", "")
    home = guest.root / "home"
    guest.stub("getent", f'echo "x:x:1:1::{home}:/bin/sh"')
    guest.stub("sleep", f'mkdir -p "{home}"')
    done = guest.run(Filesystem("btrfs", ("a", "b"), str(home / ".cache/deep")), owner=OWNER)
    assert (done.returncode, done.stderr) == (0, "")
    owned = [call.split()[-1] for call in guest.calls if call.startswith("chown")]
    assert owned == [str(home / ".cache"), str(home / ".cache/deep"), str(home / ".cache/deep")]
