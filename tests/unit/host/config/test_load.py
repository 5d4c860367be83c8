"""rum.toml: what it means, and that everything wrong with it is said at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rum.host.config.identity import vm_name
from rum.host.config.load import load_config
from rum.host.config.model import Drive, Filesystem
from tests.unit.host.config.config_text import MINIMAL, write


def test_only_the_image_is_required(tmp_path: Path) -> None:
    directory = tmp_path / "My Project"
    directory.mkdir()
    config = load_config(write(directory, MINIMAL))
    assert config.name == config.network.hostname == "my-project"
    assert config.identity.id8 == hashlib.sha256(str(directory / "rum.toml").encode()).hexdigest()[:8]
    assert config.domain_name == f"rum-my-project-{config.identity.id8}"
    assert (config.resources.cpus, config.resources.memory_mb, config.resources.disk) == (2, 2048, 20 << 30)
    assert (config.network.mode, config.user.name, config.user.groups) == ("user", "rum", ())
    assert (config.advanced.accelerator, config.advanced.transport, config.advanced.firmware) == (
        "auto",
        "auto",
        "bios",
    )
    assert (config.advanced.autologin, config.advanced.boot_timeout_s, config.advanced.libvirt_uri) == (
        False,
        300,
        None,
    )
    assert (config.scripts, config.drives, config.filesystems) == ((), {}, ())
    assert (config.mounts, config.ports, config.auto_ports, config.network.interfaces) == ((), (), None, ())


def test_every_key_is_read(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            f"""
[image]
base = "https://example.org/image.qcow2"
sha256 = "{"A" * 64}"
sha512 = "{"b" * 128}"
[resources]
cpus = 4
memory_mb = 512
disk = "1T"
[network]
mode = "none"
hostname = "Box-1.example.org"
[user]
name = "dev"
groups = ["docker", "video"]
[ssh]
authorized_keys = ["ssh-ed25519 AAAA me"]
[drives.data]
size = "512M"
[drives.spare]
size = "10G"
[[fs.ext4]]
drive = "data"
target = "/srv/my data"
[advanced]
libvirt_uri = "qemu:///session"
accelerator = "tcg"
transport = "vhost-user"
machine = "pc-q35-7.2"
firmware = "efi"
autologin = true
boot_timeout_s = 60
""",
        )
    )
    assert config.image.sha256 == "a" * 64
    assert (config.resources.cpus, config.resources.memory_mb, config.resources.disk) == (4, 512, 1 << 40)
    assert (config.network.mode, config.network.hostname) == ("none", "Box-1.example.org")
    assert (config.user.name, config.user.groups) == ("dev", ("docker", "video"))
    assert config.ssh.authorized_keys == ("ssh-ed25519 AAAA me",)
    assert config.drives == {"data": Drive("data", 512 << 20), "spare": Drive("spare", 10 << 30)}
    assert config.filesystems == (Filesystem("ext4", ("data",), "/srv/my data"),)
    assert config.advanced.machine == "pc-q35-7.2"
    assert (config.advanced.autologin, config.advanced.boot_timeout_s) == (True, 60)


def test_a_symbolic_link_is_the_same_vm(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL, "dev.rum.toml")
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert load_config(link).domain_name == load_config(path).domain_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/me/app/rum.toml", "app"),
        ("/home/me/app/dev.rum.toml", "dev"),
        ("/home/me/app/dev.toml", "dev"),
        ("/home/me/My_App (2)/rum.toml", "my-app-2"),
        ("/rum.toml", "vm"),
        ("/srv/日本/rum.toml", "vm"),
        (f"/srv/{'a' * 40}/rum.toml", "a" * 32),
        (f"/srv/{'a' * 31}-b/rum.toml", "a" * 31),
    ],
)
def test_the_name_of_the_vm(path: str, name: str) -> None:
    assert vm_name(Path(path)) == name
