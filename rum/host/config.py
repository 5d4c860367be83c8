"""Finds rum.toml, reads it, and reports everything that is wrong with it at once."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

from rum.host.catalogue import CATALOGUE
from rum.host.config_drives import read_drives, read_filesystems
from rum.host.config_model import (
    AdvancedConfig,
    Config,
    ImageConfig,
    NetworkConfig,
    ResourcesConfig,
    SshConfig,
    UserConfig,
)
from rum.host.config_scripts import read_scripts
from rum.host.drives import drives_script
from rum.host.errors import ConfigError
from rum.host.images import is_bare_name, is_url
from rum.host.sizes import ALLOWED, parse_size
from rum.host.toml_fields import Problems, Table, suggestion
from rum.protocol import in_order

__all__ = ["Config", "find_config", "load_config"]

FILE_NAME = "rum.toml"

ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOSTNAME = re.compile(rf"{HOST_LABEL}(?:\.{HOST_LABEL})*")
HOSTNAME_MAX = 64
"""HOST_NAME_MAX of Linux, below the 255 of RFC 1123."""
MACHINE = re.compile(r"q35|pc|pc-(?:q35|i440fx)-[a-z0-9.-]{1,32}")


def find_config(start: Path) -> Path:
    """The rum.toml in `start` or the nearest directory above it. Raises ConfigError."""
    start = start.absolute()
    for directory in (start, *start.parents):
        if (directory / FILE_NAME).is_file():
            return directory / FILE_NAME
    raise ConfigError(
        f"there is no {FILE_NAME} in {start} or in a directory above it",
        hint="write one with 'image.base' in it, as examples/hello has, or name one with --config",
    )


def load_config(path: Path) -> Config:
    """The checked configuration. Raises ConfigError with every problem of the file."""
    path = path.resolve()
    root = Table(problems := Problems(str(path)), "", parse_toml(path))
    config = read_config(root, path)
    root.close()
    if problems.found:
        count = "a problem" if len(problems.found) == 1 else f"{len(problems.found)} problems"
        raise ConfigError(f"{path} has {count}", problems=problems.found)
    return config


def parse_toml(path: Path) -> dict[str, object]:
    """The file as TOML. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", hint="check the path after --config") from None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text, so not TOML") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}, {describe_syntax_error(exc)}") from exc


def describe_syntax_error(exc: tomllib.TOMLDecodeError) -> str:
    """The parser's sentence with the place in front."""
    found = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", str(exc), re.DOTALL)
    return f"{found[2]}: not valid TOML: {found[1]}" if found else f"not valid TOML: {exc}"


def vm_name(path: Path) -> str:
    """The VM's name: from `dev.rum.toml` or `dev.toml` dev, from `rum.toml` the directory's name."""
    stem = path.name.removesuffix(".toml").removesuffix(".rum")
    if stem in ("", "rum"):
        stem = path.parent.name
    sanitised = re.sub(r"[^a-z0-9]+", "-", stem.lower(), flags=re.ASCII).strip("-")
    return sanitised[:32].strip("-") or "vm"


def read_config(root: Table, path: Path) -> Config:
    """The whole file; problems are noted in the table's list."""
    name = vm_name(path)
    drives = read_drives(root.table("drives"))
    filesystems = read_filesystems(root.table("fs"), drives)
    generated = [drives_script(filesystems)] if filesystems else []
    scripts = read_scripts(root.table("provision"), path.parent)
    root.refuse("mounts", "ports", "auto_ports")
    return Config(
        path=path,
        name=name,
        id8=hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:8],
        image=read_image(root.table("image"), path.parent),
        resources=read_resources(root.table("resources")),
        network=read_network(root.table("network"), name),
        user=read_user(root.table("user")),
        ssh=read_ssh(root.table("ssh")),
        drives=drives,
        filesystems=filesystems,
        scripts=tuple(in_order([*generated, *scripts])),
        advanced=read_advanced(root.table("advanced")),
    )


def read_image(table: Table, directory: Path) -> ImageConfig:
    """`[image]`."""
    base = table.text("base", "", "a name, a path or a URL", lambda value: value.strip() and value.isprintable())
    sums = {}
    for algorithm, digits in (("sha256", 64), ("sha512", 128)):
        pattern = re.compile(rf"[0-9a-fA-F]{{{digits}}}")
        value = table.optional_text(algorithm, f"{digits} hexadecimal digits", pattern.fullmatch)
        sums[algorithm] = value.lower() if value else None
    table.require("base")
    if is_url(base) and not base.startswith(("http://", "https://")):
        table.problems.note_value(table.path_of("base"), base, "a URL must begin with http:// or https://")
    if is_bare_name(base) and base not in CATALOGUE and not (directory / base).exists():
        text = f"is neither an image that rum knows nor a file in {directory}{suggestion(base, CATALOGUE)}"
        table.problems.note_value(table.path_of("base"), base, text)
    table.close()
    return ImageConfig(base, sums["sha256"], sums["sha512"])


def read_resources(table: Table) -> ResourcesConfig:
    """`[resources]`."""
    disk = table.text("disk", "20G", ALLOWED, parse_size)
    resources = ResourcesConfig(
        cpus=table.integer("cpus", 2, low=1, high=255),
        memory_mb=table.integer("memory_mb", 2048, low=128, high=16 << 20),
        disk=parse_size(disk) or 0,
    )
    table.close()
    return resources


def read_network(table: Table, name: str) -> NetworkConfig:
    """`[network]`."""
    allowed = f"a host name of RFC 1123: labels of letters, digits and inner hyphens, at most {HOSTNAME_MAX} characters"
    network = NetworkConfig(
        mode=table.choice("mode", "user", ("user", "nat", "none")),
        hostname=table.text(
            "hostname", name, allowed, lambda value: HOSTNAME.fullmatch(value) and len(value) <= HOSTNAME_MAX
        ),
    )
    table.refuse("interfaces")
    table.close()
    return network


def read_user(table: Table) -> UserConfig:
    """`[user]`."""
    allowed = "a lower-case letter or underscore, then lower-case letters, digits, _ and -, at most 32 characters"
    user = UserConfig(
        name=table.text("name", "rum", allowed, ACCOUNT.fullmatch),
        groups=table.texts("groups", allowed, ACCOUNT.fullmatch),
    )
    table.close()
    return user


def read_ssh(table: Table) -> SshConfig:
    """`[ssh]`."""
    allowed = 'one line of an SSH public key file, such as "ssh-ed25519 AAAA... me@here"'
    keys = table.texts("authorized_keys", allowed, lambda key: len(key.split()) >= 2 and key.isprintable())
    table.close()
    return SshConfig(keys)


def read_advanced(table: Table) -> AdvancedConfig:
    """`[advanced]`."""
    advanced = AdvancedConfig(
        libvirt_uri=table.optional_text("libvirt_uri", "a libvirt URI", lambda uri: ":" in uri and uri.isprintable()),
        accelerator=table.choice("accelerator", "auto", ("auto", "kvm", "tcg")),
        transport=table.choice("transport", "auto", ("auto", "vhost-vsock", "vhost-user")),
        machine=table.text("machine", "q35", 'an x86 machine type of QEMU, such as "q35"', MACHINE.fullmatch),
        firmware=table.choice("firmware", "bios", ("bios", "efi")),
        autologin=table.boolean("autologin", default=False),
        boot_timeout_s=table.integer("boot_timeout_s", 300, low=1, high=86400),
    )
    table.close()
    return advanced
