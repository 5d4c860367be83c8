"""`rum init`: a rum.toml to begin with."""

from __future__ import annotations

import os
from pathlib import Path

from rum.host.config.identity import FILE_NAME
from rum.host.errors import ConfigError, HostError
from rum.host.outcome import Outcome

TEMPLATE = '''\
# A VM for `rum up`. Only image.base is required; what is switched off shows what else there is.
# `rum config check` says whether this file is right, `rum config schema` tells editors what may be in it.

[image]
# A name that rum knows, a path (relative to this file) or a URL; for those two a checksum can be given.
base = "debian-12"
#sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

[resources]
cpus = 2
memory_mb = 2048
# Grows to this size as it is written to.
disk = "20G"

# Runs as root, once, on the first boot. A failure is a failure of `rum up`, which runs it again when it is fixed.
[provision.system]
script = """
set -eu
echo "This is the first boot of $(uname -n)."
#apt-get update
#apt-get install -y --no-install-recommends git
"""
# Seconds until it is killed and has failed; without it, never.
#timeout_s = 600
#env = { NAME = "value" }
# What it waits for: "local-fs", "network-online" or "cloud-init".
#after = "cloud-init"

# Runs on every boot, also when nobody is connected.
[provision.boot]
script = """
echo "$(uname -n) is up."
"""
# Instead of `script`, a file beside this one:
#file = "boot.sh"

# Any number more; they run by order: drives is 0, system 100, boot 200.
#[[provision.script]]
#name = "migrate"
#order = 150
#run_on = "system"
#script = "echo migrated"

# What `rum up` waits for once every script has passed: a command in the guest that ends with 0.
#[provision.healthcheck]
#command = "curl -fsS http://localhost:8080/"
#interval_s = 1
#timeout_s = 60
#try_timeout_s = 30

# A directory of this host in the guest; "git" is the root of the repository that this file is in.
#[[mounts]]
#source = "."
#target = "/srv/project"
#readonly = true
#tag = "project"

# Another disk and what is on it: ext4, xfs, btrfs, vfat or zfs; formatted if it is blank, never otherwise.
#[drives.data]
#size = "10G"
#[[fs.ext4]]
#drive = "data"
#target = "/srv/data"

# btrfs and zfs take several disks.
#[drives.one]
#size = "10G"
#[drives.two]
#size = "10G"
#[[fs.zfs]]
#drives = ["one", "two"]
#target = "/srv/tank"
#mode = "mirror"
#pool = "tank"

# A port of this host that leads to one of the guest; the guest needs no network for it.
#[[ports]]
#host = 8080
#guest = 80
#bind = "127.0.0.1"

# Or whatever listens in the guest:
#[auto_ports]
#range = "1024-65535"
#bind = "127.0.0.1"

# "user" needs nothing, "nat" is libvirt's network `default` (system connection), "none" is no network card at all.
#[network]
#mode = "user"
#hostname = "demo"

# More network cards, on networks of libvirt (system connection).
#[[network.interfaces]]
#network = "lab"
#ip = "192.168.50.2/24"

# The guest's account, which may use sudo; `rum ssh` logs in as this one.
#[user]
#name = "rum"
#groups = ["video"]

#[ssh]
#authorized_keys = ["ssh-ed25519 AAAA... me@here"]

# What is seldom needed.
#[advanced]
#libvirt_uri = "qemu:///session"
#accelerator = "auto"
#transport = "auto"
#machine = "q35"
#firmware = "bios"
#autologin = false
#boot_timeout_s = 300
'''


def init(path: Path, command: str) -> Outcome:
    """Write a commented rum.toml where there is none; `command` starts its VM. Raises ConfigError, HostError."""
    try:
        # Never over something: not over a file that another `rum init` is writing, nor through a symbolic link.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists already, and was left as it is",
            hint="edit it, or name another file with --config; `rum config check` says whether it is right",
        ) from None
    except OSError as exc:
        if not os.path.isdir(path.parent):
            raise ConfigError(f"there is no directory {path.parent}", hint="check the path after --config") from None
        raise HostError(f"{path} cannot be written: {exc.strerror}") from exc
    write(descriptor, path)
    return Outcome(f"wrote {path}; change in it what you like, then run `{command}`")


def write(descriptor: int, path: Path) -> None:
    """The whole file, or none. Raises HostError."""
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except OSError as exc:
        path.unlink(missing_ok=True)
        raise HostError(f"{path} cannot be written: {exc.strerror}") from exc


def default_path() -> Path:
    """rum.toml here."""
    return Path(FILE_NAME)
