"""The generated drives script, executed by sh against real images; only what needs a kernel's mounts is a stub."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.host.config.model import Filesystem
from rum.host.guest.drives import LATER, MOUNT_OPTIONS, GuestFiles, drives_script, drives_text, fstab_field
from rum.protocol import After, RunOn
from tests.unit.host.guest.drives_guest import DISK_SIZE, FAKE_BTRFS, DrivesGuest, blkid

SHELLS = [shell for shell in ("dash", "bash --posix", "busybox sh") if shutil.which(shell.split()[0])]


@pytest.fixture
def guest(tmp_path: Path) -> DrivesGuest:
    return DrivesGuest.make(tmp_path)


def ext4(drive: str, target: str) -> Filesystem:
    return Filesystem("ext4", (drive,), target)


def test_the_script_runs_first_and_waits_for_nothing() -> None:
    script = drives_script([ext4("data", "/data")], "rum", {"data": 1})
    assert (script.name, script.order, script.run_on, script.waits_for) == ("drives", 0, RunOn.SYSTEM, After.LOCAL_FS)


def test_another_size_is_another_script() -> None:
    first, second = (drives_script([ext4("data", "/data")], "rum", {"data": size}) for size in (1, 2))
    assert first.sha256 != second.sha256


def test_a_blank_drive_is_formatted_entered_and_mounted(guest: DrivesGuest) -> None:
    disk = guest.add_disk("data")
    target = guest.target("srv/my data")
    done = guest.run(ext4("data", target))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "formatting the drive data as ext4\n"
    assert blkid(disk, "TYPE") == "ext4"
    assert Path(target).is_dir()
    assert guest.fstab.read_text().splitlines() == [
        "# stays",
        "UUID=1234 / ext4 defaults 0 1",
        "# rum: begin",
        f"UUID={blkid(disk, 'UUID')} {guest.target('srv/my')}\\040data ext4 {MOUNT_OPTIONS} 0 2",
        "# rum: end",
    ]
    assert guest.fstab.stat().st_mode & 0o777 == 0o644
    assert guest.calls[-3:] == [f"mountpoint -q {target}", f"mount {target}", f"resize2fs {disk}"]


def test_a_second_run_keeps_the_file_system_and_the_entry(guest: DrivesGuest) -> None:
    disk = guest.add_disk("data")
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    before = (blkid(disk, "UUID"), guest.fstab.read_text())
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert (blkid(disk, "UUID"), guest.fstab.read_text()) == before


@pytest.mark.parametrize("shell", SHELLS)
def test_every_kind_in_every_shell(guest: DrivesGuest, shell: str) -> None:
    disks = {name: guest.add_disk(name) for name in "abcde"}
    kinds = [
        ext4("a", guest.target("1")),
        Filesystem("xfs", ("b",), guest.target("2")),
        Filesystem("btrfs", ("c", "d"), guest.target("3"), mode="raid1"),
        Filesystem("vfat", ("e",), guest.target("4")),
    ]
    for _ in range(2):
        done = guest.run(*kinds, shell=shell)
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split(" ", 2)[2] for line in guest.entries] == [
            f"ext4 {MOUNT_OPTIONS} 0 2",
            f"xfs {MOUNT_OPTIONS} 0 0",
            f"btrfs {MOUNT_OPTIONS} 0 0",
            f"vfat {MOUNT_OPTIONS},uid={os.getuid()},gid={os.getgid()},umask=022,utf8 0 2",
        ]
    formatted = [line for line in guest.calls if line.startswith("mkfs") and "--help" not in line]
    assert formatted == [
        f"mkfs.xfs -q {disks['b']}",
        f"mkfs.btrfs -q -d raid1 -m raid1 {disks['c']} {disks['d']}",
        f"mkfs.vfat -I {disks['e']}",
    ]


@pytest.mark.parametrize(
    ("mode", "options"),
    [(None, "-q"), ("single", "-q -d single"), ("raid0", "-q -d raid0"), ("raid10", "-q -d raid10 -m raid10")],
)
def test_how_btrfs_spreads(guest: DrivesGuest, mode: str | None, options: str) -> None:
    disks = [guest.add_disk(name) for name in "ab"]
    assert guest.run(Filesystem("btrfs", ("a", "b"), guest.target("b"), mode)).returncode == 0
    assert f"mkfs.btrfs {options} {disks[0]} {disks[1]}" in guest.calls


def test_a_vfat_is_made_without_a_partition_table_where_the_tool_would_add_one(guest: DrivesGuest) -> None:
    disk = guest.add_disk("a")
    body = (guest.root / "bin/mkfs.vfat").read_text()
    guest.stub("mkfs.vfat", f'[ "$1" != --help ] || echo "  --mbr[=y|n|auto]"\n{body}')
    assert guest.run(Filesystem("vfat", ("a",), guest.target("a"))).returncode == 0
    assert f"mkfs.vfat -I --mbr=n {disk}" in guest.calls


def test_a_changed_target_replaces_the_entry_and_the_mount(guest: DrivesGuest) -> None:
    guest.add_disk("data")
    old = guest.target("it's 100% \\ old $x")
    guest.run(ext4("data", old))
    with guest.fstab.open("a") as fstab:
        fstab.write("# after\n")
    guest.stub("mountpoint", f'[ "$2" = "$OLD" ] && [ ! -e "{guest.root}/left" ]', OLD=shell_word(old))
    guest.stub("umount", f': >"{guest.root}/left"')
    assert guest.calls
    done = guest.run(ext4("data", guest.target("new")))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"umount {old}" in guest.calls
    text = guest.fstab.read_text()
    assert fstab_field(old) not in text
    assert text.count("# rum: begin") == 1
    assert text.index("# stays") < text.index("# after") < text.index("# rum: begin")


HIDES = """
for target; do :; done
[ -d "$target" ] || { echo "mount: $target: mount point does not exist." >&2; exit 32; }
mv "$target" "$target.hidden"
mkdir "$target"
"""

BRINGS_BACK = 'rm -r "$1"; mv "$1.hidden" "$1"'


def with_mounts_that_hide(guest: DrivesGuest) -> None:
    """As a kernel's do: what is in a directory is not seen while something is mounted there."""
    guest.stub("mount", HIDES)
    guest.stub("umount", BRINGS_BACK)
    guest.stub("mountpoint", '[ -d "$2.hidden" ]')


