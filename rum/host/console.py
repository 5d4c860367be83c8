"""What the serial console's log says about a boot."""

from __future__ import annotations

import re
from pathlib import Path

from rum.host.text import clean

READ_MAX = 1 << 20
"""Bytes from the end of the log: some thousand lines, more than a boot prints."""

DIAGNOSES = (
    (r"Kernel panic - not syncing: (?P<detail>.*)", "the guest's kernel panicked: {detail}"),
    (r"reboot: Power down", "the guest has shut itself down"),
    (r"python3: (?:not found|No such file)|/usr/bin/python3.*(?:No such file|status=203)", "the guest has no Python 3"),
    (
        r"rum-agent: there is no virtio-vsock driver",
        "the guest's kernel has no virtio-vsock driver, module vmw_vsock_virtio_transport: nobody can reach its agent",
    ),
    (
        r"rum-agent: cannot listen at vsock\S* \[Errno 97\]",
        "the guest has no AF_VSOCK: its kernel lacks the module vsock, or RestrictAddressFamilies= hides it",
    ),
    (
        r"rum-agent: cannot listen at vsock\S* \[Errno (?:1|13)\] (?P<detail>.*)",
        "the guest does not let its agent use vsock ({detail}); SELinux or a seccomp filter in the image may forbid it",
    ),
    (r"(?P<detail>rum-agent: .*)", "the agent in the guest does not start: {detail}"),
    (r"No bootable device|Boot failed: not a bootable disk", "the image has no boot loader for this firmware"),
    (r"UEFI Interactive Shell|BdsDxe: No bootable option", 'the image has no EFI boot loader; try firmware = "bios"'),
    (
        r"error: (?:no such partition|unknown filesystem|file .* not found)|grub rescue>",
        "the guest's boot loader failed",
    ),
    (
        r"CPU does not support (?P<detail>x86-64-v\d)",
        "the image needs a newer CPU ({detail}) than the emulated one; it needs KVM, or a name of the catalogue",
    ),
    (
        r"cloud-init\[\d+\]: .*Read-only file system",
        "the guest's root file system is read-only, so cloud-init cannot install the agent; see the image's /etc/fstab",
    ),
    (r"Gave up waiting for root|Cannot open root device", "the guest's kernel does not find its root file system"),
    (r"You are in emergency mode|Entering emergency mode", "the guest's systemd is in emergency mode"),
    (r"Out of memory: Killed process|oom-kill:", "the guest ran out of memory; raise resources.memory_mb"),
    (
        r"failed (?:run of )?stage init-local",
        "cloud-init failed before it could install the agent, as it does after a power loss in its first run",
    ),
    (
        r"Failed to start .*cloud-init",
        "cloud-init cannot start in the guest; without Python 3 in the image it is like that",
    ),
    (r"cloud-init.*(?:Traceback|CRITICAL|Failed to)", "cloud-init failed in the guest"),
)
"""What to look for, the surest sign first, and what it means."""

LINE_MAX = 500
"""Characters of a line that are looked at: a search may try every place of a line against every other."""

PANIC = "Kernel panic - not syncing"
"""After this nothing comes any more, although the domain goes on running."""

GAVE_UP = re.compile(r"failed (?:run of )?stage init-local.*Cloud-init v\. \S+ finished at", re.DOTALL)
"""cloud-init has failed where it would have installed the agent, and has done the rest of its work for this boot."""

NO_VSOCK = re.compile(r"rum-agent: cannot listen at vsock\S* \[Errno (?:1|13|97)\]")
"""systemd starts the agent again each second, and each time the kernel has no vsock for it."""

NO_VSOCK_MAX = 3

BOOT = "Linux version "
KERNEL = re.compile(rf"{BOOT}|\[ +\d+\.\d+\] ")
CLOUD_INIT = re.compile(r"cloud-init", re.IGNORECASE)
LOGIN = re.compile(r"login: *(?:\S+ \(automatic login\))?$", re.MULTILINE)


def read_console(log: Path, offset: int = 0) -> list[str]:
    """The log's lines from `offset` on, without control characters and empty lines; long logs from their end."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, 2)
            start = offset if offset <= size else 0
            file.seek(max(start, size - READ_MAX))
            data = file.read(READ_MAX)
    except OSError:
        return []
    lines = (clean(line)[:LINE_MAX] for line in re.split(r"[\r\n]+", data.decode("utf-8", "replace")))
    return [line for line in lines if line.strip()]


def is_hopeless(lines: list[str]) -> bool:
    """Whether no agent can come any more in the boot with this console; one that is there already may still come."""
    boot = last_boot(lines)
    refused = sum(1 for line in boot if NO_VSOCK.search(line))
    return refused >= NO_VSOCK_MAX or GAVE_UP.search("\n".join(boot)) is not None


def last_boot(lines: list[str]) -> list[str]:
    """The lines from where the kernel started last."""
    begun = max((index for index, line in enumerate(lines) if BOOT in line), default=0)
    return lines[begun:]


def diagnose(lines: list[str]) -> str:
    """A sentence on why a guest with this console has not become ready."""
    text = "\n".join(lines)
    for pattern, sentence in DIAGNOSES:
        found = re.search(pattern, text)
        if found:
            return sentence.format(**{key: value.strip() for key, value in found.groupdict().items()})
    if not text:
        return "the guest has printed nothing on its serial console: no boot loader or kernel has started"
    if LOGIN.search(text) and not CLOUD_INIT.search(text):
        return (
            "the guest has booted to its login prompt without cloud-init, so nothing has installed the agent; "
            "the image needs cloud-init and Python 3"
        )
    if LOGIN.search(text):
        return "the guest has booted to its login prompt, but its agent does not answer"
    if KERNEL.search(text):
        return "the guest's kernel has started, but the guest is not up yet"
    return f"the guest has not come further than: {lines[-1].strip()}"
