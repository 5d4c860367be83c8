"""The generated drives script, executed by sh against real images; only what needs a kernel's mounts is a stub."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.host.config_model import Filesystem
from rum.host.drives import GuestFiles, drives_script, drives_text, fstab_field
from rum.protocol import After, RunOn

DISK_SIZE = 8 << 20
OPTIONS = "defaults,nofail,x-systemd.before=local-fs.target,x-systemd.device-timeout=180s"


@dataclass(frozen=True)
class Guest:
    """A directory that stands for the guest; `files` is where the script looks."""

    root: Path
    files: GuestFiles

    @property
    def fstab(self) -> Path:
        return Path(self.files.fstab)

    @property
    def calls(self) -> list[str]:
        """What the stubs were called with, since the last look."""
        log = self.root / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def add_disk(self, name: str) -> Path:
        """A disk with its udev link."""
        path = self.root / "dev" / f"disk-{name}"
        path.touch()
        os.truncate(path, DISK_SIZE)
        (self.root / "dev/disk/by-id" / f"virtio-rum-{name}").symlink_to(path)
        return path

    def target(self, name: str) -> str:
        return str(self.root / name)

    def stub(self, name: str, body: str) -> None:
        path = self.root / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.root}/calls"\n{body}\n')
        path.chmod(0o755)

    def run(self, *filesystems: Filesystem) -> subprocess.CompletedProcess[str]:
        script = self.root / "script"
        script.write_text(drives_text(filesystems, self.files))
        path = f"{self.root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            ["sh", str(script)], env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    files = GuestFiles(*(str(tmp_path / name) for name in ("dev", "block", "fstab", "systemd")))
    guest = Guest(tmp_path, files)
    for directory in ("dev/disk/by-id", "block", "bin"):
        (tmp_path / directory).mkdir(parents=True)
    guest.fstab.write_text("# stays\nUUID=1234 / ext4 defaults 0 1")
    guest.stub("mountpoint", "exit 1")
    guest.stub("mount", "")
    guest.stub("resize2fs", "")
    guest.stub("systemctl", "")
    guest.stub("udevadm", "")
    guest.stub("sleep", "")
    return guest


def ext4(drive: str, target: str) -> Filesystem:
    return Filesystem("ext4", (drive,), target)


def blkid(path: Path, tag: str) -> str:
    command = ["blkid", "-p", "-s", tag, "-o", "value", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_script_runs_first_and_waits_for_nothing() -> None:
    script = drives_script([ext4("data", "/data")])
    assert (script.name, script.order, script.run_on, script.waits_for) == (
        "drives",
        0,
        RunOn.SYSTEM,
        After.LOCAL_FS,
    )


def test_a_blank_drive_is_formatted_entered_and_mounted(guest: Guest) -> None:
    disk = guest.add_disk("data")
    target = guest.target("srv/my data")
    done = guest.run(ext4("data", target))
    assert (done.returncode, done.stderr) == (0, "")
    assert blkid(disk, "TYPE") == "ext4"
    assert Path(target).is_dir()
    assert guest.fstab.read_text().splitlines() == [
        "# stays",
        "UUID=1234 / ext4 defaults 0 1",
        "# rum: begin",
        f"UUID={blkid(disk, 'UUID')} {guest.target('srv/my')}\\040data ext4 {OPTIONS} 0 2",
        "# rum: end",
    ]
    assert guest.fstab.stat().st_mode & 0o777 == 0o644
    assert guest.calls == [f"mountpoint -q {target}", f"mount {target}", f"resize2fs {disk}"]


def test_a_second_run_keeps_the_file_system_and_the_entry(guest: Guest) -> None:
    disk = guest.add_disk("data")
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    before = (blkid(disk, "UUID"), guest.fstab.read_text())
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert (blkid(disk, "UUID"), guest.fstab.read_text()) == before


def test_a_changed_target_replaces_the_entry(guest: Guest) -> None:
    guest.add_disk("data")
    guest.run(ext4("data", guest.target("old")))
    with guest.fstab.open("a") as fstab:
        fstab.write("# after\n")
    guest.run(ext4("data", guest.target("new")))
    text = guest.fstab.read_text()
    assert guest.target("old") not in text
    assert text.count("# rum: begin") == 1
    assert text.index("# stays") < text.index("# after") < text.index("# rum: begin")


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["mkfs.ext2", "-q", "-F"], "ext2"),
        (["mkswap", "-q"], "swap"),
        (["sh", "-c", 'echo "label: gpt" | sfdisk -q "$0"'], "PMBR gpt"),
        (["sh", "-c", 'echo "label: dos" | sfdisk -q "$0"'], "dos"),
    ],
)
def test_what_is_not_blank_is_never_formatted(guest: Guest, command: list[str], found: str) -> None:
    disk = guest.add_disk("data")
    subprocess.run(
        [*command, str(disk)], check=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    before = disk.read_bytes()
    fstab = guest.fstab.read_text()
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert done.stderr == f"drives: the drive data holds {found}, not ext4; it was left as it is\n"
    assert disk.read_bytes() == before
    assert guest.fstab.read_text() == fstab


def test_a_disk_is_found_in_sysfs_where_udev_has_no_link(guest: Guest) -> None:
    disk = guest.root / "dev" / "vdz"
    disk.touch()
    os.truncate(disk, DISK_SIZE)
    for name, serial in (("vdy", "rum-other"), ("vdz", "rum-data")):
        (guest.root / "block" / name).mkdir()
        (guest.root / "block" / name / "serial").write_text(serial)
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert blkid(disk, "TYPE") == "ext4"


def test_a_missing_disk_fails_after_ten_waits(guest: Guest) -> None:
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert done.stderr == "drives: the disk of [drives.data] has not appeared within 10 s\n"
    assert guest.calls.count("sleep 1") == 10


def test_a_disk_that_comes_late_is_waited_for(guest: Guest) -> None:
    disk = guest.add_disk("data")
    link = guest.root / "dev/disk/by-id/virtio-rum-data"
    hidden = link.rename(link.with_name("hidden"))
    guest.stub("sleep", f'mv "{hidden}" "{link}"')
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert blkid(disk, "TYPE") == "ext4"


def test_a_mounted_drive_is_not_mounted_again(guest: Guest) -> None:
    disk = guest.add_disk("data")
    guest.stub("mountpoint", "exit 0")
    guest.stub("findmnt", f'echo "{disk}"')
    assert guest.run(ext4("data", guest.target("data"))).returncode == 0
    assert not [call for call in guest.calls if call.startswith("mount ")]


def test_a_target_with_something_else_on_it_is_an_error(guest: Guest) -> None:
    guest.add_disk("data")
    guest.stub("mountpoint", "exit 0")
    guest.stub("findmnt", "echo /dev/null")
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert "/dev/null is already mounted at" in done.stderr


def test_systemd_is_told_of_the_new_fstab_where_it_runs(guest: Guest) -> None:
    guest.add_disk("data")
    Path(guest.files.systemd).mkdir()
    guest.run(ext4("data", guest.target("data")))
    assert guest.calls[0] == "systemctl daemon-reload"


def test_a_failing_mount_fails_the_script(guest: Guest) -> None:
    guest.add_disk("data")
    guest.stub("mount", "echo 'mount: no' >&2; exit 32")
    done = guest.run(ext4("data", guest.target("data")))
    assert (done.returncode, done.stderr) == (32, "mount: no\n")


def test_a_half_block_in_fstab_is_not_touched(guest: Guest) -> None:
    guest.add_disk("data")
    guest.fstab.write_text("# rum: begin\nUUID=1 / ext4\n")
    done = guest.run(ext4("data", guest.target("data")))
    assert done.returncode == 1
    assert "without the other" in done.stderr
    assert guest.fstab.read_text() == "# rum: begin\nUUID=1 / ext4\n"


def test_a_guest_without_mkfs_is_told_which_package(guest: Guest) -> None:
    guest.add_disk("data")
    only = guest.root / "only"
    only.mkdir()
    for tool in ("sh", "wipefs", "blkid"):
        (only / tool).symlink_to(shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") or "")
    script = guest.root / "script"
    script.write_text(drives_text([ext4("data", "/data")], guest.files))
    done = subprocess.run(["sh", str(script)], env={"PATH": str(only)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "the guest has no mkfs.ext4; install the packages e2fsprogs" in done.stderr


@pytest.mark.parametrize("name", ["it's", "$(touch x)", "a\\b", "a#b", "`id`", '"', "-p", "*", "ü"])
def test_odd_targets_are_quoted_for_the_shell_and_for_fstab(guest: Guest, name: str) -> None:
    guest.add_disk("data")
    done = guest.run(ext4("data", guest.target(name)))
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(guest.target(name)).is_dir()
    assert not (guest.root / "x").exists()
    field = guest.fstab.read_text().splitlines()[-2].split(" ")[1]
    assert field.encode("latin1", "backslashreplace").decode("unicode_escape") == guest.target(name)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1))
def test_an_fstab_field_has_no_blanks_and_can_be_read_back(text: str) -> None:
    field = fstab_field(text)
    assert not set(field) & set(" \t\n#")
    octal = {"\\040": " ", "\\043": "#", "\\134": "\\"}
    pieces = field.split("\\")
    back = pieces[0] + "".join(octal["\\" + piece[:3]] + piece[3:] for piece in pieces[1:])
    assert back == text


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    script = tmp_path / "drives.sh"
    script.write_text(drives_text([ext4("data", "/srv/it's mine"), ext4("b", "/b")]))
    done = subprocess.run(["shellcheck", "--shell=sh", str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""


def test_the_defaults_are_the_guest_s_own_files() -> None:
    text = drives_text([ext4("data", "/data")])
    for path in dataclasses.astuple(GuestFiles()):
        assert path in text
    assert "@" not in text