def test_a_target_may_be_inside_another_one(guest: DrivesGuest) -> None:
    guest.add_disk("a")
    guest.add_disk("b")
    with_mounts_that_hide(guest)
    done = guest.run(ext4("a", guest.target("outer")), ext4("b", guest.target("outer/inner/most")))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_target_may_move_into_what_it_was(guest: DrivesGuest) -> None:
    guest.add_disk("a")
    with_mounts_that_hide(guest)
    assert guest.run(ext4("a", guest.target("data"))).returncode == 0
    done = guest.run(ext4("a", guest.target("data/below")))
    assert (done.returncode, done.stderr) == (0, "")


def shell_word(text: str) -> str:
    """Inside double quotes."""
    return text.replace("\\", "\\\\").replace("$", "\\$")


def test_what_rum_toml_does_not_name_any_more_is_unmounted_inner_ones_first(guest: DrivesGuest) -> None:
    disks = [guest.add_disk(name) for name in "ab"]
    outer, inner = guest.target("outer"), guest.target("outer/inner")
    guest.run(ext4("a", outer), ext4("b", inner))
    before = [disk.read_bytes() for disk in disks]
    guest.stub("mountpoint", "")
    assert guest.calls
    done = guest.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert [call for call in guest.calls if call.startswith("umount")] == [f"umount {inner}", f"umount {outer}"]
    assert guest.fstab.read_text() == "# stays\nUUID=1234 / ext4 defaults 0 1\n"
    assert [disk.read_bytes() for disk in disks] == before


