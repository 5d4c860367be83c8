"""What somebody does who has no rum: a disk, a seed by hand, a machine, and ssh until the script has left its mark."""

from __future__ import annotations

import contextlib
import copy
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from e2e.bench import nocloud, user_network
from e2e.bench.disks import Base, make_disk
from e2e.project import poll

DOMAIN = "by-hand-beside-rum"
USER = "bench"
CONSOLE = "console.log"
MARK = "/var/tmp/marked"
LOOK_EVERY_S = 0.5

RUMS_OWN = ("uuid", "metadata", "{http://libvirt.org/schemas/domain/qemu/1.0}commandline")
RUMS_DEVICES = ("vsock", "serial", "console")

SSH = (
    "ssh",
    "-F",
    "none",
    "-o",
    "BatchMode=yes",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "ConnectTimeout=30",
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
)


def boot_by_hand(
    definition: ElementTree.Element, base: Base, script: str, scratch: Path, env: Mapping[str, str], limit_s: float
) -> float:
    """Seconds from nothing but the image and a key until ssh shows that the script has run.

    `definition` is the domain of the VM that rum would boot: the machine is the same. Raises AssertionError,
    CalledProcessError, OSError, TimeoutError.
    """
    key, overlay, iso = scratch / "key", scratch / "overlay.qcow2", scratch / "seed.iso"
    nocloud.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    begun = time.monotonic()
    make_disk(base, overlay)
    nocloud.write_seed(iso, nocloud.by_hand(USER, key.with_suffix(".pub").read_text(), f"{script}\ntouch {MARK}"))
    with running(without_rum(definition, overlay, iso), env):
        port = user_network.forward(DOMAIN, 22, env)
        with user_network.BannerWatch(port, scratch / CONSOLE) as sshd:
            sshd.wait(limit_s)
        # One connection that stays, which costs the guest less than one after the other.
        look = f"until test -e {MARK}; do sleep {LOOK_EVERY_S}; done"
        command = [*SSH, "-i", str(key), "-p", str(port), f"{USER}@127.0.0.1", look]
        for _ in poll(limit_s, f"{MARK} in a guest without rum"):
            if subprocess.run(command, env=env, capture_output=True, timeout=limit_s).returncode == 0:
                break
        return time.monotonic() - begun


@contextlib.contextmanager
def running(definition: ElementTree.Element, env: Mapping[str, str]) -> Iterator[None]:
    """The machine, until the block's end. Raises CalledProcessError."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        file.write(ElementTree.tostring(definition))
        file.flush()
        virsh(env, "create", file.name)
    try:
        yield
    finally:
        virsh(env, "destroy", DOMAIN)


def virsh(env: Mapping[str, str], *command: str) -> None:
    """Raises CalledProcessError."""
    subprocess.run(["virsh", *command], env=env, capture_output=True, check=True, timeout=60)


def without_rum(definition: ElementTree.Element, overlay: Path, iso: Path) -> ElementTree.Element:
    """The same machine with these disks, and without what rum adds: its mark, the agent's channel, the console."""
    domain = copy.deepcopy(definition)
    domain.attrib.pop("id", None)
    named(domain, "name").text = DOMAIN
    for parent, tags in ((domain, RUMS_OWN), (named(domain, "devices"), RUMS_DEVICES)):
        for element in [element for element in parent if element.tag in tags]:
            parent.remove(element)
    for disk, path in zip(domain.iterfind("devices/disk"), (overlay, iso), strict=True):
        named(disk, "source").set("file", str(path))
        # What the definition of a domain that runs says of the images below would be taken for an order.
        for below in disk.findall("backingStore"):
            disk.remove(below)
    serial = ElementTree.SubElement(named(domain, "devices"), "serial", {"type": "file"})
    ElementTree.SubElement(serial, "source", {"path": str(overlay.with_name(CONSOLE))})
    return domain


def named(parent: ElementTree.Element, path: str) -> ElementTree.Element:
    """The element at that path, which must be there."""
    found = parent.find(path)
    assert found is not None, f"the domain has no {path}"
    return found
