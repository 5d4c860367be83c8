"""Drives and file systems of every kind through the life of one VM: made, grown, taken out, brought back. Two boots.

The programs of xfs and btrfs come from the guest's own package manager, unless the image has them.
"""

from __future__ import annotations

import json
import shlex

import pytest

from e2e.conftest import MakeProject
from e2e.project import Outcome, Project

NASTY = '/srv/a $(x) `y` "q" it\'s \\040 # 100% ü'

# Inside another one, from the first boot on.
FAT = f"{NASTY}/fat"

TARGETS = {"plain": NASTY, "big": "/srv/xfs", "one": "/home/rum/.cache/btrfs", "fat": FAT}

FILESYSTEMS = {
    "plain": f'[[fs.ext4]]\ndrive = "plain"\ntarget = {json.dumps(NASTY, ensure_ascii=False)}\n',
    "big": '[[fs.xfs]]\ndrive = "big"\ntarget = "/srv/xfs"\n',
    "one": '[[fs.btrfs]]\ndrives = ["one", "two"]\ntarget = "/home/rum/.cache/btrfs"\nmode = "raid1"\n',
    "fat": f'[[fs.vfat]]\ndrive = "fat"\ntarget = {json.dumps(FAT, ensure_ascii=False)}\n',
    # Sorts before the others, so that it takes the first one's place in the order of disks.
    "aaa": '[[fs.ext4]]\ndrive = "aaa"\ntarget = "/srv/aaa"\n',
    "raw": '[[fs.ext4]]\ndrive = "raw"\ntarget = "/srv/raw"\n',
}

SIZES = {"plain": 64, "big": 320, "one": 128, "two": 128, "fat": 64, "raw": 16}

LARGER = {name: size + 192 for name, size in SIZES.items() if name not in ("fat", "raw")}

NOTED = "/var/log/mounted"

MISSING = """
command -v mkfs.btrfs >/dev/null || echo btrfs-progs
command -v mkfs.xfs >/dev/null || echo xfsprogs
"""
"""Prints the packages that the package manager has to bring."""


def configure(project: Project, sizes: dict[str, int], *without: str) -> None:
    """These drives, in MiB, each with its file system but those; the boot script notes what is mounted."""
    drives = "".join(f'[drives.{name}]\nsize = "{size}M"\n' for name, size in sizes.items())
    filesystems = "".join(text for name, text in FILESYSTEMS.items() if name in sizes and name not in without)
    project.configure(f"{drives}{filesystems}[provision.boot]\nscript = 'findmnt -n -l -o TARGET >{NOTED}'\n")


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("drives")
    configure(made, SIZES, "big", "one", "raw")
    made.up()
    return made


@pytest.fixture(scope="module")
def uuids(project: Project) -> dict[str, str]:
    """Of each file system when each has got a file, which its user has written."""
    assert set(noted(project)) >= {NASTY, FAT}
    # Both packages would have the initramfs made anew, which takes minutes on an emulated CPU.
    project.guest("if cd /etc/initramfs-tools 2>/dev/null; then echo update_initramfs=no >update-initramfs.conf; fi")
    missing = project.guest(MISSING).split()
    configure(project, SIZES, "raw")
    shown = up(project).stdout
    assert not missing or f"installs {' '.join(missing)}" in shown
    for target in TARGETS.values():
        quoted = shlex.quote(target)
        written = project.rum("exec", "--user", "rum", "--", "sh", "-c", f"echo precious >{quoted}/file")
        assert written.exit == 0, written.stderr
    return {name: ask(project, "UUID", target) for name, target in TARGETS.items()}


def ask(project: Project, column: str, target: str) -> str:
    return project.guest(f"findmnt -n -o {column} --mountpoint {shlex.quote(target)}").strip()


def mib(project: Project, target: str) -> int:
    return int(project.guest(f"df -k --output=size {shlex.quote(target)}").split()[-1]) >> 10


def noted(project: Project) -> list[str]:
    return project.guest(f"cat {NOTED}").splitlines()


def up(project: Project, *, expect: int = 0) -> Outcome:
    """`rum up` as a person sees it."""
    outcome = project.rum("-o", "plain", "up", within_s=300)
    assert outcome.exit == expect, f"{outcome.stdout}\n{outcome.stderr}"
    return outcome


def restart(project: Project) -> None:
    assert project.rum("down").exit == 0
    assert project.status()["state"] == "stopped"
    up(project)


def check_files(project: Project, uuids: dict[str, str], *names: str) -> None:
    for name in names:
        assert ask(project, "UUID", TARGETS[name]) == uuids[name]
        assert project.guest(f"cat {shlex.quote(TARGETS[name])}/file") == "precious\n"