def test_what_is_in_use_is_named_and_gone_with_the_next_restart(guest: DrivesGuest) -> None:
    guest.add_disk("a")
    guest.run(ext4("a", guest.target("a")))
    guest.stub("mountpoint", "")
    guest.stub("umount", "echo 'umount: target is busy' >&2; exit 32")
    done = guest.run()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "umount: target is busy",
        f"drives: still in use, so not unmounted before the next restart: {guest.target('a')}",
    ]
    assert guest.entries == []


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["mkfs.ext2", "-q", "-F"], "ext2"),
        (["mkswap", "-q"], "swap"),
        (["sh", "-c", 'echo "label: gpt" | sfdisk -q "$0"'], "PMBR gpt"),
        (["sh", "-c", 'echo "label: dos" | sfdisk -q "$0"'], "dos"),
        (["sh", "-c", 'printf "LUKS\\272\\276\\0\\001" | dd of="$0" conv=notrunc'], "crypto_LUKS"),
        (["sh", "-c", 'printf "FAKE xfs 1\\n" | dd of="$0" conv=notrunc'], "xfs"),
    ],
)
@pytest.mark.parametrize("kind", ["ext4", "btrfs", "vfat"])
def test_what_is_not_blank_is_never_formatted(guest: DrivesGuest, command: list[str], found: str, kind: str) -> None:
    disk = guest.add_disk("data")
    subprocess.run(
        [*command, str(disk)], check=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    before = disk.read_bytes()
    fstab = guest.fstab.read_text()
    done = guest.run(Filesystem(kind, ("data",), guest.target("data")))
    assert done.returncode == 1
    assert done.stderr == f"drives: the drive data holds {found}, not {kind}; it was left as it is\n"
    assert disk.read_bytes() == before
    assert guest.fstab.read_text() == fstab


def test_a_disk_that_cannot_be_read_is_not_taken_for_a_blank_one(guest: DrivesGuest) -> None:
    disk = guest.add_disk("data")
    guest.stub("wipefs", "echo 'wipefs: read error' >&2; exit 1")
    done = guest.run(ext4("data", guest.target("data")))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"wipefs: read error\ndrives: {disk} cannot be read\n"
    assert disk.read_bytes() == bytes(DISK_SIZE)


def test_blank_drives_are_not_joined_to_what_others_hold(guest: DrivesGuest) -> None:
    guest.add_disk("a")
    assert guest.run(Filesystem("btrfs", ("a",), guest.target("a"))).returncode == 0
    blank = guest.add_disk("b")
    done = guest.run(Filesystem("btrfs", ("a", "b"), guest.target("a")))
    assert done.returncode == 1
    some = "some are blank and some hold btrfs, which rum does not join; they were left as they are"
    assert done.stderr == f"drives: of the drives a b, {some}\n"
    assert blank.read_bytes() == bytes(DISK_SIZE)


def test_what_waits_for_a_drive_is_left_as_it_is(guest: DrivesGuest) -> None:
    guest.add_disk("a")
    new = guest.add_disk("b")
    target = guest.target("a \\ b")
    assert guest.run(Filesystem("btrfs", ("a",), target)).returncode == 0
    before = guest.fstab.read_text()
    guest.stub("mountpoint", "")
    assert guest.calls
    later = [Filesystem(LATER, ("a",), target), Filesystem(LATER, ("b",), guest.target("b"))]
    done = guest.run(*later)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert guest.fstab.read_text() == before
    assert not [call for call in guest.calls if call.startswith(("umount", "mount ", "mkfs"))]
    assert new.read_bytes() == bytes(DISK_SIZE)


@pytest.mark.parametrize("size", [DISK_SIZE, 16 << 20, 256 << 20])
def test_each_kind_is_grown_to_its_disk(guest: DrivesGuest, size: int) -> None:
    disks = {name: guest.add_disk(name) for name in "abcde"}
    guest.stub("blockdev", f"echo {size}")
    targets = {name: guest.target(name) for name in "abce"}
    done = guest.run(
        ext4("a", targets["a"]),
        Filesystem("xfs", ("b",), targets["b"]),
        Filesystem("btrfs", ("c", "d"), targets["c"]),
        Filesystem("vfat", ("e",), targets["e"]),
    )
    assert (done.returncode, done.stderr) == (0, "")
    grown = [call for call in guest.calls if call.startswith(("resize2fs", "xfs_growfs", "btrfs filesystem resize"))]
    assert grown[:2] == [f"resize2fs {disks['a']}", f"xfs_growfs {targets['b']}"]
    both = [f"btrfs filesystem resize {name}1:max {targets['c']}" for name in "cd"]
    assert grown[2:] == (both if size == 256 << 20 else [])
    stays = [line for line in done.stdout.splitlines() if " stays at " in line]
    vfat = f"the vfat at {targets['e']} stays at 8 of {size >> 20} MiB: no tool grows one that is in use"
    btrfs = [
        f"the btrfs at {targets['c']} stays at 8 of 16 MiB of {disks[name]}: Linux grows none to less than 256 MiB"
        for name in "cd"
    ]
    assert stays == {DISK_SIZE: [], 16 << 20: [*btrfs, vfat], 256 << 20: [vfat]}[size]


def test_a_btrfs_that_cannot_be_grown_says_why(guest: DrivesGuest) -> None:
    guest.add_disk("a")
    guest.stub("blockdev", f"echo {512 << 20}")
    guest.stub(
        "btrfs",
        f"{FAKE_BTRFS % DISK_SIZE}\n[ $2 != resize ] || {{ echo 'ERROR: no' >&2; exit 1; }}",
        DEV=guest.files.dev,
    )
    done = guest.run(Filesystem("btrfs", ("a",), guest.target("a")))
    assert done.returncode == 1
    assert done.stderr == "drives: the file system on the drive a cannot be grown to the full size: ERROR: no\n"


def test_what_cannot_be_grown_says_why(guest: DrivesGuest) -> None:
    guest.add_disk("data")
    guest.stub("resize2fs", "echo 'resize2fs: Permission denied' >&2; echo last; exit 1")
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert done.stderr == (
        "drives: the file system on the drive data cannot be grown to the full size: resize2fs: Permission denied\n"
    )


def test_a_disk_is_found_in_sysfs_where_udev_has_no_link(guest: DrivesGuest) -> None:
    disk = guest.root / "dev" / "vdz"
    disk.touch()
    os.truncate(disk, DISK_SIZE)
    for name, serial in (("vdy", "rum-other"), ("vdz", "rum-data")):
        (guest.root / "block" / name).mkdir()
        (guest.root / "block" / name / "serial").write_text(serial)
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert blkid(disk, "TYPE") == "ext4"


def test_a_missing_disk_fails_after_ten_waits(guest: DrivesGuest) -> None:
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert done.stderr == "drives: the disk of [drives.data] has not appeared within 10 s\n"
    assert guest.calls.count("sleep 1") == 10


def test_a_disk_that_comes_late_is_waited_for(guest: DrivesGuest) -> None:
    disk = guest.add_disk("data")
    link = guest.root / "dev/disk/by-id/virtio-rum-data"
    hidden = link.rename(link.with_name("hidden"))
    guest.stub("sleep", f'mv "{hidden}" "{link}"')
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert blkid(disk, "TYPE") == "ext4"


def test_a_mounted_drive_is_not_mounted_again(guest: DrivesGuest) -> None:
    disk = guest.add_disk("data")
    Path(guest.target("data")).mkdir()
    guest.stub("mountpoint", "exit 0")
    guest.stub("findmnt", f'echo "{disk}"')
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert not [call for call in guest.calls if call.startswith("mount ")]


def test_a_target_with_something_else_on_it_is_an_error(guest: DrivesGuest) -> None:
    guest.add_disk("data")
    guest.stub("mountpoint", "exit 0")
    guest.stub("findmnt", "echo /dev/null")
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert "/dev/null is already mounted at" in done.stderr


def test_systemd_is_told_of_the_new_fstab_where_it_runs(guest: DrivesGuest) -> None:
    guest.add_disk("data")
    Path(guest.files.systemd).mkdir()
    guest.run(ext4("data", guest.target("data")))
    calls = guest.calls
    assert calls.index("systemctl daemon-reload") < calls.index(f"mount {guest.target('data')}")


def test_a_failing_mount_fails_the_script(guest: DrivesGuest) -> None:
    guest.add_disk("data")
    guest.stub("mount", "echo 'mount: no' >&2; exit 32")
    done = guest.run(ext4("data", guest.target("data")))
    assert (done.returncode, done.stderr) == (32, "mount: no\n")


def test_a_half_block_in_fstab_is_not_touched(guest: DrivesGuest) -> None:
    disk = guest.add_disk("data")
    guest.fstab.write_text("# rum: begin\nUUID=1 / ext4\n")
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert "without the other" in done.stderr
    assert guest.fstab.read_text() == "# rum: begin\nUUID=1 / ext4\n"
    assert disk.read_bytes() == bytes(DISK_SIZE)


@pytest.mark.parametrize("name", ["it's", "$(touch x)", "a\\b", "a#b", "`id`", '"', "-p", "*", "ü", "%s"])
def test_odd_targets_are_quoted_for_the_shell_and_for_fstab(guest: DrivesGuest, name: str) -> None:
    guest.add_disk("data")
    done = guest.run(ext4("data", guest.target(name)))
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(guest.target(name)).is_dir()
    assert not (guest.root / "x").exists()
    field = guest.entries[0].split(" ")[1]
    assert field.encode("latin1", "backslashreplace").decode("unicode_escape") == guest.target(name)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1))
def test_an_fstab_field_has_no_blanks_and_can_be_read_back(text: str) -> None:
    field = fstab_field(text)
    assert not set(field) & set(" \t\n")
    octal = {"\\040": " ", "\\134": "\\"}
    pieces = field.split("\\")
    back = pieces[0] + "".join(octal["\\" + piece[:3]] + piece[3:] for piece in pieces[1:])
    assert back == text


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    script = tmp_path / "drives.sh"
    filesystems = [ext4("data", "/srv/it's mine"), Filesystem("zfs", ("b", "c"), "/b", "mirror", "tank")]
    script.write_text(drives_text(filesystems, "rum", dict.fromkeys("bc", 1) | {"data": 1}))
    done = subprocess.run(["shellcheck", "--shell=sh", str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""


def test_the_defaults_are_the_guest_s_own_files() -> None:
    text = drives_text([ext4("data", "/data")], "rum", {"data": 1})
    for path in dataclasses.astuple(GuestFiles()):
        assert path in text
