"""What to do about what is missing, in the words of each distribution."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from rum.host import remedies

RELEASES = {
    "debian-12": {"ID": "debian", "VERSION_ID": "12"},
    "debian-13": {"ID": "debian", "VERSION_ID": "13"},
    "ubuntu-24.04": {"ID": "ubuntu", "VERSION_ID": "24.04", "ID_LIKE": "debian"},
    "mint": {"ID": "linuxmint", "ID_LIKE": "ubuntu debian"},
    "fedora": {"ID": "fedora", "VERSION_ID": "43"},
    "rocky": {"ID": "rocky", "VERSION_ID": "9.6", "ID_LIKE": "rhel centos fedora"},
    "tumbleweed": {"ID": "opensuse-tumbleweed", "ID_LIKE": "opensuse suse"},
    "leap": {"ID": "opensuse-leap", "VERSION_ID": "16.0", "ID_LIKE": "suse opensuse"},
    "arch": {"ID": "arch"},
    "alpine": {"ID": "alpine", "VERSION_ID": "3.22"},
    "nix": {"ID": "nixos"},
    "none": {},
}


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An ordinary one, with sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    program(tmp_path / "bin", "sudo", monkeypatch)


def program(directory: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only program in PATH."""
    directory.mkdir()
    (directory / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(directory))


def on(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: RELEASES[release])


@pytest.mark.parametrize(
    ("release", "need", "command"),
    [
        ("debian-12", "virtiofsd", "sudo apt-get install qemu-system-common"),
        ("debian-13", "virtiofsd", "sudo apt-get install virtiofsd"),
        ("ubuntu-24.04", "virtiofsd", "sudo apt-get install virtiofsd"),
        ("debian-12", "qemu", "sudo apt-get install qemu-system-x86"),
        ("mint", "qemu-img", "sudo apt-get install qemu-utils"),
        ("fedora", "efi", "sudo dnf install edk2-ovmf"),
        ("rocky", "ssh", "sudo dnf install openssh-clients"),
        ("tumbleweed", "qemu", "sudo zypper install qemu-x86"),
        ("leap", "efi", "sudo zypper install qemu-ovmf-x86_64"),
        ("arch", "ssh", "sudo pacman -S openssh"),
        ("alpine", "qemu", "sudo apk add qemu-system-x86_64"),
    ],
)
def test_the_package_of_each_distribution(
    monkeypatch: pytest.MonkeyPatch, release: str, need: str, command: str
) -> None:
    on(release, monkeypatch)
    assert remedies.install(need) == f"install it: {command}"


@pytest.mark.parametrize("release", RELEASES)
def test_every_distribution_has_a_remedy_for_everything(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    on(release, monkeypatch)
    for need in (*remedies.PACKAGES, "qemu", "efi"):
        sentence = remedies.install(need)
        known = RELEASES[release].get("ID") not in ("nixos", None)
        assert sentence.startswith("install it: sudo " if known else "install ")
        assert "None" not in sentence
    ways = {remedies.reach_libvirt(uri) for uri in ("qemu:///system", "qemu:///session", "qemu+ssh://host/system")}
    assert len(ways) == 3
    assert "vhost-device-vsock" in remedies.install_vhost_device_vsock()


def test_where_there_is_no_os_release(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> dict[str, str]:
        raise OSError

    monkeypatch.setattr("platform.freedesktop_os_release", missing)
    assert remedies.install("qemu", "ssh") == (
        "install QEMU and OpenSSH's client with the package manager of this distribution"
    )


def test_packages_are_those_of_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    on("debian-12", monkeypatch)
    assert remedies.packages("qemu", "efi") == "qemu-system-arm qemu-efi-aarch64"


def test_commands_are_as_this_user_types_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert remedies.as_root("modprobe kvm") == "sudo modprobe kvm"
    program(tmp_path / "alpine", "doas", monkeypatch)
    assert remedies.as_root("modprobe kvm") == "doas modprobe kvm"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert remedies.as_root("modprobe kvm") == "modprobe kvm"


def cpuinfo(tmp_path: Path, flags: str) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    return path


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ("fpu vmx", "load its kernel module: sudo modprobe kvm_intel"),
        ("fpu svm hypervisor", "load its kernel module: sudo modprobe kvm_amd"),
        ("fpu", "switch on virtualization (VT-x, AMD-V or SVM) in the set-up of this machine's firmware"),
        ("fpu hypervisor", "this host is a virtual machine itself: switch on nested virtualization where it runs"),
    ],
)
def test_what_keeps_kvm_away(tmp_path: Path, flags: str, remedy: str) -> None:
    assert remedies.use_kvm(tmp_path / "kvm", cpuinfo(tmp_path, flags)) == remedy


class TestDevice:
    """A device that is there and cannot be opened."""

    @pytest.fixture
    def device(self, tmp_path: Path) -> Path:
        path = tmp_path / "kvm"
        path.touch()
        return path

    @pytest.fixture(autouse=True)
    def me(self, monkeypatch: pytest.MonkeyPatch) -> None:
        anna = pwd.struct_passwd(["anna", "", 1000, 1000, "", "/", "/bin/sh"])
        monkeypatch.setattr(pwd, "getpwuid", lambda _uid: anna)
        monkeypatch.setattr(os, "getgroups", lambda: [1000])

    def group(self, monkeypatch: pytest.MonkeyPatch, name: str, gid: int, members: list[str]) -> None:
        monkeypatch.setattr(grp, "getgrgid", lambda _gid: grp.struct_group([name, "", gid, members]))

    def test_its_group_can_be_joined(self, monkeypatch: pytest.MonkeyPatch, device: Path) -> None:
        self.group(monkeypatch, "kvm", 104, [])
        assert remedies.open_device(device) == "join its group, then log in again: sudo usermod -a -G kvm anna"
        assert remedies.use_vhost_vsock(device) == remedies.open_device(device)

    def test_a_group_that_was_joined_counts_from_the_next_login(
        self, monkeypatch: pytest.MonkeyPatch, device: Path
    ) -> None:
        self.group(monkeypatch, "kvm", 104, ["anna"])
        assert remedies.open_device(device) == ("log in again: you are in the group kvm, but not yet in this session")

    def test_nobody_joins_root_s_group(self, monkeypatch: pytest.MonkeyPatch, device: Path) -> None:
        self.group(monkeypatch, "root", 0, [])
        assert remedies.open_device(device) == f"give this user access to it: sudo setfacl -m u:anna:rw {device}"


def test_a_device_that_is_not_there_has_a_module(tmp_path: Path) -> None:
    assert remedies.use_vhost_vsock(tmp_path / "none") == "load its kernel module: sudo modprobe vhost_vsock"


def test_the_import_of_libvirt_fails_in_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    on("fedora", monkeypatch)
    library = "libvirt.so.0: cannot open shared object file: No such file or directory"
    assert remedies.install_libvirt_module(library) == "install it: sudo dnf install libvirt-daemon-kvm"
    assert "pip install libvirt-python" in remedies.install_libvirt_module("No module named 'libvirt'")