def test_every_kind_is_made_and_its_user_s(project: Project, uuids: dict[str, str]) -> None:
    assert [ask(project, "FSTYPE", target) for target in TARGETS.values()] == ["ext4", "xfs", "btrfs", "vfat"]
    assert project.guest("btrfs filesystem df /home/rum/.cache/btrfs | grep -c 'Data, RAID1:'") == "1\n"
    assert project.guest("stat -c %U:%a /srv/xfs /home/rum/.cache").split() == ["rum:755", "rum:755"]


def test_what_carries_a_signature_is_never_formatted(project: Project, uuids: dict[str, str]) -> None:
    project.guest("mkswap -q /dev/disk/by-id/virtio-rum-raw")
    configure(project, SIZES)
    failed = up(project, expect=1)
    assert "drives: the drive raw holds swap, not ext4; it was left as it is" in failed.stdout + failed.stderr
    assert project.guest("blkid -o value -s TYPE /dev/disk/by-id/virtio-rum-raw") == "swap\n"


def test_a_smaller_size_is_refused_before_anything_changes(project: Project, uuids: dict[str, str]) -> None:
    configure(project, SIZES | {"plain": 32}, "raw")
    refused = up(project, expect=2)
    assert 'drives.plain.size = "32 MiB": is smaller than the disk, which has 64 MiB' in refused.stderr


def test_a_drive_leaves_a_running_vm_and_the_rest_waits_for_its_next_start(
    project: Project, uuids: dict[str, str]
) -> None:
    fstab = project.guest("cat /etc/fstab")
    configure(project, LARGER | {"aaa": 32})
    outcome = up(project)
    shown = outcome.stdout + outcome.stderr
    assert "drives.plain.size is now 256 MiB, the disk has 64 MiB; it grows at the next start" in shown
    assert "drives.aaa is new; it is attached at the next start" in shown
    kept = "its data stays in " + str(project.state_dir / "drive-fat.qcow2")
    assert f"the drive fat, which is not in rum.toml any more, is detached; {kept}" in shown
    assert "the drive raw, which is not in rum.toml any more, is detached" in shown
    remaining = project.guest("for serial in /sys/block/vd*/serial; do cat $serial; echo; done").split()
    assert sorted(remaining) == ["rum-big", "rum-one", "rum-plain", "rum-two", "rum_seed"]
    assert project.guest("cat /etc/fstab") == "".join(
        line for line in fstab.splitlines(keepends=True) if " vfat " not in line or "/fat " not in line
    )
    check_files(project, uuids, "plain", "big", "one")


def test_the_next_start_grows_and_makes_and_brings_back(project: Project, uuids: dict[str, str]) -> None:
    """What has grown, what is new, and a drive that was taken out and is named again, in one start."""
    configure(project, LARGER | {"aaa": 32, "fat": 64})
    restart(project)
    check_files(project, uuids, *TARGETS)
    assert mib(project, NASTY) > 200
    assert mib(project, "/srv/xfs") > 400
    assert mib(project, "/home/rum/.cache/btrfs") == 320
    assert project.guest("ls /srv/aaa").split() == ["lost+found"]
    assert set(noted(project)) >= {NASTY, "/srv/xfs", "/home/rum/.cache/btrfs"}


def test_running_the_drives_script_again_changes_nothing(project: Project, uuids: dict[str, str]) -> None:
    fstab = project.guest("cat /etc/fstab")
    assert project.rum("provision", "--system").exit == 0
    assert project.guest("cat /etc/fstab") == fstab
    check_files(project, uuids, *TARGETS)


def test_destroy_names_every_drive_that_it_deletes(project: Project, uuids: dict[str, str]) -> None:
    destroyed = project.rum("destroy", "-y")
    assert destroyed.exit == 0
    for text in ("plain (256 MiB)", "fat (64 MiB)", "raw (16 MiB, detached)"):
        assert text in destroyed.stdout


def test_the_logs_outlive_the_vm(project: Project, uuids: dict[str, str]) -> None:
    assert not project.created
    logs = project.rum("-o", "json", "logs")
    assert (logs.exit, "drives" in logs.result()["ran"]) == (0, True), logs
    listed = project.rum("-o", "json", "logs", "--list").of_type("run")
    assert [run["in_guest"] for run in listed] == [False] * len(listed)
    assert listed[-1]["run_id"] == logs.result()["run_id"]
    assert "Linux version" in project.rum("logs", "--console").stdout
