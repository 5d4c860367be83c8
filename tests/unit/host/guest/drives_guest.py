"""A directory that stands for a guest's disks and programs, in which a real shell runs the real drives script.

ext4 is real. The other kinds are formatted by stand-ins that write a line which the stand-ins of wipefs and blkid can
read; what needs a kernel's mounts only takes note of how it was called.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rum.host.config.model import Filesystem
from rum.host.guest.drives import GuestFiles, drives_text

DISK_SIZE = 8 << 20
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
OWNER = pwd.getpwuid(os.getuid()).pw_name

PROGRAMS = (
    *("awk", "cat", "chmod", "chown", "cmp", "cp", "cut", "date", "dirname", "env", "find", "getent", "grep", "head"),
    *("id", "ln", "ls", "mkdir", "mkfs.ext4", "mv", "printf", "readlink", "rm", "rmdir", "sed", "sh", "sort", "stat"),
    *("tail", "touch", "tr", "uname"),
)
"""What every guest has; nothing else of this host is in the script's PATH."""

FAKE_MKFS = """for disk; do
    case "$disk" in /*) printf "FAKE %s 1234-{kind}\\n" {kind} | dd of="$disk" conv=notrunc 2>/dev/null ;; esac
done"""

FAKE_BTRFS = """
case "$2" in show) for disk in "$DEV"/disk-*; do echo "devid ${disk##*-}1 size %s used 1 path $disk"; done ;; esac
"""

WIPEFS = """
for disk; do :; done
case "$1" in -q) : >"$disk.empty"; size=$(stat -c %s "$disk"); : >"$disk"; truncate -s "$size" "$disk"; exit 0 ;; esac
read -r fake kind uuid <<END
$(head -c 64 "$disk" | head -n 1 | tr -d '\\0')
END
if [ "$fake" = FAKE ]; then echo "$kind"; else exec {real} "$@"; fi
"""

BLKID = """
for disk; do :; done
read -r fake kind uuid <<END
$(head -c 64 "$disk" | head -n 1 | tr -d '\\0')
END
if [ "$fake" = FAKE ]; then echo "$uuid"; else exec {real} "$@"; fi
"""


@dataclass(frozen=True)
class DrivesGuest:
    """`files` is where the script looks."""

    root: Path
    files: GuestFiles

    @classmethod
    def make(cls, root: Path) -> DrivesGuest:
        """A guest without disks that has every program."""
        names = ("dev", "block", "net", "module", "fstab", "systemd", "notes")
        guest = cls(root, GuestFiles(*(str(root / name) for name in names)))
        for directory in ("dev/disk/by-id", "block", "bin", "only", "net/lo", "net/eth0", "module"):
            (root / directory).mkdir(parents=True)
        (root / "net/eth0/address").touch()
        guest.fstab.write_text("# stays\nUUID=1234 / ext4 defaults 0 1")
        for name in PROGRAMS:
            (root / "only" / name).symlink_to(found(name))
        guest.add_stubs()
        return guest

    def add_stubs(self) -> None:
        """What only takes note, and does nothing."""
        self.stub("wipefs", WIPEFS.format(real=found("wipefs")), PATH=SYSTEM_PATH)
        self.stub("blkid", BLKID.format(real=found("blkid")))
        for name in ("mount", "umount", "resize2fs", "xfs_growfs", "systemctl", "udevadm", "sleep", "sync"):
            self.stub(name, "")
        self.stub("blockdev", f"echo {DISK_SIZE}")
        self.stub("df", f"echo header; echo disk {DISK_SIZE >> 10} 0 0 0% /")
        for name in ("mountpoint", "findmnt"):
            self.stub(name, "exit 1")
        self.stub("btrfs", FAKE_BTRFS % DISK_SIZE, DEV=self.files.dev)
        for kind in ("xfs", "btrfs", "vfat"):
            self.stub(f"mkfs.{kind}", FAKE_MKFS.format(kind=kind), PATH=SYSTEM_PATH)

    @property
    def fstab(self) -> Path:
        return Path(self.files.fstab)

    @property
    def entries(self) -> list[str]:
        """rum's own lines of fstab."""
        lines = self.fstab.read_text().splitlines()
        if "# rum: begin" not in lines:
            return []
        return lines[lines.index("# rum: begin") + 1 : lines.index("# rum: end")]

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

    def stub(self, name: str, body: str, **environment: str) -> None:
        """A program that takes note of its call."""
        path = self.root / "bin" / name
        path.unlink(missing_ok=True)
        exports = "".join(f'export {key}="{value}"\n' for key, value in environment.items())
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.root}/calls"\n{exports}{body}\n')
        path.chmod(0o755)

    def remove(self, *names: str) -> None:
        """Programs that this guest does not have."""
        for name in names:
            (self.root / "bin" / name).unlink(missing_ok=True)
            (self.root / "only" / name).unlink(missing_ok=True)

    def run(
        self, *filesystems: Filesystem, shell: str = "sh", owner: str = OWNER, size: int = DISK_SIZE
    ) -> subprocess.CompletedProcess[str]:
        """Run the script to its end."""
        script = self.root / "script"
        sizes = {name: size for filesystem in filesystems for name in filesystem.drives}
        script.write_text(drives_text(filesystems, owner, sizes, self.files))
        path = f"{self.root}/bin:{self.root}/only"
        command = [*(found(word) if index == 0 else word for index, word in enumerate(shell.split())), str(script)]
        return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False)


def found(program: str) -> str:
    """Where this host has the program."""
    path = shutil.which(program, path=SYSTEM_PATH)
    assert path is not None, f"this host has no {program}"
    return path


def blkid(path: Path, tag: str) -> str:
    """The real blkid's word."""
    command = [found("blkid"), "-p", "-s", tag, "-o", "value", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
