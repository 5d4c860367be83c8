"""What `rum config check` says about a file that is right."""

from __future__ import annotations

from rum.host.config.model import Config
from rum.host.json_lines.answers import CheckedConfig
from rum.host.outcome import counted
from rum.host.sizes import show_size


def summary(config: Config) -> CheckedConfig:
    """The file in a few words, as an object."""
    return {
        "type": "config",
        "valid": True,
        "path": str(config.path),
        "name": config.name,
        "id": config.identity.id8,
        "image": config.image.base,
        "cpus": config.resources.cpus,
        "memory_mb": config.resources.memory_mb,
        "disk_bytes": config.resources.disk,
        "drives": list(config.drives),
        "mounts": [mount.target for mount in config.mounts],
        "ports": [port.host for port in config.ports],
        "scripts": [script.name for script in config.scripts],
    }


def sentence(config: Config) -> str:
    """The file in a few words, as a sentence."""
    resources = config.resources
    parts = [
        config.image.base,
        counted(resources.cpus, "CPU"),
        f"{resources.memory_mb} MiB of memory",
        f"a disk of {show_size(resources.disk)}",
    ]
    several = (
        (len(config.drives), "drive"),
        (len(config.mounts), "mount"),
        (len(config.ports), "port"),
        (len(config.scripts), "script"),
    )
    parts += [counted(number, what) for number, what in several if number]
    return f"{config.path} is valid: VM {config.name} from {', '.join(parts)}"
