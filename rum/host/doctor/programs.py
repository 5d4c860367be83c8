"""Programs: which there are, and which version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from rum.host import remedies
from rum.host.doctor.finding import PROGRAM_TIMEOUT_S, Finding, Host, Status, first_line, needed
from rum.host.errors import HostError
from rum.host.vm.architecture import default_architecture
from rum.host.vm.virtiofsd import find_virtiofsd, namespace

REDHAT_QEMU = "/usr/libexec/qemu-kvm"
"""Where Red Hat's distributions have the only QEMU that there is."""


def qemu(_host: Host) -> Finding:
    """The emulator for this architecture."""
    name = f"qemu-system-{default_architecture().name}"
    found = shutil.which(name) or (REDHAT_QEMU if os.access(REDHAT_QEMU, os.X_OK) else None)
    return with_version(found, "qemu") if found else needed(remedies.missing(name, "qemu"), Status.MISSING, "qemu")


def qemu_img(_host: Host) -> Finding:
    """What makes disks."""
    found = shutil.which("qemu-img")
    missing = remedies.missing("qemu-img", "qemu-img")
    return with_version(found, "qemu-img") if found else needed(missing, Status.MISSING, "qemu-img")


def ssh_keygen(_host: Host) -> Finding:
    """What makes SSH keys."""
    return of_openssh("ssh-keygen", Status.MISSING)


def ssh(_host: Host) -> Finding:
    """For `rum ssh`."""
    return of_openssh("ssh", Status.OPTIONAL)


def of_openssh(name: str, without: Status) -> Finding:
    """A program of OpenSSH's client: they have no `--version`, and any will do."""
    found = shutil.which(name)
    return Finding(Status.OK, found) if found else needed(remedies.missing(name, "ssh"), without, "ssh")


def with_version(path: str, need: str) -> Finding:
    """A program that is there, asked for its version."""
    version = first_line(path, "--version")
    if version is None:
        text = f"{path} does not say its version, so it may not run at all"
        return Finding(Status.MISSING, text, f"see what it says: {path} --version; or {remedies.install(need)}")
    number = re.search(r"\d+(\.\d+)+", version)
    return Finding(Status.OK, f"{number[0] if number else version} ({path})")


def virtiofsd(host: Host) -> Finding:
    """What serves directories of this host."""
    try:
        found = find_virtiofsd()
    except HostError as exc:
        return needed(exc, for_mounts(host), "virtiofsd")
    return Finding(Status.OK, str(found.path))


def user_namespaces(host: Host) -> Finding:
    """Whether this user may make one: tried, because nothing else tells."""
    try:
        # As virtiofsd is started, with the program that does nothing.
        command = [*namespace(None), shutil.which("true") or "/bin/true"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S, check=False)
    except HostError as exc:
        return needed(exc, for_mounts(host), "unshare")
    except subprocess.TimeoutExpired:
        return Finding(for_mounts(host), f"unshare has not ended within {PROGRAM_TIMEOUT_S:.0f} s")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        reason = said[0].removeprefix("unshare: ")
        return Finding(for_mounts(host), f"this user cannot make one: {reason}", remedies.allow_user_namespaces())
    return Finding(Status.OK, "this user can make one")


def for_mounts(host: Host) -> Status:
    """How bad it is when there can be no mounts."""
    return Status.MISSING if host.config and host.config.mounts else Status.OPTIONAL
