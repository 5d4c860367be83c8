"""How the drives script gets the programs that a guest lacks: each package manager is a stand-in that takes notes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.config.model import Filesystem
from rum.host.guest.drives import INSTALL_TIMEOUT_S
from tests.unit.host.guest.drives_guest import FAKE_MKFS, SYSTEM_PATH, DrivesGuest

REFRESH = {
    "apt-get": "apt-get -q -o DPkg::Lock::Timeout=60 -o APT::Update::Error-Mode=any -o Acquire::Languages=none "
    "-o APT::Get::List-Cleanup=false update",
    "dnf": "dnf -q makecache",
    "zypper": "zypper --non-interactive --quiet refresh",
    "pacman": "pacman -Sy --noconfirm",
    "apk": "apk update",
}

INSTALL = {
    "apt-get": "apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install",
    "dnf": "dnf -q -y install",
    "zypper": "zypper --non-interactive --quiet install --no-recommends",
    "pacman": "pacman -S --noconfirm --needed",
    "apk": "apk add",
}

PACKAGES = {
    "apt-get": ("xfsprogs", "btrfs-progs", "dosfstools"),
    "dnf": ("xfsprogs", "btrfs-progs", "dosfstools"),
    "zypper": ("xfsprogs", "btrfsprogs", "dosfstools"),
    "pacman": ("xfsprogs", "btrfs-progs", "dosfstools"),
    "apk": ("xfsprogs xfsprogs-extra", "btrfs-progs", "dosfstools"),
}


@pytest.fixture
def guest(tmp_path: Path) -> DrivesGuest:
    """One that only has what ext4 takes."""
    guest = DrivesGuest.make(tmp_path)
    for name in "xbv":
        guest.add_disk(name)
    guest.remove("mkfs.xfs", "xfs_growfs", "mkfs.btrfs", "btrfs", "mkfs.vfat")
    return guest


def filesystems(guest: DrivesGuest) -> list[Filesystem]:
    kinds = (("xfs", "x"), ("btrfs", "b"), ("vfat", "v"))
    return [Filesystem(kind, (drive,), guest.target(kind)) for kind, drive in kinds]


def add_manager(guest: DrivesGuest, name: str, refresh: str = "", install: str = "") -> None:
    """A package manager that brings every program with its first package."""
    kept = guest.root / "kept"
    kept.mkdir(exist_ok=True)
    guest.stub("btrfs", 'echo "devid 1 size 8388608 path $DISK"', DISK=f"{guest.files.dev}/disk-b")
    guest.stub("xfs_growfs", "")
    for kind in ("xfs", "btrfs", "vfat"):
        guest.stub(f"mkfs.{kind}", FAKE_MKFS.format(kind=kind), PATH=SYSTEM_PATH)
    for program in ("btrfs", "xfs_growfs", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat"):
        (guest.root / "bin" / program).rename(kept / program)
    bring = f'cp "{kept}"/* "{guest.root}/bin"'
    guest.stub(
        name, f'case "$*" in *update | *makecache | *refresh | -Sy*) {refresh or ":"} ;; *) {install or bring} ;; esac'
    )


def asked(guest: DrivesGuest, manager: str) -> list[str]:
    return [call for call in guest.calls if call.startswith(f"{manager} ")]


@pytest.mark.parametrize("manager", PACKAGES)
def test_each_manager_installs_what_is_missing_at_once(guest: DrivesGuest, manager: str) -> None:
    add_manager(guest, manager)
    done = guest.run(*filesystems(guest))
    assert (done.returncode, done.stderr) == (0, "")
    packages = " ".join(sorted(" ".join(PACKAGES[manager]).split()))
    assert asked(guest, manager) == [REFRESH[manager], f"{INSTALL[manager]} {packages}"]
    missing = "mkfs.xfs xfs_growfs mkfs.btrfs btrfs mkfs.vfat"
    assert done.stdout.splitlines()[0] == f"the guest has no {missing}; {manager} installs {packages}"


@pytest.mark.parametrize("manager", PACKAGES)
@pytest.mark.parametrize("index", range(3))
def test_the_package_has_the_name_that_it_has_there(guest: DrivesGuest, manager: str, index: int) -> None:
    add_manager(guest, manager)
    assert guest.run(filesystems(guest)[index]).returncode == 0
    assert asked(guest, manager)[1] == f"{INSTALL[manager]} {PACKAGES[manager][index]}"


def test_what_is_there_takes_no_network_and_no_manager(guest: DrivesGuest) -> None:
    (guest.root / "net/eth0/address").unlink()
    guest.add_disk("data")
    add_manager(guest, "apt-get")
    assert guest.run(Filesystem("ext4", ("data",), guest.target("data"))).returncode == 0
    assert asked(guest, "apt-get") == []


def test_the_network_is_waited_for_and_that_is_said(guest: DrivesGuest) -> None:
    up = guest.root / "up"
    add_manager(
        guest,
        "apt-get",
        refresh=f'[ -e "{up}" ] || {{ echo "E: Temporary failure resolving" >&2; echo Done; exit 100; }}',
    )
    guest.stub("sleep", f'[ ! -e "{up}.1" ] || : >"{up}"; : >"{up}.1"')
    done = guest.run(filesystems(guest)[0])
    assert (done.returncode, done.stderr) == (0, "")
    waits = [line for line in done.stdout.splitlines() if line.startswith("waiting")]
    assert waits == ["waiting for the network, to install xfsprogs: E: Temporary failure resolving"] * 2


def test_the_wait_for_the_network_ends(guest: DrivesGuest) -> None:
    add_manager(guest, "apt-get", refresh="echo 'E: no route' >&2; exit 100")
    clock = guest.root / "clock"
    clock.write_text("1000")
    guest.stub("date", f'read -r now <"{clock}"; echo "$now"')
    guest.stub("sleep", f'read -r now <"{clock}"; echo "$((now + $1))" >"{clock}"')
    done = guest.run(filesystems(guest)[0])
    assert done.returncode == 1
    assert done.stderr == (
        "drives: the guest has no mkfs.xfs xfs_growfs: apt-get could not refresh its index within "
        f"{INSTALL_TIMEOUT_S} s: E: no route\n"
    )
    assert int(clock.read_text()) == 1000 + INSTALL_TIMEOUT_S
    assert guest.entries == []


def test_a_guest_without_a_network_is_not_waited_for(guest: DrivesGuest) -> None:
    add_manager(guest, "apt-get")
    (guest.root / "net/eth0/address").unlink()
    done = guest.run(filesystems(guest)[1])
    assert done.returncode == 1
    assert done.stderr == (
        "drives: the guest has no mkfs.btrfs btrfs (package btrfs-progs), and no network to install it from; "
        "add it to the image\n"
    )
    assert asked(guest, "apt-get") == []


def test_a_guest_without_a_manager_is_told_what_is_missing(guest: DrivesGuest) -> None:
    done = guest.run(filesystems(guest)[2])
    assert done.returncode == 1
    assert done.stderr == (
        "drives: the guest has no mkfs.vfat, and none of apt-get, dnf, zypper, pacman, apk to install it with\n"
    )


def test_what_cannot_be_installed_says_why(guest: DrivesGuest) -> None:
    add_manager(guest, "dnf", install="echo 'No match for argument: dosfstools' >&2; exit 1")
    done = guest.run(filesystems(guest)[2])
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "No match for argument: dosfstools",
        "drives: the guest has no mkfs.vfat: dnf could not install dosfstools",
    ]


def test_a_package_without_the_program_is_an_error(guest: DrivesGuest) -> None:
    add_manager(guest, "apk", install=":")
    done = guest.run(filesystems(guest)[2])
    assert (done.returncode, done.stderr) == (
        1,
        "drives: the guest has no mkfs.vfat, although apk has installed it\n",
    )


def test_nothing_is_formatted_before_every_program_is_there(guest: DrivesGuest) -> None:
    disk = guest.add_disk("data")
    done = guest.run(Filesystem("ext4", ("data",), guest.target("a")), filesystems(guest)[2])
    assert done.returncode == 1
    assert disk.read_bytes().count(0) == disk.stat().st_size
