"""Asks libvirt what `rum doctor` wants to know, and prints it as JSON: `libvirt_probe [RUM.TOML]`.

A program of its own, which is ended where libvirt does not answer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rum.host.config.model import Config
from rum.host.errors import HostError
from rum.host.paths import VmPaths
from rum.host.store import load_state
from rum.host.vm.accelerator import Accelerator, choose_accelerator
from rum.host.vm.architecture import host_architecture

if TYPE_CHECKING:
    from rum.host.vm.libvirt_driver import LibvirtDriver


def ask(config: Config | None) -> dict[str, Any]:
    """What libvirt says; `import` or `problem` say why it says nothing."""
    try:
        from rum.host.vm.libvirt_driver import LibvirtDriver, default_uri
    except ImportError as exc:
        return {"import": str(exc)}
    uri = chosen_uri(config) or default_uri()
    started = time.monotonic()
    try:
        with LibvirtDriver(uri) as driver:
            found = {"uri": uri, "version": driver.version(), "seconds": round(time.monotonic() - started, 1)}
            return {**found, **questions(config, driver)}
    except HostError as exc:
        return {"uri": uri, "problem": [str(exc), exc.hint]}


def load(path: str) -> Config:
    """The rum.toml, which whoever started this has found to be right."""
    from rum.host.config.load import load_config

    return load_config(Path(path))


def chosen_uri(config: Config | None) -> str | None:
    """The URI of the VM that exists, or the one that rum.toml asks for."""
    if config is None:
        return None
    state = load_state(VmPaths.of(config.identity).state_file)
    return (state.libvirt_uri if state else None) or config.advanced.libvirt_uri


def questions(config: Config | None, driver: LibvirtDriver) -> dict[str, Any]:
    """Whether there is an EFI firmware, and what is wrong with QEMU and with the networks."""
    from rum.host.vm.host_checks import require_networks, require_platform

    asked: dict[str, Any] = {"efi": None}
    asked["qemu"] = problem(lambda: asked.update(efi=has_efi(driver)))
    if config:
        wanted = config.advanced.accelerator
        asked["platform"] = problem(lambda: require_platform(config, driver, choose_accelerator(wanted).accelerator))
        asked["networks"] = problem(lambda: require_networks(config, driver))
    return asked


def has_efi(driver: LibvirtDriver) -> bool | None:
    """Whether libvirt has found an EFI firmware, None where it does not say. Raises HostError without a QEMU."""
    from rum.host.vm.host_checks import firmwares

    architecture = host_architecture()
    kind = "kvm" if choose_accelerator("auto").accelerator is Accelerator.KVM else "qemu"
    found = driver.domain_capabilities(architecture.name, architecture.machine, kind)
    return None if found is None else "efi" in firmwares(found)


def problem(check: Callable[[], None]) -> list[str | None] | None:
    """The sentence and the remedy of what a check raises, None where it raises nothing."""
    try:
        check()
    except HostError as exc:
        return [str(exc), exc.hint]
    return None


if __name__ == "__main__":
    json.dump(ask(load(sys.argv[1]) if sys.argv[1:] else None), sys.stdout)
