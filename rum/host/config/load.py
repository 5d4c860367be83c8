"""Reads rum.toml, and reports everything that is wrong with it at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rum.host.config.disks import build_drives, build_filesystems, check_disks
from rum.host.config.document import File
from rum.host.config.draft import Draft
from rum.host.config.file import parse_toml, read_text
from rum.host.config.identity import VmIdentity
from rum.host.config.model import (
    AdvancedConfig,
    Config,
    ImageConfig,
    NetworkConfig,
    ResourcesConfig,
    SshConfig,
    UserConfig,
)
from rum.host.config.mounts import build_mounts, check_mounts
from rum.host.config.place import Place, suggestion
from rum.host.config.ports import build_auto_ports, build_interfaces, build_ports, check_network, check_ports
from rum.host.config.scripts import build_healthcheck, build_scripts, check_scripts
from rum.host.errors import ConfigError
from rum.host.images.catalogue import CATALOGUE
from rum.host.images.reference import is_bare_name, require_sound
from rum.host.sizes import parse_size
from rum.host.vm.architecture import default_architecture
from rum.protocol import in_order

__all__ = ["Config", "load_config"]


def load_config(path: Path) -> Config:
    """The checked configuration. Raises ConfigError with every problem of the file."""
    identity = VmIdentity.of(path)
    path = identity.path
    text = read_text(path)
    draft = Draft(text, parse_toml(path, text))
    check_image(draft, path.parent)
    check_network(draft)
    check_ports(draft)
    check_disks(draft)
    sources = check_mounts(draft, path.parent)
    contents = check_scripts(draft, path.parent)
    if problems := draft.problems(str(path)):
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{path} has {count}", problems=problems)
    assert draft.document is not None
    return build_config(identity, draft.document, sources, contents)


def check_image(draft: Draft, directory: Path) -> None:
    """A name is one that rum knows, a URL one that it can fetch."""
    for place, base in draft.find("image.base", str):
        try:
            require_sound(base, directory)
        except ValueError as exc:
            draft.note_value(place, base, str(exc))
        if is_bare_name(base) and base not in CATALOGUE and not os.path.exists(directory / base):
            text = f"is neither an image that rum knows nor a file in {directory}{suggestion(base, CATALOGUE)}"
            draft.note_value(place, base, text)


def build_config(
    identity: VmIdentity, document: File, sources: Mapping[Place, Path], contents: Mapping[Place, str]
) -> Config:
    """The configuration that a file without problems comes to."""
    return Config(
        identity=identity,
        image=build_image(document),
        resources=build_resources(document),
        network=build_network(document, identity.name),
        user=UserConfig(document.user.name, tuple(document.user.groups)),
        ssh=SshConfig(tuple(document.ssh.authorized_keys)),
        drives=build_drives(document),
        filesystems=build_filesystems(document),
        scripts=tuple(in_order(build_scripts(document, contents))),
        advanced=build_advanced(document),
        mounts=build_mounts(document, sources),
        ports=build_ports(document),
        auto_ports=build_auto_ports(document),
        healthcheck=build_healthcheck(document),
    )


def build_advanced(document: File) -> AdvancedConfig:
    """`[advanced]`, what it leaves open being the architecture's."""
    here, given = default_architecture(), document.advanced.model_dump()
    return AdvancedConfig(
        **given | {"machine": given["machine"] or here.machine, "firmware": given["firmware"] or here.firmware[0]}
    )


def build_image(document: File) -> ImageConfig:
    """`[image]`."""
    image = document.image
    return ImageConfig(
        image.base, image.sha256.lower() if image.sha256 else None, image.sha512.lower() if image.sha512 else None
    )


def build_resources(document: File) -> ResourcesConfig:
    """`[resources]`."""
    resources = document.resources
    return ResourcesConfig(resources.cpus, resources.memory_mb, parse_size(resources.disk) or 0)


def build_network(document: File, name: str) -> NetworkConfig:
    """`[network]`."""
    network = document.network
    return NetworkConfig(network.mode, network.hostname or name, build_interfaces(document))
